package conformance

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// what is cached comes at once and without a packet; after a flush the
// network is asked.
func TestA20Cache(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		call := b.Discover(o, time.Second, grasp.DiscoverOptions{})
		b.RespondAll(60_000, bed.IPv6("fd00::9", 99))
		require.Len(b, call.Within(time.Second).Found, 1)

		sent := b.Tapped()
		for name, opt := range map[string]grasp.DiscoverOptions{
			"plain": {}, "first": {First: true}, "cache only": {CacheOnly: true}, "still long enough": {MinimumTTL: 50 * time.Second},
		} {
			for _, timeout := range []time.Duration{0, time.Second, time.Hour} {
				require.Equal(b, []string{"[fd00::9]:99"}, bed.Texts(b.Discover(o, timeout, opt).Ok().Found), name)
			}
		}
		require.Zero(b, sent())
		require.Empty(b, b.Discover(bed.Neg("EX2", nil), 0, grasp.DiscoverOptions{CacheOnly: true}).Ok().Found)
		require.Zero(b, sent())

		call = b.Discover(o, time.Second, grasp.DiscoverOptions{Flush: true})
		require.Equal(b, 1, sent())
		b.RespondAll(60_000, bed.IPv6("fd00::8", 98))
		require.Equal(b, []string{"[fd00::8]:98"}, bed.Texts(call.Within(time.Second).Found), "the flushed one is gone")
	})
}

// sessions that use a flushed locator go on.
func TestA20FlushAndSessions(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(bed.Neg("EX1", 1))
		got, _ := k.Counter(2)
		_, err := b.ASA.Discover(bed.Forever, bed.Neg("EX1", nil), 0, grasp.DiscoverOptions{Flush: true})
		require.NoError(b, err)
		require.NoError(b, got.S.EndNegotiate(true, ""))
	})
}

// minimum_TTL: entries with no more life left go first, and so do all with
// Flush.
func TestA20MinimumTTL(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		call := b.Discover(o, 0, grasp.DiscoverOptions{})
		heard := b.Peer.Only()
		m := bed.Message[*wire.Discovery](b, heard)
		b.Peer.Respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 10_000, bed.IPv6("fd00::1", 1)})
		b.Peer.Respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 20_000, bed.IPv6("fd00::2", 2)})
		b.Peer.Respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 30_000, bed.IPv6("fd00::3", 3)})
		require.Len(b, call.Within(time.Second).Found, 3)
		start := bed.CachedIn(b.G, "EX1")[0].Expire.Add(-10 * time.Second) // when they came
		time.Sleep(time.Until(start.Add(5 * time.Second)))

		sent := b.Tapped()
		left := func(min time.Duration) []string {
			return bed.Texts(b.Discover(o, 0, grasp.DiscoverOptions{MinimumTTL: min}).Ok().Found)
		}
		require.Len(b, left(5*time.Second-1), 3)
		require.Equal(b, []string{"[fd00::2]:2", "[fd00::3]:3"}, left(5*time.Second))
		require.Equal(b, []string{"[fd00::3]:3"}, left(15*time.Second))
		require.Zero(b, sent())
		call = b.Discover(o, 0, grasp.DiscoverOptions{MinimumTTL: 25 * time.Second})
		require.Equal(b, 1, sent(), "none is left")
		require.Empty(b, call.Within(time.Second).Found)
	})
}

// results are collected until the timeout, in order of arrival, without
// duplicates.
func TestA21Collects(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		start := time.Now()
		call := b.Discover(bed.Neg("EX1", nil), 2*time.Second, grasp.DiscoverOptions{})
		heard := b.Peer.Only()
		m := bed.Message[*wire.Discovery](b, heard)
		respond := func(ttl int, options ...any) {
			b.Peer.Respond(heard, append(arr{2, m.SessionID, m.Initiator.AsSlice(), ttl}, options...))
		}
		respond(60_000, bed.IPv6("fd00::1", 1), bed.IPv6("fd00::2", 2))
		time.Sleep(time.Second)
		respond(60_000, bed.IPv6("fd00::3", 3), bed.IPv6("fd00::2", 2), bed.IPv6("fd00::2", 22))
		respond(60_000, arr{104, bed.IP("192.0.2.1"), 6, 4}, arr{105, "example.com", 6, 5}, arr{106, "coap://x/", nil, nil})
		respond(60_000, arr{100, bed.IPv6("fd00::6", 6)})
		a := call.Within(time.Second)
		require.NoError(b, a.Err)
		require.Equal(b, []string{
			"[fd00::1]:1", "[fd00::2]:2", "[fd00::3]:3", "[fd00::2]:22", "192.0.2.1:4", "example.com:5", "coap://x/", "[fd00::6]:6",
		}, bed.Texts(a.Found))
		require.Equal(b, 2*time.Second, a.At.Sub(start))
		require.Empty(b, b.Peer.All(), "no repetition where there are answers")
		require.Equal(b, bed.Texts(a.Found), bed.Texts(bed.CachedIn(b.G, "EX1")))
	})
}

