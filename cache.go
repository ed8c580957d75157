package grasp

import (
	"container/list"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/share"
	"github.com/go-grasp/grasp/internal/wire"
)

// cache holds what others said of objectives: values that were flooded, or
// locators that were discovered. Of each objective there is one entry for a
// place. It is bounded in all, for each objective and for each source; what is
// beyond a bound displaces the entry least recently given or read of whoever
// has most. All is done in constant time for an entry.
type cache[T expiring] struct {
	perObjective int

	byName map[string]*cachedObjective[T]
	all    *share.Shares[netip.Addr, *cacheEntry[T]]
}

// cacheLimits are the bounds of a cache.
type cacheLimits struct{ all, perObjective, perSource int }

// expiring is what says when it expires; the zero time is never.
type expiring interface{ expires() time.Time }

// cacheEntry is an entry.
type cacheEntry[T expiring] struct {
	name  string // of the objective
	at    place
	value T

	order  *list.Element // in the objective's order
	inName *share.Elem[netip.Addr, *cacheEntry[T]]
	inAll  *share.Elem[netip.Addr, *cacheEntry[T]]
}

// cachedObjective holds the entries of one objective.
type cachedObjective[T expiring] struct {
	order   *list.List // of *cacheEntry[T], oldest first
	byPlace map[place]*cacheEntry[T]
	shares  *share.Shares[netip.Addr, *cacheEntry[T]]
}

// place tells entries of one objective apart: all items of the locator option,
// and for a link-local address the link.
type place struct {
	locator wire.Locator
	link    int
}

func placeOf(w wire.Locator, link int) place {
	if !isLinkLocal(w) {
		link = 0
	}
	return place{w, link}
}

func newCache[T expiring](l cacheLimits) cache[T] {
	return cache[T]{
		perObjective: l.perObjective,
		byName:       make(map[string]*cachedObjective[T]),
		all:          share.New[netip.Addr, *cacheEntry[T]](l.all, l.perSource),
	}
}

func (e *cacheEntry[T]) lives(now time.Time) bool {
	expire := e.value.expires()
	return expire.IsZero() || expire.After(now)
}

// find returns the entry of an objective for a place, nil if there is none.
func (c *cache[T]) find(name string, at place) *cacheEntry[T] {
	o := c.byName[name]
	if o == nil {
		return nil
	}
	return o.byPlace[at]
}

// add enters what is not there yet, as the youngest. It returns what gave way
// for it, or nil.
func (c *cache[T]) add(e *cacheEntry[T], source netip.Addr) (displaced *cacheEntry[T]) {
	o := c.byName[e.name]
	if o == nil {
		o = &cachedObjective[T]{
			order:   list.New(),
			byPlace: make(map[place]*cacheEntry[T]),
			shares:  share.New[netip.Addr, *cacheEntry[T]](c.perObjective, c.perObjective),
		}
		c.byName[e.name] = o
	}
	o.byPlace[e.at] = e
	e.order = o.order.PushBack(e)
	var inName, inAll *share.Elem[netip.Addr, *cacheEntry[T]]
	e.inName, inName = o.shares.Add(source, e)
	e.inAll, inAll = c.all.Add(source, e)
	switch {
	case inName != nil: // which makes room for it in all, too
		displaced = inName.Value
	case inAll != nil:
		displaced = inAll.Value
	default:
		return nil
	}
	c.remove(displaced)
	return displaced
}

// renew makes an entry the youngest.
func (c *cache[T]) renew(e *cacheEntry[T]) {
	o := c.byName[e.name]
	o.order.MoveToBack(e.order)
	o.shares.Touch(e.inName)
	c.all.Touch(e.inAll)
}

// living returns the entries of an objective that live, oldest first. They
// count as read; what has expired is removed.
func (c *cache[T]) living(name string, now time.Time) []*cacheEntry[T] {
	o := c.byName[name]
	if o == nil {
		return nil
	}
	var out []*cacheEntry[T]
	for at := o.order.Front(); at != nil; {
		e := at.Value.(*cacheEntry[T])
		at = at.Next()
		if !e.lives(now) {
			c.remove(e)
			continue
		}
		c.all.Touch(e.inAll)
		out = append(out, e)
	}
	return out
}

func (c *cache[T]) remove(e *cacheEntry[T]) {
	o := c.byName[e.name]
	o.order.Remove(e.order)
	delete(o.byPlace, e.at)
	o.shares.Remove(e.inName)
	c.all.Remove(e.inAll)
	if len(o.byPlace) == 0 {
		delete(c.byName, e.name)
	}
}

// each calls f with every entry: objectives in no order, their entries oldest
// first.
func (c *cache[T]) each(f func(*cacheEntry[T])) {
	for _, o := range c.byName {
		for at := o.order.Front(); at != nil; at = at.Next() {
			f(at.Value.(*cacheEntry[T]))
		}
	}
}
