package grasp

import (
	"cmp"
	"slices"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// locatorCache is the discovery cache, which may be used concurrently. It wakes
// those who watch an objective when its locators change.
type locatorCache struct {
	guarded[*cache.Locators]
	watched *watchTable
}

func newLocatorCache(l cache.Limits, translatedIPv4 bool) *locatorCache {
	c := cache.NewLocators(l)
	c.TranslatedIPv4 = translatedIPv4
	return &locatorCache{guarded[*cache.Locators]{value: c}, newWatchTable()}
}

// locatorOf returns a cached locator as an ASA sees it.
func locatorOf(c *cache.Locator) Locator {
	l := decodeLocator(c.Wire, c.Link)
	l.Diverted, l.Expire = c.Diverted, c.Expire
	return l
}

// put adds locators of an objective. It returns how many living ones were
// evicted.
func (c *locatorCache) put(name string, all []cache.Locator) (evicted int) {
	c.do(func(c *cache.Locators) { evicted = c.Put(name, all, time.Now()) })
	c.watched.wake(name)
	return evicted
}

// get returns the living locators of an objective, oldest first.
func (c *locatorCache) get(name string) (out []Locator) {
	c.do(func(c *cache.Locators) {
		for _, l := range c.Get(name, time.Now()) {
			out = append(out, locatorOf(&l))
		}
	})
	return out
}

// divert returns what may be said of an objective on a link, and how long it
// lives.
func (c *locatorCache) divert(name string, link int) (out []wire.Locator, life time.Duration) {
	c.do(func(c *cache.Locators) { out, life = c.Divert(name, link, time.Now()) })
	return out, life
}

// mayDivert says that a locator may be told on a link.
func (c *locatorCache) mayDivert(l *cache.Locator, link int) (may bool) {
	c.do(func(c *cache.Locators) { may = c.MayDivert(l, link, time.Now()) })
	return may
}

// rapidValue returns the value that came with a locator, while it lives.
func (c *locatorCache) rapidValue(name string, from Locator) (rapid *wire.Objective) {
	w, err := from.encode()
	if err != nil {
		return nil
	}
	c.do(func(c *cache.Locators) {
		for _, l := range c.Get(name, time.Now()) {
			if l.Wire == w && (!isLinkLocal(w) || locatorOf(&l).IP == from.IP) {
				rapid = l.Rapid
				return
			}
		}
	})
	return rapid
}

// forget removes one locator.
func (c *locatorCache) forget(name string, l Locator) {
	c.remove(name, func(c *cache.Locator) bool { return locatorOf(c).String() == l.String() })
}

// flush removes all locators of an objective.
func (c *locatorCache) flush(name string) {
	c.remove(name, func(*cache.Locator) bool { return true })
}

// flushBefore removes the locators that live no longer than until then.
func (c *locatorCache) flushBefore(name string, then time.Time) {
	c.remove(name, func(l *cache.Locator) bool { return !l.Expire.After(then) })
}

func (c *locatorCache) remove(name string, match func(*cache.Locator) bool) {
	c.do(func(c *cache.Locators) { c.Remove(name, match, time.Now()) })
	c.watched.wake(name)
}

// states returns the living locators in order of their objectives.
func (c *locatorCache) states() (out []LocatorState) {
	c.do(func(c *cache.Locators) {
		c.Each(time.Now(), func(name string, l *cache.Locator) {
			out = append(out, LocatorState{name, locatorOf(l)})
		})
	})
	slices.SortStableFunc(out, func(a, b LocatorState) int { return cmp.Compare(a.Objective, b.Objective) })
	return out
}
