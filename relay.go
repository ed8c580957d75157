package grasp

import (
	"net"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// relay passes a discovery or flood on to all links but the one it came by,
// bit for bit but for the loop count. It returns why it did not.
//
// What came by a stream from beyond the links goes to all of them.
func (g *Instance) relay(m wire.Message, key session.Key, raw []byte, from asker) (Reason, bool) {
	if g.cfg.DULL {
		return ReasonNoOtherLink, false // RFC 8990 section 2.5.2: it relays nothing
	}
	in := loop.Message{Type: m.Type(), Key: key, Raw: raw, Link: from.Link, Neighbour: from.Addr.Addr()}
	if o := objectiveOf(m); o != nil {
		in.Objective = o.Name
	}
	var d loop.Decision
	g.relays.do(func(r *loop.Relay[asker]) { d = r.Pass(&in, g.linkIndexes(), from, time.Now()) })
	if d.Refusal != loop.None {
		return refusalReasons[d.Refusal], false
	}
	for _, l := range d.Full {
		g.drop(eventOf(m, Event{Reason: ReasonRate, Peer: from.Addr, Link: l, Raw: d.Raw}))
	}
	for _, l := range d.Links {
		if err := g.ep.Send(l, d.Raw); err != nil {
			g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Link: l, Raw: d.Raw, Err: err}))
			continue
		}
		g.trace(Relayed, m, d.Raw, from.Addr, l)
	}
	return 0, true
}

// refusalReasons are the reasons for what the relay refuses.
var refusalReasons = [...]Reason{
	loop.NoOtherLink:   ReasonNoOtherLink,
	loop.RelayedBefore: ReasonRelayedBefore,
	loop.LoopCount:     ReasonLoopCount,
	loop.Invalid:       ReasonInvalid,
	loop.Rate:          ReasonRate,
}

// linkIndexes returns the indexes of the links in use.
func (g *Instance) linkIndexes() []int {
	links := g.ep.Links()
	indexes := make([]int, len(links))
	for i, l := range links {
		indexes[i] = l.Index
	}
	return indexes
}

// rememberOwn remembers a multicast that this instance sends, so as to know it
// when it comes back.
func (g *Instance) rememberOwn(m wire.Message) {
	g.relays.do(func(r *loop.Relay[asker]) { r.RememberOwn(keyOf(m), time.Now()) })
}

// isOwnMulticast says that a multicast was sent by this instance.
func (g *Instance) isOwnMulticast(key session.Key) (own bool) {
	g.relays.do(func(r *loop.Relay[asker]) { own = r.IsOwn(key, time.Now()) })
	return own
}

// toldBefore notes that an initiator is told what others know of an objective. It
// reports whether it was told before, for another question, what should still
// live.
func (g *Instance) toldBefore(m *wire.Response, objective string, to asker) (before bool) {
	key := session.Key{ID: m.SessionID, Initiator: m.Initiator}
	life := time.Duration(m.TTL) * time.Millisecond
	g.relays.do(func(r *loop.Relay[asker]) {
		before = r.Answered(key, to.Addr.Addr(), objective, life, time.Now())
	})
	return before
}

// passBack sends what a relayed discovery found to where the discovery came
// from (RFC 8990 section 2.5.4.4), each result as it comes, as a Divert. It
// returns false if the response is not for a discovery that was relayed.
func (g *Instance) passBack(m *wire.Response, link int, peer netip.AddrPort) bool {
	var asked loop.Asked[asker]
	var ok bool
	key := session.Key{ID: m.SessionID, Initiator: m.Initiator}
	g.relays.do(func(r *loop.Relay[asker]) { asked, ok = r.Asker(key, time.Now()) })
	if !ok {
		return false
	}
	all := g.locatorsIn(asked.Objective, m, link, peer)
	if len(all) == 0 {
		return true
	}
	g.cacheLocators(asked.Objective, all)
	back := &wire.Response{SessionID: m.SessionID, Initiator: m.Initiator, TTL: m.TTL}
	if m.TTL == 0 {
		back.TTL = uint32(defaultResponseTTL.Milliseconds()) // some take 0 for expired
	}
	for _, l := range all {
		if g.locators.mayDivert(&l, asked.Asker.Link) {
			back.Diverted = append(back.Diverted, l.Wire)
		}
	}
	if len(back.Diverted) > 0 {
		g.toldBefore(back, asked.Objective, asked.Asker)
	}
	switch {
	case len(back.Diverted) == 0:
	case asked.Left:
		g.drop(eventOf(back, Event{Reason: ReasonSendFailed, Peer: asked.Asker.Addr, Link: asked.Asker.Link, Err: net.ErrClosed}))
	default:
		g.respond(back, asked.Asker)
	}
	return true
}
