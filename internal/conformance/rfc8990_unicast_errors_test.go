package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

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

// lingering is a plane on which it takes a moment to close a stream, which ends at
// once.
type lingering struct{ acp.Plane }

type lingeringEndpoint struct{ acp.Endpoint }

type lingeringConn struct {
	net.Conn
	closed atomic.Bool
}

func (p lingering) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return lingeringEndpoint{ep}, err
}

func (e lingeringEndpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	s, err := e.Endpoint.Dial(ctx, to)
	if err == nil {
		s.Conn = &lingeringConn{Conn: s.Conn}
	}
	return s, err
}

func (c *lingeringConn) Close() error {
	err := c.Conn.Close()
	if !c.closed.Swap(true) {
		time.Sleep(bed.Soon)
	}
	return err
}

// A search knows that the plane is no longer secure before its stream ends.
func TestD21PlaneCeasesToBeSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bed.Bed{T: t, Net: memory.NewNetwork(1)}
		b.Links = append(b.Links, b.Net.NewLink(memory.LinkConfig{}))
		b.Node = b.Net.NewNode("under test", b.Links...)
		b.G = bed.NewInstance(t, lingering{b.Node})
		b.ASA = bed.NewASA(t, b.G, "ASA under test")
		b.Peer = b.NewPeer("peer", b.Links[0])

		call := b.Discover(bed.Neg("EX3", nil), time.Hour, alone(b.Peer.Locator()))
		b.Peer.Dialed().Next()
		call.Blocks()
		b.Node.SetStatus(acp.Status{Reason: "gone"})
		bed.IsCode(t, call.Within(time.Second).Err, grasp.ErrNoSecurity)
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
