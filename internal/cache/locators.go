package cache

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// Locator is a locator that a discovery found.
type Locator struct {
	Wire     wire.Locator
	Link     int             // the link it came by first
	From     netip.Addr      // the peer that gave it
	Expire   time.Time       // never zero
	Diverted bool            // it came in Diverts only
	Rapid    *wire.Objective // the objective with a value that came with it, or nil

	learned []learned // all links it came by, if not by Link alone
}

// learned is one of several links by which a locator came.
type learned struct {
	link   int
	expire time.Time
}

// Place tells a locator from others of its objective.
func (l *Locator) Place() Place { return PlaceOf(l.Wire, l.Link) }

// Merge adds what another response said of the same place. The later expiry counts
// (D-25).
func (l *Locator) Merge(other Locator) {
	if other.Link != l.Link || len(l.learned) > 0 {
		if l.learned == nil {
			l.learned = []learned{{l.Link, l.Expire}}
		}
		i := slices.IndexFunc(l.learned, func(on learned) bool { return on.link == other.Link })
		if i < 0 {
			l.learned = append(l.learned, learned{other.Link, other.Expire})
		} else if other.Expire.After(l.learned[i].expire) {
			l.learned[i].expire = other.Expire
		}
	}
	if other.Expire.After(l.Expire) {
		l.Expire = other.Expire
	}
	l.Diverted = l.Diverted && other.Diverted
	l.Rapid = other.Rapid
}

// learnedOn reports whether the locator came by a link.
func (l *Locator) learnedOn(link int, now time.Time) bool {
	if l.learned == nil {
		return l.Link == link
	}
	return slices.ContainsFunc(l.learned, func(on learned) bool { return on.link == link && on.expire.After(now) })
}

// Locators is the cache of discovered locators.
type Locators struct {
	store[Locator]
	// TranslatedIPv4 says that IPv4 addresses mean nothing in other parts of the
	// domain (RFC 8990 section 2.9.5.2).
	TranslatedIPv4 bool
}

// NewLocators returns an empty cache.
func NewLocators(l Limits) *Locators {
	return &Locators{store: newStore(l, func(l *Locator) *time.Time { return &l.Expire })}
}

// Put adds locators of an objective. It returns how many living ones were
// evicted.
func (c *Locators) Put(name string, all []Locator, now time.Time) (evicted int) {
	for _, l := range all {
		old := c.find(name, l.Place())
		if old != nil && c.lives(old, now) {
			old.value.Merge(l)
			c.all.Touch(old.inAll)
			continue
		}
		if old != nil {
			c.remove(old) // what has expired does not come back
		}
		c.add(&entry[Locator]{name: name, place: l.Place(), value: l}, l.From, func(old *entry[Locator]) {
			if c.lives(old, now) {
				evicted++
			}
		})
	}
	return evicted
}

// Living calls f with the living locators of an objective, oldest first.
func (c *Locators) Living(name string, now time.Time, f func(*Locator)) {
	for _, e := range c.living(name, now) {
		f(&e.value)
	}
}

// Age makes all locators expire earlier, as in every cache, on each link that they
// were learned on.
func (c *Locators) Age(by time.Duration) {
	c.store.Age(by)
	for _, o := range c.byName {
		for at := o.order.Front(); at != nil; at = at.Next() {
			learned := at.Value.(*entry[Locator]).value.learned
			for i := range learned {
				learned[i].expire = learned[i].expire.Add(-by)
			}
		}
	}
}

// Each calls f with every living locator. Those of an objective are in order,
// oldest first.
func (c *Locators) Each(now time.Time, f func(name string, l *Locator)) { c.each(now, f) }

// MaxDiverted is how many locators fit a response.
const MaxDiverted = 64

// Divert returns the locators of an objective that may be told on a link, and the
// time for which all of them live.
func (c *Locators) Divert(name string, link int, now time.Time) (out []wire.Locator, life time.Duration) {
	c.Living(name, now, func(l *Locator) {
		if len(out) == MaxDiverted || !c.MayDivert(l, link, now) {
			return
		}
		out = append(out, l.Wire)
		if left := l.Expire.Sub(now); life == 0 || left < life {
			life = left
		}
	})
	return out, life
}

// MayDivert reports whether a locator may be told on a link: it is of use on more
// than one link (RFC 8990 section 2.9.5.1), means the same everywhere (2.9.5.2 to
// 2.9.5.4), and did not come by that link (2.5.4.3).
func (c *Locators) MayDivert(l *Locator, link int, now time.Time) bool {
	if l.learnedOn(link, now) {
		return false
	}
	switch l.Wire.Kind {
	case wire.LocatorIPv6, wire.LocatorIPv4:
		return c.addressEverywhere(l.Wire.Addr)
	case wire.LocatorFQDN:
		return nameEverywhere(l.Wire.Name)
	case wire.LocatorURI:
		u, err := url.Parse(l.Wire.Name)
		if err != nil {
			return false
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			return addr.Zone() == "" && c.addressEverywhere(addr)
		}
		return nameEverywhere(u.Hostname())
	}
	return false
}

// addressEverywhere reports whether an address means the same everywhere.
func (c *Locators) addressEverywhere(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && !OnLinkOnly(a) && !a.IsUnspecified() && !a.IsMulticast() && !(c.TranslatedIPv4 && a.Is4())
}

// nameEverywhere reports whether a name means the same everywhere, as far as one can
// tell: it has a domain, and that domain is not local to a link, a site or a host
// (RFC 6762, 6761, 8375).
func nameEverywhere(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || isAddress(name) {
		return false
	}
	switch name[i+1:] {
	case "local", "localhost", "internal", "":
		return false
	}
	return !strings.HasSuffix(name, ".home.arpa") && name != "home.arpa"
}

// Remove removes the locators of an objective that match.
func (c *Locators) Remove(name string, match func(*Locator) bool, now time.Time) {
	for _, e := range c.living(name, now) {
		if match(&e.value) {
			c.remove(e)
		}
	}
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
