package grasp

import (
	"context"
	"slices"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/wire"
)

// asker is where a discovery came from.
type asker struct {
	acp.Origin
	stream *stream // by which it came; nil: as a datagram
}

// takeDiscovery takes an M_DISCOVERY that came as a datagram, be it a multicast
// or not: it is answered if this node can, else relayed (RFC 8990 sections
// 2.5.4.2 and 2.5.4.4).
func (g *Instance) takeDiscovery(m *wire.Discovery, raw []byte, from asker) {
	if g.rapidRequest(m, from) {
		return
	}
	response, pass := g.answer(m, from)
	if response != nil {
		g.respond(response, from)
	}
	if !pass {
		return
	}
	reason, ok := g.relay(m, keyOf(m), raw, from)
	if response != nil && reason == ReasonNoOtherLink {
		return // it was answered, and that is all there is
	}
	if !ok {
		g.drop(eventOf(m, Event{Reason: reason, Peer: from.Addr, Link: from.Link, Raw: raw}))
	}
}

// answerOnStream answers an M_DISCOVERY that came by a connection on the same
// one (RFC 8990 section 2.5.4.2). If this node relays it, the connection stays
// for the results.
func (g *Instance) answerOnStream(s *stream, m *wire.Discovery) {
	from := asker{acp.Origin{Link: s.Link, Addr: s.Peer, Unicast: true}, s}
	if g.rapidRequest(m, from) {
		return
	}
	defer s.close()
	response, pass := g.answer(m, from)
	if response != nil {
		g.reply(s, response)
	}
	if !pass {
		return
	}
	key := keyOf(m)
	if reason, ok := g.relay(m, key, s.raw(), from); !ok {
		g.drop(eventOf(m, Event{Reason: reason, Peer: s.Peer, Link: s.Link}))
		return
	}
	defer g.relays.do(func(r *loop.Relay[asker]) { r.Leave(key, time.Now()) })
	_, _ = s.next(context.Background(), time.Now().Add(loop.ResultTime)) // until the peer has enough
}

// respond sends a response to where the discovery came from: by the same
// connection, or else by one of its own (RFC 8990 section 2.8.5).
func (g *Instance) respond(response *wire.Response, to asker) {
	g.callBack(response, to, func(s *stream) {
		g.reply(s, response)
		if s != to.stream {
			s.close()
		}
	})
}

// callBack connects to where a discovery came from, unless there is a
// connection, in a goroutine that then runs answer.
func (g *Instance) callBack(m wire.Message, to asker, answer func(*stream)) {
	drop := func(reason Reason, err error) {
		g.drop(eventOf(m, Event{Reason: reason, Peer: to.Addr, Link: to.Link, Err: err}))
	}
	ctx, cancel := context.WithTimeoutCause(g.ctx, dialTimeout, errTimeout)
	done := g.responders.add(to.Addr.Addr(), cancel)
	started := g.spawn(func() {
		defer done()
		if to.stream != nil {
			stop := context.AfterFunc(ctx, to.stream.close) // nobody reads there
			answer(to.stream)
			stop()
			return
		}
		s, err := g.dial(ctx, to.Addr)
		switch {
		case err == nil:
			answer(s)
		case context.Cause(ctx) == context.Canceled && g.ctx.Err() == nil:
			drop(ReasonTooManyResponses, err)
		default:
			drop(ReasonSendFailed, err)
		}
	})
	if !started {
		done()
	}
}

// answer returns the answer to a discovery, nil if there is none, and whether the
// question has to be passed on. That is so without an answer, and with one from
// the cache if the initiator had one before: it was no good.
func (g *Instance) answer(m *wire.Discovery, from asker) (response *wire.Response, pass bool) {
	response = g.response(m, from.Link)
	switch {
	case response == nil:
		return nil, true
	case len(response.Diverted) == 0:
		return response, false
	}
	return response, g.toldBefore(response, m.Objective.Name, from)
}

// response returns the answer to a discovery that came by a link: locators of
// this node, else a Divert to those it knows, else nil.
func (g *Instance) response(m *wire.Discovery, link int) *wire.Response {
	r := &wire.Response{SessionID: m.SessionID, Initiator: m.Initiator}
	if o, ok := g.objectives.offered(m.Objective.Name, nil); ok {
		r.TTL = o.ttl
		r.Locators = g.replyLocators(o, link)
		if g.cfg.DULL {
			r.Locators = slices.DeleteFunc(r.Locators, func(w wire.Locator) bool { return !isLinkLocal(w) })
		}
		if link == 0 {
			// It came from beyond the link, where they are of no use (RFC 8990
			// section 2.9.5.1).
			r.Locators = slices.DeleteFunc(r.Locators, isLinkLocal)
		}
		if o.rapid {
			r.Objective = &o.objective
			if _, err := g.encode(r); err != nil {
				r.Objective = nil // no room for the value: let it be asked for
			}
		}
		if len(r.Locators) > 0 {
			return r
		}
	}
	if g.cfg.DULL {
		return nil // RFC 8990 section 2.5.2: never a Divert
	}
	var left time.Duration
	if r.Diverted, left = g.locators.divert(m.Objective.Name, link); r.Diverted == nil {
		return nil
	}
	r.Objective = nil
	r.TTL = uint32(max(left.Milliseconds(), 1)) // 0 would mean much longer
	return r
}

// replyLocators returns the locators that a response on a link gives.
func (g *Instance) replyLocators(o offer, link int) []wire.Locator {
	if o.locators == nil {
		return g.ownLocators(link, o.local || g.cfg.DULL)
	}
	return g.registeredLocators(o, link)
}

// registeredLocators returns the locators that an ASA registered which may be
// given on a link.
func (g *Instance) registeredLocators(o offer, link int) []wire.Locator {
	var on acp.Link
	links := g.ep.Links()
	if i := slices.IndexFunc(links, func(l acp.Link) bool { return l.Index == link }); i >= 0 {
		on = links[i]
	}
	var out []wire.Locator
	for _, l := range o.locators {
		if l.isFor(on) {
			out = append(out, l.Locator)
		}
	}
	return out
}