// First returns with the first response, a round trip after the call.
func TestA21First(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Links[0].SetDelay(10 * time.Millisecond)
		other := b.Other("other")
		require.NoError(b, other.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{Discoverable: true}))
		var found []grasp.Locator
		var err error
		d := bed.Took(func() {
			found, err = b.ASA.Discover(bed.Forever, bed.Neg("EX1", nil), time.Hour, grasp.DiscoverOptions{First: true})
		})
		require.NoError(b, err)
		require.Equal(b, []string{bed.At(other.Instance()).String()}, bed.Texts(found))
		// Multicast there; a connection back, which takes a round trip, and the response.
		require.Equal(b, 40*time.Millisecond, d)
	})
}

// where it came by, and for how long it lives.
func TestA22Fields(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Discover(bed.Neg("EX1", nil), time.Second, grasp.DiscoverOptions{})
		came := time.Now()
		heard := b.Peer.Only()
		m := bed.Message[*wire.Discovery](b, heard)
		b.Peer.Respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 5000,
			bed.IPv6("fd00::1", 1), bed.IPv6("fe80::1", 2), arr{104, bed.IP("192.0.2.1"), 17, 3}, arr{105, "example.com", 41, 4},
			arr{106, "coap://x/", nil, nil}, arr{106, "coap://x/", 6, 5}, arr{100, bed.IPv6("fd00::2", 6)}})
		link := b.Index(b.Links[0])
		expire := came.Add(5 * time.Second)
		require.Equal(b, []grasp.Locator{
			{IP: netip.MustParseAddr("fd00::1"), Protocol: grasp.TCP, Port: 1, IfIndex: link, Expire: expire},
			{IP: netip.MustParseAddr("fe80::1").WithZone(bed.Zone(link)), Protocol: grasp.TCP, Port: 2, IfIndex: link, Expire: expire},
			{IP: netip.MustParseAddr("192.0.2.1"), Protocol: grasp.UDP, Port: 3, IfIndex: link, Expire: expire},
			{FQDN: "example.com", Protocol: 41, Port: 4, IfIndex: link, Expire: expire},
			{URI: "coap://x/", IfIndex: link, Expire: expire},
			{URI: "coap://x/", Protocol: grasp.TCP, Port: 5, IfIndex: link, Expire: expire},
			{IP: netip.MustParseAddr("fd00::2"), Protocol: grasp.TCP, Port: 6, IfIndex: link, Expire: expire, Diverted: true},
		}, call.Within(time.Second).Found)
	})
}

// D-08: a ttl of 0 stands for 600 s. A-23: then the locator never comes back.
func TestA23Expiry(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{LocatorLifetime: 50 * 24 * time.Hour}}, func(b *bed.Bed) {
		for ttl, lives := range map[uint32]time.Duration{0: 600 * time.Second, 1: time.Millisecond, math.MaxUint32: math.MaxUint32 * time.Millisecond} {
			o := bed.Neg(fmt.Sprintf("EX%d", ttl), nil)
			call := b.Discover(o, 0, grasp.DiscoverOptions{First: true})
			b.RespondAll(ttl, bed.IPv6("fd00::1", 1))
			a := call.Ok()
			require.Len(b, a.Found, 1)
			require.Equal(b, lives, a.Found[0].Expire.Sub(a.At))
			time.Sleep(lives - 1)
			known := func() int { return len(b.Discover(o, 0, grasp.DiscoverOptions{CacheOnly: true}).Ok().Found) }
			require.Equal(b, 1, known())
			time.Sleep(time.Nanosecond)
			require.Zero(b, known())
		}
	})
}

// the ttl of a Divert is what is left, and never 0, which would stand for
// much longer.
func TestDivertTTL(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		b.Learn(b.Far, "EX1", 1000, bed.IPv6("fd00::9", 9))
		for i, c := range []struct {
			left time.Duration
			ttl  uint32
		}{{900 * time.Millisecond, 900}, {time.Microsecond, 1}} {
			time.Sleep(time.Until(bed.CachedIn(b.G, "EX1")[0].Expire.Add(-c.left)))
			m, ok := b.Peer.Discover(uint32(i), "EX1")
			require.True(b, ok)
			require.Equal(b, c.ttl, bed.Message[*wire.Response](b, m).TTL)
		}
	})
}

