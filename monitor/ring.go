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

// put has fill overwrite the oldest value with the next one.
func (r *ring[T]) put(fill func(*T)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	fill(&r.slots[r.last%uint64(len(r.slots))])
}

// after calls show with the values whose numbers are above n, the oldest first, and at
// most as many as most says. It returns the number of the last one shown, and how many
// above n were overwritten. show must be quick, because put waits for it.
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
