package grasp

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
)

// Change says what happened to something that is watched.
type Change uint8

// The changes.
const (
	Added   Change = iota + 1 // it is new, or was there when the loop began
	Changed                   // it has another value
	Gone                      // it is no longer there
)

var changeNames = [...]string{Added: "added", Changed: "changed", Gone: "gone"}

func (c Change) String() string {
	if int(c) < len(changeNames) && changeNames[c] != "" {
		return changeNames[c]
	}
	return "unknown"
}

// MarshalText returns the change as a word.
func (c Change) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// GoneReason says why something that was watched is no longer there.
type GoneReason uint8

// The reasons. A flood expires or is removed; a peer may be gone for any of them.
const (
	GoneExpired     GoneReason = iota + 1 // its time to live has ended
	GoneRemoved                           // a call flushed or expired it, a full cache evicted it, or a DULL instance got another link
	GoneUnreachable                       // a call to the peer failed
	GoneReplaced                          // the peer has another port now
)

var goneNames = [...]string{
	GoneExpired: "expired", GoneRemoved: "removed", GoneUnreachable: "unreachable", GoneReplaced: "replaced",
}

func (r GoneReason) String() string {
	if int(r) < len(goneNames) && goneNames[r] != "" {
		return goneNames[r]
	}
	return "unknown"
}

// MarshalText returns the reason as words.
func (r GoneReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// FloodEvent is a change of a flooded value.
type FloodEvent struct {
	Change Change
	// Flood is the value as it is now; for Gone, as it was last.
	Flood TaggedObjective
	// Reason says why it is Gone.
	Reason GoneReason
	// Err is the error that ends the loop; then all other fields are zero.
	Err error
}

// WatchFloods returns the changes of an objective's flooded values: first the cached
// values as Added, then each change when it happens. If a value is flooded again
// unchanged, that is not a change. Values of different sources are told apart, as in
// GetFlood.
//
//	for e := range asa.WatchFloods(ctx, o) {
//		...
//	}
//
// The loop blocks between changes. It ends with the context, without an event. A slow
// loop holds up nobody: it gets the latest value of each source and misses those in
// between. The objective must have Synch, and need not be registered. Like GetFlood,
// WatchFloods works without security.
//
// After the machine slept, what expired meanwhile is Gone. If values were known,
// WatchFloods then discovers who has the objective, and asks for its value: RFC 8990
// section 2.5.6.2 has those who flood answer, too. A value that was known before comes
// back with the source and lifetime it had. If one source alone was known, another value
// is taken for its new one. What is not discovered comes with the next flood.
//
// An event with Err is the last: [ErrNoASA], [ErrNotBoth], [ErrNotSynch].
func (a *ASA) WatchFloods(ctx context.Context, o Objective) iter.Seq[FloodEvent] {
	return func(yield func(FloodEvent) bool) {
		wake, stop := a.g.floods.watched.add(o.Name)
		defer stop()
		known := make(map[cache.Place][]cache.Flood)
		a.g.now()
		slept := a.g.slept.Load() // before the watch began
		ctx, cancel := context.WithCancel(ctx)
		var asking sync.WaitGroup
		defer asking.Wait()
		defer cancel()
		for ctx.Err() == nil {
			if err := a.checkSynch("watch floods of", o); err != nil {
				yield(FloodEvent{Err: err})
				return
			}
			awoken := a.g.awoken.wait()
			changes, next := floodChanges(known, a.g.floods.get(o.Name), time.Now())
			for _, c := range changes {
				c.apply(known)
				if !yield(c.event()) {
					return
				}
				if len(wake) > 0 || ctx.Err() != nil {
					break // the others may be out of date
				}
			}
			a.awaitChange(ctx, wake, awoken, next)
			if by := a.g.slept.Load() - slept; by > 0 {
				slept += by
				missed := slices.Concat(slices.Collect(maps.Values(known))...)
				ageFloods(known, time.Duration(by))
				asking.Add(1)
				if !a.g.spawn(func() { defer asking.Done(); a.askAgain(ctx, o, missed) }) {
					asking.Done()
				}
			}
		}
	}
}

// ageFloods makes known values expire earlier, as those in the cache do.
func ageFloods(known map[cache.Place][]cache.Flood, by time.Duration) {
	for _, values := range known {
		for i := range values {
			if f := &values[i]; !f.Expire.IsZero() {
				f.Expire = f.Expire.Add(-by)
			}
		}
	}
}

// awaitChange waits until what is watched changes, the machine wakes up, the ASA is
// gone, the context ends, or until a time, which may be zero.
func (a *ASA) awaitChange(ctx context.Context, wake chan struct{}, awoken <-chan struct{}, until time.Time) {
	var expired <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-wake:
	case <-awoken:
	case <-expired:
	case <-a.gone:
	case <-ctx.Done():
	}
}

