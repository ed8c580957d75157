package grasp

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// maxPerObjective is how many locators of one objective are cached.
const maxPerObjective = 64

// cachedLocator is a locator that a discovery found.
type cachedLocator struct {
	Locator
	wire  wire.Locator
	rapid *wire.Objective // came with it, with a value; or nil
}

// same says that both stand for the same place: equal items of the option,
// and for link-local ones the same link.
func (l cachedLocator) same(other cachedLocator) bool {
	return l.wire == other.wire && (!isLinkLocal(l.wire) || l.IfIndex == other.IfIndex)
}

// mayDivert says that the locator may be told on a link: no link-local address
// (RFC 8990 section 2.9.5.1), no name, which may mean nothing elsewhere
// (2.9.5.3, 2.9.5.4), and nothing that was learned on that link (2.5.4.3).
// Where IPv4 is translated its addresses mean nothing elsewhere, either
// (2.9.5.2).
func (c *locatorCache) mayDivert(l cachedLocator, link int) bool {
	addr := l.wire.Addr
	return addr.IsValid() && !isLinkLocal(l.wire) && l.IfIndex != link && !(c.translated4 && addr.Is4())
}

// locatorCache is the discovery cache. It is bounded in objectives, of which
// the least recently used gives way, and in locators for each.
type locatorCache struct {
	limit       int
	translated4 bool // Config.TranslatedIPv4

	mu     sync.Mutex // guards all following fields
	byName map[string]*list.Element
	used   *list.List // of *cachedObjective, least recently used first
}

type cachedObjective struct {
	name     string
	locators []cachedLocator
}

func newLocatorCache(limit int) *locatorCache {
	return &locatorCache{limit: limit, byName: make(map[string]*list.Element), used: list.New()}
}

// lookLocked returns the living locators of an objective.
func (c *locatorCache) lookLocked(name string, now time.Time) []cachedLocator {
	e := c.byName[name]
	if e == nil {
		return nil
	}
	o := e.Value.(*cachedObjective)
	c.used.MoveToBack(e)
	c.keepLocked(e, func(l cachedLocator) bool { return l.Expire.After(now) })
	return o.locators
}

// keepLocked forgets the locators that are not to be kept.
func (c *locatorCache) keepLocked(e *list.Element, keep func(cachedLocator) bool) {
	o := e.Value.(*cachedObjective)
	o.locators = slices.DeleteFunc(o.locators, func(l cachedLocator) bool { return !keep(l) })
	if len(o.locators) == 0 {
		c.used.Remove(e)
		delete(c.byName, o.name)
	}
}

// put adds locators of an objective. Of equal ones the later expiry wins.
func (c *locatorCache) put(name string, all []cachedLocator) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookLocked(name, time.Now()) // what has expired does not come back
	e := c.byName[name]
	if e == nil {
		if len(c.byName) >= c.limit {
			oldest := c.used.Front()
			c.keepLocked(oldest, func(cachedLocator) bool { return false })
		}
		e = c.used.PushBack(&cachedObjective{name: name})
		c.byName[name] = e
	}
	c.used.MoveToBack(e)
	o := e.Value.(*cachedObjective)
	for _, l := range all {
		i := slices.IndexFunc(o.locators, l.same)
		switch {
		case i < 0 && len(o.locators) >= maxPerObjective:
			o.locators = append(slices.Delete(o.locators, 0, 1), l)
		case i < 0:
			o.locators = append(o.locators, l)
		default:
			old := &o.locators[i]
			if l.Expire.After(old.Expire) {
				old.Expire = l.Expire
			}
			old.Diverted = old.Diverted && l.Diverted
			old.rapid = l.rapid
		}
	}
}

// get returns the living locators of an objective, oldest first.
func (c *locatorCache) get(name string) []Locator {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Locator
	for _, l := range c.lookLocked(name, time.Now()) {
		out = append(out, l.Locator)
	}
	return out
}

// divert returns what may be said of an objective on a link, and how long it
// lives.
func (c *locatorCache) divert(name string, link int) ([]wire.Locator, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []wire.Locator
	var left time.Duration
	for _, l := range c.lookLocked(name, now) {
		if !c.mayDivert(l, link) {
			continue
		}
		out = append(out, l.wire)
		if life := l.Expire.Sub(now); left == 0 || life < left {
			left = life
		}
	}
	return out, left
}

// rapidValue returns the value that came with a locator, while it lives.
func (c *locatorCache) rapidValue(name string, from Locator) *wire.Objective {
	w, err := from.encode()
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lookLocked(name, time.Now()) {
		if l.wire == w && (!isLinkLocal(w) || l.IP == from.IP) {
			return l.rapid
		}
	}
	return nil
}

// forget drops one locator.
func (c *locatorCache) forget(name string, l Locator) {
	c.drop(name, func(c cachedLocator) bool { return c.Locator.String() != l.String() })
}

// flush drops all locators of an objective.
func (c *locatorCache) flush(name string) {
	c.drop(name, func(cachedLocator) bool { return false })
}

// flushBefore drops the locators that live no longer than until then.
func (c *locatorCache) flushBefore(name string, then time.Time) {
	c.drop(name, func(l cachedLocator) bool { return l.Expire.After(then) })
}

func (c *locatorCache) drop(name string, keep func(cachedLocator) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byName[name]; e != nil {
		c.keepLocked(e, keep)
	}
}
