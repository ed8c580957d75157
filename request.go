package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/lazyctx"
	"github.com/go-grasp/grasp/internal/wire"
)

// outgoing is a request to a peer, for negotiation or synchronization.
type outgoing struct {
	asa       *ASA
	op        string
	objective Objective
	peer      *Locator // nil: to be discovered
	timeout   time.Duration
	message   wire.Message
	rapid     []byte    // see query
	noneFound ErrorCode // nobody was discovered
	sockErr   ErrorCode // connecting or sending failed

	// suffices, if not nil, says of a discovered locator that nothing need be
	// asked there.
	suffices func(Locator) bool

	// reached is the discovered locator that was connected to, or suffices.
	reached   *Locator
	reachedAt netip.AddrPort // by this of its addresses
}

// patience is how long peers are searched for: three rounds, each twice as long,
// if the call does not say.
func (c *outgoing) patience() time.Duration {
	if c.timeout > 0 {
		return c.timeout
	}
	return 7 * discoveryTime(c.objective)
}

// limit is how long discovery, resolution, connecting and sending may take
// together.
func (c *outgoing) limit() time.Duration {
	switch {
	case c.timeout > 0:
		return c.timeout
	case c.peer != nil:
		return dialTimeout
	}
	return c.patience() + dialTimeout
}

// send connects to the peer, or to one that is discovered, and sends the message.
// Nothing is sent before the message is known to be a valid one. The stream of a
// peer that answered in rapid mode has its own session ID. There is none if a
// locator suffices.
func (c *outgoing) send(ctx context.Context) (*stream, error) {
	g := c.asa.g
	raw, err := g.encode(c.message)
	if err != nil {
		return nil, wrap(c.op, c.objective.Name, err)
	}
	limit := c.limit()
	if c.peer != nil && c.peer.IP.IsValid() {
		limit = min(limit, dialTimeout) // it is one attempt
	}
	trying := lazyctx.New(ctx, c.asa.ctx, limit)
	defer trying.Release()
	if c.peer == nil {
		return c.sendToAny(ctx, trying, raw)
	}
	targets, err := g.resolve(trying, *c.peer)
	if err != nil {
		return nil, c.failed(ctx, addressOf(*c.peer), ErrUnusableLocator, err)
	}
	if len(targets) == 1 {
		s, err := g.dial(trying, targets[0])
		if err == nil {
			err = c.sendBy(s, raw)
		}
		if err != nil {
			return nil, c.failed(ctx, targets[0], c.sockErr, err)
		}
		return s, nil
	}
	r := g.newReach(trying)
	defer r.stop()
	r.race.Add(targets...)
	return c.sendToFirst(ctx, r, raw)
}

// sendToFirst sends the message to the first that a reach connects to.
func (c *outgoing) sendToFirst(ctx context.Context, r *reach, raw []byte) (*stream, error) {
	for {
		s, err := r.next()
		if err != nil {
			return nil, c.failed(ctx, r.to, c.sockErr, err)
		}
		if err = c.sendBy(s, raw); err == nil {
			return s, nil
		}
		r.fail(r.at, err)
	}
}

// sendBy sends the message by a stream, which is closed if it fails.
func (c *outgoing) sendBy(s *stream, raw []byte) error {
	if err := s.send(raw, sendTimeout); err != nil {
		s.close()
		return err
	}
	c.asa.g.trace(Sent, c.message, raw, s.Peer, s.Link)
	return nil
}

// failed names what came of a request, and with whom, as far as it is known.
func (c *outgoing) failed(ctx context.Context, to netip.AddrPort, code ErrorCode, err error) error {
	switch {
	case ctx.Err() != nil:
		code, err = ErrCancelled, context.Cause(ctx)
	case c.asa.check() != nil:
		code, err = ErrNoASA, c.asa.check()
	}
	return failWith(c.op, c.objective.Name, to, code, err)
}

// addressOf returns the address of a locator, the zero AddrPort if it has none.
func addressOf(l Locator) netip.AddrPort {
	if !l.IP.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(l.IP, uint16(l.Port))
}

// usualSize is enough room for most messages.
const usualSize = 128

// encode returns a unicast message as it is sent. The error has a code:
// ErrTooLong for one longer than Config.MaxMessage, or that of unsendable.
func (g *Instance) encode(m wire.Message) ([]byte, error) {
	raw, err := m.Append(make([]byte, 0, usualSize))
	if err != nil {
		return nil, &withCode{unsendable(err), err}
	}
	if len(raw) > g.limits.Bytes {
		return nil, &withCode{ErrTooLong, fmt.Errorf("%v of %d bytes, the limit is %d", m.Type(), len(raw), g.limits.Bytes)}
	}
	return raw, nil
}

// unsendable returns the code for a message that cannot be encoded: ErrCBORFail
// for a value that is nested too deep in it, else ErrUnspec.
func unsendable(err error) ErrorCode {
	if errors.Is(err, wire.ErrTooDeep) || errors.Is(err, wire.ErrMalformed) {
		return ErrCBORFail
	}
	return ErrUnspec
}
