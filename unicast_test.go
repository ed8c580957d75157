package grasp

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

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// alone is an option to ask a node alone.
func alone(l *Locator) DiscoverOptions { return DiscoverOptions{Peer: l} }

// nearby is where the instance's neighbour is on their link.
func (b *bed) nearby(p *rawPeer, protocol int) *Locator {
	at := linkOf(p.node, p.link).Addr.WithZone(zone(b.index(p.link)))
	return &Locator{IP: at, Protocol: protocol}
}

// Sections 2.5.4.2 and 2.8.4: by TCP one node is asked, and its answer comes by
// the same connection. What is found is cached.
func TestD21AsksOneNodeByTCP(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		bystander := b.newPeer("bystander", b.links[0])
		ex3 := neg("EX3", nil)
		b.learn(b.far, "EX3", 3600_000, b.far.option())
		bystander.all()
		sharedPort := netip.AddrPortFrom(b.nearby(b.peer, 0).IP, acp.Port)
		for i, at := range []*Locator{
			b.peer.locator(), b.nearby(b.peer, 0), b.nearby(b.peer, TCP),
			{IP: sharedPort.Addr().WithZone(""), IfIndex: b.index(b.links[0])},
			{URI: "grasp://[" + b.peer.node.Addr().String() + "]/x", Port: int(b.peer.ep.Port())},
			{FQDN: b.peer.node.Addr().String()},
		} {
			start := time.Now()
			call := b.discover(ex3, 0, alone(at))
			s := b.peer.dialed()
			m := s.read()
			m.is(b, `[1, %d, `+hx(b.node.Addr().AsSlice())+`, ["EX3", 3, 6, null]]`)
			own := arr{103, ip(fmt.Sprintf("fd00::1:%d", i)), 6, 1000}
			s.send(arr{2, m.id(b), m.items(b)[2], 60000, own})
			call.blocks()
			s.send([]byte{0x81, 0x00}, arr{2, m.id(b), m.items(b)[2], 60000, arr{100, arr{103, ip("fd00::2"), 6, 2000}}})
			call.blocks()
			require.NoError(b, s.Close())
			a := call.ok()
			require.Equal(b, start, a.at, "the peer has no more")
			require.Equal(b, []string{fmt.Sprintf("[fd00::1:%d]:1000", i), "[fd00::2]:2000"}, texts(a.found))
			require.Equal(b, []bool{false, true}, []bool{a.found[0].Diverted, a.found[1].Diverted})
			require.Len(b, b.discover(ex3, 0, DiscoverOptions{CacheOnly: true}).ok().found, i+3)
		}
		for _, p := range []*rawPeer{b.peer, b.far, bystander} {
			p.none()
			p.notDialed()
		}
		require.EqualValues(b, 2+6, b.g.Snapshot().Sent["M_DISCOVERY"], "the first was a multicast on two links")
		b.wantDrop(ReasonOwn, 2)
		require.Len(b, b.g.Snapshot().Dropped, 1)

		// The first answer will do.
		call := b.discover(ex3, 0, DiscoverOptions{Peer: b.peer.locator(), First: true})
		s := b.peer.dialed()
		m := s.read()
		s.send(arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		require.Len(b, call.ok().found, 1)
		s.closed()

		// With Flush nothing else is left.
		call = b.discover(ex3, 0, DiscoverOptions{Peer: b.peer.locator(), Flush: true})
		b.peer.dialed().closeNow()
		require.Empty(b, call.ok().found)
		require.Empty(b, b.g.Snapshot().Locators)
	})
}

// closeNow closes the stream at once.
func (s *rawStream) closeNow() {
	require.NoError(s.t, s.Close())
	synctest.Wait()
}

