package conformance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.5.4.3: several responders are all kept, each with the interface it
// was found by, for the lifetime that it gave.
func TestD16D17Cache(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", nil)
		call := b.Discover(ex1, time.Second, grasp.DiscoverOptions{})
		near, far := b.Peer.Only(), b.Far.Only()
		b.Peer.Respond(near, arr{2, near.ID(b), near.Items(b)[2], 30000, b.Peer.Option()})
		b.Far.Respond(far, arr{2, far.ID(b), far.Items(b)[2], 60000, b.Far.Option()})
		b.Far.Respond(far, arr{2, far.ID(b), far.Items(b)[2], 90000, arr{100, arr{103, bed.IP("fd00::77"), 6, 7017}}})
		found := call.Within(time.Second).Found
		require.Len(b, found, 3)
		require.Equal(b, []int{b.Index(b.Links[0]), b.Index(b.Links[1]), b.Index(b.Links[1])},
			[]int{found[0].IfIndex, found[1].IfIndex, found[2].IfIndex})
		require.Equal(b, []bool{false, false, true}, []bool{found[0].Diverted, found[1].Diverted, found[2].Diverted})
		require.Len(b, b.G.Snapshot().Locators, 3)

		// Each goes when its time is up, to the millisecond.
		cached := func() []grasp.Locator {
			a := b.Discover(ex1, 0, grasp.DiscoverOptions{CacheOnly: true}).Ok()
			return a.Found
		}
		time.Sleep(time.Until(near.At.Add(30*time.Second - time.Nanosecond)))
		require.Equal(b, found, cached())
		time.Sleep(time.Nanosecond)
		require.Equal(b, found[1:], cached())
		require.Len(b, b.G.Snapshot().Locators, 2)
		time.Sleep(30 * time.Second)
		require.Equal(b, found[2:], cached())
		time.Sleep(30 * time.Second)
		require.Empty(b, cached())
		b.Peer.None()

		// Nor do they serve anything else.
		_, ok := b.Peer.Discover(7, "EX1")
		require.False(b, ok, "no Divert")
		b.Register(bed.Neg("EX3", 1))
		b.Learn(b.Peer, "EX3", 1000, b.Peer.Option())
		time.Sleep(time.Second)
		b.Request(bed.Neg("EX3", 1), nil, time.Second)
		require.EqualValues(b, 1, b.Peer.Only().Items(b)[0], "discovery")
		b.Peer.NotDialed()
	})
}

// Section 2.5.4.3: a Divert is not sent on the interface from which the entry was
// learned, or on any of them.
func TestD14LearnedOnTwoLinks(t *testing.T) {
	bed.InLinks(t, 3, grasp.Config{}, func(b *bed.Bed) {
		third := b.NewPeer("third", b.Links[2])
		call := b.Discover(bed.Syn("EX1", nil), time.Second, grasp.DiscoverOptions{})
		near, far := b.Peer.Only(), b.Far.Only()
		shared := arr{103, bed.IP("fd00::77"), 6, 7017}
		b.Peer.Respond(near, arr{2, near.ID(b), near.Items(b)[2], 60000, shared})
		b.Far.Respond(far, arr{2, far.ID(b), far.Items(b)[2], 30000, shared})
		require.Len(b, call.Within(time.Second).Found, 1)
		id := uint32(100)
		told := func(p *bed.Peer) bool {
			id++
			_, ok := p.Discover(id, "EX1")
			return ok
		}
		require.Equal(b, []bool{false, false, true}, []bool{told(b.Peer), told(b.Far), told(third)})
		time.Sleep(30 * time.Second) // what came by the second link has expired
		require.Equal(b, []bool{false, true, true}, []bool{told(b.Peer), told(b.Far), told(third)})
	})
}

// Section 2.5.4.3: cached locators serve later negotiations and
// synchronizations, and are passed on.
func TestD18CacheServes(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		b.Learn(b.Peer, "EX3", 60000, b.Peer.Option())
		b.Learn(b.Peer, "EX1", 60000, b.Peer.Option())
		call := b.Request(ex3, nil, 0)
		s := b.Peer.Dialed()
		s.Send(arr{6, s.Next().ID(b), arr{101}})
		call.Ok()
		call = b.Synchronize(bed.Syn("EX1", nil), nil, 0)
		s = b.Peer.Dialed()
		s.Send(arr{8, s.Next().ID(b), arr{"EX1", 5, 6, "value"}})
		call.Ok()
		b.Peer.None()
		_, ok := b.Far.Discover(7, "EX1")
		require.True(b, ok)
	})
}

// Section 2.5.4.3: responses give the address of the moment.
func TestD19AddressOfTheMoment(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX4", nil), grasp.RegisterOptions{Discoverable: true, Local: true}))
		address := func(id uint32, name string) []byte {
			m, ok := b.Peer.Discover(id, name)
			require.True(b, ok)
			return m.Items(b)[4].(arr)[1].([]byte)
		}
		require.Equal(b, b.Node.Addr().AsSlice(), address(1, "EX3"))
		renumbered := b.Node.Renumber()
		require.Equal(b, renumbered.AsSlice(), address(2, "EX3"))
		b.Node.RenumberLink(b.Links[0])
		require.Equal(b, bed.LinkOf(b.Node, b.Links[0]).Addr.AsSlice(), address(3, "EX4"))
	})
}

// Equal locators are folded into one, the later expiry wins.
func TestD25EqualLocators(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", nil)
		call := b.Discover(ex1, time.Second, grasp.DiscoverOptions{})
		m := b.Peer.Only()
		for _, ttl := range []int{30000, 90000, 60000} {
			b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], ttl, b.Peer.Option(), b.Peer.Option()})
		}
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, arr{100, b.Peer.Option()}})
		found := call.Within(time.Second).Found
		require.Len(b, found, 1)
		require.Equal(b, 90*time.Second, found[0].Expire.Sub(m.At))
		require.False(b, found[0].Diverted)
		require.Equal(b, found, b.Discover(ex1, 0, grasp.DiscoverOptions{}).Ok().Found, "the cache has the same")
		require.Len(b, b.G.Snapshot().Locators, 1)

		// Equal means all of it: another port or protocol is another place.
		b.Learn(b.Peer, "EX2", 60000, b.Peer.Option(), arr{103, b.Peer.Addr(), 17, b.Peer.Endpoint.Port()}, arr{103, b.Peer.Addr(), 6, 1})
		require.Len(b, b.Discover(bed.Syn("EX2", nil), 0, grasp.DiscoverOptions{}).Ok().Found, 3)
	})
}
