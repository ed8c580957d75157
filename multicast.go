package grasp

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/go-grasp/grasp/acp"
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
// returns for it. The error says that it failed on all of them.
func (g *Instance) multicast(on func(acp.Link) wire.Message) error {
	var errs []error
	var last wire.Message
	var raw []byte
	links := g.ep.Links()
	for _, l := range links {
		m := on(l)
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
		}
	}
	if len(errs) == 0 || len(errs) < len(links) {
		return nil
	}
	return &withCode{ErrSockErr, errors.Join(errs...)}
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
		g.takeMulticast(buf[:n], from)
	}
}

// takeMulticast takes one multicast. RFC 8990 section 2.8.2: what is not valid
// is dropped silently.
func (g *Instance) takeMulticast(raw []byte, from acp.Origin) {
	m, err := wire.Parse(raw, g.limits)
	if err != nil {
		e := Event{Reason: reasonOf(err), Peer: from.Addr, Link: from.Link, Raw: raw, Err: err}
		var bad *wire.Error
		if errors.As(err, &bad) && bad.HasType {
			e.Message, e.SessionID = bad.Type.String(), bad.SessionID
		}
		g.drop(e)
		return
	}
	drop := func(reason Reason) {
		g.drop(eventOf(m, Event{Reason: reason, Peer: from.Addr, Link: from.Link, Raw: raw}))
	}
	switch m.(type) {
	case *wire.Noop:
		return // ignored silently (section 2.8.13)
	case *wire.Discovery:
	case *wire.Flood:
		if from.Unicast { // a flood is a multicast (section 2.8.11)
			drop(ReasonUnexpected)
			return
		}
	default:
		drop(ReasonUnexpected)
		return
	}
	switch key := keyOf(m); {
	case g.isOwnMulticast(key), g.isOwn(from.Addr): // sent or relayed by this instance
		drop(ReasonOwn)
		return
	case !g.mayTake(m, from):
		drop(ReasonNoSecurity)
		return
	}
	switch m := m.(type) {
	case *wire.Discovery:
		g.trace(Received, m, raw, from.Addr, from.Link)
		g.takeDiscovery(m, raw, asker{Origin: from})
	case *wire.Flood:
		g.takeFlood(m, raw, from)
	}
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
