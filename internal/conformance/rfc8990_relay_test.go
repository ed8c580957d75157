package conformance

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/loop"
)

// relayBed is a bed with three links and a peer on each.
func relayBed(t *testing.T, cfg grasp.Config, test func(b *bed.Bed, third *bed.Peer)) {
	t.Helper()
	bed.InLinks(t, 3, cfg, func(b *bed.Bed) { test(b, b.NewPeer("third", b.Links[2])) })
}

// Section 2.5.4.4: what an instance neither supports nor has cached it sends on
// all its other interfaces: with session ID and initiator as they were, and the
// loop count less one.
func TestR01R02R03R04Relay(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		message := func(id, loops int) arr { return arr{1, id, bed.IP("2001:db8::1"), arr{"EX1", 5, loops, nil}} }
		for i, loops := range []int{255, 6, 2} {
			b.Peer.Multicast(message(i, loops))
			want := bed.Encoded(b, message(i, loops-1))
			require.Equal(b, want, b.Far.Only().Raw)
			require.Equal(b, want, third.Only().Raw)
			b.Peer.None()
		}
		for i, loops := range []int{1, 0} {
			b.Peer.Multicast(message(i+100, loops))
			b.WantDrop(grasp.ReasonLoopCount, i+1)
		}
		b.Far.None()
		third.None()
		// From another link.
		third.Multicast(message(200, 6))
		b.Far.Only()
		b.Peer.Only()
		third.None()
		require.EqualValues(b, 8, b.G.Snapshot().Relayed["M_DISCOVERY"])
		b.Peer.NotDialed()
	})
}

// What it supports or has cached it answers, and does not relay.
func TestR02WhatIsAnsweredIsNotRelayed(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		_, ok := b.Peer.Discover(7, "EX3")
		require.True(b, ok)
		call := b.Discover(bed.Syn("EX1", nil), time.Hour, grasp.DiscoverOptions{First: true})
		b.Peer.Only()
		third.Only()
		m := b.Far.Only()
		b.Far.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Far.Option()})
		call.Ok()
		_, ok = b.Peer.Discover(8, "EX1")
		require.True(b, ok)
		b.Far.None()
		third.None()

		// A link-local locator cannot be told: as if nothing were cached.
		b.Learn(b.Far, "EX2", 60000, arr{103, bed.LinkOf(b.Far.Node, b.Links[1]).Addr.AsSlice(), 6, 7017})
		third.All()
		_, ok = b.Peer.Discover(9, "EX2")
		require.False(b, ok)
		b.Far.Only()
		third.Only()
	})
}

// Everything but the loop count stays bit for bit.
func TestR03RelayedBitForBit(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		// Lengths that are not the shortest, a name in two pieces, an unknown
		// flag, a float as value, a surplus option.
		odd := []byte{
			0x9f, 0x18, 0x01, 0x1b, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x58, 0x04, 192, 0, 2, 1,
			0x9f, 0x7f, 0x61, 'E', 0x62, 'X', '1', 0xff, 0x18, 0x80, 0x19, 0x00, 0x06, 0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xff,
			0x82, 0x18, 0xc8, 0xf7, 0xff,
		}
		require.NoError(b, cbor.Wellformed(odd))
		count := []byte{0x19, 0x00, 0x06}
		require.Equal(b, 1, bytes.Count(odd, count))
		want := bytes.Replace(odd, count, []byte{0x05}, 1)
		b.Peer.Multicast(odd)
		require.Equal(b, want, b.Far.Only().Raw)
	})
}

