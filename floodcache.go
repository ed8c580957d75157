package grasp

import (
	"container/list"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// floodTag tells the flooded values of one objective apart: all items of the
// locator option, and for a link-local address the link.
type floodTag struct {
	locator wire.Locator
	link    int
}

func tagOf(w wire.Locator, link int) floodTag {
	if !isLinkLocal(w) {
		link = 0
	}
	return floodTag{w, link}
}

// floodedEntry is a flooded value.
type floodedEntry struct {
	objective wire.Objective
	tag       floodTag
	link      int       // by which it came, 0 if it is our own
	expire    time.Time // zero: never
}

func (e *floodedEntry) lives(now time.Time) bool {
	return e.expire.IsZero() || e.expire.After(now)
}

// floodCache is the cache of flooded values. It is bounded: the value least
// recently flooded or read gives way.
type floodCache struct {
	limit int

	mu     sync.Mutex // guards all following fields
	byName map[string]*floodedObjective
	used   *list.List // of *floodedEntry, least recently used first
}

// floodedObjective holds the values of one objective, oldest flood first.
type floodedObjective struct {
	order *list.List                 // of the elements of used
	byTag map[floodTag]*list.Element // of order
}

func newFloodCache(limit int) *floodCache {
	return &floodCache{limit: limit, byName: make(map[string]*floodedObjective), used: list.New()}
}

// put adds a value. One with the same name and tag is overwritten, and the
// new one is the youngest (RFC 8990 section 2.8.11).
func (c *floodCache) put(e floodedEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.byName[e.objective.Name]; o != nil {
		if at := o.byTag[e.tag]; at != nil {
			used := at.Value.(*list.Element)
			*used.Value.(*floodedEntry) = e
			c.used.MoveToBack(used)
			o.order.MoveToBack(at)
			return
		}
	}
	if c.used.Len() >= c.limit {
		oldest := c.used.Front().Value.(*floodedEntry)
		c.removeLocked(oldest.objective.Name, oldest.tag)
	}
	o := c.byName[e.objective.Name]
	if o == nil {
		o = &floodedObjective{order: list.New(), byTag: make(map[floodTag]*list.Element)}
		c.byName[e.objective.Name] = o
	}
	o.byTag[e.tag] = o.order.PushBack(c.used.PushBack(&e))
}

// get returns the living values of an objective, oldest first.
func (c *floodCache) get(name string) []floodedEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.byName[name]
	if o == nil {
		return nil
	}
	now := time.Now()
	var out []floodedEntry
	for at := o.order.Front(); at != nil; {
		used := at.Value.(*list.Element)
		e := used.Value.(*floodedEntry)
		at = at.Next()
		if !e.lives(now) {
			c.removeLocked(name, e.tag)
			continue
		}
		c.used.MoveToBack(used)
		out = append(out, *e)
	}
	return out
}

func (c *floodCache) remove(name string, tag floodTag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(name, tag)
}

func (c *floodCache) removeLocked(name string, tag floodTag) {
	o := c.byName[name]
	if o == nil {
		return
	}
	at := o.byTag[tag]
	if at == nil {
		return
	}
	c.used.Remove(at.Value.(*list.Element))
	o.order.Remove(at)
	delete(o.byTag, tag)
	if len(o.byTag) == 0 {
		delete(c.byName, name)
	}
}

// all returns every living value, least recently used first.
func (c *floodCache) all() []floodedEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []floodedEntry
	for at := c.used.Front(); at != nil; at = at.Next() {
		if e := at.Value.(*floodedEntry); e.lives(now) {
			out = append(out, *e)
		}
	}
	return out
}
