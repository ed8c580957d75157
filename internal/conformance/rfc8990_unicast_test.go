package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/wire"
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
		require.NotEmpty(b, b.Events.Dropped(grasp.ReasonSendFailed))
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

// What can go wrong is an error that says with whom and why.
func TestD21Errors(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Resolver: names{}}, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		nobody := grasp.NewLocator(netip.MustParseAddrPort("[fd00:dead::1]:7017"))
		closed := *b.Peer.Locator()
		closed.Port++
		far := nobody
		far.Protocol = grasp.UDP
		for name, c := range map[string]struct {
			opt  grasp.DiscoverOptions
			code grasp.ErrorCode
			says string
		}{
			"no route":        {alone(&nobody), grasp.ErrSockErr, "[fd00:dead::1]:7017"},
			"nobody listens":  {alone(&closed), grasp.ErrSockErr, closed.String()},
			"not a neighbour": {alone(&far), grasp.ErrSockErr, "[fd00:dead::1]:7017"},
			"no name":         {alone(&grasp.Locator{FQDN: "nowhere.example"}), grasp.ErrUnusableLocator, "nowhere.example"},
			"no address":      {alone(&grasp.Locator{}), grasp.ErrUnusableLocator, "no address"},
			"no link":         {alone(&grasp.Locator{IP: netip.MustParseAddr("fe80::1"), Protocol: grasp.UDP}), grasp.ErrUnusableLocator, "without interface"},
			"protocol":        {alone(&grasp.Locator{IP: b.Peer.Node.Addr(), Protocol: 132}), grasp.ErrUnusableLocator, "/132: neither TCP nor UDP"},
			"CacheOnly":       {grasp.DiscoverOptions{Peer: &nobody, CacheOnly: true}, grasp.ErrUnspec, "CacheOnly"},
		} {
			a := b.Discover(ex3, time.Minute, c.opt).Done()
			bed.IsCode(b, a.Err, c.code)
			require.ErrorContains(b, a.Err, "discover \"EX3\"", name)
			require.ErrorContains(b, a.Err, c.says, name)
			require.Empty(b, a.Found)
		}
		bed.IsCode(b, b.Discover(grasp.Objective{Name: string(bytes.Repeat([]byte("x"), 1300)), Neg: true, LoopCount: 6},
			0, alone(b.Peer.Locator())).Done().Err, grasp.ErrTooLong)
		b.Peer.NotDialed()
		require.ErrorIs(b, b.Discover(ex3, 0, alone(&far)).Done().Err, syscall.EHOSTUNREACH)

		// The call ends when it has to.
		asking := func(end func(cancel context.CancelFunc)) error {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			asa := bed.NewASA(b, b.G, "to be ended")
			call := b.Call(func() bed.Answer {
				_, err := asa.Discover(ctx, ex3, time.Hour, alone(b.Peer.Locator()))
				return bed.Answer{Err: err}
			})
			b.Peer.Dialed().Next()
			call.Blocks()
			end(cancel)
			synctest.Wait()
			_ = asa.Deregister()
			return call.Done().Err
		}
		err := asking(func(cancel context.CancelFunc) { cancel() })
		bed.IsCode(b, err, grasp.ErrCancelled)
		require.ErrorIs(b, err, context.Canceled)
		bed.IsCode(b, asking(func(context.CancelFunc) {}), grasp.ErrNoASA)
		bed.IsCode(b, asking(func(context.CancelFunc) {
			b.Node.SetStatus(acp.Status{Reason: "gone"})
		}), grasp.ErrNoSecurity)
		bed.IsCode(b, b.Discover(ex3, 0, alone(b.Peer.Locator())).Done().Err, grasp.ErrNoSecurity)
		b.Node.SetStatus(acp.Status{Secure: true})
		bed.IsCode(b, asking(func(context.CancelFunc) { require.NoError(b, b.G.Close()) }), grasp.ErrNoASA)
		b.Peer.None()
	})
}

// A node that takes the connection and never accepts or answers it is waited
// for as long as the call says.
func TestD21DeadNode(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		start := time.Now()
		call := b.Discover(bed.Neg("EX3", nil), 0, alone(b.Peer.Locator()))
		s := b.Peer.Dialed()
		s.Next()
		a := call.Within(time.Second)
		require.NoError(b, a.Err)
		require.Empty(b, a.Found)
		require.Equal(b, 600*time.Millisecond, a.At.Sub(start))
		s.Closed()

		// One that does not even do that is an error, in time.
		b.Links[0].Cut(b.Node, b.Peer.Node)
		start = time.Now()
		a = b.Discover(bed.Neg("EX3", nil), 0, alone(b.Peer.Locator())).Within(time.Minute)
		bed.IsCode(b, a.Err, grasp.ErrSockErr)
		require.ErrorContains(b, a.Err, b.Peer.Locator().String())
		require.Less(b, a.At.Sub(start), time.Second)
	})
}

// slowPlane connects to nobody.
type slowPlane struct{ acp.Plane }

type slowEndpoint struct{ acp.Endpoint }

func (p slowPlane) Open() (acp.Endpoint, error) {
	e, err := p.Plane.Open()
	return slowEndpoint{e}, err
}