// Sections 2.5.4.4 and 2.5.6.2: the total rate of what is relayed is limited,
// neighbours share it, and one that floods does not silence the others.
func TestR05F11RelayRate(t *testing.T) {
	const perSecond = 40
	for _, kind := range []int{1, 9} {
		t.Run(fmt.Sprint("type ", kind), func(t *testing.T) {
			relayBed(t, grasp.Config{Limits: grasp.Limits{RelayRate: perSecond}}, func(b *bed.Bed, third *bed.Peer) {
				id := 0
				send := func(p *bed.Peer, n int) {
					for range n {
						id++
						m := arr{1, id, p.Addr(), arr{"EX1", 5, 6, nil}}
						if kind == 9 {
							m = arr{9, id, p.Addr(), 0, arr{arr{"EX1", 5, 6, nil}, arr{}}}
						}
						require.NoError(b, p.Endpoint.Send(bed.LinkOf(p.Node, p.Link).Index, bed.Encoded(b, m)))
					}
					synctest.Wait()
				}
				// seconds has some neighbours send so many each, ten times a second.
				seconds := func(n int, each map[*bed.Peer]int) {
					for range 10 * n {
						time.Sleep(100 * time.Millisecond)
						for p, count := range each {
							send(p, count)
						}
					}
				}
				// relayed counts what was heard since, by neighbour.
				relayed := func() map[netip.Addr]int {
					n := make(map[netip.Addr]int)
					for _, p := range third.All() {
						var m []any
						require.NoError(b, cbor.Unmarshal(p.Raw, &m))
						from, _ := netip.AddrFromSlice(m[2].([]byte))
						n[from]++
					}
					return n
				}
				alone := b.Peer
				send(alone, 400)
				got := relayed()[alone.Node.Addr()]
				require.LessOrEqual(b, got, loop.BurstTime*perSecond, "one neighbour has all")
				require.GreaterOrEqual(b, got, loop.BurstTime*perSecond-perSecond/2, "as long as there is enough nothing is left to chance")
				require.NotEmpty(b, b.Dropped(grasp.ReasonRate))
				seconds(10, map[*bed.Peer]int{alone: 30})
				require.InDelta(b, 10*perSecond, relayed()[alone.Node.Addr()], perSecond, "in the long run")

				other := b.NewPeer("other", b.Links[0])
				both := map[*bed.Peer]int{alone: 15, other: 15}
				seconds(5, both)
				relayed()
				seconds(10, both)
				n := relayed()
				require.InDelta(b, 10*perSecond/2, n[alone.Node.Addr()], perSecond, "half for each")
				require.InDelta(b, 10*perSecond/2, n[other.Node.Addr()], perSecond, "half for each")

				// One that floods, and one that sends now and then.
				flooding := map[*bed.Peer]int{alone: 30}
				seconds(5, flooding)
				relayed()
				for range 20 {
					seconds(1, flooding)
					send(other, 2)
				}
				require.Equal(b, 40, relayed()[other.Node.Addr()], "within its share nothing is lost")

				// Many neighbours together do not exceed the whole.
				many := make(map[*bed.Peer]int)
				for i := range 12 {
					many[b.NewPeer(fmt.Sprint("neighbour", i), b.Links[0])] = 5
				}
				seconds(5, many)
				relayed()
				seconds(10, many)
				total := 0
				n = relayed()
				for p := range many {
					require.Greater(b, n[p.Node.Addr()], 10*perSecond/12/2, "each gets something")
					total += n[p.Node.Addr()]
				}
				require.InDelta(b, 10*perSecond, total, perSecond)
				// The other kind has a limit of its own.
				kind = 10 - kind
				send(b.Peer, 1)
				require.Len(b, third.All(), 1)
			})
		})
	}
}

// Section 2.5.4.4: session ID and initiator are remembered, and the same pair is
// not relayed twice; nor is a node's own discovery that comes back to it.
func TestR06RelayedOnce(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		m := arr{1, 7, bed.IP("2001:db8::1"), arr{"EX1", 5, 6, nil}}
		b.Peer.Multicast(m)
		b.Far.Only()
		third.Only()
		// Again, and round a loop, with another loop count even.
		b.Peer.Multicast(m)
		m[3].(arr)[2] = 5
		b.Far.Multicast(m)
		m[3].(arr)[2] = 4
		third.Multicast(m)
		b.WantDrop(grasp.ReasonRelayedBefore, 3)
		time.Sleep(loop.Memory - bed.Soon)
		b.Peer.Multicast(m)
		for _, p := range []*bed.Peer{b.Peer, b.Far, third} {
			p.None()
		}
		// The ID alone, or the initiator alone, is another discovery.
		b.Peer.Multicast(arr{1, 7, bed.IP("2001:db8::2"), arr{"EX1", 5, 6, nil}})
		b.Far.Only()
		b.Peer.Multicast(arr{1, 8, bed.IP("2001:db8::1"), arr{"EX1", 5, 6, nil}})
		b.Far.Only()
		third.All()
		// The memory is no longer than needed.
		time.Sleep(2 * bed.Soon)
		b.Peer.Multicast(m)
		b.Far.Only()
		third.Only()

		// Its own.
		call := b.Discover(bed.Syn("EX2", nil), time.Second, grasp.DiscoverOptions{})
		own := b.Peer.All()[0]
		b.Far.All()
		third.All()
		items := own.Items(b)
		items[3].(arr)[2] = 5
		b.Peer.Multicast(items)
		b.Far.None()
		third.None()
		call.Within(time.Second)
	})
}

