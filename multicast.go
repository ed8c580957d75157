package grasp

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/datagram"
	"github.com/go-grasp/grasp/internal/pace"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

var netip6Unspecified = netip.IPv6Unspecified()

// initiator returns the address that, with the session ID, tells the
// multicasts of this instance from those of others (RFC 8990 section 2.8.4):
// the one given to others, or else a link-local one. A DULL instance uses
// only link-local ones.
func (g *Instance) initiator() netip.Addr {
	if addr := g.ep.Addr(); addr.IsValid() && !g.cfg.DULL {
		return addr
	}
	if links := g.ep.Links(); len(links) > 0 {
		return links[0].Addr.WithZone("")
	}
	return netip6Unspecified // nothing leaves: there is no link
}

// encodeMulticast returns a message as it is sent. RFC 8990 section 2.5.3: one
// that would need fragmentation is refused.
func (g *Instance) encodeMulticast(m wire.Message) ([]byte, error) {
	raw, err := m.Append(make([]byte, 0, usualSize))
	if err != nil {
		return nil, &withCode{ErrUnspec, err}
	}
	if limit := g.ep.MaxMulticast(); len(raw) > limit {
		return nil, &withCode{ErrTooLong, fmt.Errorf("%v of %d bytes, the limit is %d", m.Type(), len(raw), limit)}
	}
	return raw, nil
}

// multicast sends a message of this instance on every link: the one that on
// returns for it, if any. The error says that it failed on all of them, or that
// the plane cannot know any.
func (g *Instance) multicast(on func(acp.Link) wire.Message) error {
	var errs []error
	var last wire.Message
	var raw []byte
	sent := false
	links := g.ep.Links()
	for _, l := range links {
		m := on(l)
		if m == nil {
			continue
		}
		if m != last {
			var err error
			if raw, err = g.encodeMulticast(m); err != nil {
				return err
			}
			g.rememberOwn(m)
			last = m
		}
		if err := g.sendOn(l, m, raw); err != nil {
			errs = append(errs, err)
		} else {
			sent = true
		}
	}
	if sent || len(errs) == 0 && len(links) > 0 {
		return nil
	}
	return g.errUnsent(errs)
}

// sendOn sends a multicast on one link.
func (g *Instance) sendOn(l acp.Link, m wire.Message, raw []byte) error {
	if err := g.ep.Send(l.Index, raw); err != nil {
		g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Link: l.Index, Raw: raw, Err: err}))
		return err
	}
	g.trace(Sent, m, raw, netip.AddrPort{}, l.Index)
	return nil
}

// receiveMulticasts takes multicasts until the endpoint closes.
func (g *Instance) receiveMulticasts() {
	buf := make([]byte, g.limits.Bytes+1) // one more, to see what is too long
	var pause pace.Backoff
	for {
		n, from, err := g.ep.Receive(buf)
		if errors.Is(err, acp.ErrForeign) {
			// Without a pause, or outsiders could hold up the members.
			g.drop(Event{Reason: ReasonForeign, Peer: from.Addr, Link: from.Link, Err: err})
			continue
		}
		if err != nil {
			if g.ctx.Err() != nil || !pause.Wait(g.ctx) {
				return
			}
			g.log.Warn("receiving multicasts failed", "error", err)
			continue
		}
		pause.Reset()
		g.handleDatagram(buf[:n], from)
	}
}

// handleDatagram deals with one datagram, multicast or not.
func (g *Instance) handleDatagram(raw []byte, from acp.Origin) {
	v := g.datagrams.Read(raw, datagram.Origin{
		Addr: from.Addr.Addr(), Unicast: from.Unicast, Self: g.isOwn(from.Addr), Secure: g.secure() == nil,
	})
	switch v.Action {
	case datagram.Ignore:
		return
	case datagram.Drop:
		g.dropDatagram(v, raw, from)
		return
	}
	switch m := v.Message.(type) {
	case *wire.Discovery:
		g.trace(Received, m, raw, from.Addr, from.Link)
		g.takeDiscovery(m, raw, asker{Origin: from})
	case *wire.Flood:
		for _, p := range v.Passed {
			g.drop(eventOf(m, Event{Reason: datagramReasons[p.Refusal], Peer: from.Addr, Link: from.Link, Objective: p.Objective, Raw: raw}))
		}
		g.handleFlood(m, raw, from)
	}
}

// dropDatagram counts and traces a datagram that is dropped.
func (g *Instance) dropDatagram(v datagram.Verdict, raw []byte, from acp.Origin) {
	e := Event{Peer: from.Addr, Link: from.Link, Raw: raw, Err: v.Err}
	if v.Message != nil {
		e.Reason = datagramReasons[v.Refusal]
		g.drop(eventOf(v.Message, e))
		return
	}
	e.Reason = reasonOf(v.Err)
	var bad *wire.Error
	if errors.As(v.Err, &bad) && bad.HasType {
		e.Message, e.SessionID = bad.Type.String(), bad.SessionID
	}
	g.drop(e)
}

// datagramReasons are the reasons for what is dropped of a datagram.
var datagramReasons = [...]Reason{
	datagram.Unreadable:      ReasonInvalid,
	datagram.Unexpected:      ReasonUnexpected,
	datagram.Own:             ReasonOwn,
	datagram.NotAllowed:      ReasonNoSecurity,
	datagram.LinkLocalSource: ReasonLinkLocalSource,
	datagram.NotFlooded:      ReasonUnexpected,
}

// keyOf returns what tells a multicast from others.
func keyOf(m wire.Message) session.Key {
	switch m := m.(type) {
	case *wire.Discovery:
		return session.Key{ID: m.SessionID, Initiator: m.Initiator}
	case *wire.Flood:
		return session.Key{ID: m.SessionID, Initiator: m.Initiator}
	}
	return session.Key{}
}
