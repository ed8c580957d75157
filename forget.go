package grasp

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/loop"
)

// forgetTime is how long what has expired takes memory, at most.
const forgetTime = time.Minute

// forgetter has an instance give back the memory of what has expired. It wakes up only
// while there is something that will expire.
type forgetter struct {
	waits atomic.Bool // the timer runs

	mu     sync.Mutex // guards all following fields
	timer  *time.Timer
	closed bool
}

// forgetLater sees to it that what was remembered just now is forgotten some time after it
// has expired. Before it is there, a call could be too early: forget would not see it.
func (g *Instance) forgetLater() {
	f := &g.forgets
	if f.waits.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed || !f.waits.CompareAndSwap(false, true):
	case f.timer == nil:
		f.timer = time.AfterFunc(forgetTime, func() { g.spawn(g.forget) })
	default:
		f.timer.Reset(forgetTime)
	}
}

// forget gives back the memory of what has expired.
func (g *Instance) forget() {
	g.forgets.waits.Store(false) // what comes from now on has to wait for the next time
	now := time.Now()
	var relayed, floods, locators bool
	g.relays.do(func(r *loop.Relay[asker]) { relayed = r.Forget(now) })
	g.floods.do(func(c *cache.Floods, now time.Time) { floods = c.Forget(now) })
	g.locators.do(func(c *cache.Locators, now time.Time) { locators = c.Forget(now) })
	left := []bool{relayed, floods, locators, g.came.forget(now), g.recent.forget(now), g.doubts.forget(now), g.responders.forget(now)}
	if slices.Contains(left, true) {
		g.forgetLater()
	}
}

// close ends it.
func (f *forgetter) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
}

// forgetOtherLinks has a DULL instance forget what came by another link than its own: by
// one that its own has replaced, such as an interface that was made anew. Those who are
// on the new one have to be heard there.
func (g *Instance) forgetOtherLinks() {
	links := g.ep.Links()
	if len(links) == 0 {
		return // it may come back
	}
	other := func(link int) bool { return link != 0 && link != links[0].Index }
	var floods, locators []string
	g.floods.do(func(c *cache.Floods, _ time.Time) {
		floods = c.RemoveAll(func(f *cache.Flood) bool { return other(f.Link) })
	})
	g.locators.do(func(c *cache.Locators, _ time.Time) {
		locators = c.RemoveAll(func(l *cache.Locator) bool { return other(l.Link) })
	})
	for _, name := range floods {
		g.floods.watched.wake(name)
	}
	for _, name := range locators {
		g.locators.watched.wake(name)
	}
}