// Section 2.5.4.4: results go back, as M_RESPONSE, to where the discovery came
// from, with its session ID and initiator. They come to the relay's own port.
func TestR08R09ResultsGoBack(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		initiator := bed.IP("2001:db8::1")
		b.Peer.Multicast(arr{1, 7, initiator, arr{"EX1", 5, 6, nil}})
		m := b.Far.Only()
		require.Equal(b, b.At().Port(), m.From.Port())
		require.Equal(b, bed.LinkOf(b.Node, b.Links[1]).Addr.WithZone(""), m.From.Addr().WithZone(""))
		time.Sleep(100 * time.Millisecond)
		b.Far.Respond(m, arr{2, 7, initiator, 30000, b.Far.Option(), arr{103, bed.IP("fd00::77"), 6, 1}})
		s := b.Peer.Dialed()
		// As a Divert, since the relay is not the responder.
		s.Next().Is(b, fmt.Sprintf(`[2, %%d, %s, 30000, [100, [103, %s, 6, %d], [103, %s, 6, 1]]]`,
			bed.Hex(initiator), bed.Hex(b.Far.Addr()), b.Far.Endpoint.Port(), bed.Hex(bed.IP("fd00::77"))))
		s.Closed()

		// Each result as it comes, and a Divert flattened; not link-local
		// addresses, nor names that mean nothing elsewhere (2.9.5.3).
		again := third.Only()
		third.Respond(again, arr{2, 7, initiator, 0, arr{100, arr{104, bed.IP("192.0.2.1"), 6, 2}, arr{105, "example.com", 6, 3}, arr{105, "host.local", 6, 5}},
			arr{103, bed.LinkOf(third.Node, b.Links[2]).Addr.AsSlice(), 6, 4}})
		s = b.Peer.Dialed()
		// A ttl of 0 means 600 s, but is never sent.
		s.Next().Is(b, fmt.Sprintf(`[2, %%d, %s, 600000, [100, [104, %s, 6, 2], [105, "example.com", 6, 3]]]`, bed.Hex(initiator), bed.Hex(bed.IP("192.0.2.1"))))
		third.Respond(again, arr{2, 7, initiator, 30000, arr{103, bed.LinkOf(third.Node, b.Links[2]).Addr.AsSlice(), 6, 4}})
		b.Peer.NotDialed()
		third.NotDialed()
		b.Far.NotDialed()

		// What was found is in the cache: for the next who asks.
		_, ok := b.Peer.Discover(8, "EX1")
		require.True(b, ok)
		b.Far.None()
		require.Len(b, b.G.Snapshot().Locators, 6)
		// But not told on the link where it was learned.
		m2, ok := b.Far.Discover(9, "EX1")
		require.True(b, ok)
		require.NotContains(b, m2.String(), bed.Hex(b.Far.Addr())+", 6, "+fmt.Sprint(b.Far.Endpoint.Port()))
	})
}

