package registry

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/share"
)

// The errors of Get, beside those given to Tell and Stop.
var (
	ErrStopped     = errors.New("not listening")
	ErrGone        = errors.New("the listener is gone")
	ErrInterrupted = errors.New("interrupted") // wrapped beside the cause of the context's end
)

// Backlog is the queue of requests for one objective, between the streams that
// bring them and the calls of Get that wait for them. A is a taker, which takes
// requests from Start until Stop; R is a request. A nil Backlog has no takers.
//
// Peers are served by turns, each in the order of its requests, so that a peer with
// many requests does not keep others waiting. The methods may be called concurrently.
type Backlog[A comparable, R any] struct {
	assign func(A, R) // see NewBacklog

	mu      sync.Mutex                              // guards all following fields
	takers  map[A]struct{}                          // if there are none, requests are refused
	queue   *share.Shares[share.Holder, *queued[R]] // if it is not empty, nobody waits
	byAge   *list.List                              // of *queued, oldest first
	waiting []listener[A, R]                        // oldest first
	slots   []chan result[R]                        // free ones, for the next listeners
}

// queued is a request in the queue.
type queued[R any] struct {
	request R
	at      time.Time
	elem    *share.Elem[share.Holder, *queued[R]]
	age     *list.Element
}

// listener is a call of Get that waits.
type listener[A comparable, R any] struct {
	taker A
	slot  chan result[R] // has room for one
}

// result is what a call of Get returns.
type result[R any] struct {
	request R
	err     error
}

// NewBacklog returns a queue for at most limit requests. It calls assign with each
// request and the taker that gets it, before Stop can miss it, and under its lock: assign
// must not wait.
func NewBacklog[A comparable, R any](limit int, assign func(A, R)) *Backlog[A, R] {
	b := &Backlog[A, R]{assign: assign, takers: make(map[A]struct{})}
	b.clearLocked(limit)
	return b
}

// clearLocked empties the queue. It returns what was in it.
func (b *Backlog[A, R]) clearLocked(limit int) (was []R) {
	if b.byAge != nil {
		for at := b.byAge.Front(); at != nil; at = at.Next() {
			was = append(was, at.Value.(*queued[R]).request)
		}
	}
	b.queue, b.byAge = share.New[share.Holder, *queued[R]](limit, limit), list.New()
	return was
}

// removeLocked takes a request out of the queue.
func (b *Backlog[A, R]) removeLocked(q *queued[R]) R {
	b.queue.Remove(q.elem)
	b.byAge.Remove(q.age)
	return q.request
}

// Listening reports whether anybody takes requests.
func (b *Backlog[A, R]) Listening() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.takers) > 0
}

// Len returns how many requests wait.
func (b *Backlog[A, R]) Len() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue.Len()
}

// Start adds a taker.
func (b *Backlog[A, R]) Start(taker A) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takers[taker] = struct{}{}
}

// Put hands a request of a peer to the call of Get that has waited longest, or
// queues it. If a request has to be refused, Put returns that request and true: the
// new one if nobody takes requests, or, when full, the youngest request of the peer
// with the most in the queue, which may be the new one.
func (b *Backlog[A, R]) Put(peer share.Holder, request R, now time.Time) (refused R, ok bool) {
	if b == nil {
		return request, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(b.takers) == 0:
		return request, true
	case len(b.waiting) > 0:
		b.assign(b.waiting[0].taker, request)
		b.wakeLocked(result[R]{request: request})
		return refused, false
	}
	q := &queued[R]{request: request, at: now}
	var full *share.Elem[share.Holder, *queued[R]]
	q.elem, full = b.queue.Add(peer, q)
	q.age = b.byAge.PushBack(q)
	if full == nil {
		return refused, false
	}
	if b.queue.CountOf(peer) < b.queue.Largest() {
		q = b.queue.YoungestOfLargest().Value
	}
	return b.removeLocked(q), true
}

// Tell makes the call of Get that has waited longest return an error. If nobody
// waits, it does nothing.
func (b *Backlog[A, R]) Tell(err error) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 {
		b.wakeLocked(result[R]{err: err})
	}
}

// wakeLocked hands a result to the call that has waited longest.
func (b *Backlog[A, R]) wakeLocked(r result[R]) {
	b.waiting[0].slot <- r // is free
	b.waiting = slices.Delete(b.waiting, 0, 1)
}

// Stale removes from the queue the requests that came before a time and returns them.
func (b *Backlog[A, R]) Stale(before time.Time) []R {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []R
	for b.byAge.Len() > 0 {
		q := b.byAge.Front().Value.(*queued[R])
		if !q.at.Before(before) {
			break
		}
		out = append(out, b.removeLocked(q))
	}
	return out
}

// Get waits for a request until the context ends, Stop is called or the taker
// is gone.
func (b *Backlog[A, R]) Get(ctx context.Context, taker A, gone <-chan struct{}) (R, error) {
	var none R
	b.mu.Lock()
	if _, takes := b.takers[taker]; !takes {
		b.mu.Unlock()
		return none, goneFirst(ErrStopped, gone)
	}
	if next := b.queue.Next(); next != nil {
		r := b.removeLocked(next.Value)
		b.assign(taker, r)
		b.mu.Unlock()
		return r, nil
	}
	me := listener[A, R]{taker: taker}
	if n := len(b.slots); n > 0 {
		me.slot, b.slots = b.slots[n-1], b.slots[:n-1]
	} else {
		me.slot = make(chan result[R], 1)
	}
	b.waiting = append(b.waiting, me)
	b.mu.Unlock()

	var err error
	select {
	case r := <-me.slot:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.slots = append(b.slots, me.slot)
		return r.request, goneFirst(r.err, gone)
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ErrInterrupted, context.Cause(ctx))
	case <-gone:
		err = ErrGone
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, me); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
		return none, err
	}
	r := <-me.slot // a result came at the same moment
	return r.request, goneFirst(r.err, gone)
}

// goneFirst returns ErrGone instead of another error if the taker is gone, which may
// have caused the other one.
func goneFirst(err error, gone <-chan struct{}) error {
	if err == nil {
		return nil
	}
	select {
	case <-gone:
		return ErrGone
	default:
		return err
	}
}

// Stop removes the takers that match: their calls of Get return err. If no taker is
// left, it returns the queued requests, which are to be refused.
func (b *Backlog[A, R]) Stop(err error, match func(A) bool) (refused []R) {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.takers, func(a A, _ struct{}) bool { return match(a) })
	b.waiting = slices.DeleteFunc(b.waiting, func(l listener[A, R]) bool {
		if !match(l.taker) {
			return false
		}
		l.slot <- result[R]{err: err} // is free
		return true
	})
	if len(b.takers) == 0 {
		refused = b.clearLocked(b.queue.Limit())
	}
	return refused
}