// By UDP one node gets a datagram, again and again until it answers as it
// answers a multicast: by a connection to where that came from.
func TestD21AsksOneNodeByUDP(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		bystander := b.newPeer("bystander", b.links[0])
		start := time.Now()
		call := b.discover(neg("EX3", nil), 10*time.Second, alone(b.nearby(b.peer, UDP)))
		const step = 600 * time.Millisecond
		time.Sleep(7*step + soon)
		var at []time.Duration
		ids := make(map[uint32]bool)
		sent := b.peer.all()
		for _, p := range sent {
			p.is(b, `[1, %d, `+hx(b.node.Addr().AsSlice())+`, ["EX3", 3, 6, null]]`)
			at = append(at, p.at.Sub(start))
			ids[p.id(b)] = true
		}
		require.Equal(b, []time.Duration{0, step, 3 * step, 7 * step}, at)
		require.Len(b, ids, len(sent))
		b.peer.respond(sent[1], arr{2, sent[1].id(b), sent[1].items(b)[2], 60000, b.peer.option()})
		a := call.within(10 * time.Second)
		require.Equal(b, []string{b.peer.locator().String()}, texts(a.found))
		require.Equal(b, 10*time.Second, a.at.Sub(start), "others may answer until the timeout")
		require.Len(b, b.g.Snapshot().Locators, 1)
		for _, p := range []*rawPeer{b.peer, b.far, bystander} {
			p.none()
			p.notDialed()
		}
		// That nobody is there is not noticed.
		dead := *b.nearby(b.peer, UDP)
		dead.IP = dead.IP.Next()
		a = b.discover(neg("EX3", nil), 0, alone(&dead)).within(time.Second)
		require.NoError(b, a.err)
		require.Empty(b, a.found)
	})
}

// T-03: port 7017 of a node takes what is sent to the node alone, and answers:
// by the same connection, or by one to where a datagram came from. It does not
// take floods.
func TestT03D21SharedPortAnswers(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		to := netip.AddrPortFrom(linkOf(b.node, b.links[0]).Addr.WithZone(linkOf(b.peer.node, b.links[0]).Addr.Zone()), acp.Port)
		want := fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, hx(ip("2001:db8::1")), hx(b.node.Addr().AsSlice()), b.at().Port())
		s := b.peer.dial(to)
		s.send(arr{1, 7, ip("2001:db8::1"), arr{"EX3", 3, 6, nil}})
		s.read().is(b, want)
		s.closed()
		tell := func(m any) {
			b.Helper()
			require.NoError(b, acp.SendTo(b.peer.ep, to, encoded(b, m)))
			synctest.Wait()
		}
		tell(arr{1, 8, ip("2001:db8::1"), arr{"EX3", 3, 6, nil}})
		s = b.peer.dialed()
		s.read().is(b, want)
		s.closed()
		tell(arr{1, 9, ip("2001:db8::1"), arr{"EX9", 3, 6, nil}})
		b.peer.notDialed()
		b.wantDrop(ReasonNoOtherLink, 1)
		tell(arr{9, 10, ip("2001:db8::1"), 0, arr{arr{"EX1", 5, 1, 1}, arr{}}})
		tell(arr{3, 11, arr{"EX3", 3, 6, nil}})
		b.wantDrop(ReasonUnexpected, 2)
		require.Empty(b, b.g.Snapshot().Floods)
		tell([]byte{0xff})
		b.wantDrop(ReasonMalformed, 1)
	})
}

// The one that answers acts as if it had got a multicast: it relays, and the
// results go back by the connection, each as it comes, until whoever asked has
// enough or the time is up.
func TestD21R09RelayedForAStream(t *testing.T) {
	relayBed(t, Config{}, func(b *bed, third *rawPeer) {
		near := netip.AddrPortFrom(linkOf(b.node, b.links[0]).Addr.WithZone(linkOf(b.peer.node, b.links[0]).Addr.Zone()), acp.Port)
		ask := func(to netip.AddrPort, id, loops int) *rawStream {
			s := b.peer.dial(to)
			s.send(arr{1, id, b.peer.addr(), arr{"EX3", 3, loops, nil}})
			return s
		}
		s := ask(near, 7, 6)
		for _, p := range []*rawPeer{b.far, third} {
			m := p.only()
			m.is(b, `[1, %d, `+hx(b.peer.addr())+`, ["EX3", 3, 5, null]]`)
			p.respond(m, arr{2, 7, b.peer.addr(), 60000, p.option()})
			s.read().is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [100, [103, %s, 6, %d]]]`, hx(b.peer.addr()), hx(p.addr()), p.ep.Port()))
		}
		b.peer.none()
		b.peer.notDialed()
		s.silent(loop.ResultTime - 10*soon)
		time.Sleep(10 * soon)
		s.closed()

		// Now it is cached and has expired; whoever has enough closes.
		s = ask(near, 8, 6)
		b.far.only()
		third.only()
		require.Equal(b, 1, b.g.Snapshot().Streams)
		s.closeNow()
		require.Zero(b, b.g.Snapshot().Streams)
		b.g.relays.do(func(r *loop.Relay[asker]) {
			asked, ok := r.Asker(session.Key{ID: 8, Initiator: b.peer.node.Addr()}, time.Now())
			require.True(b, ok)
			require.Nil(b, asked.Asker.stream, "nobody needs it any more")
		})
		b.far.respond(packet{from: netip.AddrPortFrom(linkOf(b.node, b.links[1]).Addr.WithZone(linkOf(b.far.node, b.links[1]).Addr.Zone()), b.at().Port())},
			arr{2, 8, b.peer.addr(), 60000, b.far.option()})
		b.wantDrop(ReasonSendFailed, 1)
		time.Sleep(time.Minute)

		// The rules of relaying hold.
		ask(near, 8, 6).closed()
		b.wantDrop(ReasonRelayedBefore, 1)
		ask(near, 9, 1).closed()
		b.wantDrop(ReasonLoopCount, 1)
		b.far.none()
		third.none()
		b.peer.none()

		// From beyond the links it goes to all.
		s = ask(b.at(), 10, 6)
		for _, p := range []*rawPeer{b.peer, b.far, third} {
			require.EqualValues(b, 10, p.only().id(b))
		}
		s.closeNow()

		// As a datagram it is relayed like a multicast.
		require.NoError(b, acp.SendTo(b.peer.ep, near, encoded(b, arr{1, 11, b.peer.addr(), arr{"EX4", 3, 6, nil}})))
		m := b.far.only()
		third.only()
		b.far.respond(m, arr{2, 11, b.peer.addr(), 60000, b.far.option()})
		s = b.peer.dialed()
		s.read().is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [100, [103, %s, 6, %d]]]`, hx(b.peer.addr()), hx(b.far.addr()), b.far.ep.Port()))
		s.closed()
		b.peer.none()
	})
}

