package grasp

import (
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// cachedLocator is a locator that a discovery found.
type cachedLocator struct {
	Locator
	wire  wire.Locator
	from  netip.Addr      // the peer that gave it
	rapid *wire.Objective // came with it, with a value; or nil
}

func (l cachedLocator) expires() time.Time { return l.Expire }

// at tells it apart from others: equal items of the option stand for the same
// place, and for link-local ones the same link.
func (l cachedLocator) at() place { return placeOf(l.wire, l.IfIndex) }

// merge adds what another response said of the same place: the later expiry
// wins.
func (l *cachedLocator) merge(other cachedLocator) {
	if other.Expire.After(l.Expire) {
		l.Expire = other.Expire
	}
	l.Diverted = l.Diverted && other.Diverted
	l.rapid = other.rapid
}

// mayDivert says that the locator may be told on a link: no link-local address
// (RFC 8990 section 2.9.5.1), no name, which may mean nothing elsewhere
// (2.9.5.3, 2.9.5.4), and nothing that was learned on that link (2.5.4.3).
// Where IPv4 is translated its addresses mean nothing elsewhere, either
// (2.9.5.2).
func (c *locatorCache) mayDivert(l cachedLocator, link int) bool {
	addr := l.wire.Addr
	return addr.IsValid() && !isLinkLocal(l.wire) && l.IfIndex != link && !(c.translated4 && addr.Unmap().Is4())
}

// locatorCache is the discovery cache.
type locatorCache struct {
	translated4 bool // Config.TranslatedIPv4

	mu    sync.Mutex // guards all following fields
	cache cache[cachedLocator]
}

func newLocatorCache(l cacheLimits) *locatorCache {
	return &locatorCache{cache: newCache[cachedLocator](l)}
}

// put adds locators of an objective. It returns how many living ones had to
// give way.
func (c *locatorCache) put(name string, all []cachedLocator) (displaced int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, l := range all {
		old := c.cache.find(name, l.at())
		if old != nil && old.lives(now) {
			old.value.merge(l)
			c.cache.all.Touch(old.inAll)
			continue
		}
		if old != nil {
			c.cache.remove(old) // what has expired does not come back
		}
		out := c.cache.add(&cacheEntry[cachedLocator]{name: name, at: l.at(), value: l}, l.from)
		if out != nil && out.lives(now) {
			displaced++
		}
	}
	return displaced
}

// get returns the living locators of an objective, oldest first.
func (c *locatorCache) get(name string) []Locator {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Locator
	for _, e := range c.cache.living(name, time.Now()) {
		out = append(out, e.value.Locator)
	}
	return out
}

// maxDiverted is how many locators fit a response.
const maxDiverted = 64

// divert returns what may be said of an objective on a link, and how long it
// lives.
func (c *locatorCache) divert(name string, link int) ([]wire.Locator, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []wire.Locator
	var left time.Duration
	for _, e := range c.cache.living(name, now) {
		l := e.value
		if !c.mayDivert(l, link) || len(out) == maxDiverted {
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
	w, err := from.encodeAsIs()
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.cache.living(name, time.Now()) {
		if l := e.value; l.wire == w && (!isLinkLocal(w) || l.IP == from.IP) {
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

// drop drops the locators of an objective that are not to be kept.
func (c *locatorCache) drop(name string, keep func(cachedLocator) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.cache.living(name, time.Now()) {
		if !keep(e.value) {
			c.cache.remove(e)
		}
	}
}
