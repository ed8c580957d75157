package monitor

import "sync"

// ring keeps the last values put into it, up to its size. The values are numbered
// from 1.
type ring[T any] struct {
	mu    sync.Mutex // guards all following fields
	slots []T
	last  uint64 // the number of the newest
}

func newRing[T any](size int) *ring[T] { return &ring[T]{slots: make([]T, size)} }

// put has fill write the next one over the oldest.
func (r *ring[T]) put(fill func(*T)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	fill(&r.slots[r.last%uint64(len(r.slots))])
}

// after calls show with the values that have a number above n, oldest first and at
// most as many as most says. It returns the number of the last one shown, and how
// many above n have been overwritten. Show must be quick: put waits for it.
func (r *ring[T]) after(n uint64, most int, show func(n uint64, t *T)) (shown, missed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if oldest := r.last - min(r.last, uint64(len(r.slots))); n < oldest {
		missed = oldest - n
		n = oldest
	}
	for ; most > 0 && n < r.last; most-- {
		n++
		show(n, &r.slots[n%uint64(len(r.slots))])
	}
	return n, missed
}
