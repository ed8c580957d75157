package grasp

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/loop"
)

// relayBed is a bed with three links and a peer on each.
func relayBed(t *testing.T, cfg Config, test func(b *bed, third *rawPeer)) {
	t.Helper()
	inBedOf(t, 3, cfg, func(b *bed) { test(b, b.newPeer("third", b.links[2])) })
}

// Section 2.5.4.4: what an instance neither supports nor has cached it sends on
// all its other interfaces: with session ID and initiator as they were, and the
// loop count less one.
func TestR01R02R03R04Relay(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		message := func(id, loops int) arr { return arr{1, id, ip("2001:db8::1"), arr{"EX1", 5, loops, nil}} }
		for i, loops := range []int{255, 6, 2} {
			b.peer.multicast(message(i, loops))
			want := encoded(b, message(i, loops-1))
			require.Equal(b, want, b.far.only().raw)
			require.Equal(b, want, third.only().raw)
			b.peer.none()
		}
		for i, loops := range []int{1, 0} {
			b.peer.multicast(message(i+100, loops))
			b.wantDrop(ReasonLoopCount, i+1)
		}
		b.far.none()
		third.none()
		// From another link.
		third.multicast(message(200, 6))
		b.far.only()
		b.peer.only()
		third.none()
		require.EqualValues(b, 8, b.g.Snapshot().Relayed["M_DISCOVERY"])
		b.peer.notDialed()
	})
}

// What it supports or has cached it answers, and does not relay.
func TestR02WhatIsAnsweredIsNotRelayed(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		_, ok := b.peer.discover(7, "EX3")
		require.True(b, ok)
		call := b.discover(syn("EX1", nil), time.Hour, DiscoverOptions{First: true})
		b.peer.only()
		third.only()
		m := b.far.only()
		b.far.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.far.option()})
		call.ok()
		_, ok = b.peer.discover(8, "EX1")
		require.True(b, ok)
		b.far.none()
		third.none()

		// A link-local locator cannot be told: as if nothing were cached.
		b.learn(b.far, "EX2", 60000, arr{103, linkOf(b.far.node, b.links[1]).Addr.AsSlice(), 6, 7017})
		third.all()
		_, ok = b.peer.discover(9, "EX2")
		require.False(b, ok)
		b.far.only()
		third.only()
	})
}

// Everything but the loop count stays bit for bit.
func TestR03RelayedBitForBit(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
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
		b.peer.multicast(odd)
		require.Equal(b, want, b.far.only().raw)
	})
}

