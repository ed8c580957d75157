package grasp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

// cachedAt is a locator that came by a link and lives for a time.
func cachedAt(addr string, link int, ttl time.Duration) cachedLocator {
	w := wire.Locator{Kind: wire.LocatorIPv6, Addr: netip.MustParseAddr(addr), Protocol: TCP, Port: 4000}
	l := decodeLocator(w, link)
	l.Expire = time.Now().Add(ttl)
	return cachedLocator{Locator: l, wire: w}
}

func cachedName(kind wire.LocatorKind, name string) cachedLocator {
	w := wire.Locator{Kind: kind, Name: name, Protocol: TCP, Port: 4000}
	l := decodeLocator(w, 1)
	l.Expire = time.Now().Add(time.Hour)
	return cachedLocator{Locator: l, wire: w}
}

func TestLocatorCacheOrderAndEqualOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLocatorCache(evenly(100))
		c.put("EX1", []cachedLocator{cachedAt("fd00::1", 1, time.Minute), cachedAt("fd00::2", 1, time.Minute)})
		c.put("EX1", []cachedLocator{cachedAt("fd00::3", 2, time.Minute), cachedAt("fd00::1", 2, time.Hour)})
		got := c.get("EX1")
		require.Equal(t, []string{"[fd00::1]:4000", "[fd00::2]:4000", "[fd00::3]:4000"}, texts(got))
		require.Equal(t, time.Now().Add(time.Hour), got[0].Expire, "D-25: the later expiry wins")
		c.put("EX1", []cachedLocator{cachedAt("fd00::1", 1, time.Second)})
		require.Equal(t, time.Now().Add(time.Hour), c.get("EX1")[0].Expire, "and is not shortened")
		require.Empty(t, c.get("EX2"))

		// The same link-local address on two links is two places.
		c.put("EX3", []cachedLocator{cachedAt("fe80::1", 1, time.Minute), cachedAt("fe80::1", 2, time.Minute)})
		require.Equal(t, []string{"[fe80::1%1]:4000", "[fe80::1%2]:4000"}, texts(c.get("EX3")))
	})
}

// What came directly is not taken for diverted because it came so, too, for as
// long as it lives.
func TestLocatorCacheDirectBeatsDiverted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLocatorCache(evenly(100))
		put := func(diverted bool) {
			l := cachedAt("fd00::1", 1, time.Minute)
			l.Diverted = diverted
			c.put("EX1", []cachedLocator{l})
		}
		put(true)
		require.True(t, c.get("EX1")[0].Diverted)
		put(false)
		require.False(t, c.get("EX1")[0].Diverted)
		put(true)
		require.False(t, c.get("EX1")[0].Diverted)
		time.Sleep(time.Minute)
		put(true)
		require.True(t, c.get("EX1")[0].Diverted, "the direct one has expired")
	})
}

// at its expiry a locator is gone.
func TestA23LocatorCacheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLocatorCache(evenly(100))
		c.put("EX1", []cachedLocator{cachedAt("fd00::1", 1, time.Second), cachedAt("fd00::2", 1, time.Minute)})
		time.Sleep(time.Second - 1)
		require.Len(t, c.get("EX1"), 2)
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{"[fd00::2]:4000"}, texts(c.get("EX1")))
		require.Len(t, c.states(), 1)
		time.Sleep(time.Minute)
		require.Empty(t, c.states())
		require.Empty(t, c.get("EX1"))
		require.Empty(t, c.cache.byName, "nothing is left of it")
		require.Zero(t, c.cache.all.Len())
	})
}

func TestLocatorCacheFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLocatorCache(evenly(100))
		fill := func() {
			c.flush("EX1")
			c.put("EX1", []cachedLocator{
				cachedAt("fd00::1", 1, time.Second), cachedAt("fd00::2", 1, 2*time.Second), cachedAt("fd00::3", 1, 3*time.Second),
			})
			c.put("EX2", []cachedLocator{cachedAt("fd00::9", 1, time.Second)})
		}
		fill()
		c.flushBefore("EX1", time.Now().Add(2*time.Second))
		require.Equal(t, []string{"[fd00::3]:4000"}, texts(c.get("EX1")), "no more life left than that")
		fill()
		c.forget("EX1", c.get("EX1")[1])
		require.Equal(t, []string{"[fd00::1]:4000", "[fd00::3]:4000"}, texts(c.get("EX1")))
		c.flush("EX1")
		require.Empty(t, c.get("EX1"))
		require.Len(t, c.get("EX2"), 1, "another objective")
		c.flush("never heard of")
		c.forget("never heard of", Locator{})
	})
}

func TestLocatorCacheDivert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLocatorCache(evenly(100))
		c.put("EX1", []cachedLocator{
			cachedAt("fd00::1", 1, time.Minute), cachedAt("fd00::2", 2, time.Second), cachedAt("fe80::1", 2, time.Minute),
			cachedName(wire.LocatorFQDN, "host.local"), cachedName(wire.LocatorURI, "coap://host.local"),
		})
		on := func(link int) ([]string, time.Duration) {
			ws, left := c.divert("EX1", link)
			out := []string{}
			for _, w := range ws {
				out = append(out, w.Addr.String())
			}
			return out, left
		}
		got, left := on(3)
		require.Equal(t, []string{"fd00::1", "fd00::2"}, got, "no link-local address, no name")
		require.Equal(t, time.Second, left, "the shortest")
		got, left = on(2)
		require.Equal(t, []string{"fd00::1"}, got, "D-14: not where it was learned")
		require.Equal(t, time.Minute, left)
		time.Sleep(time.Second)
		got, _ = on(1)
		require.Empty(t, got)
	})
}

