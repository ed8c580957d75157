package grasp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

// Section 2.5.4.3: several responders are all kept, each with the interface it
// was found by, for the lifetime that it gave.
func TestD16D17Cache(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		ex1 := syn("EX1", nil)
		call := b.discover(ex1, time.Second, DiscoverOptions{})
		near, far := b.peer.only(), b.far.only()
		b.peer.respond(near, arr{2, near.id(b), near.items(b)[2], 30000, b.peer.option()})
		b.far.respond(far, arr{2, far.id(b), far.items(b)[2], 60000, b.far.option()})
		b.far.respond(far, arr{2, far.id(b), far.items(b)[2], 90000, arr{100, arr{103, ip("fd00::77"), 6, 7017}}})
		found := call.within(time.Second).found
		require.Len(b, found, 3)
		require.Equal(b, []int{b.index(b.links[0]), b.index(b.links[1]), b.index(b.links[1])},
			[]int{found[0].IfIndex, found[1].IfIndex, found[2].IfIndex})
		require.Equal(b, []bool{false, false, true}, []bool{found[0].Diverted, found[1].Diverted, found[2].Diverted})
		require.Len(b, b.g.Snapshot().Locators, 3)

		// Each goes when its time is up, to the millisecond.
		cached := func() []Locator {
			a := b.discover(ex1, 0, DiscoverOptions{CacheOnly: true}).ok()
			return a.found
		}
		time.Sleep(time.Until(near.at.Add(30*time.Second - time.Nanosecond)))
		require.Equal(b, found, cached())
		time.Sleep(time.Nanosecond)
		require.Equal(b, found[1:], cached())
		require.Len(b, b.g.Snapshot().Locators, 2)
		time.Sleep(30 * time.Second)
		require.Equal(b, found[2:], cached())
		time.Sleep(30 * time.Second)
		require.Empty(b, cached())
		b.peer.none()

		// Nor do they serve anything else.
		_, ok := b.peer.discover(7, "EX1")
		require.False(b, ok, "no Divert")
		b.register(neg("EX3", 1))
		b.learn(b.peer, "EX3", 1000, b.peer.option())
		time.Sleep(time.Second)
		b.request(neg("EX3", 1), nil, time.Second)
		require.EqualValues(b, 1, b.peer.only().items(b)[0], "discovery")
		b.peer.notDialed()
	})
}

// Section 2.5.4.3: cached locators serve later negotiations and
// synchronizations, and are passed on.
func TestD18CacheServes(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		b.learn(b.peer, "EX3", 60000, b.peer.option())
		b.learn(b.peer, "EX1", 60000, b.peer.option())
		call := b.request(ex3, nil, 0)
		s := b.peer.dialed()
		s.send(arr{6, s.read().id(b), arr{101}})
		call.ok()
		call = b.synchronize(syn("EX1", nil), nil, 0)
		s = b.peer.dialed()
		s.send(arr{8, s.read().id(b), arr{"EX1", 5, 6, "value"}})
		call.ok()
		b.peer.none()
		_, ok := b.far.discover(7, "EX1")
		require.True(b, ok)
	})
}

// Section 2.5.4.3: responses give the address of the moment.
func TestD19AddressOfTheMoment(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		require.NoError(b, b.asa.RegisterObj(neg("EX4", nil), RegisterOptions{Discoverable: true, Local: true}))
		address := func(id uint32, name string) []byte {
			m, ok := b.peer.discover(id, name)
			require.True(b, ok)
			return m.items(b)[4].(arr)[1].([]byte)
		}
		require.Equal(b, b.node.Addr().AsSlice(), address(1, "EX3"))
		renumbered := b.node.Renumber()
		require.Equal(b, renumbered.AsSlice(), address(2, "EX3"))
		b.node.RenumberLink(b.links[0])
		require.Equal(b, linkOf(b.node, b.links[0]).Addr.AsSlice(), address(3, "EX4"))
	})
}

// Equal locators are folded into one, the later expiry wins.
func TestD25EqualLocators(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", nil)
		call := b.discover(ex1, time.Second, DiscoverOptions{})
		m := b.peer.only()
		for _, ttl := range []int{30000, 90000, 60000} {
			b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], ttl, b.peer.option(), b.peer.option()})
		}
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, arr{100, b.peer.option()}})
		found := call.within(time.Second).found
		require.Len(b, found, 1)
		require.Equal(b, 90*time.Second, found[0].Expire.Sub(m.at))
		require.False(b, found[0].Diverted)
		require.Equal(b, found, b.discover(ex1, 0, DiscoverOptions{}).ok().found, "the cache has the same")
		require.Len(b, b.g.Snapshot().Locators, 1)

		// Equal means all of it: another port or protocol is another place.
		b.learn(b.peer, "EX2", 60000, b.peer.option(), arr{103, b.peer.addr(), 17, b.peer.ep.Port()}, arr{103, b.peer.addr(), 6, 1})
		require.Len(b, b.discover(syn("EX2", nil), 0, DiscoverOptions{}).ok().found, 3)
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