// who asks a relay behind which there is nothing waits until its own
// timeout, or as long as the relay would pass results back.
func TestD21R07RelayFindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		here, there := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		relay := newInstance(t, n.NewNode("relay", here, there))
		behind := newInstance(t, n.NewNode("behind", there))
		asa := newASA(t, newInstance(t, n.NewNode("asking", here)), "asking")
		at := NewLocator(netip.AddrPortFrom(relay.Snapshot().Links[0].Addr.WithZone(""), relay.Snapshot().Port))
		at.IfIndex = asa.g.Snapshot().Links[0].Index
		for timeout, want := range map[time.Duration]time.Duration{
			0: 600 * time.Millisecond, 5 * time.Second: 5 * time.Second, time.Hour: loop.ResultTime,
		} {
			start := time.Now()
			found, err := asa.Discover(t.Context(), neg("EX3", nil), timeout, DiscoverOptions{Peer: &at})
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
	inBedOf(t, 2, Config{}, func(b *bed) {
		s := b.peer.dial(b.at())
		s.send(arr{1, 7, b.peer.addr(), arr{"EX3", 3, 6, nil}})
		m := b.far.only()
		b.peer.all()
		most := 0
		for i := range 1500 {
			c, err := b.far.ep.Dial(context.Background(), m.from)
			require.NoError(b, err)
			var divert arr
			for j := range 40 {
				divert = append(divert, arr{103, ip(fmt.Sprintf("fd00::%x:%x", i+1, j+1)), 6, 1})
			}
			_, err = c.Write(encoded(b, append(arr{2, 7, b.peer.addr(), 60000}, divert...)))
			require.NoError(b, err)
			require.NoError(b, c.Close())
			synctest.Wait()
			most = max(most, b.g.responders.len())
		}
		require.Equal(b, respondersPerNeighbour, most)
		require.NotEmpty(b, b.log.dropped(ReasonSendFailed))
		time.Sleep(time.Minute)
		require.Zero(b, b.g.responders.len())
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// A rapid request by a connection of its own is answered on it.
func TestD21P04RapidOnTheStream(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", nil)
		require.NoError(b, b.asa.RegisterObj(ex3, RegisterOptions{Rapid: true}))
		listening := b.listen(ex3)
		s := b.peer.dial(b.at())
		s.send(arr{1, 7, b.peer.addr(), arr{"EX3", 3, 6, 100}})
		got := listening.ok()
		require.EqualValues(b, 100, got.o.Value)
		again := b.peer.dial(b.at())
		again.send(arr{1, 7, b.peer.addr(), arr{"EX3", 3, 6, 100}})
		again.closed()
		b.wantDrop(ReasonRelayedBefore, 1)
		require.NoError(b, got.s.EndNegotiate(true, ""))
		s.read().is(b, `[6, %d, [101]]`)
		s.closed()
		b.peer.notDialed()
	})
}

// What can go wrong is an error that says with whom and why.
func TestD21Errors(t *testing.T) {
	inBedOf(t, 1, Config{Resolver: names{}}, func(b *bed) {
		ex3 := neg("EX3", nil)
		nobody := NewLocator(netip.MustParseAddrPort("[fd00:dead::1]:7017"))
		closed := *b.peer.locator()
		closed.Port++
		far := nobody
		far.Protocol = UDP
		for name, c := range map[string]struct {
			opt  DiscoverOptions
			code ErrorCode
			says string
		}{
			"no route":        {alone(&nobody), ErrSockErr, "[fd00:dead::1]:7017"},
			"nobody listens":  {alone(&closed), ErrSockErr, closed.String()},
			"not a neighbour": {alone(&far), ErrSockErr, "[fd00:dead::1]:7017"},
			"no name":         {alone(&Locator{FQDN: "nowhere.example"}), ErrUnusableLocator, "nowhere.example"},
			"no address":      {alone(&Locator{}), ErrUnusableLocator, "no address"},
			"no link":         {alone(&Locator{IP: netip.MustParseAddr("fe80::1"), Protocol: UDP}), ErrUnusableLocator, "without interface"},
			"protocol":        {alone(&Locator{IP: b.peer.node.Addr(), Protocol: 132}), ErrUnusableLocator, "/132: neither TCP nor UDP"},
			"CacheOnly":       {DiscoverOptions{Peer: &nobody, CacheOnly: true}, ErrUnspec, "CacheOnly"},
		} {
			a := b.discover(ex3, time.Minute, c.opt).done()
			isCode(b, a.err, c.code)
			require.ErrorContains(b, a.err, "discover \"EX3\"", name)
			require.ErrorContains(b, a.err, c.says, name)
			require.Empty(b, a.found)
		}
		isCode(b, b.discover(Objective{Name: string(bytes.Repeat([]byte("x"), 1300)), Neg: true, LoopCount: 6},
			0, alone(b.peer.locator())).done().err, ErrTooLong)
		b.peer.notDialed()
		require.ErrorIs(b, b.discover(ex3, 0, alone(&far)).done().err, syscall.EHOSTUNREACH)

		// The call ends when it has to.
		asking := func(end func(cancel context.CancelFunc)) error {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			asa := newASA(b, b.g, "to be ended")
			call := b.call(func() answer {
				_, err := asa.Discover(ctx, ex3, time.Hour, alone(b.peer.locator()))
				return answer{err: err}
			})
			b.peer.dialed().read()
			call.blocks()
			end(cancel)
			synctest.Wait()
			_ = asa.Deregister()
			return call.done().err
		}
		err := asking(func(cancel context.CancelFunc) { cancel() })
		isCode(b, err, ErrCancelled)
		require.ErrorIs(b, err, context.Canceled)
		isCode(b, asking(func(context.CancelFunc) {}), ErrNoASA)
		isCode(b, asking(func(context.CancelFunc) {
			b.node.SetStatus(acp.Status{Reason: "gone"})
		}), ErrNoSecurity)
		isCode(b, b.discover(ex3, 0, alone(b.peer.locator())).done().err, ErrNoSecurity)
		b.node.SetStatus(acp.Status{Secure: true})
		isCode(b, asking(func(context.CancelFunc) { require.NoError(b, b.g.Close()) }), ErrNoASA)
		b.peer.none()
	})
}

// A node that takes the connection and never accepts or answers it is waited
// for as long as the call says.
func TestD21DeadNode(t *testing.T) {
	inBed(t, func(b *bed) {
		start := time.Now()
		call := b.discover(neg("EX3", nil), 0, alone(b.peer.locator()))
		s := b.peer.dialed()
		s.read()
		a := call.within(time.Second)
		require.NoError(b, a.err)
		require.Empty(b, a.found)
		require.Equal(b, 600*time.Millisecond, a.at.Sub(start))
		s.closed()

		// One that does not even do that is an error, in time.
		b.links[0].Cut(b.node, b.peer.node)
		start = time.Now()
		a = b.discover(neg("EX3", nil), 0, alone(b.peer.locator())).within(time.Minute)
		isCode(b, a.err, ErrSockErr)
		require.ErrorContains(b, a.err, b.peer.locator().String())
		require.Less(b, a.at.Sub(start), time.Second)
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
		asa := newASA(t, newInstance(t, slowPlane{n.NewNode("asking", n.NewLink(memory.LinkConfig{}))}), "asking")
		at := NewLocator(netip.MustParseAddrPort("[fd00::9]:7017"))
		for timeout, want := range map[time.Duration]time.Duration{
			0: 600 * time.Millisecond, time.Second: time.Second, time.Hour: dialTimeout,
		} {
			var err error
			require.Equal(t, want, took(func() { _, err = asa.Discover(t.Context(), neg("EX3", nil), timeout, alone(&at)) }))
			isCode(t, err, ErrSockErr)
			require.ErrorContains(t, err, "[fd00::9]:7017: ")
			var timed interface{ Timeout() bool }
			require.ErrorAs(t, err, &timed)
			require.True(t, timed.Timeout())
		}
		at.Protocol = UDP
		_, err := asa.Discover(t.Context(), neg("EX3", nil), 0, alone(&at))
		isCode(t, err, ErrSockErr)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

// Of the addresses of a name those that lead nowhere are passed over.
func TestD21AddressesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		server := newInstance(t, n.NewNode("server", link))
		client := n.NewNode("client", link)
		near := linkOf(nodeOf(server), link).Addr.WithZone(zone(linkOf(client, link).Index))
		asking := newASA(t, instanceWith(t, client, func(c *Config) {
			c.Resolver = names{"server.example": {netip.MustParseAddr("fd00:dead::1"), near}}
		}), "asking")
		require.NoError(t, newASA(t, server, "answering").RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		for _, protocol := range []int{0, UDP} {
			found, err := asking.Discover(t.Context(), neg("EX3", nil), 0, alone(&Locator{FQDN: "server.example", Protocol: protocol}))
			require.NoError(t, err)
			require.Equal(t, []string{at(server).String()}, texts(found))
		}
	})
}

// Of several instances on a node the first has the port of GRASP. Others are
// asked at their own.
func TestT03SeveralInstancesOnANode(t *testing.T) {
	inBed(t, func(b *bed) {
		host := b.net.NewNode("host", b.links[0])
		var asas []*ASA
		for i := range 2 {
			g, err := New(Config{Plane: host})
			require.NoError(b, err)
			b.Cleanup(func() { _ = g.Close() })
			asas = append(asas, newASA(b, g, "asa"))
			require.NoError(b, asas[i].RegisterObj(neg(fmt.Sprint("EX", i), nil), RegisterOptions{Discoverable: true}))
		}
		near := linkOf(host, b.links[0]).Addr.WithZone(zone(b.index(b.links[0])))
		found := func(name string, l Locator) int {
			a := b.discover(neg(name, nil), 0, DiscoverOptions{Peer: &l, First: true}).within(time.Second)
			require.NoError(b, a.err)
			return len(a.found)
		}
		for _, shared := range []Locator{{IP: near}, {IP: near, Protocol: UDP}} {
			require.Equal(b, 1, found("EX0", shared), "%v", shared)
			require.Equal(b, 0, found("EX1", shared), "%v", shared)
		}
		second := Locator{IP: near, Port: int(asas[1].g.ep.Port())}
		require.Equal(b, 0, found("EX0", second))
		require.Equal(b, 1, found("EX1", second))
		require.NoError(b, asas[0].g.Close())
		require.Equal(b, 1, found("EX1", Locator{IP: near}))
		require.Equal(b, 1, found("EX1", Locator{IP: near, Protocol: UDP}))
		// An instance may ask itself.
		require.NoError(b, b.asa.RegisterObj(neg("EX7", nil), RegisterOptions{Discoverable: true}))
		require.Equal(b, 1, found("EX7", *at(b.g)))
		require.Equal(b, 0, found("EX8", *at(b.g)))
	})
}

// What comes by the connection is taken with care: it is counted, ends when it
// makes no sense, and has a limit.
func TestD21HostileAnswers(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxFound: 8}}, func(b *bed) {
		ask := func() (pending, *rawStream, packet) {
			call := b.discover(neg("EX3", nil), 0, alone(b.peer.locator()))
			s := b.peer.dialed()
			return call, s, s.read()
		}
		drops := make(map[Reason]int)
		for _, c := range []struct {
			reason Reason
			code   ErrorCode
			answer func(id uint32, initiator any) any
		}{
			{ReasonMalformed, ErrCBORFail, func(uint32, any) any { return []byte{0xff} }},
			{ReasonUnknownType, ErrNoDiscReply, func(id uint32, _ any) any { return arr{42, id} }},
			{ReasonInvalid, ErrNoDiscReply, func(id uint32, _ any) any { return arr{2, id} }},
			{ReasonUnexpected, ErrNoDiscReply, func(id uint32, _ any) any { return arr{99, id} }},
			{ReasonUnexpected, ErrNoDiscReply, func(id uint32, _ any) any { return arr{6, id, arr{101}} }},
			{ReasonUnexpected, ErrNoDiscReply, func(id uint32, i any) any { return arr{1, id, i, arr{"EX3", 3, 6, nil}} }},
			{ReasonTooLong, ErrCBORFail, func(id uint32, i any) any { return arr{2, id, i, 1, arr{105, string(make([]byte, 3000)), 6, 1}} }},
		} {
			call, s, m := ask()
			raw := encoded(b, c.answer(m.id(b), m.items(b)[2]))
			_, err := s.Write(raw)
			require.NoError(b, err)
			a := call.done()
			isCode(b, a.err, c.code)
			require.ErrorContains(b, a.err, `discover "EX3"`)
			require.ErrorContains(b, a.err, b.peer.locator().String())
			require.Empty(b, a.found)
			drops[c.reason]++
			b.wantDrop(c.reason, drops[c.reason])
		}
		// Cut short.
		call, s, m := ask()
		raw := encoded(b, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		s.send(raw[:len(raw)-1])
		s.closeNow()
		isCode(b, call.done().err, ErrCBORFail)
		b.wantDrop(ReasonMalformed, 2)
		// What was found before is of use.
		call, s, m = ask()
		s.send(arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()}, []byte{0xff})
		require.Len(b, call.ok().found, 1)
		b.wantDrop(ReasonMalformed, 3)
		// Of another session, or initiator: the right one may yet come.
		call, s, m = ask()
		s.send(arr{2, m.id(b) + 1, m.items(b)[2], 60000, b.peer.option()})
		s.send(arr{2, m.id(b), ip("fd00::99"), 60000, b.peer.option()})
		b.wantDrop(ReasonUnsolicited, 2)
		s.send(arr{2, m.id(b), m.items(b)[2], 60000, arr{103, ip("fe80::1"), 6, 1}})
		b.wantDrop(ReasonBadLocator, 1) // it is from beyond the link
		s.send(arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		s.closeNow()
		require.Len(b, call.ok().found, 1)
		// As many as are taken, and without end.
		call, s, m = ask()
		many := func() {
			for i := range 8 {
				s.send(arr{2, m.id(b), m.items(b)[2], 60000, arr{103, ip(fmt.Sprint("fd00::", i+1)), 6, 1}})
			}
		}
		many()
		s.closeNow()
		require.Len(b, call.ok().found, 2, "what is for one peer")
		b.wantDrop(ReasonTooManyFound, 6)
		call, s, m = ask()
		many()
		call.blocks()
		s.send(arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		require.Len(b, call.ok().found, 2)
		b.wantDrop(ReasonTooManyFound, 6+6+1)
		s.closed()
		require.Zero(b, b.g.Snapshot().Streams)
		require.Empty(b, b.g.searches.byID)
		require.Zero(b, b.g.sessions.Len())
		require.EqualValues(b, 0, b.g.Snapshot().Sent[wire.TypeResponse.String()])
	})
}

// L-02, L-03: a DULL instance asks by multicast only, and heeds nothing else.
func TestL02L03D21DULL(t *testing.T) {
	inDULL(t, 1, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(syn("EX1", nil), RegisterOptions{Discoverable: true}))
		for _, protocol := range []int{TCP, UDP} {
			isCode(b, b.discover(syn("EX1", nil), 0, alone(b.nearby(b.peer, protocol))).done().err, ErrNoSecurity)
		}
		b.peer.none()
		b.peer.notDialed()
		to := netip.AddrPortFrom(linkOf(b.node, b.links[0]).Addr.WithZone(linkOf(b.peer.node, b.links[0]).Addr.Zone()), acp.Port)
		require.NoError(b, acp.SendTo(b.peer.ep, to, encoded(b, arr{1, 7, ip("fe80::1"), arr{"EX1", 5, 1, nil}})))
		b.wantDrop(ReasonNoSecurity, 1)
		s := b.peer.dial(to)
		s.send(arr{1, 8, ip("fe80::1"), arr{"EX1", 5, 1, nil}})
		s.closed()
		b.wantDrop(ReasonNoSecurity, 2)
		b.peer.notDialed()
	})
}
