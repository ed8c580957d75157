package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/loop"
)

// alone is an option to ask a node alone.
func alone(l *grasp.Locator) grasp.DiscoverOptions { return grasp.DiscoverOptions{Peer: l} }

// Sections 2.5.4.2 and 2.8.4: by TCP one node is asked, and its answer comes by
// the same connection. What is found is cached.
func TestD21AsksOneNodeByTCP(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		bystander := b.NewPeer("bystander", b.Links[0])
		ex3 := bed.Neg("EX3", nil)
		b.Learn(b.Far, "EX3", 3600_000, b.Far.Option())
		bystander.All()
		sharedPort := netip.AddrPortFrom(b.Nearby(b.Peer, 0).IP, acp.Port)
		for i, at := range []*grasp.Locator{
			b.Peer.Locator(), b.Nearby(b.Peer, 0), b.Nearby(b.Peer, grasp.TCP),
			{IP: sharedPort.Addr().WithZone(""), IfIndex: b.Index(b.Links[0])},
			{URI: "grasp://[" + b.Peer.Node.Addr().String() + "]/x", Port: int(b.Peer.Endpoint.Port())},
			{FQDN: b.Peer.Node.Addr().String()},
		} {
			start := time.Now()
			call := b.Discover(ex3, 0, alone(at))
			s := b.Peer.Dialed()
			m := s.Next()
			m.Is(b, `[1, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, ["EX3", 3, 6, null]]`)
			own := arr{103, bed.IP(fmt.Sprintf("fd00::1:%d", i)), 6, 1000}
			s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, own})
			call.Blocks()
			s.Send([]byte{0x81, 0x00}, arr{2, m.ID(b), m.Items(b)[2], 60000, arr{100, arr{103, bed.IP("fd00::2"), 6, 2000}}})
			call.Blocks()
			require.NoError(b, s.Close())
			a := call.Ok()
			require.Equal(b, start, a.At, "the peer has no more")
			require.Equal(b, []string{fmt.Sprintf("[fd00::1:%d]:1000", i), "[fd00::2]:2000"}, bed.Texts(a.Found))
			require.Equal(b, []bool{false, true}, []bool{a.Found[0].Diverted, a.Found[1].Diverted})
			require.Len(b, b.Discover(ex3, 0, grasp.DiscoverOptions{CacheOnly: true}).Ok().Found, i+3)
		}
		for _, p := range []*bed.Peer{b.Peer, b.Far, bystander} {
			p.None()
			p.NotDialed()
		}
		require.EqualValues(b, 2+6, b.G.Snapshot().Sent["M_DISCOVERY"], "the first was a multicast on two links")
		b.WantDrop(grasp.ReasonOwn, 2)
		require.Len(b, b.G.Snapshot().Dropped, 1)

		// The first answer will do.
		call := b.Discover(ex3, 0, grasp.DiscoverOptions{Peer: b.Peer.Locator(), First: true})
		s := b.Peer.Dialed()
		m := s.Next()
		s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		require.Len(b, call.Ok().Found, 1)
		s.Closed()

		// With Flush nothing else is left.
		call = b.Discover(ex3, 0, grasp.DiscoverOptions{Peer: b.Peer.Locator(), Flush: true})
		b.Peer.Dialed().CloseNow()
		require.Empty(b, call.Ok().Found)
		require.Empty(b, b.G.Snapshot().Locators)
	})
}

// By UDP one node gets a datagram, again and again until it answers as it
// answers a multicast: by a connection to where that came from.
func TestD21AsksOneNodeByUDP(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		bystander := b.NewPeer("bystander", b.Links[0])
		start := time.Now()
		call := b.Discover(bed.Neg("EX3", nil), 10*time.Second, alone(b.Nearby(b.Peer, grasp.UDP)))
		const step = 600 * time.Millisecond
		time.Sleep(7*step + bed.Soon)
		var at []time.Duration
		ids := make(map[uint32]bool)
		sent := b.Peer.All()
		for _, p := range sent {
			p.Is(b, `[1, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, ["EX3", 3, 6, null]]`)
			at = append(at, p.At.Sub(start))
			ids[p.ID(b)] = true
		}
		require.Equal(b, []time.Duration{0, step, 3 * step, 7 * step}, at)
		require.Len(b, ids, len(sent))
		b.Peer.Respond(sent[1], arr{2, sent[1].ID(b), sent[1].Items(b)[2], 60000, b.Peer.Option()})
		a := call.Within(10 * time.Second)
		require.Equal(b, []string{b.Peer.Locator().String()}, bed.Texts(a.Found))
		require.Equal(b, 10*time.Second, a.At.Sub(start), "others may answer until the timeout")
		require.Len(b, b.G.Snapshot().Locators, 1)
		for _, p := range []*bed.Peer{b.Peer, b.Far, bystander} {
			p.None()
			p.NotDialed()
		}
		// That nobody is there is not noticed.
		dead := *b.Nearby(b.Peer, grasp.UDP)
		dead.IP = dead.IP.Next()
		a = b.Discover(bed.Neg("EX3", nil), 0, alone(&dead)).Within(time.Second)
		require.NoError(b, a.Err)
		require.Empty(b, a.Found)
	})
}

