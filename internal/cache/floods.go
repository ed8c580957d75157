package cache

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// Flood is a flooded value.
type Flood struct {
	Objective wire.Objective
	Place     Place         // its tag
	Link      int           // the link it came by, 0 if it is our own
	From      netip.Addr    // the neighbour it came from, zero if it is our own
	Expire    time.Time     // zero: never
	Life      time.Duration // what it had when it came; 0: it does not expire
}

// Floods is the cache of flooded values.
type Floods struct{ store[Flood] }

// NewFloods returns an empty cache.
func NewFloods(l Limits) *Floods {
	return &Floods{newStore(l, func(f *Flood) *time.Time { return &f.Expire })}
}

// Put adds the values of one message as the youngest. It overwrites what earlier
// messages gave for the same name and tag (RFC 8990 section 2.8.11); one message may
// give several values for a name and tag. It returns the living values that were
// evicted. same is true if the message only has what was there live on, as a flood does
// that is repeated.
func (c *Floods) Put(message []Flood, now time.Time) (evicted []Flood, same bool) {
	same = true
	for i := range message {
		f := &message[i]
		old := c.find(f.Objective.Name, f.Place)
		same = same && old != nil && c.lives(old, now) && f.prolongs(old)
		switch {
		case given(message[:i], f, true):
			continue // exactly the same
		case old == nil || given(message[:i], f, false):
		case old.value.From == f.From:
			for old.also != nil {
				c.remove(old.also)
			}
			old.value = *f
			c.renew(old)
			continue
		default: // it counts for the neighbour that flooded it last
			for old.also != nil {
				c.remove(old.also)
			}
			c.remove(old)
		}
		e := &entry[Flood]{name: f.Objective.Name, place: f.Place, value: *f}
		c.add(e, f.From, func(old *entry[Flood]) {
			if c.lives(old, now) {
				evicted = append(evicted, old.value)
			}
		})
	}
	return evicted, same
}

// prolongs reports whether f is the one value of an entry, and does not expire before it.
func (f *Flood) prolongs(e *entry[Flood]) bool {
	old := &e.value
	return e.also == nil && bytes.Equal(f.Objective.Value, old.Objective.Value) &&
		(f.Expire.IsZero() || !old.Expire.IsZero() && !f.Expire.Before(old.Expire))
}

// given reports whether one of the values has the name and tag of f and, with same,
// also its value.
func given(values []Flood, f *Flood, same bool) bool {
	for i := range values {
		o := &values[i].Objective
		if o.Name == f.Objective.Name && values[i].Place == f.Place && (!same || bytes.Equal(o.Value, f.Objective.Value)) {
			return true
		}
	}
	return false
}

// Get returns the living values of an objective, oldest first.
func (c *Floods) Get(name string, now time.Time) []Flood {
	var out []Flood
	for _, e := range c.living(name, now) {
		out = append(out, e.value)
	}
	return out
}

// Remove removes the values of an objective with a tag: those that chosen picks, or
// all if it picks none.
func (c *Floods) Remove(name string, place Place, chosen func(*Flood) bool) {
	var all []*entry[Flood]
	one := -1
	for e := c.find(name, place); e != nil; e = e.also {
		if one < 0 && chosen(&e.value) {
			one = len(all)
		}
		all = append(all, e)
	}
	if one >= 0 {
		all = all[one : one+1]
	}
	for _, e := range all {
		c.remove(e)
	}
}

// All returns every living value. Those of an objective are in order, oldest
// first.
func (c *Floods) All(now time.Time) []Flood {
	var out []Flood
	c.each(now, func(_ string, f *Flood) { out = append(out, *f) })
	return out
}
