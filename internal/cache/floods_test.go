package cache

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
func flood(name string, tag wire.Locator, link int, value byte, ttl time.Duration) Flood {
	f := Flood{
		Objective: wire.Objective{Name: name, Flags: wire.FlagSynch, LoopCount: 6, Value: []byte{value}},
		Place:     PlaceOf(tag, link), Link: link,
	}
	if ttl != 0 {
		f.Expire = time.Now().Add(ttl)
	}
	return f
}

// put puts a message of one value.
func put(c *Floods, f Flood) (evicted []Flood) {
	evicted, _ = c.Put([]Flood{f}, time.Now())
	return evicted
}

func ipv6Tag(addr string) wire.Locator { return found(addr, 0, 0).Wire }

// never chooses none of several values.
func never(*Flood) bool { return false }

// evenly are the bounds of a cache that has only one.
func evenly(limit int) Limits { return Limits{limit, limit, limit} }

// valuesOf returns the values of flooded entries, each one byte.
func valuesOf(es []Flood) []byte {
	out := []byte{}
	for _, e := range es {
		out = append(out, e.Objective.Value[0])
	}
	return out
}

// one entry for each name and locator; a newer one replaces it and moves
// to the end.
func TestA62FloodTags(t *testing.T) {
	c := NewFloods(evenly(100))
	fd, fe, none := ipv6Tag("fd00::1"), ipv6Tag("fe80::1"), wire.Locator{}
	otherPort, otherProto, otherKind := fd, fd, fd
	otherPort.Port++
	otherProto.Protocol = wire.ProtoUDP
	otherKind.Kind, otherKind.Addr, otherKind.Name = wire.LocatorFQDN, none.Addr, "fd00::1"
	for i, tag := range []wire.Locator{fd, none, otherPort, otherProto, otherKind} {
		put(c, flood("EX1", tag, 1, byte(i), 0))
	}
	put(c, flood("EX1", fe, 1, 5, 0))
	put(c, flood("EX1", fe, 2, 6, 0))
	put(c, flood("EX2", fd, 1, 7, 0))
	require.Equal(t, []byte{0, 1, 2, 3, 4, 5, 6}, valuesOf(c.Get("EX1", time.Now())))
	put(c, flood("EX1", none, 2, 11, 0))
	put(c, flood("EX1", fd, 2, 10, 0))
	put(c, flood("EX1", fe, 1, 15, 0))
	require.Equal(t, []byte{2, 3, 4, 6, 11, 10, 15}, valuesOf(c.Get("EX1", time.Now())), "the link tells only link-local ones apart")
	require.Equal(t, []byte{7}, valuesOf(c.Get("EX2", time.Now())))
	require.Empty(t, c.Get("EX3", time.Now()))
}

func TestFloodCacheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewFloods(evenly(100))
		put(c, flood("EX1", ipv6Tag("fd00::1"), 1, 1, time.Second))
		put(c, flood("EX1", ipv6Tag("fd00::2"), 1, 2, 0))
		time.Sleep(time.Second - 1)
		require.Equal(t, []byte{1, 2}, valuesOf(c.Get("EX1", time.Now())))
		time.Sleep(time.Nanosecond)
		require.Equal(t, []byte{2}, valuesOf(c.All(time.Now())))
		require.Equal(t, []byte{2}, valuesOf(c.Get("EX1", time.Now())))
		time.Sleep(100 * 365 * 24 * time.Hour)
		require.Equal(t, []byte{2}, valuesOf(c.Get("EX1", time.Now())), "for ever")
		// A flood that is repeated lives on.
		put(c, flood("EX2", ipv6Tag("fd00::1"), 1, 1, time.Second))
		time.Sleep(time.Second / 2)
		put(c, flood("EX2", ipv6Tag("fd00::1"), 1, 1, time.Second))
		time.Sleep(time.Second / 2)
		require.Len(t, c.Get("EX2", time.Now()), 1)
		c.Remove("EX2", PlaceOf(ipv6Tag("fd00::1"), 0), never)
		require.Empty(t, c.Get("EX2", time.Now()))
		require.NotContains(t, c.byName, "EX2", "nothing is left of it")
		require.Equal(t, 1, c.Len())
	})
}