// T-03: port 7017 of a node takes what is sent to the node alone, and answers:
// by the same connection, or by one to where a datagram came from. It does not
// take floods.
func TestT03D21SharedPortAnswers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		to := netip.AddrPortFrom(bed.LinkOf(b.Node, b.Links[0]).Addr.WithZone(bed.LinkOf(b.Peer.Node, b.Links[0]).Addr.Zone()), acp.Port)
		want := fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, bed.Hex(bed.IP("2001:db8::1")), bed.Hex(b.Node.Addr().AsSlice()), b.At().Port())
		s := b.Peer.Dial(to)
		s.Send(arr{1, 7, bed.IP("2001:db8::1"), arr{"EX3", 3, 6, nil}})
		s.Next().Is(b, want)
		s.Closed()
		tell := func(m any) {
			b.Helper()
			require.NoError(b, acp.SendTo(b.Peer.Endpoint, to, bed.Encoded(b, m)))
			synctest.Wait()
		}
		tell(arr{1, 8, bed.IP("2001:db8::1"), arr{"EX3", 3, 6, nil}})
		s = b.Peer.Dialed()
		s.Next().Is(b, want)
		s.Closed()
		tell(arr{1, 9, bed.IP("2001:db8::1"), arr{"EX9", 3, 6, nil}})
		b.Peer.NotDialed()
		b.WantDrop(grasp.ReasonNoOtherLink, 1)
		tell(arr{9, 10, bed.IP("2001:db8::1"), 0, arr{arr{"EX1", 5, 1, 1}, arr{}}})
		tell(arr{3, 11, arr{"EX3", 3, 6, nil}})
		b.WantDrop(grasp.ReasonUnexpected, 2)
		require.Empty(b, b.G.Snapshot().Floods)
		tell([]byte{0xff})
		b.WantDrop(grasp.ReasonMalformed, 1)
	})
}

// The one that answers acts as if it had got a multicast: it relays, and the
// results go back by the connection, each as it comes, until whoever asked has
// enough or the time is up.
func TestD21R09RelayedForAStream(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		near := netip.AddrPortFrom(bed.LinkOf(b.Node, b.Links[0]).Addr.WithZone(bed.LinkOf(b.Peer.Node, b.Links[0]).Addr.Zone()), acp.Port)
		ask := func(to netip.AddrPort, id, loops int) *bed.Stream {
			s := b.Peer.Dial(to)
			s.Send(arr{1, id, b.Peer.Addr(), arr{"EX3", 3, loops, nil}})
			return s
		}
		s := ask(near, 7, 6)
		for _, p := range []*bed.Peer{b.Far, third} {
			m := p.Only()
			m.Is(b, `[1, %d, `+bed.Hex(b.Peer.Addr())+`, ["EX3", 3, 5, null]]`)
			p.Respond(m, arr{2, 7, b.Peer.Addr(), 60000, p.Option()})
			s.Next().Is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [100, [103, %s, 6, %d]]]`, bed.Hex(b.Peer.Addr()), bed.Hex(p.Addr()), p.Endpoint.Port()))
		}
		b.Peer.None()
		b.Peer.NotDialed()
		s.Silent(loop.ResultTime - 10*bed.Soon)
		time.Sleep(10 * bed.Soon)
		s.Closed()

		// Now it is cached and has expired; whoever has enough closes.
		s = ask(near, 8, 6)
		b.Far.Only()
		third.Only()
		require.Equal(b, 1, b.G.Snapshot().Streams)
		s.CloseNow()
		require.Zero(b, b.G.Snapshot().Streams)
		b.Far.Respond(bed.Packet{From: netip.AddrPortFrom(bed.LinkOf(b.Node, b.Links[1]).Addr.WithZone(bed.LinkOf(b.Far.Node, b.Links[1]).Addr.Zone()), b.At().Port())},
			arr{2, 8, b.Peer.Addr(), 60000, b.Far.Option()})
		b.WantDrop(grasp.ReasonSendFailed, 1)
		time.Sleep(time.Minute)

		// The rules of relaying hold.
		ask(near, 8, 6).Closed()
		b.WantDrop(grasp.ReasonRelayedBefore, 1)
		ask(near, 9, 1).Closed()
		b.WantDrop(grasp.ReasonLoopCount, 1)
		b.Far.None()
		third.None()
		b.Peer.None()

		// From beyond the links it goes to all.
		s = ask(b.At(), 10, 6)
		for _, p := range []*bed.Peer{b.Peer, b.Far, third} {
			require.EqualValues(b, 10, p.Only().ID(b))
		}
		s.CloseNow()

		// As a datagram it is relayed like a multicast.
		require.NoError(b, acp.SendTo(b.Peer.Endpoint, near, bed.Encoded(b, arr{1, 11, b.Peer.Addr(), arr{"EX4", 3, 6, nil}})))
		m := b.Far.Only()
		third.Only()
		b.Far.Respond(m, arr{2, 11, b.Peer.Addr(), 60000, b.Far.Option()})
		s = b.Peer.Dialed()
		s.Next().Is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [100, [103, %s, 6, %d]]]`, bed.Hex(b.Peer.Addr()), bed.Hex(b.Far.Addr()), b.Far.Endpoint.Port()))
		s.Closed()
		b.Peer.None()
	})
}