// Sections 2.5.4.4 and 2.5.6.2: the total rate of what is relayed is limited,
// neighbours share it, and one that floods does not silence the others.
func TestR05F11RelayRate(t *testing.T) {
	const perSecond = 40
	for _, kind := range []int{1, 9} {
		t.Run(fmt.Sprint("type ", kind), func(t *testing.T) {
			relayBed(t, Config{Limits: Limits{RelayRate: perSecond}}, func(b *bed, third *rawPeer) {
				id := 0
				send := func(p *rawPeer, n int) {
					for range n {
						id++
						m := arr{1, id, p.addr(), arr{"EX1", 5, 6, nil}}
						if kind == 9 {
							m = arr{9, id, p.addr(), 0, arr{arr{"EX1", 5, 6, nil}, arr{}}}
						}
						require.NoError(b, p.ep.Send(linkOf(p.node, p.link).Index, encoded(b, m)))
					}
					synctest.Wait()
				}
				// seconds has some neighbours send so many each, ten times a second.
				seconds := func(n int, each map[*rawPeer]int) {
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
					for _, p := range third.all() {
						var m []any
						require.NoError(b, cbor.Unmarshal(p.raw, &m))
						from, _ := netip.AddrFromSlice(m[2].([]byte))
						n[from]++
					}
					return n
				}
				alone := b.peer
				send(alone, 400)
				got := relayed()[alone.node.Addr()]
				require.LessOrEqual(b, got, loop.BurstTime*perSecond, "one neighbour has all")
				require.GreaterOrEqual(b, got, loop.BurstTime*perSecond-perSecond/2, "as long as there is enough nothing is left to chance")
				require.NotEmpty(b, b.log.dropped(ReasonRate))
				seconds(10, map[*rawPeer]int{alone: 30})
				require.InDelta(b, 10*perSecond, relayed()[alone.node.Addr()], perSecond, "in the long run")

				other := b.newPeer("other", b.links[0])
				both := map[*rawPeer]int{alone: 15, other: 15}
				seconds(5, both)
				relayed()
				seconds(10, both)
				n := relayed()
				require.InDelta(b, 10*perSecond/2, n[alone.node.Addr()], perSecond, "half for each")
				require.InDelta(b, 10*perSecond/2, n[other.node.Addr()], perSecond, "half for each")

				// One that floods, and one that sends now and then.
				flooding := map[*rawPeer]int{alone: 30}
				seconds(5, flooding)
				relayed()
				for range 20 {
					seconds(1, flooding)
					send(other, 2)
				}
				require.Equal(b, 40, relayed()[other.node.Addr()], "within its share nothing is lost")

				// Many neighbours together do not exceed the whole.
				many := make(map[*rawPeer]int)
				for i := range 12 {
					many[b.newPeer(fmt.Sprint("neighbour", i), b.links[0])] = 5
				}
				seconds(5, many)
				relayed()
				seconds(10, many)
				total := 0
				n = relayed()
				for p := range many {
					require.Greater(b, n[p.node.Addr()], 10*perSecond/12/2, "each gets something")
					total += n[p.node.Addr()]
				}
				require.InDelta(b, 10*perSecond, total, perSecond)
				// The other kind has a limit of its own.
				kind = 10 - kind
				send(b.peer, 1)
				require.Len(b, third.all(), 1)
			})
		})
	}
}

// Section 2.5.4.4: session ID and initiator are remembered, and the same pair is
// not relayed twice; nor is a node's own discovery that comes back to it.
func TestR06RelayedOnce(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		m := arr{1, 7, ip("2001:db8::1"), arr{"EX1", 5, 6, nil}}
		b.peer.multicast(m)
		b.far.only()
		third.only()
		// Again, and round a loop, with another loop count even.
		b.peer.multicast(m)
		m[3].(arr)[2] = 5
		b.far.multicast(m)
		m[3].(arr)[2] = 4
		third.multicast(m)
		b.wantDrop(ReasonRelayedBefore, 3)
		time.Sleep(loop.Memory - soon)
		b.peer.multicast(m)
		for _, p := range []*rawPeer{b.peer, b.far, third} {
			p.none()
		}
		// The ID alone, or the initiator alone, is another discovery.
		b.peer.multicast(arr{1, 7, ip("2001:db8::2"), arr{"EX1", 5, 6, nil}})
		b.far.only()
		b.peer.multicast(arr{1, 8, ip("2001:db8::1"), arr{"EX1", 5, 6, nil}})
		b.far.only()
		third.all()
		// The memory is no longer than needed.
		time.Sleep(2 * soon)
		b.peer.multicast(m)
		b.far.only()
		third.only()

		// Its own.
		call := b.discover(syn("EX2", nil), time.Second, DiscoverOptions{})
		own := b.peer.all()[0]
		b.far.all()
		third.all()
		items := own.items(b)
		items[3].(arr)[2] = 5
		b.peer.multicast(items)
		b.far.none()
		third.none()
		call.within(time.Second)
	})
}

