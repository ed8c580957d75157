package grasp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

// entry is a flooded value that lives for a time, 0 for ever.
func entry(name string, tag wire.Locator, link int, value byte, ttl time.Duration) floodedEntry {
	e := floodedEntry{
		objective: wire.Objective{Name: name, Flags: wire.FlagSynch, LoopCount: 6, Value: []byte{value}},
		at:        placeOf(tag, link), link: link,
	}
	if ttl != 0 {
		e.expire = time.Now().Add(ttl)
	}
	return e
}

func ipv6Tag(addr string) wire.Locator { return cachedAt(addr, 0, 0).wire }

// evenly are the bounds of a cache that has only one.
func evenly(limit int) cacheLimits { return cacheLimits{limit, limit, limit} }

// valuesOf returns the values of flooded entries, each one byte.
func valuesOf(es []floodedEntry) []byte {
	out := []byte{}
	for _, e := range es {
		out = append(out, e.objective.Value[0])
	}
	return out
}

// one entry for each name and locator; a newer one replaces it and moves
// to the end.
func TestA62FloodCacheTags(t *testing.T) {
	c := newFloodCache(evenly(100))
	fd, fe, none := ipv6Tag("fd00::1"), ipv6Tag("fe80::1"), wire.Locator{}
	otherPort, otherProto, otherKind := fd, fd, fd
	otherPort.Port++
	otherProto.Protocol = UDP
	otherKind.Kind, otherKind.Addr, otherKind.Name = wire.LocatorFQDN, none.Addr, "fd00::1"
	for i, tag := range []wire.Locator{fd, none, otherPort, otherProto, otherKind} {
		c.put(entry("EX1", tag, 1, byte(i), 0))
	}
	c.put(entry("EX1", fe, 1, 5, 0))
	c.put(entry("EX1", fe, 2, 6, 0))
	c.put(entry("EX2", fd, 1, 7, 0))
	require.Equal(t, []byte{0, 1, 2, 3, 4, 5, 6}, valuesOf(c.get("EX1")))
	c.put(entry("EX1", none, 2, 11, 0))
	c.put(entry("EX1", fd, 2, 10, 0))
	c.put(entry("EX1", fe, 1, 15, 0))
	require.Equal(t, []byte{2, 3, 4, 6, 11, 10, 15}, valuesOf(c.get("EX1")), "the link tells only link-local ones apart")
	require.Equal(t, []byte{7}, valuesOf(c.get("EX2")))
	require.Empty(t, c.get("EX3"))
}

func TestFloodCacheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFloodCache(evenly(100))
		c.put(entry("EX1", ipv6Tag("fd00::1"), 1, 1, time.Second))
		c.put(entry("EX1", ipv6Tag("fd00::2"), 1, 2, 0))
		time.Sleep(time.Second - 1)
		require.Equal(t, []byte{1, 2}, valuesOf(c.get("EX1")))
		time.Sleep(time.Nanosecond)
		require.Equal(t, []byte{2}, valuesOf(c.all()))
		require.Equal(t, []byte{2}, valuesOf(c.get("EX1")))
		time.Sleep(100 * 365 * 24 * time.Hour)
		require.Equal(t, []byte{2}, valuesOf(c.get("EX1")), "for ever")
		// A flood that is repeated lives on.
		c.put(entry("EX2", ipv6Tag("fd00::1"), 1, 1, time.Second))
		time.Sleep(time.Second / 2)
		c.put(entry("EX2", ipv6Tag("fd00::1"), 1, 1, time.Second))
		time.Sleep(time.Second / 2)
		require.Len(t, c.get("EX2"), 1)
		c.remove("EX2", placeOf(ipv6Tag("fd00::1"), 0))
		require.Empty(t, c.get("EX2"))
		require.NotContains(t, c.cache.byName, "EX2", "nothing is left of it")
		require.Equal(t, 1, c.cache.all.Len())
	})
}

func TestFloodCacheIsBounded(t *testing.T) {
	c := newFloodCache(evenly(3))
	for i := range 10 {
		c.put(entry(fmt.Sprintf("EX%d", i), wire.Locator{}, 1, byte(i), 0))
		require.LessOrEqual(t, c.cache.all.Len(), 3)
		require.LessOrEqual(t, len(c.cache.byName), 3)
	}
	require.Len(t, c.get("EX7"), 1) // read
	c.put(entry("EX9", wire.Locator{}, 1, 19, 0))
	require.ElementsMatch(t, []byte{8, 7, 19}, valuesOf(c.all()), "a repeated one displaces nothing")
	c.put(entry("EX10", wire.Locator{}, 1, 10, 0))
	require.ElementsMatch(t, []byte{7, 19, 10}, valuesOf(c.all()))
}

// The cache against a dumb twin, with random input.
func TestFloodCacheTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 4))
		const limit = 12
		c := newFloodCache(evenly(limit))
		var order, used []floodedEntry // by age, and by use
		is := func(name string, at place) func(floodedEntry) bool {
			return func(e floodedEntry) bool { return e.objective.Name == name && e.at == at }
		}
		remove := func(name string, at place) {
			order = slices.DeleteFunc(order, is(name, at))
			used = slices.DeleteFunc(used, is(name, at))
		}
		for n := range 5_000 {
			name := fmt.Sprintf("EX%d", rnd.IntN(3))
			tag := ipv6Tag(fmt.Sprintf("%s::%d", []string{"fd00", "fe80"}[rnd.IntN(2)], rnd.IntN(5)))
			e := entry(name, tag, 1+rnd.IntN(2), byte(n), time.Duration(rnd.IntN(9))*time.Second)
			switch rnd.IntN(6) {
			case 0:
				c.remove(name, e.at)
				remove(name, e.at)
			case 1:
				time.Sleep(time.Second)
			default:
				c.put(e)
				remove(name, e.at)
				if len(used) == limit {
					remove(used[0].objective.Name, used[0].at)
				}
				order, used = append(order, e), append(used, e)
			}
			if rnd.IntN(2) == 0 {
				continue // not read
			}
			var want []floodedEntry
			for _, e := range slices.Clone(order) {
				if e.objective.Name != name {
					continue
				}
				remove(name, e.at)
				if e.expire.IsZero() || e.expire.After(time.Now()) {
					want = append(want, e)
				}
			}
			// What is read is used, and stays in the order of its age.
			order, used = append(order, want...), append(used, want...)
			require.Equal(t, valuesOf(want), valuesOf(c.get(name)))
		}
	})
}