// who asks a relay behind which there is nothing waits until its own
// timeout, or as long as the relay would pass results back.
func TestD21R07RelayFindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		here, there := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		relay := bed.NewInstance(t, n.NewNode("relay", here, there))
		behind := bed.NewInstance(t, n.NewNode("behind", there))
		asa := bed.NewASA(t, bed.NewInstance(t, n.NewNode("asking", here)), "asking")
		at := grasp.NewLocator(netip.AddrPortFrom(relay.Snapshot().Links[0].Addr.WithZone(""), relay.Snapshot().Port))
		at.IfIndex = asa.Instance().Snapshot().Links[0].Index
		for timeout, want := range map[time.Duration]time.Duration{
			0: 600 * time.Millisecond, 5 * time.Second: 5 * time.Second, time.Hour: loop.ResultTime,
		} {
			start := time.Now()
			found, err := asa.Discover(t.Context(), bed.Neg("EX3", nil), timeout, grasp.DiscoverOptions{Peer: &at})
			require.NoError(t, err)
			require.Empty(t, found)
			require.Equal(t, want, time.Since(start))
			synctest.Wait()
			require.Zero(t, relay.Snapshot().Streams)
		}
		require.EqualValues(t, 3, behind.Snapshot().Received["M_DISCOVERY"])
	})
}

// One who asks and does not read what is passed back to it holds up nothing.
func TestD21NobodyReadsTheResults(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		s := b.Peer.Dial(b.At())
		s.Send(arr{1, 7, b.Peer.Addr(), arr{"EX3", 3, 6, nil}})
		m := b.Far.Only()
		b.Peer.All()
		most := 0
		for i := range 1500 {
			c, err := b.Far.Endpoint.Dial(context.Background(), m.From)
			require.NoError(b, err)
			var divert arr
			for j := range 40 {
				divert = append(divert, arr{103, bed.IP(fmt.Sprintf("fd00::%x:%x", i+1, j+1)), 6, 1})
			}
			_, err = c.Write(bed.Encoded(b, append(arr{2, 7, b.Peer.Addr(), 60000}, divert...)))
			require.NoError(b, err)
			require.NoError(b, c.Close())
			synctest.Wait()
			most = max(most, b.G.Snapshot().Responses)
		}
		require.Equal(b, respondersPerNeighbour, most)
		require.NotEmpty(b, b.Dropped(grasp.ReasonSendFailed))
		time.Sleep(time.Minute)
		require.Zero(b, b.G.Snapshot().Responses)
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// A rapid request by a connection of its own is answered on it.
func TestD21P04RapidOnTheStream(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		require.NoError(b, b.ASA.RegisterObj(ex3, grasp.RegisterOptions{Rapid: true}))
		listening := b.Listen(ex3)
		s := b.Peer.Dial(b.At())
		s.Send(arr{1, 7, b.Peer.Addr(), arr{"EX3", 3, 6, 100}})
		got := listening.Ok()
		require.EqualValues(b, 100, got.O.Value)
		again := b.Peer.Dial(b.At())
		again.Send(arr{1, 7, b.Peer.Addr(), arr{"EX3", 3, 6, 100}})
		again.Closed()
		b.WantDrop(grasp.ReasonRelayedBefore, 1)
		require.NoError(b, got.S.EndNegotiate(true, ""))
		s.Next().Is(b, `[6, %d, [101]]`)
		s.Closed()
		b.Peer.NotDialed()
	})
}