// Section 2.5.4.4: results go back, as M_RESPONSE, to where the discovery came
// from, with its session ID and initiator. They come to the relay's own port.
func TestR08R09ResultsGoBack(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		initiator := ip("2001:db8::1")
		b.peer.multicast(arr{1, 7, initiator, arr{"EX1", 5, 6, nil}})
		m := b.far.only()
		require.Equal(b, b.at().Port(), m.from.Port())
		require.Equal(b, linkOf(b.node, b.links[1]).Addr.WithZone(""), m.from.Addr().WithZone(""))
		time.Sleep(100 * time.Millisecond)
		b.far.respond(m, arr{2, 7, initiator, 30000, b.far.option(), arr{103, ip("fd00::77"), 6, 1}})
		s := b.peer.dialed()
		// As a Divert, since the relay is not the responder.
		s.read().is(b, fmt.Sprintf(`[2, %%d, %s, 30000, [100, [103, %s, 6, %d], [103, %s, 6, 1]]]`,
			hx(initiator), hx(b.far.addr()), b.far.ep.Port(), hx(ip("fd00::77"))))
		s.closed()

		// Each result as it comes, and a Divert flattened; not link-local
		// addresses, nor names, which may mean nothing elsewhere.
		again := third.only()
		third.respond(again, arr{2, 7, initiator, 0, arr{100, arr{104, ip("192.0.2.1"), 6, 2}, arr{105, "example.com", 6, 3}},
			arr{103, linkOf(third.node, b.links[2]).Addr.AsSlice(), 6, 4}})
		s = b.peer.dialed()
		// A ttl of 0 means 600 s, but is never sent.
		s.read().is(b, fmt.Sprintf(`[2, %%d, %s, 600000, [100, [104, %s, 6, 2]]]`, hx(initiator), hx(ip("192.0.2.1"))))
		third.respond(again, arr{2, 7, initiator, 30000, arr{103, linkOf(third.node, b.links[2]).Addr.AsSlice(), 6, 4}})
		b.peer.notDialed()
		third.notDialed()
		b.far.notDialed()

		// What was found is in the cache: for the next who asks.
		_, ok := b.peer.discover(8, "EX1")
		require.True(b, ok)
		b.far.none()
		require.Len(b, b.g.Snapshot().Locators, 5)
		// But not told on the link where it was learned.
		m2, ok := b.far.discover(9, "EX1")
		require.True(b, ok)
		require.NotContains(b, m2.String(), hx(b.far.addr())+", 6, "+fmt.Sprint(b.far.ep.Port()))
	})
}

// Section 2.5.4.4: the relay gives its part a timeout: what comes later, or for
// something it did not relay, is dropped.
func TestR07RelayTimeout(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		initiator := ip("2001:db8::1")
		b.peer.multicast(arr{1, 7, initiator, arr{"EX1", 5, 6, nil}})
		m := b.far.only()
		b.far.respond(m, arr{2, 8, initiator, 60000, b.far.option()})
		b.far.respond(m, arr{2, 7, ip("2001:db8::2"), 60000, b.far.option()})
		b.wantDrop(ReasonUnsolicited, 2)
		time.Sleep(loop.ResultTime)
		b.far.respond(m, arr{2, 7, initiator, 60000, b.far.option()})
		b.peer.dialed()
		time.Sleep(soon)
		b.far.respond(m, arr{2, 7, initiator, 60000, arr{103, ip("fd00::77"), 6, 1}})
		b.wantDrop(ReasonUnsolicited, 3)
		b.peer.notDialed()
		require.Len(b, b.g.Snapshot().Locators, 1)
	})
}

// Trap 21: two responders behind a relay give exactly two locators, once each,
// none of them link-local.
func TestTrap21DivertOfTwo(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		responders := []*ASA{newASA(b, newInstance(b, b.net.NewNode("one", b.links[1])), "one"),
			newASA(b, newInstance(b, b.net.NewNode("two", b.links[1])), "two")}
		for _, r := range responders {
			require.NoError(b, r.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		}
		near := newASA(b, newInstance(b, b.net.NewNode("near", b.links[0])), "near")
		for range 3 {
			found, err := near.Discover(b.Context(), neg("EX3", nil), 0, DiscoverOptions{Flush: true})
			require.NoError(b, err)
			require.Len(b, found, 2)
			want := []netip.Addr{responders[0].g.ep.Addr(), responders[1].g.ep.Addr()}
			require.ElementsMatch(b, want, []netip.Addr{found[0].IP, found[1].IP})
			require.True(b, found[0].Diverted && found[1].Diverted)
		}
		// On their own link they are found directly, and not diverted.
		far := newASA(b, newInstance(b, b.net.NewNode("another", b.links[1])), "another")
		found, err := far.Discover(b.Context(), neg("EX3", nil), 0, DiscoverOptions{})
		require.NoError(b, err)
		require.Len(b, found, 2)
		require.False(b, found[0].Diverted || found[1].Diverted)
	})
}

