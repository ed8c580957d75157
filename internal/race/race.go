// Package race decides in which order and when the addresses of one or several peers
// are tried (RFC 8305 section 5). The first address to which a connection is made
// wins. The package has no clock, goroutine or connection: the owner of a Race tells
// it what happened and when.
package race

import "time"

// RFC 8305 section 5 recommends 250 ms between attempts and forbids less than
// 10 ms. If there are many addresses, the attempts follow each other faster, so that
// the last one begins within the spread.
const (
	// Delay is the time between two attempts where there are few addresses.
	Delay    = 250 * time.Millisecond
	shortest = 10 * time.Millisecond
	spread   = 3 * Delay
)

// Race is a series of attempts to reach one of several targets. [New] makes one; its
// methods must not be called concurrently.
type Race[T comparable] struct {
	together, all int

	known    map[T]struct{} // all that were ever added
	queue    []T            // those to be tried, in order
	flying   int            // attempts under way
	delay    time.Duration  // between attempts
	next     time.Time      // when the next one begins
	patience time.Time      // when the last attempt should have succeeded
}

// New returns a race without targets. At most together attempts are under way at the
// same time. The race takes at most all targets; further ones are ignored.
func New[T comparable](together, all int) *Race[T] {
	return &Race[T]{together: together, all: all, known: make(map[T]struct{})}
}

// Add adds targets, to be tried in the order of their arrival. Each is tried
// once. It returns how many are new.
func (r *Race[T]) Add(targets ...T) int {
	n := 0
	for _, t := range targets {
		if _, known := r.known[t]; known || len(r.known) == r.all {
			continue
		}
		r.known[t] = struct{}{}
		r.queue = append(r.queue, t)
		n++
	}
	gaps := len(r.queue)
	if r.patience.IsZero() {
		gaps-- // the first begins at once
	}
	r.delay = min(max(spread/time.Duration(max(gaps, 1)), shortest), Delay)
	return n
}

// Step returns a target to be tried now, if there is one. Call it again until there
// is none.
func (r *Race[T]) Step(now time.Time) (target T, ok bool) {
	if len(r.queue) == 0 || r.flying == r.together || now.Before(r.next) {
		return target, false
	}
	target, r.queue = r.queue[0], r.queue[1:]
	r.flying++
	r.next, r.patience = now.Add(r.delay), now.Add(Delay)
	return target, true
}

// Failed notes that an attempt has failed: the next one begins at once.
func (r *Race[T]) Failed() {
	r.flying--
	r.next = time.Time{}
}

// Wake returns when to call Step and Stuck again if nothing happens before. It returns
// false if their results do not depend on the time.
func (r *Race[T]) Wake(now time.Time) (time.Time, bool) {
	switch {
	case len(r.queue) > 0 && r.flying < r.together:
		return r.next, true
	case len(r.queue) == 0 && r.flying > 0 && now.Before(r.patience):
		return r.patience, true
	}
	return time.Time{}, false
}

// Stuck reports whether further targets would be welcome: all have been tried, and
// the attempts have failed or the last of them takes long.
func (r *Race[T]) Stuck(now time.Time) bool {
	return len(r.queue) == 0 && (r.flying == 0 || !now.Before(r.patience))
}

// Over reports whether all attempts have failed.
func (r *Race[T]) Over() bool { return len(r.queue) == 0 && r.flying == 0 }
