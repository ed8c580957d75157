package grasp

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/asleep"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// guarded is a value with the lock that guards it.
type guarded[T any] struct {
	mu    sync.Mutex // guards value
	value T
}

// do calls f with the value. f must not keep the value, wait for anything, or take
// another lock.
func (g *guarded[T]) do(f func(T)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g.value)
}

// aging guards a cache, and has what died while the machine slept be dead.
type aging[T interface{ Age(time.Duration) }] struct {
	guarded[T]
	meter asleep.Meter // guarded, too; first asked when the cache is first used
}

// do does something with the cache as it is now.
func (a *aging[T]) do(f func(cache T, now time.Time)) { a.doAt(time.Now(), f) }

// doAt is do for who knows what time it is.
func (a *aging[T]) doAt(now time.Time, f func(cache T, now time.Time)) {
	a.guarded.do(func(cache T) {
		if slept := a.meter.Since(now); slept > 0 {
			cache.Age(slept)
		}
		f(cache, now)
	})
}

// now returns the time, for something that begins to wait. If the machine has just woken
// up, all that waits already reckons with its sleep first, so that what begins does not. No
// lock must be held, since now takes many.
func (g *Instance) now() time.Time {
	now := time.Now()
	slept, stale := g.lookIfSlept(now)
	if slept > 0 {
		g.log.Info("the machine slept", "for", slept)
		g.awoken.broadcast()
		g.spawn(func() { // closing may take time
			for _, s := range stale {
				g.refuseRequest(s, ReasonStale)
			}
		})
	}
	return now
}

// lookIfSlept has everything that waits reckon with a time that the machine slept, which
// has passed for the network, and not for the clock of package time. What would have ended
// meanwhile ends now, and those who watch floods or peers ask the network again. (The
// caches reckon with it by themselves, whenever they are used.) It returns how long the
// machine slept, and the requests that waited for a listener for too long.
func (g *Instance) lookIfSlept(now time.Time) (slept time.Duration, stale []*Session) {
	g.waking.Lock()
	defer g.waking.Unlock()
	if slept = g.meter.Since(now); slept == 0 {
		return 0, nil
	}
	for _, s := range g.sessions.All() {
		s.age(slept)
	}
	g.searches.age(slept)
	g.objectives.age(slept)
	for _, queue := range g.objectives.backlogs() {
		if queue.Len() > 0 {
			stale = append(stale, staleOf(queue, slept)...)
		}
	}
	g.streams.age(slept) // after that which its deadlines were made for
	g.slept.Add(int64(slept))
	return slept, stale
}

// age brings the deadline of a session forward.
func (s *Session) age(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Age(by)
}

// age makes what was flooded expire earlier. (It answers requests: see flooded.)
func (t objectiveTable) age(by time.Duration) {
	t.Each(func(_ string, r *registration, _ map[*ASA]bool) {
		for i := range r.flooded {
			if expire := &r.flooded[i].expire; !expire.IsZero() {
				*expire = expire.Add(-by)
			}
		}
	})
}

// age brings the times of searches forward. They notice when the plane has changed.
func (t *searchTable) age(by time.Duration) {
	t.mu.Lock()
	all := slices.Collect(maps.Keys(t.open))
	t.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		s.state.Age(by)
		s.mu.Unlock()
	}
}

// age has reads of all streams end earlier.
func (t *streamTable) age(by time.Duration) {
	t.mu.Lock()
	all := slices.Collect(maps.Keys(t.open))
	t.mu.Unlock()
	for _, s := range all {
		s.reader.Age(by)
	}
}

// askAgain asks the network for the values of a flooded objective after the machine
// slept, given those that were known. Answers that tell something go into the cache.
func (a *ASA) askAgain(ctx context.Context, o Objective, known []cache.Flood) {
	if len(known) == 0 {
		return // what has no source yet comes with the next flood
	}
	// Failures are no news: the next flood brings what is not found here.
	peers, _ := a.Discover(ctx, o, 0, DiscoverOptions{Refresh: true})
	for i := range peers {
		got, err := a.Synchronize(ctx, o, &peers[i], askAgainTime)
		if err != nil {
			continue
		}
		if answer, err := got.encode(); err == nil {
			a.g.floods.renew(answer, known)
			a.g.forgetLater()
		}
	}
}

// askAgainTime bounds the wait for a peer, which may have gone while the machine slept.
const askAgainTime = 10 * time.Second

// renew takes a value that a peer gave when it was asked for, given the flooded values
// that were known when the machine fell asleep. If it is one of them that has expired,
// that begins to live again. If it is none, and only one is known, which has not changed
// since, it takes that one's place.
func (c *floodCache) renew(answer wire.Objective, known []cache.Flood) {
	same := func(f *cache.Flood) bool { return bytes.Equal(f.Objective.Value, answer.Value) }
	living := c.get(answer.Name)
	i := slices.IndexFunc(known, func(f cache.Flood) bool { return same(&f) })
	switch {
	case slices.ContainsFunc(living, func(f cache.Flood) bool { return same(&f) }):
		return
	case i >= 0:
		if slices.ContainsFunc(living, func(f cache.Flood) bool { return f.Place == known[i].Place }) {
			return // its source has flooded another value since
		}
	case len(known) == 1 && (len(living) == 0 || len(living) == 1 && sameValue(&living[0], &known[0])):
		i = 0
	default:
		return
	}
	f, now := known[i], time.Now()
	f.Objective.Value, f.Expire = bytes.Clone(answer.Value), expiry(now, f.Life)
	c.put([]cache.Flood{f}, now)
}