// Section 2.5.6.2: a received flood is relayed to all other interfaces, with
// session ID, initiator and everything else as it was, but for the loop count
// of the first objective. At zero nothing is relayed.
func TestF08F09F10RelayOfFloods(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		message := func(id, first, second int) arr {
			return arr{9, id, ip("2001:db8::1"), 1234,
				arr{arr{"EX1", 0x15, first, map[string]any{"a": 1.5}}, arr{105, "example.com", 6, 7017}},
				arr{arr{"EX2", 4, second}, arr{}}, arr{200, "surplus option"}}
		}
		for i, loops := range []int{255, 6, 2} {
			for _, second := range []int{0, 1, 6} {
				id := 10*i + second
				b.peer.multicast(message(id, loops, second))
				want := encoded(b, message(id, loops-1, second))
				require.Equal(b, want, b.far.only().raw)
				require.Equal(b, want, third.only().raw)
				b.peer.none()
			}
		}
		for i, loops := range []int{1, 0} {
			b.peer.multicast(message(i+100, loops, 6))
			require.NotEmpty(b, b.flooded("EX1"), "it is heeded all the same")
		}
		b.far.none()
		third.none()
		require.EqualValues(b, 18, b.g.Snapshot().Relayed["M_FLOOD"])
		// What came is in the cache as it came, with the link it came by.
		all, err := b.asa.GetFlood(syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, all, 1)
		require.Equal(b, b.index(b.links[0]), all[0].Source.IfIndex)
	})
}

// Section 2.5.6.2: session ID and initiator are remembered for at least 120 s,
// and no pair is relayed twice.
func TestF12FloodsAreRelayedOnce(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		message := func(value int) arr {
			return arr{9, 7, ip("2001:db8::1"), 0, arr{arr{"EX1", 5, 6, value}, arr{}}}
		}
		b.peer.multicast(message(1))
		b.far.only()
		third.only()
		b.peer.multicast(message(2))
		b.far.multicast(message(3))
		time.Sleep(120 * time.Second)
		third.multicast(message(4))
		b.wantDrop(ReasonRelayedBefore, 3)
		for _, p := range []*rawPeer{b.peer, b.far, third} {
			p.none()
		}
		require.Equal(b, []any{int64(4)}, b.flooded("EX1"), "what is heard is heeded")
		time.Sleep(time.Hour)
		b.peer.multicast(message(5))
		b.far.only()
		// Its own floods are not relayed when they come back.
		b.register(syn("EX2", nil))
		b.flood(0, syn("EX2", 1))
		own := b.far.only().items(b)
		b.peer.all()
		third.all()
		own[4].(arr)[0].(arr)[2] = 5
		b.peer.multicast(own)
		b.far.none()
		third.none()
	})
}

// A flood that is discarded is not relayed either; nor is what is malformed.
func TestF13WhatIsDiscardedIsNotRelayed(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		b.peer.multicast(arr{9, 7, ip("fe80::1"), 0, arr{arr{"EX1", 5, 6, 1}, arr{}}})
		b.peer.multicast(arr{9, 8, b.peer.addr(), 0, arr{arr{"EX1", 5, 256, 1}, arr{}}})
		b.peer.multicast(arr{42, 9, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, 1}, arr{}}})
		b.peer.multicast(arr{0})
		b.peer.multicast(arr{99, 7})
		b.far.none()
	})
}
