package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/race"
)

// dialer connects to a peer; to this instance itself without the network.
type dialer func(ctx context.Context, to netip.AddrPort) (*stream, error)

func (g *Instance) dial(ctx context.Context, to netip.AddrPort) (*stream, error) {
	if g.isOwn(to) {
		return g.dialSelf(to)
	}
	return g.dialBy(ctx, to, g.ep.Dial)
}

// dialWith returns the dialer for a first message. The message goes with the opening of
// the stream if the plane can do that.
func (g *Instance) dialWith(msg []byte) dialer {
	if g.fast == nil {
		return g.dial
	}
	return func(ctx context.Context, to netip.AddrPort) (*stream, error) {
		if g.isOwn(to) {
			return g.dialSelf(to)
		}
		if err := g.secure(); err != nil { // a DULL instance never gets here
			return nil, &withCode{ErrNoSecurity, err}
		}
		s, err := g.dialBy(ctx, to, func(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
			return g.fast.DialWith(ctx, to, msg)
		})
		if err == nil {
			s.sent = true
		}
		return s, err
	}
}

// dialBy connects to a peer by a method of the endpoint.
func (g *Instance) dialBy(ctx context.Context, to netip.AddrPort, dial func(context.Context, netip.AddrPort) (*acp.Stream, error)) (*stream, error) {
	c, err := dial(ctx, to)
	if isOutOfDescriptors(err) && g.giveWay() {
		c, err = dial(ctx, to)
	}
	if g.recent != nil {
		g.recent.note(to, err == nil)
		g.forgetLater()
	}
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, err
	}
	s := g.newStream(c, false)
	if _, ok := g.streams.add(s, false); !ok {
		s.close()
		return nil, errClosed
	}
	// If the plane ceased to be secure meanwhile, either lockDown closes the stream or
	// this does. A DULL instance dials to answer discoveries, which needs no protection.
	if err := g.secure(); err != nil && !g.cfg.DULL {
		s.close()
		return nil, &withCode{ErrNoSecurity, err}
	}
	return s, nil
}

func (g *Instance) dialSelf(to netip.AddrPort) (*stream, error) {
	near, far, err := memory.Pipe()
	if err != nil {
		return nil, err
	}
	near.Peer, far.Peer = to, to
	s, served := g.newStream(near, true), g.newStream(far, true)
	if _, ok := g.streams.add(s, false); !ok {
		_ = near.Close()
		_ = far.Close()
		return nil, errClosed
	}
	if !g.spawn(func() { g.serve(served, nil) }) {
		s.close()
		_ = far.Close()
		return nil, errClosed
	}
	return s, nil
}

// recentPeers are the addresses that were connected to lately, so that a request may go
// with the opening of the next stream to them: they have given a cookie if they ever do
// (RFC 7413), and are likely to answer. It is nil for a plane that opens streams without
// messages.
type recentPeers struct {
	mu  sync.Mutex // guards all
	all *race.Doubts[netip.AddrPort]
}

const (
	mostRecent = 4096
	recentTime = time.Minute
)

func newRecentPeers() *recentPeers {
	return &recentPeers{all: race.NewDoubts[netip.AddrPort](mostRecent, recentTime)}
}

// note notes whether an address could be connected to.
func (p *recentPeers) note(to netip.AddrPort, connected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if connected {
		p.all.Add(to, time.Now())
	} else {
		p.all.Remove(to)
	}
}

// has reports whether an address was connected to lately.
func (p *recentPeers) has(to netip.AddrPort) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.Has(to, time.Now())
}

// forget gives back the memory of what is too old. It reports whether anything is left.
func (p *recentPeers) forget(now time.Time) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.Forget(now)
}
