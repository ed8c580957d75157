package grasp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// cached is how many entries the caches have that are measured.
const cached = 10_000

// manyLocators is how many of one objective are measured.
const manyLocators = 64

func benchNames() []string {
	names := make([]string, cached)
	for i := range names {
		names[i] = "example.com:objective-" + strconv.Itoa(i)
	}
	return names
}

func benchLocator(i int) wire.Locator {
	addr := netip.MustParseAddr("fd00::").As16()
	binary.BigEndian.PutUint32(addr[12:], uint32(i)+1)
	return wire.Locator{Kind: wire.LocatorIPv6, Addr: netip.AddrFrom16(addr), Protocol: TCP, Port: 4000}
}

func BenchmarkFloodCache(b *testing.B) {
	names := benchNames()
	entry := func(i int) cache.Flood {
		return cache.Flood{
			Objective: wire.Objective{Name: names[i], Flags: wire.FlagSynch, LoopCount: 1, Value: null},
			Place:     cache.PlaceOf(benchLocator(i), 1), Link: 1, Expire: time.Now().Add(time.Hour),
		}
	}
	full := func() *floodCache {
		c := newFloodCache(cache.Limits{All: cached, PerObjective: cached, PerSource: cached})
		for i := range cached {
			c.put([]cache.Flood{entry(i)}, time.Now())
		}
		return c
	}
	b.Run("Put", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			c.put([]cache.Flood{entry(i)}, time.Now())
			return nil
		})
	})
	b.Run("PutBeyondLimit", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i++
			e := entry(i % cached)
			e.Place.Locator.Port = i // never the same again
			c.put([]cache.Flood{e}, time.Now())
			return nil
		})
	})
	b.Run("Get", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			if len(c.get(names[i])) != 1 {
				return ErrNotObj
			}
			return nil
		})
	})
}

func BenchmarkLocatorCache(b *testing.B) {
	names := benchNames()
	locators := func(i int) []cache.Locator {
		w := benchLocator(i)
		return []cache.Locator{{Wire: w, Link: 1, Expire: time.Now().Add(time.Hour)}}
	}
	full := func() *locatorCache {
		c := newLocatorCache(cache.Limits{All: cached, PerObjective: cached, PerSource: cached}, false)
		for i := range cached {
			c.put(names[i], locators(i))
		}
		return c
	}
	b.Run("Put", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			c.put(names[i], locators(i))
			return nil
		})
	})
	b.Run("Get", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			if len(c.get(names[i])) != 1 {
				return ErrNotObj
			}
			return nil
		})
	})
	b.Run("Divert", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			if out, _ := c.divert(names[i], 2); len(out) != 1 {
				return ErrNotObj
			}
			return nil
		})
	})
	// One objective with as many locators as there may be.
	b.Run("GetMany", func(b *testing.B) {
		c := newLocatorCache(cache.Limits{All: manyLocators, PerObjective: manyLocators, PerSource: manyLocators}, false)
		for i := range manyLocators {
			c.put("many", locators(i))
		}
		oneByOne(b, func() error {
			if len(c.get("many")) != manyLocators {
				return ErrNotObj
			}
			return nil
		})
	})
}