func (slowEndpoint) Dial(ctx context.Context, _ netip.AddrPort) (*acp.Stream, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (slowEndpoint) SendTo(netip.AddrPort, []byte) error {
	return fmt.Errorf("no datagrams: %w", errors.ErrUnsupported)
}

// Connecting is part of the timeout; a plane without datagrams is an error.
func TestD21PlaneThatCannot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		asa := bed.NewASA(t, bed.NewInstance(t, slowPlane{n.NewNode("asking", n.NewLink(memory.LinkConfig{}))}), "asking")
		at := grasp.NewLocator(netip.MustParseAddrPort("[fd00::9]:7017"))
		for timeout, want := range map[time.Duration]time.Duration{
			0: 600 * time.Millisecond, time.Second: time.Second, time.Hour: dialTimeout,
		} {
			var err error
			require.Equal(t, want, bed.Took(func() { _, err = asa.Discover(t.Context(), bed.Neg("EX3", nil), timeout, alone(&at)) }))
			bed.IsCode(t, err, grasp.ErrSockErr)
			require.ErrorContains(t, err, "[fd00::9]:7017: ")
			var timed interface{ Timeout() bool }
			require.ErrorAs(t, err, &timed)
			require.True(t, timed.Timeout())
		}
		at.Protocol = grasp.UDP
		_, err := asa.Discover(t.Context(), bed.Neg("EX3", nil), 0, alone(&at))
		bed.IsCode(t, err, grasp.ErrSockErr)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

// Of the addresses of a name those that lead nowhere are passed over.
func TestD21AddressesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		serving, client := n.NewNode("server", link), n.NewNode("client", link)
		server := bed.NewInstance(t, serving)
		near := bed.LinkOf(serving, link).Addr.WithZone(bed.Zone(bed.LinkOf(client, link).Index))
		asking := bed.NewASA(t, bed.InstanceWith(t, client, func(c *grasp.Config) {
			c.Resolver = names{"server.example": {netip.MustParseAddr("fd00:dead::1"), near}}
		}), "asking")
		require.NoError(t, bed.NewASA(t, server, "answering").RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		for _, protocol := range []int{0, grasp.UDP} {
			found, err := asking.Discover(t.Context(), bed.Neg("EX3", nil), 0, alone(&grasp.Locator{FQDN: "server.example", Protocol: protocol}))
			require.NoError(t, err)
			require.Equal(t, []string{bed.At(server).String()}, bed.Texts(found))
		}
	})
}

// Of several instances on a node the first has the port of GRASP. Others are
// asked at their own.
func TestT03SeveralInstancesOnANode(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		host := b.Net.NewNode("host", b.Links[0])
		var asas []*grasp.ASA
		for i := range 2 {
			g, err := grasp.New(grasp.Config{Plane: host})
			require.NoError(b, err)
			b.Cleanup(func() { _ = g.Close() })
			asas = append(asas, bed.NewASA(b, g, "asa"))
			require.NoError(b, asas[i].RegisterObj(bed.Neg(fmt.Sprint("EX", i), nil), grasp.RegisterOptions{Discoverable: true}))
		}
		near := bed.LinkOf(host, b.Links[0]).Addr.WithZone(bed.Zone(b.Index(b.Links[0])))
		found := func(name string, l grasp.Locator) int {
			a := b.Discover(bed.Neg(name, nil), 0, grasp.DiscoverOptions{Peer: &l, First: true}).Within(time.Second)
			require.NoError(b, a.Err)
			return len(a.Found)
		}
		for _, shared := range []grasp.Locator{{IP: near}, {IP: near, Protocol: grasp.UDP}} {
			require.Equal(b, 1, found("EX0", shared), "%v", shared)
			require.Equal(b, 0, found("EX1", shared), "%v", shared)
		}
		second := grasp.Locator{IP: near, Port: int(asas[1].Instance().Snapshot().Port)}
		require.Equal(b, 0, found("EX0", second))
		require.Equal(b, 1, found("EX1", second))
		require.NoError(b, asas[0].Instance().Close())
		require.Equal(b, 1, found("EX1", grasp.Locator{IP: near}))
		require.Equal(b, 1, found("EX1", grasp.Locator{IP: near, Protocol: grasp.UDP}))
		// An instance may ask itself.
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX7", nil), grasp.RegisterOptions{Discoverable: true}))
		require.Equal(b, 1, found("EX7", *bed.At(b.G)))
		require.Equal(b, 0, found("EX8", *bed.At(b.G)))
	})
}

