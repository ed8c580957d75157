package cache

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

// found is a locator that came by a link and lives for a time.
func found(addr string, link int, ttl time.Duration) Locator {
	w := wire.Locator{Kind: wire.LocatorIPv6, Addr: netip.MustParseAddr(addr), Protocol: wire.ProtoTCP, Port: 4000}
	return Locator{Wire: w, Link: link, Expire: time.Now().Add(ttl)}
}

func foundName(kind wire.LocatorKind, name string) Locator {
	w := wire.Locator{Kind: kind, Name: name, Protocol: wire.ProtoTCP, Port: 4000}
	return Locator{Wire: w, Link: 1, Expire: time.Now().Add(time.Hour)}
}

func texts(ls []Locator) []string {
	out := []string{}
	for _, l := range ls {
		addr := l.Wire.Addr
		if OnLinkOnly(addr) {
			addr = addr.WithZone(fmt.Sprint(l.Link))
		}
		out = append(out, fmt.Sprintf("[%v]:%d", addr, l.Wire.Port))
	}
	return out
}

// get returns the living locators of an objective.
func get(c *Locators, name string) (out []Locator) {
	c.Living(name, time.Now(), func(l *Locator) { out = append(out, *l) })
	return out
}

// living counts the locators that live.
func living(c *Locators) (n int) {
	c.Each(time.Now(), func(string, *Locator) { n++ })
	return n
}

// flush removes all locators of an objective.
func flush(c *Locators, name string) {
	c.Remove(name, func(*Locator) bool { return true }, time.Now())
}

// flushBefore removes those that live no longer than until then.
func flushBefore(c *Locators, name string, then time.Time) {
	c.Remove(name, func(l *Locator) bool { return !l.Expire.After(then) }, time.Now())
}

func TestLocatorsOrderAndEqualOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLocators(evenly(100))
		c.Put("EX1", []Locator{found("fd00::1", 1, time.Minute), found("fd00::2", 1, time.Minute)}, time.Now())
		c.Put("EX1", []Locator{found("fd00::3", 2, time.Minute), found("fd00::1", 2, time.Hour)}, time.Now())
		got := get(c, "EX1")
		require.Equal(t, []string{"[fd00::1]:4000", "[fd00::2]:4000", "[fd00::3]:4000"}, texts(got))
		require.Equal(t, time.Now().Add(time.Hour), got[0].Expire, "D-25: the later expiry wins")
		c.Put("EX1", []Locator{found("fd00::1", 1, time.Second)}, time.Now())
		require.Equal(t, time.Now().Add(time.Hour), get(c, "EX1")[0].Expire, "and is not shortened")
		require.Empty(t, get(c, "EX2"))

		// The same link-local address on two links is two places.
		c.Put("EX3", []Locator{found("fe80::1", 1, time.Minute), found("fe80::1", 2, time.Minute)}, time.Now())
		require.Equal(t, []string{"[fe80::1%1]:4000", "[fe80::1%2]:4000"}, texts(get(c, "EX3")))
	})
}

// What came directly is not taken for diverted because it came so, too, for as
// long as it lives.
func TestLocatorsDirectBeatsDiverted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLocators(evenly(100))
		put := func(diverted bool) {
			l := found("fd00::1", 1, time.Minute)
			l.Diverted = diverted
			c.Put("EX1", []Locator{l}, time.Now())
		}
		put(true)
		require.True(t, get(c, "EX1")[0].Diverted)
		put(false)
		require.False(t, get(c, "EX1")[0].Diverted)
		put(true)
		require.False(t, get(c, "EX1")[0].Diverted)
		time.Sleep(time.Minute)
		put(true)
		require.True(t, get(c, "EX1")[0].Diverted, "the direct one has expired")
	})
}

// at its expiry a locator is gone.
func TestA23LocatorsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLocators(evenly(100))
		c.Put("EX1", []Locator{found("fd00::1", 1, time.Second), found("fd00::2", 1, time.Minute)}, time.Now())
		time.Sleep(time.Second - 1)
		require.Len(t, get(c, "EX1"), 2)
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{"[fd00::2]:4000"}, texts(get(c, "EX1")))
		require.Equal(t, 1, living(c))
		time.Sleep(time.Minute)
		require.Zero(t, living(c))
		require.Empty(t, get(c, "EX1"))
		require.Empty(t, c.byName, "nothing is left of it")
		require.Zero(t, c.Len())
	})
}

func TestLocatorsFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLocators(evenly(100))
		fill := func() {
			flush(c, "EX1")
			c.Put("EX1", []Locator{
				found("fd00::1", 1, time.Second), found("fd00::2", 1, 2*time.Second), found("fd00::3", 1, 3*time.Second),
			}, time.Now())
			c.Put("EX2", []Locator{found("fd00::9", 1, time.Second)}, time.Now())
		}
		fill()
		flushBefore(c, "EX1", time.Now().Add(2*time.Second))
		require.Equal(t, []string{"[fd00::3]:4000"}, texts(get(c, "EX1")), "no more life left than that")
		fill()
		c.Remove("EX1", func(l *Locator) bool { return l.Wire.Addr.String() == "fd00::2" }, time.Now())
		require.Equal(t, []string{"[fd00::1]:4000", "[fd00::3]:4000"}, texts(get(c, "EX1")))
		flush(c, "EX1")
		require.Empty(t, get(c, "EX1"))
		require.Len(t, get(c, "EX2"), 1, "another objective")
		flush(c, "never heard of")
	})
}

func TestLocatorsDivert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLocators(evenly(100))
		c.Put("EX1", []Locator{
			found("fd00::1", 1, time.Minute), found("fd00::2", 2, time.Second), found("fe80::1", 2, time.Minute),
			foundName(wire.LocatorFQDN, "host.local"), foundName(wire.LocatorURI, "coap://host.local"),
		}, time.Now())
		on := func(link int) ([]string, time.Duration) {
			ws, left := c.Divert("EX1", link, time.Now())
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

func TestLocatorsIsBounded(t *testing.T) {
	c := NewLocators(Limits{All: 20, PerObjective: 8, PerSource: 20})
	put := func(name string, i int) int {
		return c.Put(name, []Locator{found(fmt.Sprintf("fd00::1:%x", i), 1, time.Hour)}, time.Now())
	}
	for i := range 50 {
		require.Equal(t, i >= 20, put(fmt.Sprintf("EX%d", i), 0) == 1, "what gives way is counted")
		require.LessOrEqual(t, len(c.byName), 20)
		require.Equal(t, len(c.byName), c.Len())
	}
	require.Len(t, get(c, "EX30"), 1) // used
	put("EX50", 0)
	require.Len(t, get(c, "EX30"), 1)
	require.Empty(t, get(c, "EX31"), "the least recently used")

	for i := range 16 {
		put("EX30", i)
	}
	got := get(c, "EX30")
	require.Len(t, got, 8)
	require.Equal(t, "[fd00::1:8]:4000", texts(got)[0], "the oldest give way")
	require.Equal(t, "[fd00::1:f]:4000", texts(got)[7])
}

// a rapid value serves for the locator it came with, while that lives.
func TestA49RapidValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLocators(evenly(100))
		rapid := func(i int) *wire.Objective { return get(c, "EX1")[i].Rapid }
		with := found("fd00::1", 1, time.Second)
		with.Rapid = &wire.Objective{Name: "EX1", Value: []byte{7}}
		c.Put("EX1", []Locator{with, found("fd00::2", 1, time.Minute)}, time.Now())
		require.Equal(t, with.Rapid, rapid(0))
		require.Nil(t, rapid(1))
		time.Sleep(time.Second)
		require.Nil(t, rapid(0))
		// A later response without a value takes the old one away.
		with.Expire = time.Now().Add(time.Minute)
		c.Put("EX1", []Locator{with}, time.Now())
		require.Equal(t, with.Rapid, rapid(1))
		plain := with
		plain.Rapid = nil
		c.Put("EX1", []Locator{plain}, time.Now())
		require.Nil(t, rapid(1))
	})
}

// The cache against a dumb twin, with random input.
func TestLocatorsTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 2))
		c := NewLocators(evenly(1000))
		twin := make(map[string][]Locator)
		live := func(name string) []Locator {
			twin[name] = slices.DeleteFunc(twin[name], func(l Locator) bool { return !l.Expire.After(time.Now()) })
			return twin[name]
		}
		for range 5_000 {
			name := fmt.Sprintf("EX%d", rnd.IntN(5))
			addr := fmt.Sprintf("%s::%d", []string{"fd00", "fe80"}[rnd.IntN(2)], rnd.IntN(6))
			l := found(addr, 1+rnd.IntN(2), time.Duration(rnd.IntN(20))*time.Second)
			switch rnd.IntN(10) {
			case 0:
				flush(c, name)
				twin[name] = nil
			case 1:
				at := time.Now().Add(5 * time.Second)
				flushBefore(c, name, at)
				twin[name] = slices.DeleteFunc(twin[name], func(l Locator) bool { return !l.Expire.After(at) })
			case 2:
				time.Sleep(time.Duration(rnd.IntN(3)) * time.Second)
			default:
				c.Put(name, []Locator{l}, time.Now())
				if i := slices.IndexFunc(live(name), func(o Locator) bool { return o.Place() == l.Place() }); i < 0 {
					twin[name] = append(twin[name], l)
				} else if l.Expire.After(twin[name][i].Expire) {
					twin[name][i].Expire = l.Expire
				}
			}
			want := live(name)
			got := get(c, name)
			require.Equal(t, texts(want), texts(got))
			for i := range got {
				require.Equal(t, want[i].Expire, got[i].Expire)
			}
		}
	})
}
