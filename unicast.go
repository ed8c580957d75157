package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/wire"
)

// askPeer sends the M_DISCOVERY of a search to one node (RFC 8990 section
// 2.8.4) and waits until the search is over.
func (g *Instance) askPeer(ctx context.Context, q *inquiry, s *search) error {
	peer := *q.opt.Peer
	trying, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.asa.ctx, cancel)()
	var err error
	switch peer.Protocol {
	case 0, TCP, UDP:
		var targets []netip.AddrPort
		targets, err = g.placesOf(trying, peer, acp.Port)
		switch {
		case err != nil:
			err = &withCode{ErrUnusableLocator, err}
		case peer.Protocol == UDP:
			err = g.askRepeatedly(ctx, q, s, func(o wire.Objective) error { return g.sendQuestion(s, o, targets) })
		default:
			err = g.askByStream(trying, q, s, targets)
		}
	default:
		err = &withCode{ErrUnusableLocator, fmt.Errorf("%v: neither TCP nor UDP", peer)}
	}
	return q.outcome(ctx, s, err)
}

// outcome returns why a call ended that had an error: for another reason than
// that, perhaps.
func (q *inquiry) outcome(ctx context.Context, s *search, err error) error {
	select {
	case <-s.failed:
		return s.err
	default:
	}
	if gone := q.asa.check(); gone != nil {
		return &withCode{ErrNoASA, gone}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errTimeout) {
		return &withCode{ErrCancelled, cause}
	}
	return err
}

// sendQuestion sends M_DISCOVERY as a datagram to the first address that takes
// one.
func (g *Instance) sendQuestion(s *search, o wire.Objective, targets []netip.AddrPort) error {
	m := g.question(s, o)
	raw, err := g.encodeMulticast(m)
	if err != nil {
		return err
	}
	g.rememberOwn(m) // it may come back by way of others
	var errs []error
	for _, to := range targets {
		if err = acp.SendTo(g.ep, to, raw); err == nil {
			g.trace(Sent, m, raw, to, 0)
			return nil
		}
		g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Peer: to, Err: err}))
		errs = append(errs, fmt.Errorf("%v: %w", to, err))
	}
	return &withCode{ErrSockErr, errors.Join(errs...)}
}

// askByStream connects to the first address that it can, sends M_DISCOVERY and
// takes the responses that come by the same connection.
func (g *Instance) askByStream(ctx context.Context, q *inquiry, s *search, targets []netip.AddrPort) error {
	m := g.question(s, q.objective.withoutValue())
	raw, err := g.encodeMulticast(m)
	if err != nil {
		return err
	}
	g.rememberOwn(m) // it may come back by way of others
	var errs []error
	for _, to := range targets {
		dialing, cancel := context.WithTimeout(ctx, dialTimeout)
		conn, err := g.dial(dialing, to)
		cancel()
		if err == nil {
			defer conn.close()
			if err = conn.send(raw, sendTimeout); err == nil {
				g.trace(Sent, m, raw, conn.Peer, conn.Link)
				if err = g.takeResponses(ctx, q, s, conn); err != nil && len(s.locators()) == 0 {
					return fmt.Errorf("%v: %w", to, err)
				}
				return nil
			}
		}
		g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Peer: to, Err: err}))
		errs = append(errs, fmt.Errorf("%v: %w", to, err))
	}
	return &withCode{ErrSockErr, errors.Join(errs...)}
}

// takeResponses takes responses to a search from a connection until it ends, by
// whatever means: then that was all (RFC 8990 section 2.8.5). A peer need not
// send more than would be kept. It returns what was wrong with what came.
func (g *Instance) takeResponses(ctx context.Context, q *inquiry, s *search, conn *stream) error {
	for n := 0; ; n++ {
		m, err := conn.message(ctx, time.Time{})
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			g.refuse(conn, err)
			if code := discoverCodes[readCode(err)]; code != OK {
				return &withCode{code, err}
			}
			return nil
		}
		response, ok := m.(*wire.Response)
		if !ok {
			g.trace(Received, m, conn.raw(), conn.Peer, conn.Link)
			g.drop(eventOf(m, Event{Reason: ReasonUnexpected, Peer: conn.Peer, Link: conn.Link}))
			return &withCode{ErrNoDiscReply, fmt.Errorf("the peer sent %v", m.Type())}
		}
		if n == g.cfg.MaxFound {
			g.trace(Received, m, conn.raw(), conn.Peer, conn.Link)
			g.drop(eventOf(m, Event{Reason: ReasonTooManyFound, Peer: conn.Peer, Link: conn.Link, Objective: s.name}))
			return nil
		}
		g.found(response, conn)
		if q.opt.First && len(s.locators()) > 0 {
			return nil
		}
	}
}

// discoverCodes are the codes of a failed discovery for those of a failed
// negotiation. Others are none: that there is no answer, for whatever reason, is
// not an error.
var discoverCodes = map[ErrorCode]ErrorCode{
	ErrCBORFail:    ErrCBORFail,
	ErrNoValidStep: ErrNoDiscReply,
	ErrInvalidEnd:  ErrNoDiscReply,
}

// asker is where a discovery came from.
type asker struct {
	acp.Origin
	stream *stream // by which it came; nil: as a datagram
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