// What comes by the connection is taken with care: it is counted, ends when it
// makes no sense, and has a limit.
func TestD21HostileAnswers(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxFound: 8}}, func(b *bed.Bed) {
		ask := func() (bed.Pending, *bed.Stream, bed.Packet) {
			call := b.Discover(bed.Neg("EX3", nil), 0, alone(b.Peer.Locator()))
			s := b.Peer.Dialed()
			return call, s, s.Next()
		}
		drops := make(map[grasp.Reason]int)
		for _, c := range []struct {
			reason grasp.Reason
			code   grasp.ErrorCode
			answer func(id uint32, initiator any) any
		}{
			{grasp.ReasonMalformed, grasp.ErrCBORFail, func(uint32, any) any { return []byte{0xff} }},
			{grasp.ReasonUnknownType, grasp.ErrNoDiscReply, func(id uint32, _ any) any { return arr{42, id} }},
			{grasp.ReasonInvalid, grasp.ErrNoDiscReply, func(id uint32, _ any) any { return arr{2, id} }},
			{grasp.ReasonUnexpected, grasp.ErrNoDiscReply, func(id uint32, _ any) any { return arr{99, id} }},
			{grasp.ReasonUnexpected, grasp.ErrNoDiscReply, func(id uint32, _ any) any { return arr{6, id, arr{101}} }},
			{grasp.ReasonUnexpected, grasp.ErrNoDiscReply, func(id uint32, i any) any { return arr{1, id, i, arr{"EX3", 3, 6, nil}} }},
			{grasp.ReasonTooLong, grasp.ErrCBORFail, func(id uint32, i any) any { return arr{2, id, i, 1, arr{105, string(make([]byte, 3000)), 6, 1}} }},
		} {
			call, s, m := ask()
			raw := bed.Encoded(b, c.answer(m.ID(b), m.Items(b)[2]))
			_, err := s.Write(raw)
			require.NoError(b, err)
			a := call.Done()
			bed.IsCode(b, a.Err, c.code)
			require.ErrorContains(b, a.Err, `discover "EX3"`)
			require.ErrorContains(b, a.Err, b.Peer.Locator().String())
			require.Empty(b, a.Found)
			drops[c.reason]++
			b.WantDrop(c.reason, drops[c.reason])
		}
		// Cut short.
		call, s, m := ask()
		raw := bed.Encoded(b, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		s.Send(raw[:len(raw)-1])
		s.CloseNow()
		bed.IsCode(b, call.Done().Err, grasp.ErrCBORFail)
		b.WantDrop(grasp.ReasonMalformed, 2)
		// What was found before is of use.
		call, s, m = ask()
		s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()}, []byte{0xff})
		require.Len(b, call.Ok().Found, 1)
		b.WantDrop(grasp.ReasonMalformed, 3)
		// Of another session, or initiator: the right one may yet come.
		call, s, m = ask()
		s.Send(arr{2, m.ID(b) + 1, m.Items(b)[2], 60000, b.Peer.Option()})
		s.Send(arr{2, m.ID(b), bed.IP("fd00::99"), 60000, b.Peer.Option()})
		b.WantDrop(grasp.ReasonUnsolicited, 2)
		s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, arr{103, bed.IP("fe80::1"), 6, 1}})
		b.WantDrop(grasp.ReasonBadLocator, 1) // it is from beyond the link
		s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		s.CloseNow()
		require.Len(b, call.Ok().Found, 1)
		// As many as are taken, and without end.
		call, s, m = ask()
		many := func() {
			for i := range 8 {
				s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, arr{103, bed.IP(fmt.Sprint("fd00::", i+1)), 6, 1}})
			}
		}
		many()
		s.CloseNow()
		require.Len(b, call.Ok().Found, 2, "what is for one peer")
		b.WantDrop(grasp.ReasonTooManyFound, 6)
		call, s, m = ask()
		many()
		call.Blocks()
		s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		require.Len(b, call.Ok().Found, 2)
		b.WantDrop(grasp.ReasonTooManyFound, 6+6+1)
		s.Closed()
		require.Zero(b, b.G.Snapshot().Streams)
		require.Zero(b, b.G.Snapshot().Searches)
		require.Zero(b, b.G.Snapshot().SessionIDs)
		require.EqualValues(b, 0, b.G.Snapshot().Sent[wire.TypeResponse.String()])
	})
}

// L-02, L-03: a DULL instance asks by multicast only, and heeds nothing else.
func TestL02L03D21DULL(t *testing.T) {
	inDULL(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Syn("EX1", nil), grasp.RegisterOptions{Discoverable: true}))
		for _, protocol := range []int{grasp.TCP, grasp.UDP} {
			bed.IsCode(b, b.Discover(bed.Syn("EX1", nil), 0, alone(b.Nearby(b.Peer, protocol))).Done().Err, grasp.ErrNoSecurity)
		}
		b.Peer.None()
		b.Peer.NotDialed()
		to := netip.AddrPortFrom(bed.LinkOf(b.Node, b.Links[0]).Addr.WithZone(bed.LinkOf(b.Peer.Node, b.Links[0]).Addr.Zone()), acp.Port)
		require.NoError(b, acp.SendTo(b.Peer.Endpoint, to, bed.Encoded(b, arr{1, 7, bed.IP("fe80::1"), arr{"EX1", 5, 1, nil}})))
		b.WantDrop(grasp.ReasonNoSecurity, 1)
		s := b.Peer.Dial(to)
		s.Send(arr{1, 8, bed.IP("fe80::1"), arr{"EX1", 5, 1, nil}})
		s.Closed()
		b.WantDrop(grasp.ReasonNoSecurity, 2)
		b.Peer.NotDialed()
	})
}
