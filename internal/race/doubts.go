package race

import "time"

// Doubts remembers targets that were of no use lately, so that they are tried last.
// It is bounded in number and time: a target is forgotten after one to two times the
// life, or when too many others are added.
type Doubts[T comparable] struct {
	limit int
	life  time.Duration

	young, old map[T]struct{} // half of the limit each
	since      time.Time      // when young began
}

// NewDoubts returns an empty Doubts for at most limit targets.
func NewDoubts[T comparable](limit int, life time.Duration) *Doubts[T] {
	return &Doubts[T]{limit: max(limit/2, 1), life: life}
}

// Add notes that a target was of no use.
func (d *Doubts[T]) Add(t T, now time.Time) {
	d.age(now)
	if len(d.young) >= d.limit {
		d.turn(now)
	}
	if d.young == nil {
		d.young = make(map[T]struct{})
	}
	d.young[t] = struct{}{}
}

// Remove notes that a target was of use after all.
func (d *Doubts[T]) Remove(t T) {
	delete(d.young, t)
	delete(d.old, t)
}

// Has reports whether a target is in doubt.
func (d *Doubts[T]) Has(t T, now time.Time) bool {
	d.age(now)
	_, young := d.young[t]
	_, old := d.old[t]
	return young || old
}

// Forget gives back the memory of what is too old. It reports whether anything is left.
func (d *Doubts[T]) Forget(now time.Time) bool {
	d.age(now)
	return d.Len() > 0
}

// Len returns how many targets take memory.
func (d *Doubts[T]) Len() int { return len(d.young) + len(d.old) }

// age forgets what is too old.
func (d *Doubts[T]) age(now time.Time) {
	switch past := now.Sub(d.since); {
	case past >= 2*d.life:
		d.young, d.old, d.since = nil, nil, now
	case past >= d.life:
		d.turn(now)
	}
}

func (d *Doubts[T]) turn(now time.Time) { d.young, d.old, d.since = nil, d.young, now }
