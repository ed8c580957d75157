package grasp

import (
	"container/list"
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/share"
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
//
// Peers are served by turns, each in the order of its requests, so that one
// who asks for much does not keep others waiting.
type backlog struct {
	mu      sync.Mutex                         // guards all following fields
	takers  map[*ASA]struct{}                  // while there are none, it is closed
	queue   *share.Shares[netip.Addr, *queued] // nobody waits while it is not empty
	byAge   *list.List                         // of *queued, oldest first
	waiting []listener                         // oldest first
	slots   []chan request                     // empty ones, for those who will wait
}

// queued is a request in the queue.
type queued struct {
	request
	elem *share.Elem[netip.Addr, *queued]
	age  *list.Element
}

func newBacklog(limit int) *backlog {
	b := &backlog{takers: make(map[*ASA]struct{})}
	b.clearLocked(limit)
	return b
}

// clearLocked empties the queue. It returns what was in it.
func (b *backlog) clearLocked(limit int) (was []*Session) {
	if b.byAge != nil {
		for at := b.byAge.Front(); at != nil; at = at.Next() {
			was = append(was, at.Value.(*queued).session)
		}
	}
	b.queue, b.byAge = share.New[netip.Addr, *queued](limit, limit), list.New()
	return was
}

func (b *backlog) takeLocked(q *queued) request {
	b.queue.Remove(q.elem)
	b.byAge.Remove(q.age)
	return q.request
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
	b.takers[a] = struct{}{}
}

// put hands a request to the listener that has waited longest, or queues it.
// It returns the session that is to be refused, if any: the new one if nobody
// listens; and if the queue is full, the youngest of the peer that has most in
// it, which may be the new one, too.
func (b *backlog) put(r request) (refused *Session) {
	if b == nil {
		return r.session
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(b.takers) == 0:
		return r.session
	case len(b.waiting) > 0:
		b.waiting[0].slot <- r // is free
		b.waiting = slices.Delete(b.waiting, 0, 1)
		return nil
	case r.err != nil:
		return nil // it is for those who wait now
	}
	q := &queued{request: r}
	var full *share.Elem[netip.Addr, *queued]
	q.elem, full = b.queue.Add(r.session.key.Initiator, q)
	q.age = b.byAge.PushBack(q)
	if full == nil {
		return nil
	}
	if b.queue.CountOf(r.session.key.Initiator) < b.queue.Largest() {
		q = b.queue.YoungestOfLargest().Value
	}
	return b.takeLocked(q).session
}

// stale takes out of the queue whoever asked longer ago than the default
// timeout, and has given up.
func (b *backlog) stale() []request {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []request
	for b.byAge.Len() > 0 {
		q := b.byAge.Front().Value.(*queued)
		if time.Since(q.at) <= DefaultTimeout {
			break
		}
		out = append(out, b.takeLocked(q))
	}
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
	if next := b.queue.Next(); next != nil {
		r := b.takeLocked(next.Value)
		b.mu.Unlock()
		return r, nil
	}
	me := listener{asa: a}
	if n := len(b.slots); n > 0 {
		me.slot, b.slots = b.slots[n-1], b.slots[:n-1]
	} else {
		me.slot = make(chan request, 1)
	}
	b.waiting = append(b.waiting, me)
	b.mu.Unlock()

	var err error
	select {
	case r := <-me.slot:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.slots = append(b.slots, me.slot)
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
	var refused []*Session
	if len(b.takers) == 0 {
		refused = b.clearLocked(b.queue.Limit())
	}
	b.mu.Unlock()
	for _, s := range refused {
		s.finish()
	}
}

// len returns how many requests wait.
func (b *backlog) len() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue.Len()
}
