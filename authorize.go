package grasp

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// Want is what a peer asks for.
type Want uint8

// What peers can ask for.
const (
	WantNegotiate   Want = iota + 1 // a negotiation, in rapid mode, too
	WantDryRun                      // a negotiation in which nothing is committed
	WantSynchronize                 // the value of an objective
	WantDiscover                    // who has an objective, by a discovery sent to this node alone
	wantCount
)

var wantNames = [wantCount]string{
	WantNegotiate: "negotiate", WantDryRun: "dry run", WantSynchronize: "synchronize", WantDiscover: "discover",
}

// String returns the words for it, such as "dry run".
func (w Want) String() string {
	if w < wantCount && w > 0 {
		return wantNames[w]
	}
	return "unknown"
}

// MarshalText returns the words for it, and nothing for 0.
func (w Want) MarshalText() ([]byte, error) { return wordOf(w, wantNames[:]), nil }

// UnmarshalText is the inverse of MarshalText. It fails for other words.
func (w *Want) UnmarshalText(text []byte) error { return setWord(w, text, wantNames[:]) }

// Request is what a peer asks this instance for: see Config.Authorize.
type Request struct {
	// Identity is who the peer has proven to be, as Session.Identity returns it:
	// the name in its certificate on tlsplane.Plane, "" on planes on which nobody
	// proves who they are.
	Identity string
	// Peer is where the request came from, and Link the index of the link, 0 if
	// that is not known.
	Peer netip.AddrPort
	Link int
	// Want is what it asks for, and Objective of what, with the value that the
	// peer offers.
	Want      Want
	Objective Objective
}

// wanted returns what the first message of a stream asks for, 0 if it asks for
// nothing.
func wanted(m wire.Message) (Want, *wire.Objective) {
	switch m := m.(type) {
	case *wire.ReqNeg:
		return wantOf(&m.Objective), &m.Objective
	case *wire.ReqSyn:
		return WantSynchronize, &m.Objective
	case *wire.Discovery:
		return WantDiscover, &m.Objective
	}
	return 0, nil
}

func wantOf(o *wire.Objective) Want {
	if o.Flags&wire.FlagNegDry != 0 {
		return WantDryRun
	}
	return WantNegotiate
}

// refusal returns why a peer is refused what it asks for, or nil. It waits for
// Config.Authorize.
func (g *Instance) refusal(ctx context.Context, r Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			g.log.Error("Config.Authorize panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, DefaultTimeout, errTimeout)
	defer cancel()
	return g.cfg.Authorize(ctx, r)
}

// mayHave reports whether the peer of a stream may have what it asks for. If not the
// stream is closed. What the ASAs of this instance want of each other they may
// have.
func (g *Instance) mayHave(s *stream, m wire.Message, want Want, o *wire.Objective) bool {
	if g.cfg.Authorize == nil || want == 0 || s.local {
		return true
	}
	if g.isRefused(s, m, want, o) {
		return false
	}
	if !g.streams.isPending(s) { // it had to give way meanwhile
		s.close()
		return false
	}
	return true
}

// isRefused reports whether the peer of a stream must not have what it asks for. The
// stream is closed then.
func (g *Instance) isRefused(s *stream, m wire.Message, want Want, o *wire.Objective) bool {
	ctx, done := s.whileOpen(g.ctx)
	defer done()
	err := g.refusal(ctx, Request{Identity: s.Identity, Peer: s.Peer, Link: s.Link, Want: want, Objective: decodeObjective(o)})
	if err == nil {
		return false
	}
	if s.table.has(s) { // else it was evicted meanwhile, which is counted
		g.logRefusal(s.Peer, s.Identity, want, o, err)
		g.dropFrom(s, m, ReasonUnauthorized, err)
	}
	s.close()
	return true
}

func (g *Instance) logRefusal(peer netip.AddrPort, identity string, want Want, o *wire.Objective, err error) {
	g.log.Warn("a peer was refused what it asked for", "peer", peer, "identity", identity, "want", want.String(), "objective", o.Name, "reason", err)
}

// authorizeDiscovery takes a discovery that was sent to this node alone as a
// datagram, which proves nothing of who sent it, if Config.Authorize agrees. Of
// too many that wait for that some are dropped, as of those that are answered.
func (g *Instance) authorizeDiscovery(m *wire.Discovery, raw []byte, from asker) {
	raw = bytes.Clone(raw)
	ctx, cancel := context.WithCancel(g.ctx)
	done := g.responders.add(from.Addr.Addr(), cancel)
	started := g.spawn(func() {
		err := g.refusal(ctx, Request{Peer: from.Addr, Link: from.Link, Want: WantDiscover, Objective: decodeObjective(&m.Objective)})
		evicted := ctx.Err() != nil
		done()
		switch {
		case evicted:
			g.drop(eventOf(m, Event{Reason: ReasonTooManyResponses, Peer: from.Addr, Link: from.Link, Raw: raw}))
		case err != nil:
			g.logRefusal(from.Addr, "", WantDiscover, &m.Objective, err)
			g.drop(eventOf(m, Event{Reason: ReasonUnauthorized, Peer: from.Addr, Link: from.Link, Raw: raw, Err: err}))
		case g.secure() != nil: // meanwhile
			g.drop(eventOf(m, Event{Reason: ReasonNoSecurity, Peer: from.Addr, Link: from.Link, Raw: raw}))
		default:
			g.handleDiscovery(m, raw, from, time.Now())
		}
	})
	if !started {
		done()
	}
}
