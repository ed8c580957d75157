package grasp

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// request is what a listener gets: a session and what its initiator asked
// for, or an error that the listener is told of.
type request struct {
	session   *Session
	objective wire.Objective
	err       error
	at        time.Time
}

// backlog is the queue of requests for one objective, between the streams
// that bring them and the calls of ListenNegotiate that wait for them. An ASA
// takes requests from its first such call until stop. A nil backlog is one
// where nobody does.
type backlog struct {
	limit int

	mu      sync.Mutex        // guards all following fields
	takers  map[*ASA]struct{} // while there are none, it is closed
	queue   []request         // oldest first; nobody waits while it is not empty
	waiting []listener        // oldest first
}

// listener is a call of ListenNegotiate that waits.
type listener struct {
	asa  *ASA
	slot chan request // has room for one
}

// listening says that requests are taken.
func (b *backlog) listening() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.takers) > 0
}

// start says that an ASA takes requests.
func (b *backlog) start(a *ASA) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.takers == nil {
		b.takers = make(map[*ASA]struct{})
	}
	b.takers[a] = struct{}{}
}

// put hands a request to the listener that has waited longest, or queues it.
// It returns false if nobody listens or the queue is full.
func (b *backlog) put(r request) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(b.takers) == 0:
		return false
	case len(b.waiting) > 0:
		b.waiting[0].slot <- r // is free
		b.waiting = slices.Delete(b.waiting, 0, 1)
	case r.err != nil || len(b.queue) >= b.limit:
		return false // an error is for those who wait now
	default:
		b.queue = append(b.queue, r)
	}
	return true
}

// stale takes out of the queue whoever asked longer ago than the default
// timeout, and has given up.
func (b *backlog) stale() []request {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for n < len(b.queue) && time.Since(b.queue[n].at) > DefaultTimeout {
		n++
	}
	out := slices.Clone(b.queue[:n])
	b.queue = slices.Delete(b.queue, 0, n)
	return out
}

// get waits for a request until the context ends, stop is called or the ASA is
// gone.
func (b *backlog) get(ctx context.Context, a *ASA) (request, error) {
	b.mu.Lock()
	if _, takes := b.takers[a]; !takes {
		b.mu.Unlock()
		return request{}, cause(ErrStopped, a.gone)
	}
	if len(b.queue) > 0 {
		r := b.queue[0]
		b.queue = slices.Delete(b.queue, 0, 1)
		b.mu.Unlock()
		return r, nil
	}
	me := listener{a, make(chan request, 1)}
	b.waiting = append(b.waiting, me)
	b.mu.Unlock()

	var err error
	select {
	case r := <-me.slot:
		return r, cause(r.err, a.gone)
	case <-ctx.Done():
		err = &withCode{ErrCancelled, context.Cause(ctx)}
	case <-a.gone:
		err = ErrNoASA
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, me); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
		return request{}, err
	}
	r := <-me.slot // was given one at the same moment
	return r, cause(r.err, a.gone)
}

// cause returns ErrNoASA for the error of a listener whose ASA is gone: that
// stops listening, too.
func cause(err error, gone <-chan struct{}) error {
	if err == nil {
		return nil
	}
	select {
	case <-gone:
		return ErrNoASA
	default:
		return err
	}
}

// stop ends the taking of requests by an ASA: its listeners wake up with
// ErrStopped. When nobody else takes them, what is queued is refused by closing.
func (b *backlog) stop(a *ASA) {
	b.stopWith(ErrStopped, func(other *ASA) bool { return other == a })
}

// stopWith ends the taking of requests by those ASAs that match, with an error.
func (b *backlog) stopWith(err error, match func(*ASA) bool) {
	if b == nil {
		return
	}
	b.mu.Lock()
	maps.DeleteFunc(b.takers, func(a *ASA, _ struct{}) bool { return match(a) })
	b.waiting = slices.DeleteFunc(b.waiting, func(l listener) bool {
		if !match(l.asa) {
			return false
		}
		l.slot <- request{err: err} // is free
		return true
	})
	var refused []request
	if len(b.takers) == 0 {
		refused, b.queue = b.queue, nil
	}
	b.mu.Unlock()
	for _, r := range refused {
		r.session.finish()
	}
}