// floodChange is a change of a flooded value.
type floodChange struct {
	change   Change
	was, now cache.Flood // was is not set for Added, now not for Gone
	reason   GoneReason
}

func (c *floodChange) event() FloodEvent {
	e := FloodEvent{Change: c.change, Reason: c.reason}
	if c.change == Gone {
		e.Flood = decodeFlood(&c.was)
	} else {
		e.Flood = decodeFlood(&c.now)
	}
	return e
}

// apply enters the change into what a watcher knows.
func (c *floodChange) apply(known map[cache.Place][]cache.Flood) {
	place := cmp.Or(c.was.Place, c.now.Place)
	values := known[place]
	if c.change != Added {
		i := slices.IndexFunc(values, func(f cache.Flood) bool { return sameValue(&f, &c.was) })
		values = slices.Delete(values, i, i+1)
	}
	if c.change != Gone {
		values = append(values, c.now)
	}
	if known[place] = values; len(values) == 0 {
		delete(known, place)
	}
}

func sameValue(a, b *cache.Flood) bool { return bytes.Equal(a.Objective.Value, b.Objective.Value) }

// floodChanges returns the changes that lead from the known values to the current
// ones, and when the first of these expires, or the zero time if none does. It updates
// the expiry of the known values.
func floodChanges(known map[cache.Place][]cache.Flood, all []cache.Flood, now time.Time) (changes []floodChange, next time.Time) {
	current := make(map[cache.Place][]cache.Flood, len(all))
	for _, f := range all {
		current[f.Place] = append(current[f.Place], f)
		if !f.Expire.IsZero() && (next.IsZero() || f.Expire.Before(next)) {
			next = f.Expire
		}
	}
	for place, was := range known {
		if len(current[place]) == 0 {
			for _, f := range was {
				changes = append(changes, goneFlood(f, now))
			}
		}
	}
	for _, f := range all { // in their order, each place once
		if values := current[f.Place]; len(values) > 0 {
			delete(current, f.Place)
			changes = append(changes, placeChanges(known[f.Place], values, now)...)
		}
	}
	return changes, next
}

// placeChanges returns the changes of the values that have one tag.
func placeChanges(was, values []cache.Flood, now time.Time) (changes []floodChange) {
	var fresh []cache.Flood
	left := slices.Clone(was)
	for _, f := range values {
		i := slices.IndexFunc(left, func(old cache.Flood) bool { return sameValue(&old, &f) })
		if i < 0 {
			fresh = append(fresh, f)
			continue
		}
		left = slices.Delete(left, i, i+1)
		was[slices.IndexFunc(was, func(old cache.Flood) bool { return sameValue(&old, &f) })].Expire = f.Expire
	}
	for _, f := range fresh {
		if len(left) == 0 {
			changes = append(changes, floodChange{change: Added, now: f})
			continue
		}
		changes = append(changes, floodChange{change: Changed, was: left[0], now: f})
		left = left[1:]
	}
	for _, f := range left {
		changes = append(changes, goneFlood(f, now))
	}
	return changes
}

func goneFlood(f cache.Flood, now time.Time) floodChange {
	reason := GoneRemoved
	if !f.Expire.IsZero() && !f.Expire.After(now) {
		reason = GoneExpired
	}
	return floodChange{change: Gone, was: f, reason: reason}
}

// watchTable wakes those who watch an objective.
type watchTable struct {
	mu     sync.Mutex                 // guards all following fields
	byName map[string][]chan struct{} // the slices are not changed
}

func newWatchTable() *watchTable { return &watchTable{byName: make(map[string][]chan struct{})} }

// add returns a channel that has a value after the objective changed, until
// stop is called.
func (t *watchTable) add(name string) (wake chan struct{}, stop func()) {
	wake = make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName[name] = append(slices.Clone(t.byName[name]), wake)
	return wake, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(t.byName[name]), func(c chan struct{}) bool { return c == wake })
		if t.byName[name] = rest; len(rest) == 0 {
			delete(t.byName, name)
		}
	}
}

// wake wakes those who watch an objective. It does not block.
func (t *watchTable) wake(name string) {
	t.mu.Lock()
	watching := t.byName[name]
	t.mu.Unlock()
	for _, wake := range watching {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
