package grasp

import (
	"context"
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
// that bring them and the calls of ListenNegotiate that wait for them. It is
// open from the first such call until stop. A nil backlog is closed.
type backlog struct {
	limit int

	mu      sync.Mutex // guards all following fields
	open    bool
	queue   []request      // nobody waits while it is not empty
	waiting []chan request // one slot each, oldest first
}

// listening says that requests are taken.
func (b *backlog) listening() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// start opens the queue.
func (b *backlog) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = true
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
	case !b.open:
		return false
	case len(b.waiting) > 0:
		b.waiting[0] <- r // has a free slot
		b.waiting = slices.Delete(b.waiting, 0, 1)
	case r.err != nil || len(b.queue) >= b.limit:
		return false // an error is for those who wait now
	default:
		b.queue = append(b.queue, r)
	}
	return true
}

// get waits for a request until the context or one of the channels ends it.
func (b *backlog) get(ctx context.Context, gone <-chan struct{}) (request, error) {
	b.mu.Lock()
	if !b.open {
		b.mu.Unlock()
		return request{}, ErrStopped
	}
	if len(b.queue) > 0 {
		r := b.queue[0]
		b.queue = slices.Delete(b.queue, 0, 1)
		b.mu.Unlock()
		return r, nil
	}
	slot := make(chan request, 1)
	b.waiting = append(b.waiting, slot)
	b.mu.Unlock()

	var err error
	select {
	case r := <-slot:
		return r, cause(r.err, gone)
	case <-ctx.Done():
		err = &withCode{ErrCancelled, context.Cause(ctx)}
	case <-gone:
		err = ErrNoASA
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, slot); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
		return request{}, err
	}
	r := <-slot // was given one at the same moment
	return r, cause(r.err, gone)
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

// stop closes the queue: listeners wake up with ErrStopped, what is queued is
// refused by closing. start opens it again.
func (b *backlog) stop() { b.stopWith(ErrStopped) }

// stopWith is stop with another error.
func (b *backlog) stopWith(err error) {
	if b == nil {
		return
	}
	b.mu.Lock()
	queue, waiting := b.queue, b.waiting
	b.open, b.queue, b.waiting = false, nil, nil
	b.mu.Unlock()
	for _, slot := range waiting {
		slot <- request{err: err}
	}
	for _, r := range queue {
		r.session.finish()
	}
}
