package grasp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/lazyctx"
	"github.com/go-grasp/grasp/internal/wire"
)

// dialTimeout is how long connecting to one locator may take.
const dialTimeout = 5 * time.Second

// outgoing is a request to a peer, for negotiation or synchronization.
type outgoing struct {
	op        string
	objective Objective
	peer      *Locator // nil: to be discovered
	timeout   time.Duration
	message   wire.Message
	rapid     []byte    // see inquiry
	noneFound ErrorCode // nobody was discovered
	sockErr   ErrorCode // connecting or sending failed
}

// request connects to the peer, or to one that is discovered, and sends the
// message. Nothing is sent before the message is known to be a valid one. The
// stream of a peer that answered in rapid mode has its own session ID.
func (a *ASA) request(ctx context.Context, c *outgoing) (*stream, error) {
	raw, err := a.g.encode(c.message)
	if err != nil {
		return nil, wrap(c.op, c.objective.Name, err)
	}
	if c.peer != nil {
		return a.sendTo(ctx, c, *c.peer, raw)
	}
	// What is cached may be out of date: then the network is asked once more.
	for fresh := false; ; fresh = true {
		found, err := a.discoverFirst(ctx, c, fresh)
		if err != nil {
			return nil, err
		}
		if found.rapid != nil {
			return found.rapid, nil
		}
		if len(found.locators) == 0 {
			return nil, fail(c.op, c.objective.Name, c.noneFound, nil)
		}
		for _, peer := range found.locators {
			var s *stream
			if s, err = a.sendTo(ctx, c, peer, raw); err == nil || ctx.Err() != nil || a.check() != nil {
				return s, err
			}
			a.g.locators.forget(c.objective.Name, peer)
		}
		if fresh || found.asked {
			return nil, err
		}
	}
}

// discoverFirst returns the first locators to be had, or a rapid answer.
func (a *ASA) discoverFirst(ctx context.Context, c *outgoing, flush bool) (findings, error) {
	q := &inquiry{
		asa: a, objective: c.objective, timeout: c.timeout, rapid: c.rapid,
		opt: DiscoverOptions{First: true, Flush: flush},
	}
	if q.timeout == 0 {
		q.timeout = 7 * discoveryTime(c.objective) // three rounds, each twice as long
	}
	found, err := a.g.discover(ctx, q)
	return found, wrap(c.op, c.objective.Name, err)
}

// sendTo connects to a locator and sends the message. What a name stands for
// is tried in the order of the resolver.
func (a *ASA) sendTo(ctx context.Context, c *outgoing, peer Locator, raw []byte) (*stream, error) {
	timeout := dialTimeout
	if c.timeout > 0 {
		timeout = min(timeout, c.timeout)
	}
	trying := lazyctx.New(ctx, a.ctx, timeout)
	defer trying.Release()
	targets, err := a.g.resolve(trying, peer)
	for _, target := range targets {
		var s *stream
		if s, err = a.g.dial(trying, target); err != nil {
			continue
		}
		if err = s.send(raw, sendTimeout); err == nil {
			a.g.trace(Sent, c.message, raw, s.Peer, s.Link)
			return s, nil
		}
		s.close()
	}
	code, to := ErrUnusableLocator, netip.AddrPort{}
	if peer.IP.IsValid() {
		to = netip.AddrPortFrom(peer.IP, uint16(peer.Port))
	}
	if len(targets) > 0 {
		code, to = c.sockErr, targets[len(targets)-1]
	}
	switch {
	case ctx.Err() != nil:
		code, err = ErrCancelled, context.Cause(ctx)
	case a.check() != nil:
		code, err = ErrNoASA, a.check()
	}
	return nil, failWith(c.op, c.objective.Name, to, code, err)
}

// usualSize is enough room for most messages.
const usualSize = 128

// encode returns a unicast message as it is sent. The error has a code:
// ErrTooLong for one longer than Config.MaxMessage, else ErrUnspec.
func (g *Instance) encode(m wire.Message) ([]byte, error) {
	raw, err := m.Append(make([]byte, 0, usualSize))
	if err != nil {
		return nil, &withCode{ErrUnspec, err}
	}
	if len(raw) > g.limits.Bytes {
		return nil, &withCode{ErrTooLong, fmt.Errorf("%v of %d bytes, the limit is %d", m.Type(), len(raw), g.limits.Bytes)}
	}
	return raw, nil
}
