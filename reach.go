package grasp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/race"
)

const (
	// dialTimeout is how long one attempt to connect may take.
	dialTimeout = 5 * time.Second
	// maxDials bounds the attempts that a call has under way, maxTargets the
	// addresses that it tries.
	maxDials   = 64
	maxTargets = 1024
)

// reach connects to the first of many addresses that answers. What other
// goroutines have for it they post: all else is for the goroutine of the call
// alone.
type reach struct {
	g    *Instance
	ctx  context.Context // ends with the call
	stop context.CancelFunc
	race *race.Race[netip.AddrPort]
	in   chan func()

	begun   map[netip.AddrPort]time.Time // attempts under way
	pending int                          // goroutines that may bring further addresses
	done    bool                         // no connection is needed any more
	alone   bool                         // the request went with the attempt under way: no other may begin
	spent   bool                         // a peer that did not answer may have the request: nobody else gets it
	won     *stream
	at      netip.AddrPort // where it leads to
	to      netip.AddrPort // what failed last
	err     error          // why

	// more, if not nil, is called when no address is left to be tried, as long as
	// none has answered. It returns when to call it again, or the zero time.
	more func(now time.Time) time.Time
	// request goes with the opening of a stream where early says that it may; nil: only
	// by a stream that is open.
	request []byte
	early   func(to netip.AddrPort) bool
	// lost, if not nil, is told of every address that was of no use.
	lost func(to netip.AddrPort, err error)
}

// newReach returns a reach that ends with the context. stop must be called when
// it is no longer needed.
func (g *Instance) newReach(ctx context.Context) *reach {
	r := &reach{
		g: g, race: race.New[netip.AddrPort](maxDials, maxTargets),
		in: make(chan func()), begun: make(map[netip.AddrPort]time.Time),
		early: g.recent.has,
	}
	r.ctx, r.stop = context.WithCancel(ctx)
	return r
}

// errNobody says that there was nothing to be tried.
var errNobody = errors.New("nobody to connect to")

// post has f run in the goroutine of the call. It returns false if the call is
// over.
func (r *reach) post(f func()) bool {
	select {
	case r.in <- f:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// next returns the next connection that is made, or nil if none is needed. It
// returns an error when there is nothing left to be tried, or the context has
// ended.
func (r *reach) next() (*stream, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		switch {
		case r.won != nil:
			s := r.won
			r.won = nil
			return s, nil
		case r.done:
			return nil, nil
		case r.spent:
			return nil, r.err
		}
		now := time.Now()
		for !r.alone {
			to, ok := r.race.Step(now)
			if !ok {
				break
			}
			r.dial(to, now)
		}
		wake, ok := r.race.Wake(now)
		ok = ok && !r.alone
		if r.more != nil && !r.alone && r.race.Stuck(now) {
			later := r.more(now)
			if !r.race.Stuck(now) {
				continue
			}
			if !later.IsZero() && (!ok || later.Before(wake)) {
				wake, ok = later, true
			}
		}
		if r.race.Over() && r.pending == 0 {
			return nil, cmp.Or(r.err, errNobody)
		}
		if ok {
			timer.Reset(time.Until(wake))
		}
		select {
		case f := <-r.in:
			f()
		case <-timer.C:
		case <-r.ctx.Done():
			return nil, r.unanswered()
		}
	}
}

// dial begins an attempt.
func (r *reach) dial(to netip.AddrPort, now time.Time) {
	r.begun[to] = now
	dial := r.dialer(to)
	attempt := func() {
		ctx, cancel := context.WithTimeout(r.ctx, dialTimeout)
		s, err := dial(ctx, to)
		cancel()
		if !r.post(func() { r.ended(to, s, err) }) && err == nil {
			s.close()
		}
	}
	if !r.g.spawn(attempt) {
		r.ended(to, nil, errClosed)
	}
}

// dialer returns how an address is connected to. The request goes with the opening if
// nobody else is being tried. Nobody else is tried until that attempt is over: of all
// that get the request, the first that connects must be the only one, and two addresses
// may be those of one peer.
func (r *reach) dialer(to netip.AddrPort) dialer {
	if r.request == nil || len(r.begun) > 1 || !r.early(to) {
		return r.g.dial
	}
	r.alone = true
	return r.g.dialWith(r.request)
}

// ended takes the outcome of an attempt.
func (r *reach) ended(to netip.AddrPort, s *stream, err error) {
	began := r.begun[to]
	delete(r.begun, to)
	if r.alone && err != nil && !errors.Is(err, acp.ErrUndelivered) {
		r.spent = true
		err = mayBeThere(err)
	}
	r.alone = false
	if err != nil {
		r.fail(to, err)
		return
	}
	r.won, r.at = s, to
	for other, at := range r.begun {
		if r.lost != nil && at.Before(began) && time.Since(at) >= race.Delay {
			r.lost(other, errSlow)
		}
	}
}

// mayBeThere returns the error for a request that went with an opening which was not
// answered.
func mayBeThere(err error) error {
	return fmt.Errorf("%w; nobody else is asked, because the request may have got there", err)
}

// errSlow is why an address is of no use that another one was faster than,
// although it had a start.
var errSlow = errors.New("another address answered, although it was tried later")

// fail says that an address is of no use: there is no connection, or it is
// broken already.
func (r *reach) fail(to netip.AddrPort, err error) {
	r.race.Failed()
	r.to, r.err = to, err
	if r.lost != nil {
		r.lost(to, err)
	}
}

// unanswered returns why the context ended before there was a connection.
func (r *reach) unanswered() error {
	err := fmt.Errorf("no connection: %w", errTimeout)
	switch {
	case len(r.begun) == 0 && r.err != nil:
		err = fmt.Errorf("%w, and nobody else answered: %w", r.err, errTimeout)
	case r.alone:
		err = mayBeThere(err)
	}
	for to := range r.begun {
		r.to = to
		if r.lost != nil {
			r.lost(to, err)
		}
	}
	return err
}
