// Package cache holds what other nodes said of objectives: the locators that
// discovery found, and the values that were flooded. Entries expire, and their
// number is bounded. The caches have no clock and no lock: the caller passes the
// time, and must not call them concurrently.
package cache

import (
	"container/list"
	"maps"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/share"
	"github.com/go-grasp/grasp/internal/wire"
)

// Limits are the bounds of a cache. When full, it evicts the oldest entry of the
// source that has most: the one added or read least recently.
type Limits struct {
	All          int // entries in all
	PerObjective int // entries of one objective
	PerSource    int // entries from one source
}

// Place tells apart the entries of one objective: it has all items of the locator
// option, and the link of an address that is of use on one link only.
type Place struct {
	Locator wire.Locator
	Link    int
}

// PlaceOf returns the place for a locator that came by a link.
func PlaceOf(l wire.Locator, link int) Place {
	if !OnLinkOnly(l.Addr) {
		link = 0
	}
	return Place{l, link}
}

// OnLinkOnly reports whether an address is of use on one link only.
func OnLinkOnly(a netip.Addr) bool { return a.IsLinkLocalUnicast() || a.IsLoopback() }

// value is what a cache holds.
type value interface{ Flood | Locator }

// store is what the caches have in common. All operations take constant time
// for an entry.
type store[T value] struct {
	limits Limits
	expiry func(*T) *time.Time // when a value expires, the zero time: never

	byName map[string]*objective[T]
	all    *share.Shares[netip.Addr, *entry[T]]
}

// objective holds the entries of one objective.
type objective[T value] struct {
	order   *list.List // of *entry, oldest first
	byPlace map[Place]*entry[T]
	shares  *share.Shares[netip.Addr, *entry[T]]
}

// entry is an entry of a cache.
type entry[T value] struct {
	name  string // of the objective
	place Place
	value T
	also  *entry[T] // another value for the same place, see Floods.Put

	order  *list.Element // in the objective's order
	inName *share.Elem[netip.Addr, *entry[T]]
	inAll  *share.Elem[netip.Addr, *entry[T]]
}

func newStore[T value](l Limits, expiry func(*T) *time.Time) store[T] {
	return store[T]{
		limits: l,
		expiry: expiry,
		byName: make(map[string]*objective[T]),
		all:    share.New[netip.Addr, *entry[T]](l.All, l.PerSource),
	}
}

// Len returns how many entries there are. It counts those that have expired and have
// not been looked at since.
func (s *store[T]) Len() int { return s.all.Len() }

func (s *store[T]) lives(e *entry[T], now time.Time) bool {
	expire := s.expiry(&e.value)
	return expire.IsZero() || expire.After(now)
}

// find returns the first entry of an objective for a place, nil if there is
// none.
func (s *store[T]) find(name string, place Place) *entry[T] {
	if o := s.byName[name]; o != nil {
		return o.byPlace[place]
	}
	return nil
}

// add adds an entry as the youngest. It calls evicted for each entry that it evicts:
// at most one for the bounds of the objective and one for those of the cache.
func (s *store[T]) add(e *entry[T], source netip.Addr, evicted func(*entry[T])) {
	o := s.byName[e.name]
	if o == nil {
		o = &objective[T]{
			order:   list.New(),
			byPlace: make(map[Place]*entry[T]),
			shares:  share.New[netip.Addr, *entry[T]](s.limits.PerObjective, s.limits.PerObjective),
		}
		s.byName[e.name] = o
	}
	if first := o.byPlace[e.place]; first == nil {
		o.byPlace[e.place] = e
	} else {
		for first.also != nil {
			first = first.also
		}
		first.also = e
	}
	e.order = o.order.PushBack(e)
	var inName, inAll *share.Elem[netip.Addr, *entry[T]]
	e.inName, inName = o.shares.Add(source, e)
	e.inAll, inAll = s.all.Add(source, e)
	if inName != nil {
		s.remove(inName.Value)
		evicted(inName.Value)
	}
	if inAll != nil && (s.all.Len() > s.limits.All || s.all.CountOf(source) > s.limits.PerSource) {
		s.remove(inAll.Value)
		evicted(inAll.Value)
	}
}

// renew makes an entry the youngest.
func (s *store[T]) renew(e *entry[T]) {
	o := s.byName[e.name]
	o.order.MoveToBack(e.order)
	o.shares.Touch(e.inName)
	s.all.Touch(e.inAll)
}

// living returns the entries of an objective that live, oldest first, and removes
// those that have expired. The entries count as read.
func (s *store[T]) living(name string, now time.Time) []*entry[T] {
	o := s.byName[name]
	if o == nil {
		return nil
	}
	var out []*entry[T]
	for next := o.order.Front(); next != nil; {
		e := next.Value.(*entry[T])
		next = next.Next()
		if !s.lives(e, now) {
			s.remove(e)
			continue
		}
		s.all.Touch(e.inAll)
		out = append(out, e)
	}
	return out
}

// remove removes an entry.
func (s *store[T]) remove(e *entry[T]) {
	o := s.byName[e.name]
	o.order.Remove(e.order)
	switch first := o.byPlace[e.place]; {
	case first != e:
		for first.also != e {
			first = first.also
		}
		first.also = e.also
	case e.also != nil:
		o.byPlace[e.place] = e.also
	default:
		delete(o.byPlace, e.place)
	}
	e.also = nil
	o.shares.Remove(e.inName)
	s.all.Remove(e.inAll)
	if len(o.byPlace) == 0 {
		delete(s.byName, e.name)
	}
}

// RemoveAll removes all values that match and returns the names of their objectives.
func (s *store[T]) RemoveAll(match func(*T) bool) (names []string) {
	for name, o := range s.byName {
		was := s.all.Len()
		for next := o.order.Front(); next != nil; {
			e := next.Value.(*entry[T])
			next = next.Next()
			if match(&e.value) {
				s.remove(e)
			}
		}
		if s.all.Len() < was {
			names = append(names, name)
		}
	}
	return names
}

// Forget removes what has expired, and gives back the memory that it took. It reports
// whether something is left that will expire.
func (s *store[T]) Forget(now time.Time) (left bool) {
	most := len(s.byName)
	for _, o := range s.byName {
		for next := o.order.Front(); next != nil; {
			e := next.Value.(*entry[T])
			next = next.Next()
			if s.lives(e, now) {
				left = left || !s.expiry(&e.value).IsZero()
			} else {
				s.remove(e)
			}
		}
	}
	switch n := len(s.byName); {
	case n == 0:
		*s = newStore(s.limits, s.expiry)
	case n < most/4:
		byName := make(map[string]*objective[T], n)
		maps.Copy(byName, s.byName)
		s.byName = byName
	}
	return left
}

// Age makes all values expire earlier, because the machine slept for a time that the
// clock did not measure.
func (s *store[T]) Age(by time.Duration) {
	for _, o := range s.byName {
		for at := o.order.Front(); at != nil; at = at.Next() {
			if expire := s.expiry(&at.Value.(*entry[T]).value); !expire.IsZero() {
				*expire = expire.Add(-by)
			}
		}
	}
}

// each calls f with every living value: objectives in no order, their values
// oldest first.
func (s *store[T]) each(now time.Time, f func(name string, v *T)) {
	for name, o := range s.byName {
		for at := o.order.Front(); at != nil; at = at.Next() {
			if e := at.Value.(*entry[T]); s.lives(e, now) {
				f(name, &e.value)
			}
		}
	}
}