// several ASAs look for the same objective at the same time, and each
// finds it.
func TestA24Concurrently(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		second := bed.NewASA(b, b.G, "second")
		one := b.Discover(bed.Neg("EX1", nil), time.Second, grasp.DiscoverOptions{})
		two := b.Call(func() bed.Answer {
			found, err := second.Discover(bed.Forever, bed.Neg("EX1", nil), time.Second, grasp.DiscoverOptions{})
			return bed.Answer{Found: found, Err: err}
		})
		b.RespondAll(60_000, bed.IPv6("fd00::1", 1))
		require.Len(b, one.Within(time.Second).Found, 1)
		require.Len(b, two.Within(time.Second).Found, 1)
	})
}

// in a DULL instance the loop count is 1 whatever the objective says.
func TestA25DULL(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{DULL: true, DULLObjectives: []string{"EX1"}}, func(b *bed.Bed) {
		start := time.Now()
		a := b.Discover(withLoops(bed.Neg("EX1", nil), 255), 0, grasp.DiscoverOptions{}).Within(bed.Ever)
		require.NoError(b, a.Err)
		require.Equal(b, 100*time.Millisecond, a.At.Sub(start))
		require.EqualValues(b, 1, bed.Message[*wire.Discovery](b, b.Peer.Only()).Objective.LoopCount)
	})
}

// with a loop count of 1 nothing beyond the link is found, with 2 it is.
func TestA26LoopCount(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		require.NoError(b, bed.NewASA(b, bed.InstanceWith(b, b.Net.NewNode("beyond", b.Links[1])), "beyond").
			RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{Discoverable: true}))
		asker := b.Other("asker")
		for loops, want := range map[uint8]int{1: 0, 2: 1} {
			o := bed.Neg("EX1", nil)
			o.LoopCount = loops
			bed.Flush(b, b.ASA, "EX1") // the node between answers from its cache, too
			found, err := asker.Discover(bed.Forever, o, 0, grasp.DiscoverOptions{Flush: true})
			require.NoError(b, err)
			require.Len(b, found, want, "loop count %d", loops)
		}
	})
}

// The default time is 100 ms for each loop count (0: of 6), and the network is asked
// again, each time after twice as long, with a new session ID.
func TestDiscoverTimes(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for loops, want := range map[uint8]time.Duration{0: 600, 1: 100, 6: 600, 255: 25_500} {
			o := grasp.Objective{Name: "EX1", LoopCount: loops}
			start := time.Now()
			a := b.Discover(o, 0, grasp.DiscoverOptions{}).Within(bed.Ever)
			require.NoError(b, a.Err, "nothing found is no error")
			require.Empty(b, a.Found)
			require.Equal(b, want*time.Millisecond, a.At.Sub(start))
			require.Len(b, b.Peer.All(), 1)
		}
		start := time.Now()
		a := b.Discover(bed.Neg("EX1", nil), 10*time.Second, grasp.DiscoverOptions{}).Within(bed.Ever)
		require.Equal(b, 10*time.Second, a.At.Sub(start), "as it is given")
		var at []time.Duration
		ids := make(map[uint32]bool)
		for _, p := range b.Peer.All() {
			at = append(at, p.At.Sub(start))
			ids[p.ID(b)] = true
		}
		ms := time.Millisecond
		require.Equal(b, []time.Duration{0, 600 * ms, 1800 * ms, 4200 * ms, 9000 * ms}, at)
		require.Len(b, ids, 5)

		start = time.Now()
		a = b.Discover(bed.Neg("EX1", nil), 50*time.Millisecond, grasp.DiscoverOptions{}).Within(bed.Ever)
		require.Equal(b, 50*ms, a.At.Sub(start), "less than the default, as it is given")
		require.Zero(b, b.Discover(bed.Neg("EX1", nil), -1, grasp.DiscoverOptions{}).Within(bed.Ever).At.Sub(a.At))
	})
}

// An answer to a repeated question counts, and so does a late one to the
// question before.
func TestDiscoverRepetition(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Discover(bed.Neg("EX1", nil), time.Hour, grasp.DiscoverOptions{First: true})
		first := b.Peer.Only()
		time.Sleep(time.Second)
		require.Len(b, b.Peer.All(), 1)
		m := bed.Message[*wire.Discovery](b, first)
		b.Peer.Respond(first, arr{2, m.SessionID, m.Initiator.AsSlice(), 1000, bed.IPv6("fd00::1", 1)})
		require.Len(b, call.Ok().Found, 1)
		// Now it is over.
		b.Peer.Respond(first, arr{2, m.SessionID, m.Initiator.AsSlice(), 1000, bed.IPv6("fd00::2", 1)})
		b.WantDrop(grasp.ReasonUnsolicited, 1)
		require.Len(b, bed.CachedIn(b.G, "EX1"), 1)
	})
}