// Section 2.5.4.4: the relay gives its part a timeout: what comes later, or for
// something it did not relay, is dropped.
func TestR07RelayTimeout(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		initiator := bed.IP("2001:db8::1")
		b.Peer.Multicast(arr{1, 7, initiator, arr{"EX1", 5, 6, nil}})
		m := b.Far.Only()
		b.Far.Respond(m, arr{2, 8, initiator, 60000, b.Far.Option()})
		b.Far.Respond(m, arr{2, 7, bed.IP("2001:db8::2"), 60000, b.Far.Option()})
		b.WantDrop(grasp.ReasonUnsolicited, 2)
		time.Sleep(loop.ResultTime)
		b.Far.Respond(m, arr{2, 7, initiator, 60000, b.Far.Option()})
		b.Peer.Dialed()
		time.Sleep(bed.Soon)
		b.Far.Respond(m, arr{2, 7, initiator, 60000, arr{103, bed.IP("fd00::77"), 6, 1}})
		b.WantDrop(grasp.ReasonUnsolicited, 3)
		b.Peer.NotDialed()
		require.Len(b, b.G.Snapshot().Locators, 1)
	})
}

// Trap 21: two responders behind a relay give exactly two locators, once each,
// none of them link-local.
func TestTrap21DivertOfTwo(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		responders := []*grasp.ASA{bed.NewASA(b, bed.NewInstance(b, b.Net.NewNode("one", b.Links[1])), "one"),
			bed.NewASA(b, bed.NewInstance(b, b.Net.NewNode("two", b.Links[1])), "two")}
		for _, r := range responders {
			require.NoError(b, r.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		}
		near := bed.NewASA(b, bed.NewInstance(b, b.Net.NewNode("near", b.Links[0])), "near")
		for range 3 {
			found, err := near.Discover(b.Context(), bed.Neg("EX3", nil), 0, grasp.DiscoverOptions{Flush: true})
			require.NoError(b, err)
			require.Len(b, found, 2)
			want := []netip.Addr{responders[0].Instance().Snapshot().Address, responders[1].Instance().Snapshot().Address}
			require.ElementsMatch(b, want, []netip.Addr{found[0].IP, found[1].IP})
			require.True(b, found[0].Diverted && found[1].Diverted)
		}
		// On their own link they are found directly, and not diverted.
		far := bed.NewASA(b, bed.NewInstance(b, b.Net.NewNode("another", b.Links[1])), "another")
		found, err := far.Discover(b.Context(), bed.Neg("EX3", nil), 0, grasp.DiscoverOptions{})
		require.NoError(b, err)
		require.Len(b, found, 2)
		require.False(b, found[0].Diverted || found[1].Diverted)
	})
}

// Section 2.5.6.2: a received flood is relayed to all other interfaces, with
// session ID, initiator and everything else as it was, but for the loop count
// of the first objective. At zero nothing is relayed.
func TestF08F09F10RelayOfFloods(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		message := func(id, first, second int) arr {
			return arr{9, id, bed.IP("2001:db8::1"), 1234,
				arr{arr{"EX1", 0x15, first, map[string]any{"a": 1.5}}, arr{105, "example.com", 6, 7017}},
				arr{arr{"EX2", 4, second}, arr{}}, arr{200, "surplus option"}}
		}
		for i, loops := range []int{255, 6, 2} {
			for _, second := range []int{0, 1, 6} {
				id := 10*i + second
				b.Peer.Multicast(message(id, loops, second))
				want := bed.Encoded(b, message(id, loops-1, second))
				require.Equal(b, want, b.Far.Only().Raw)
				require.Equal(b, want, third.Only().Raw)
				b.Peer.None()
			}
		}
		for i, loops := range []int{1, 0} {
			b.Peer.Multicast(message(i+100, loops, 6))
			require.NotEmpty(b, b.Flooded("EX1"), "it is heeded all the same")
		}
		b.Far.None()
		third.None()
		require.EqualValues(b, 18, b.G.Snapshot().Relayed["M_FLOOD"])
		// What came is in the cache as it came, with the link it came by.
		all, err := b.ASA.GetFlood(bed.Syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, all, 1)
		require.Equal(b, b.Index(b.Links[0]), all[0].Source.IfIndex)
	})
}

