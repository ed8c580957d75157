package grasp

import (
	"time"

	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/negotiation"
	"github.com/go-grasp/grasp/internal/wire"
)

// rapidRequest takes a discovery as a request for negotiation, if it carries a
// value and the objective is registered for rapid mode (RFC 8990 section
// 2.5.5.1): the listener gets a session on a connection to the initiator. It
// returns false if the discovery is an ordinary one.
func (g *Instance) rapidRequest(m *wire.Discovery, from asker) bool {
	o := m.Objective
	if isNull(o.Value) || negotiation.Check(&o) != nil || !g.objectives.isRapid(o.Name) ||
		!g.objectives.backlogOf(o.Name).Listening() || g.cfg.DULL {
		return false
	}
	request := func(s *stream) {
		g.incoming(s, &wire.ReqNeg{SessionID: m.SessionID, Objective: o})
	}
	first := false
	g.relays.do(func(r *loop.Relay[asker]) {
		// Nothing will be passed back.
		first = r.Remember(keyOf(m), loop.Asked[asker]{Objective: o.Name, Left: true}, time.Now())
	})
	switch {
	case !first:
		// Another copy of it came by another link.
		g.drop(eventOf(m, Event{Reason: ReasonRelayedBefore, Peer: from.Addr, Link: from.Link}))
		if from.stream != nil {
			from.stream.close()
		}
	case from.stream != nil:
		request(from.stream)
	default:
		g.callBack(m, from, request)
	}
	return true
}

// rapidAnswer hands a stream that begins with an answer to a rapid request to
// the search that waits for it. Late ones are dropped (section 2.8.4).
func (g *Instance) rapidAnswer(s *stream, m wire.Message) {
	g.streams.decide(s)
	s.reader.Unread() // whoever takes it reads the message
	s.session = wire.SessionID(m)
	if !g.searches.takeRapid(s) {
		g.dropFrom(s, m, ReasonUnsolicited, nil)
		s.close()
	}
}

// takeRapid hands a stream to the search that sent its session ID, if that
// still waits for a rapid answer.
func (t *searchTable) takeRapid(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.byID[s.session]
	if waiting == nil {
		return false
	}
	select {
	case waiting.rapid <- s:
		return true
	default:
		return false // not wanted, or another was first
	}
}