// A name that does not fit a multicast is refused before anything is sent.
func TestDiscoverTooLong(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		sent := b.Tapped()
		fits := acp.MaxMulticast - len(bed.Encoded(b, arr{1, uint32(math.MaxUint32), b.Peer.Addr(), arr{string(make([]byte, 1000)), 3, 6, nil}})) + 1000
		name := string(make([]byte, fits+1))
		bed.IsCode(b, b.Discover(grasp.Objective{Name: name, Neg: true, LoopCount: 6}, 0, grasp.DiscoverOptions{}).Done().Err, grasp.ErrTooLong)
		require.Zero(b, sent())
		bed.IsCode(b, b.RequestLong(name), grasp.ErrTooLong)
		require.Zero(b, sent())
	})
}

// ASAs of one instance find each other without the network, even without
// a link or an address, and talk to each other.
func TestDiscoverWithinAnInstance(t *testing.T) {
	for name, prepare := range map[string]func(*bed.Bed){
		"on a link":    func(*bed.Bed) {},
		"no link":      func(b *bed.Bed) { b.Node.Detach(b.Links[0]) },
		"no address":   func(b *bed.Bed) { bed.Must(b.Node.SetAddr(netip.Addr{})) },
		"neither":      func(b *bed.Bed) { b.Node.Detach(b.Links[0]); bed.Must(b.Node.SetAddr(netip.Addr{})) },
		"link is down": func(b *bed.Bed) { b.Links[0].Down() },
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				prepare(b)
				second := bed.NewASA(b, b.G, "second")
				o := bed.Neg("EX1", 1)
				yes := grasp.RegisterOptions{Overlap: true}
				require.NoError(b, b.ASA.RegisterObj(o, yes))
				require.NoError(b, second.RegisterObj(o, yes))
				bed.Registered(b, bed.Syn("EX2", nil), second)
				require.NoError(b, second.ListenSynchronize(bed.Syn("EX2", 7)))
				listening := b.ListenBy(second, o)
				sent := b.Tapped()
				found := b.Discover(o, 0, grasp.DiscoverOptions{}).Ok().Found
				require.Len(b, found, 1)
				asked := b.Request(o, nil, 0)
				require.NoError(b, listening.Ok().S.EndNegotiate(true, ""))
				require.EqualValues(b, 1, asked.Ok().O.Value)
				require.EqualValues(b, 7, bed.Must1(b.ASA.Synchronize(bed.Forever, bed.Syn("EX2", nil), nil, 0)).Value)
				require.Zero(b, sent())
				b.Peer.NotDialed()
				// Not with itself, though: nobody else is there.
				require.NoError(b, second.Deregister())
				require.Empty(b, b.Discover(o, 0, grasp.DiscoverOptions{CacheOnly: true}).Ok().Found)
				synctest.Wait()
				require.Zero(b, b.G.Snapshot().Streams)
				require.Empty(b, b.G.Snapshot().Sessions)
			})
		})
	}
}

// Two instances on one node find each other as if they were on two.
func TestDiscoverTwoInstancesOnANode(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		a := bed.NewASA(b, bed.InstanceWith(b, b.Node), "second")
		o := bed.Neg("EX1", 1)
		bed.Registered(b, o, b.ASA, a)
		listening := b.ListenBy(a, o)
		asked := b.Request(o, nil, 0)
		got := listening.Ok()
		require.Equal(b, b.Node.Addr(), got.S.Source().Addr())
		require.NoError(b, got.S.EndNegotiate(true, ""))
		asked.Ok()
		require.NotEqual(b, b.G.Snapshot().Port, a.Instance().Snapshot().Port)
		require.Zero(b, a.Instance().Snapshot().Dropped[grasp.ReasonOwn])
		b.WantDrop(grasp.ReasonOwn, 1) // its own multicast came back to it, and is known
	})
}

// ASAs of one node find each other by a link-local locator, too, on whichever link it is.
func TestLocalLocatorOfAnyLink(t *testing.T) {
	for i := range 2 {
		for _, zoned := range []bool{false, true} {
			bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
				link := bed.LinkOf(b.Node, b.Links[i])
				l := grasp.Locator{IP: link.Addr.WithZone(""), Protocol: grasp.TCP, Port: 4000}
				if zoned {
					l.IP = link.Addr.WithZone(bed.Zone(link.Index))
				}
				opt := grasp.RegisterOptions{Discoverable: true, Locators: []grasp.Locator{l}}
				require.NoError(b, bed.NewASA(b, b.G, "there").RegisterObj(bed.Neg("EX1", 1), opt))
				found := b.Discover(bed.Neg("EX1", nil), 0, grasp.DiscoverOptions{CacheOnly: true}).Ok().Found
				require.Len(b, found, 1)
				require.Equal(b, link.Index, found[0].IfIndex)
				require.Equal(b, link.Addr.WithZone(bed.Zone(link.Index)), found[0].IP)
			})
		}
	}
}
