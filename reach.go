package grasp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

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
	won     *stream
	at      netip.AddrPort // where it leads to
	to      netip.AddrPort // what failed last
	err     error          // why

	// more, if not nil, is called when no address is left to be tried, as long as
	// none has answered. It returns when to call it again, or the zero time.
	more func(now time.Time) time.Time
	// lost, if not nil, is told of every address that was of no use.
	lost func(to netip.AddrPort, err error)
}

// newReach returns a reach that ends with the context. stop must be called when
// it is no longer needed.
func (g *Instance) newReach(ctx context.Context) *reach {
	r := &reach{
		g: g, race: race.New[netip.AddrPort](maxDials, maxTargets),
		in: make(chan func()), begun: make(map[netip.AddrPort]time.Time),
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
		}
		now := time.Now()
		for to, ok := r.race.Step(now); ok; to, ok = r.race.Step(now) {
			r.dial(to, now)
		}
		wake, ok := r.race.Wake(now)
		if r.more != nil && r.race.Stuck(now) {
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
	attempt := func() {
		ctx, cancel := context.WithTimeout(r.ctx, dialTimeout)
		s, err := r.g.dial(ctx, to)
		cancel()
		if !r.post(func() { r.ended(to, s, err) }) && err == nil {
			s.close()
		}
	}
	if !r.g.spawn(attempt) {
		r.ended(to, nil, errClosed)
	}
}

// ended takes the outcome of an attempt.
func (r *reach) ended(to netip.AddrPort, s *stream, err error) {
	began := r.begun[to]
	delete(r.begun, to)
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
	if len(r.begun) == 0 && r.err != nil {
		err = fmt.Errorf("%w, and nobody else answered: %w", r.err, errTimeout)
	}
	for to := range r.begun {
		r.to = to
		if r.lost != nil {
			r.lost(to, err)
		}
	}
	return err
}

// doubts are the addresses that were of no use for an objective lately.
type doubts struct {
	mu  sync.Mutex // guards all
	all *race.Doubts[doubt]
}

type doubt struct {
	objective string
	at        netip.AddrPort
}

const (
	maxDoubts = 4096
	doubtTime = 30 * time.Second
)

func newDoubts() *doubts { return &doubts{all: race.NewDoubts[doubt](maxDoubts, doubtTime)} }

func (d *doubts) add(objective string, at netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all.Add(doubt{objective, at}, time.Now())
}

func (d *doubts) remove(objective string, at netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all.Remove(doubt{objective, at})
}

func (d *doubts) has(objective string, at netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all.Has(doubt{objective, at}, time.Now())
}