func TestLocatorCacheIsBounded(t *testing.T) {
	c := newLocatorCache(cacheLimits{all: 20, perObjective: 8, perSource: 20})
	put := func(name string, i int) int {
		return c.put(name, []cachedLocator{cachedAt(fmt.Sprintf("fd00::1:%x", i), 1, time.Hour)})
	}
	for i := range 50 {
		require.Equal(t, i >= 20, put(fmt.Sprintf("EX%d", i), 0) == 1, "what gives way is counted")
		require.LessOrEqual(t, len(c.cache.byName), 20)
		require.Equal(t, len(c.cache.byName), c.cache.all.Len())
	}
	require.Len(t, c.get("EX30"), 1) // used
	put("EX50", 0)
	require.Len(t, c.get("EX30"), 1)
	require.Empty(t, c.get("EX31"), "the least recently used")

	for i := range 16 {
		put("EX30", i)
	}
	got := c.get("EX30")
	require.Len(t, got, 8)
	require.Equal(t, "[fd00::1:8]:4000", got[0].String(), "the oldest give way")
	require.Equal(t, "[fd00::1:f]:4000", got[7].String())
}

// a rapid value serves for the locator it came with, while that lives.
func TestA49LocatorCacheRapidValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLocatorCache(evenly(100))
		with := cachedAt("fd00::1", 1, time.Second)
		with.rapid = &wire.Objective{Name: "EX1", Value: []byte{7}}
		c.put("EX1", []cachedLocator{with, cachedAt("fd00::2", 1, time.Minute)})
		require.Equal(t, with.rapid, c.rapidValue("EX1", with.Locator))
		require.Nil(t, c.rapidValue("EX1", cachedAt("fd00::2", 1, 0).Locator))
		require.Nil(t, c.rapidValue("EX2", with.Locator))
		other := with.Locator
		other.Port++
		require.Nil(t, c.rapidValue("EX1", other))
		time.Sleep(time.Second)
		require.Nil(t, c.rapidValue("EX1", with.Locator))
		// A later response without a value takes the old one away.
		c.put("EX1", []cachedLocator{with})
		with.Expire = time.Now().Add(time.Minute)
		c.put("EX1", []cachedLocator{with})
		plain := with
		plain.rapid = nil
		c.put("EX1", []cachedLocator{plain})
		require.Nil(t, c.rapidValue("EX1", with.Locator))
	})
}

// The cache against a dumb twin, with random input.
func TestLocatorCacheTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 2))
		c := newLocatorCache(evenly(1000))
		twin := make(map[string][]cachedLocator)
		live := func(name string) []cachedLocator {
			twin[name] = slices.DeleteFunc(twin[name], func(l cachedLocator) bool { return !l.Expire.After(time.Now()) })
			return twin[name]
		}
		for range 5_000 {
			name := fmt.Sprintf("EX%d", rnd.IntN(5))
			addr := fmt.Sprintf("%s::%d", []string{"fd00", "fe80"}[rnd.IntN(2)], rnd.IntN(6))
			l := cachedAt(addr, 1+rnd.IntN(2), time.Duration(rnd.IntN(20))*time.Second)
			switch rnd.IntN(10) {
			case 0:
				c.flush(name)
				twin[name] = nil
			case 1:
				at := time.Now().Add(5 * time.Second)
				c.flushBefore(name, at)
				twin[name] = slices.DeleteFunc(twin[name], func(l cachedLocator) bool { return !l.Expire.After(at) })
			case 2:
				time.Sleep(time.Duration(rnd.IntN(3)) * time.Second)
			default:
				c.put(name, []cachedLocator{l})
				if i := slices.IndexFunc(live(name), func(o cachedLocator) bool { return o.Locator.String() == l.Locator.String() }); i < 0 {
					twin[name] = append(twin[name], l)
				} else if l.Expire.After(twin[name][i].Expire) {
					twin[name][i].Expire = l.Expire
				}
			}
			var want []Locator
			for _, l := range live(name) {
				want = append(want, l.Locator)
			}
			got := c.get(name)
			require.Equal(t, texts(want), texts(got))
			for i := range got {
				require.Equal(t, want[i].Expire, got[i].Expire)
			}
		}
	})
}

// The cache is bounded in locators, and in those of each objective.
func TestD16CacheIsBounded(t *testing.T) {
	cache := newLocatorCache(cacheLimits{all: 6, perObjective: 4, perSource: 6})
	expire := time.Now().Add(time.Hour)
	locator := func(i int) []cachedLocator {
		w := wire.Locator{Kind: wire.LocatorIPv6, Addr: netip.MustParseAddr("fd00::1"), Protocol: 6, Port: i}
		l := decodeLocator(w, 1)
		l.Expire = expire
		return []cachedLocator{{Locator: l, wire: w}}
	}
	for i := range 4 + 1 {
		cache.put("EX1", locator(i+1))
	}
	require.Len(t, cache.get("EX1"), 4)
	require.Equal(t, 2, cache.get("EX1")[0].Port, "the oldest gives way")
	for _, name := range []string{"EX2", "EX3", "EX4"} {
		cache.put(name, locator(1))
		cache.get("EX1")
	}
	require.NotEmpty(t, cache.get("EX1"))
	require.Empty(t, cache.get("EX2"), "the least recently used gives way")
}