func TestFloodCacheIsBounded(t *testing.T) {
	c := NewFloods(evenly(3))
	for i := range 10 {
		put(c, flood(fmt.Sprintf("EX%d", i), wire.Locator{}, 1, byte(i), 0))
		require.LessOrEqual(t, c.Len(), 3)
		require.LessOrEqual(t, len(c.byName), 3)
	}
	require.Len(t, c.Get("EX7", time.Now()), 1) // read
	put(c, flood("EX9", wire.Locator{}, 1, 19, 0))
	require.ElementsMatch(t, []byte{8, 7, 19}, valuesOf(c.All(time.Now())), "a repeated one displaces nothing")
	put(c, flood("EX10", wire.Locator{}, 1, 10, 0))
	require.ElementsMatch(t, []byte{7, 19, 10}, valuesOf(c.All(time.Now())))
}

// The cache against a dumb twin, with random input.
func TestFloodCacheTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 4))
		const limit = 12
		c := NewFloods(evenly(limit))
		var order, used []Flood // by age, and by use
		is := func(name string, at Place) func(Flood) bool {
			return func(e Flood) bool { return e.Objective.Name == name && e.Place == at }
		}
		remove := func(name string, at Place) {
			order = slices.DeleteFunc(order, is(name, at))
			used = slices.DeleteFunc(used, is(name, at))
		}
		for n := range 5_000 {
			name := fmt.Sprintf("EX%d", rnd.IntN(3))
			tag := ipv6Tag(fmt.Sprintf("%s::%d", []string{"fd00", "fe80"}[rnd.IntN(2)], rnd.IntN(5)))
			e := flood(name, tag, 1+rnd.IntN(2), byte(n), time.Duration(rnd.IntN(9))*time.Second)
			switch rnd.IntN(6) {
			case 0:
				c.Remove(name, e.Place, never)
				remove(name, e.Place)
			case 1:
				time.Sleep(time.Second)
			default:
				put(c, e)
				remove(name, e.Place)
				if len(used) == limit {
					remove(used[0].Objective.Name, used[0].Place)
				}
				order, used = append(order, e), append(used, e)
			}
			if rnd.IntN(2) == 0 {
				continue // not read
			}
			var want []Flood
			for _, e := range slices.Clone(order) {
				if e.Objective.Name != name {
					continue
				}
				remove(name, e.Place)
				if e.Expire.IsZero() || e.Expire.After(time.Now()) {
					want = append(want, e)
				}
			}
			// What is read is used, and stays in the order of its age.
			order, used = append(order, want...), append(used, want...)
			require.Equal(t, valuesOf(want), valuesOf(c.Get(name, time.Now())))
		}
	})
}

// RemoveAll removes what matches of all objectives, and says which objectives those are.
func TestRemoveAll(t *testing.T) {
	c := NewFloods(evenly(10))
	tag := ipv6Tag("fd00::1")
	c.Put([]Flood{flood("EX1", tag, 1, 1, 0), flood("EX1", tag, 1, 2, 0), flood("EX2", tag, 2, 3, 0)}, time.Now())
	put(c, flood("EX3", tag, 1, 4, 0))
	put(c, flood("EX3", ipv6Tag("fd00::2"), 2, 5, 0))
	require.ElementsMatch(t, []string{"EX1", "EX3"}, c.RemoveAll(func(f *Flood) bool { return f.Link == 1 }))
	require.ElementsMatch(t, []byte{3, 5}, valuesOf(c.All(time.Now())))
	require.Empty(t, c.RemoveAll(func(f *Flood) bool { return f.Link == 1 }))
	require.NotContains(t, c.byName, "EX1", "nothing is left of it")
}
