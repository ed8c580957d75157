package grasp

import (
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// floodedEntry is a flooded value.
type floodedEntry struct {
	objective wire.Objective
	at        place
	link      int        // by which it came, 0 if it is our own
	from      netip.Addr // the neighbour it came from, zero if it is our own
	expire    time.Time  // zero: never
}

func (e floodedEntry) expires() time.Time { return e.expire }

// floodCache is the cache of flooded values.
type floodCache struct {
	mu    sync.Mutex // guards all following fields
	cache cache[floodedEntry]
}

func newFloodCache(l cacheLimits) *floodCache {
	return &floodCache{cache: newCache[floodedEntry](l)}
}

// put adds a value. One with the same name and place is overwritten, and the
// new one is the youngest (RFC 8990 section 2.8.11). It returns the living
// value that had to give way, if one had.
func (c *floodCache) put(e floodedEntry) (displaced floodedEntry, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.cache.find(e.objective.Name, e.at); old != nil {
		if old.value.from == e.from {
			old.value = e
			c.cache.renew(old)
			return floodedEntry{}, false
		}
		c.cache.remove(old) // it counts for whoever flooded it last
	}
	out := c.cache.add(&cacheEntry[floodedEntry]{name: e.objective.Name, at: e.at, value: e}, e.from)
	if out == nil || !out.lives(time.Now()) {
		return floodedEntry{}, false
	}
	return out.value, true
}

// get returns the living values of an objective, oldest first.
func (c *floodCache) get(name string) []floodedEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []floodedEntry
	for _, e := range c.cache.living(name, time.Now()) {
		out = append(out, e.value)
	}
	return out
}

func (c *floodCache) remove(name string, at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.cache.find(name, at); e != nil {
		c.cache.remove(e)
	}
}

// all returns every living value: those of an objective oldest first.
func (c *floodCache) all() []floodedEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []floodedEntry
	c.cache.each(func(e *cacheEntry[floodedEntry]) {
		if e.lives(now) {
			out = append(out, e.value)
		}
	})
	return out
}