// Section 2.5.6.2: a relay passes on everything as it was, also what it does not
// understand. The objective beside that is heeded.
func TestF05F09OnePairIsWrong(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		good := arr{arr{"EX2", 4, 6, "good"}, arr{103, bed.IP("fd00::1"), 6, 7}}
		for i, wrong := range []arr{
			{arr{"EX1", 5, 6, 1}, arr{103, bed.IP("fd00::1"), 6, 7, "five"}},
			{arr{"EX1", 5, 6, 1, "five"}, arr{103, bed.IP("fd00::1"), 6, 7}},
			{arr{"EX1", 5, 6, 1}, arr{103, bed.IP("192.0.2.1"), 6, 7}},
			{arr{"EX1", 5, 6, 1}, arr{106, "coap://example.com"}},
			{arr{"EX1", 5, 6, 1}, arr{110, "unknown"}},
			{arr{"EX1", 5, 6, 1}, arr{}, arr{}},
			{arr{"EX1", 5, 6, 1}},
		} {
			first := slices.Clone(wrong)
			first[0] = slices.Clone(wrong[0].(arr))
			first[0].(arr)[2] = 5
			want := bed.Encoded(b, arr{9, i, bed.IP("2001:db8::1"), 1234, first, good, wrong})
			b.Peer.Multicast(arr{9, i, bed.IP("2001:db8::1"), 1234, wrong, good, wrong})
			require.Equal(b, want, b.Far.Only().Raw, "bit for bit but for the first loop count")
			require.Equal(b, want, third.Only().Raw)
			require.Empty(b, b.Flooded("EX1"))
			require.Equal(b, []any{"good"}, b.Flooded("EX2"))
			require.NoError(b, b.ASA.ExpireFlood(b.Floods("EX2")[0]))
		}
		b.WantDrop(grasp.ReasonInvalid, 6) // not the unknown one
	})
}

// Section 2.5.6.2: session ID and initiator are remembered for at least 120 s,
// and no pair is relayed twice.
func TestF12FloodsAreRelayedOnce(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		message := func(value int) arr {
			return arr{9, 7, bed.IP("2001:db8::1"), 0, arr{arr{"EX1", 5, 6, value}, arr{}}}
		}
		b.Peer.Multicast(message(1))
		b.Far.Only()
		third.Only()
		b.Peer.Multicast(message(2))
		b.Far.Multicast(message(3))
		time.Sleep(120 * time.Second)
		third.Multicast(message(4))
		b.WantDrop(grasp.ReasonRelayedBefore, 3)
		for _, p := range []*bed.Peer{b.Peer, b.Far, third} {
			p.None()
		}
		require.Equal(b, []any{int64(4)}, b.Flooded("EX1"), "what is heard is heeded")
		time.Sleep(time.Hour)
		b.Peer.Multicast(message(5))
		b.Far.Only()
		// Its own floods are not relayed when they come back.
		b.Register(bed.Syn("EX2", nil))
		b.Flood(0, bed.Syn("EX2", 1))
		own := b.Far.Only().Items(b)
		b.Peer.All()
		third.All()
		own[4].(arr)[0].(arr)[2] = 5
		b.Peer.Multicast(own)
		b.Far.None()
		third.None()
	})
}

// A flood that is discarded is not relayed either; nor is what is malformed.
func TestF13WhatIsDiscardedIsNotRelayed(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		b.Peer.Multicast(arr{9, 7, bed.IP("fe80::1"), 0, arr{arr{"EX1", 5, 6, 1}, arr{}}})
		b.Peer.Multicast(arr{9, 8, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 256, 1}, arr{}}})
		b.Peer.Multicast(arr{42, 9, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, 1}, arr{}}})
		b.Peer.Multicast(arr{0})
		b.Peer.Multicast(arr{99, 7})
		// The rule on link-local sources holds before any pair is passed over.
		for i, pair := range []arr{{arr{"EX1", 5, 5, 1}, arr{110, "x"}}, {arr{"EX1", 5, 5, 1, "five"}, arr{}}} {
			b.Peer.Multicast(arr{9, 10 + i, bed.IP("fe80::1"), 0, pair, arr{arr{"EX2", 5, 1, 1}, arr{}}})
		}
		b.WantDrop(grasp.ReasonLinkLocalSource, 3)
		b.Far.None()
		require.Empty(b, b.G.Snapshot().Floods)
	})
}
