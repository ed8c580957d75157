package conformance

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
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

// Section 2.6: "GRASP Constants".
func TestT04Constants(t *testing.T) {
	require.Equal(t, "ff02::13", acp.Group6().String())
	require.Equal(t, "224.0.0.119", acp.Group4().String())
	require.Equal(t, 7017, acp.Port)
	require.Equal(t, 60000*time.Millisecond, grasp.DefaultTimeout)
	require.Equal(t, 6, grasp.DefaultLoopCount)
	require.EqualValues(t, 6, grasp.NewObjective("EX1").LoopCount)
	require.Equal(t, 2048, wire.DefaultBytes)
}

// Section 2.5.3: messages follow each other on a stream without length or
// delimiter, and TCP may cut them anywhere.
func TestT05AnySegmentation(t *testing.T) {
	request := bed.Encoded(t, arr{3, 7, arr{"EX3", 3, 6, "offer"}})
	answer := bed.Encoded(t, arr{5, 7, arr{"EX3", 3, 4, "last"}})
	both := append(append([]byte{}, request...), answer...)
	for _, size := range []int{1, 2, 3, 5, len(request) - 1, len(request), len(request) + 1, len(both)} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				ex3 := bed.Neg("EX3", nil)
				b.Register(ex3)
				call := b.Listen(ex3)
				s := b.Peer.Dial(b.At())
				// The peer's next offer comes before it could have seen ours:
				// two messages, in one segment even.
				for at := 0; at < len(both); at += size {
					s.Send(both[at:min(at+size, len(both))])
					time.Sleep(10 * time.Millisecond)
				}
				first := call.Ok()
				require.Equal(b, "offer", first.O.Value)
				second := b.Step(first.S, first.O, 0).Ok()
				require.Equal(b, "last", second.O.Value)
				s.Next().Is(b, `[5, %d, ["EX3", 3, 5, "offer"]]`)
			})
		})
	}
}

// Section 2.5.3, and peers that take a segment for a message: each message is
// written at once.
func TestT05OneWriteForOneMessage(t *testing.T) {
	for _, size := range []int{20, 1199, 1200, 1201, 2048} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memory.NewNetwork(1)
				l := n.NewLink(memory.LinkConfig{})
				plane := &countingPlane{Plane: n.NewNode("a", l)}
				a := bed.NewASA(t, bed.NewInstance(t, plane), "A")
				b := bed.NewASA(t, bed.NewInstance(t, n.NewNode("b", l)), "B")
				ex3 := bed.Neg("EX3", bed.Sized(t, size, func(value string) any {
					return arr{3, uint32(1 << 31), arr{"EX3", 3, 6, value}}
				}))
				require.NoError(t, a.RegisterObj(ex3, grasp.RegisterOptions{}))
				require.NoError(t, b.RegisterObj(ex3, grasp.RegisterOptions{}))
				go func() {
					s, o, err := b.ListenNegotiate(t.Context(), ex3)
					if err == nil {
						_, _, _ = s.NegotiateStep(t.Context(), o, 0)
					}
				}()
				synctest.Wait()
				peer := grasp.NewLocator(netip.AddrPortFrom(b.Instance().Snapshot().Address, b.Instance().Snapshot().Port))
				// 32 bits make the session ID five bytes, but for one in 65536.
				s, o, err := a.ReqNegotiate(t.Context(), ex3, &peer, 0)
				require.NoError(t, err)
				require.Equal(t, ex3.Value, o.Value)
				require.NoError(t, s.NegotiateWait(0))
				require.NoError(t, s.EndNegotiate(true, ""))
				require.Equal(t, 3, plane.writes(), "M_REQ_NEG, M_WAIT and M_END")
			})
		})
	}
}

// countingPlane counts the writes to streams that an instance opened.
type countingPlane struct {
	acp.Plane
	mu sync.Mutex
	n  int // guarded by mu
}

func (p *countingPlane) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return &countingEndpoint{ep, p}, err
}

func (p *countingPlane) writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

type countingEndpoint struct {
	acp.Endpoint
	plane *countingPlane
}

func (e *countingEndpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	s, err := e.Endpoint.Dial(ctx, to)
	if err == nil {
		s.Conn = &countingConn{s.Conn, e.plane}
	}
	return s, err
}

type countingConn struct {
	net.Conn
	plane *countingPlane
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.plane.mu.Lock()
	c.plane.n++
	c.plane.mu.Unlock()
	return c.Conn.Write(b)
}

// Section 2.5.3: discovery and flood messages over UDP are never fragmented;
// what does not fit 1280 bytes is refused.
func TestT07T08MulticastsFitAPacket(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", nil)
		b.Register(ex1)
		flood := func(size int) (value string, err error) {
			o := ex1
			value = bed.Sized(b, size, func(value string) any {
				return arr{9, uint32(1 << 31), b.Node.Addr().AsSlice(), 0, arr{arr{"EX1", 5, 6, value}, arr{}}}
			})
			o.Value = value
			return value, b.ASA.Flood(0, grasp.TaggedObjective{Objective: o})
		}
		sent, err := flood(1232)
		require.NoError(b, err)
		require.Len(b, b.Peer.Only().Raw, 1232)
		_, err = flood(1233)
		bed.IsCode(b, err, grasp.ErrTooLong)
		b.Peer.None()
		values, err := b.ASA.GetFlood(ex1)
		require.NoError(b, err)
		require.Equal(b, sent, values[0].Objective.Value, "the refused one is not in the cache")

		long := bed.Syn(bed.Sized(b, 1233, func(name string) any {
			return arr{1, uint32(1 << 31), b.Node.Addr().AsSlice(), arr{name, 5, 6, nil}}
		}), nil)
		bed.IsCode(b, b.Discover(long, 0, grasp.DiscoverOptions{}).Done().Err, grasp.ErrTooLong)
		b.Peer.None()
		long.Name = long.Name[:len(long.Name)-1]
		require.NoError(b, b.Discover(long, 0, grasp.DiscoverOptions{First: true}).Within(time.Second).Err)
		require.Len(b, b.Peer.All()[0].Raw, 1232)
	})
}

// Section 2.5.3: all other messages use a reliable transport. None is sent as a
// multicast, and none that comes as one has an effect.
func TestT09OtherMessagesAreUnicast(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		listening := b.Listen(ex3)
		for _, m := range []any{
			arr{2, 7, b.Peer.Addr(), 60000, b.Peer.Option()},
			arr{3, 7, arr{"EX3", 3, 6, 1}},
			arr{4, 7, arr{"EX1", 5, 6, nil}},
			arr{5, 7, arr{"EX3", 3, 6, 1}},
			arr{6, 7, arr{101}},
			arr{7, 7, 1},
			arr{8, 7, arr{"EX1", 5, 6, 1}},
			arr{99, 7},
		} {
			b.Peer.Multicast(m)
		}
		b.WantDrop(grasp.ReasonUnexpected, 8)
		listening.Blocks()
		b.Peer.None()
		b.Peer.NotDialed()

		// A whole negotiation and a synchronization: nothing on the group.
		s := b.Peer.Dial(b.At())
		s.Send(arr{3, 7, arr{"EX3", 3, 6, 1}})
		got := listening.Ok()
		require.NoError(b, got.S.NegotiateWait(time.Second))
		require.NoError(b, got.S.EndNegotiate(true, ""))
		s = b.Peer.Dial(b.At())
		s.Send(arr{4, 8, arr{"EX1", 5, 6, nil}})
		s.Next().Is(b, `[8, %d, ["EX1", 5, 6, 1]]`)
		b.Peer.None()
	})
}

// Section 2.5.3: unicast sessions may end in the instance, which hands them on.
// Discovery tells one port for all objectives.
func TestT10OnePortForAllObjectives(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := bed.NewASA(b, b.G, "another ASA")
		ex1, ex3 := bed.Syn("EX1", "value"), bed.Neg("EX3", nil)
		b.Register(ex3)
		require.NoError(b, other.RegisterObj(ex1, grasp.RegisterOptions{}))
		require.NoError(b, other.ListenSynchronize(ex1))
		listening := b.Listen(ex3)
		want := fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, bed.Hex(b.Peer.Addr()), bed.Hex(b.Node.Addr().AsSlice()), b.At().Port())
		for i, name := range []string{"EX1", "EX3"} {
			m, ok := b.Peer.Discover(uint32(i), name)
			require.True(b, ok)
			m.Is(b, want)
		}
		s := b.Peer.Dial(b.At())
		s.Send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.Next().Is(b, `[8, %d, ["EX1", 5, 6, "value"]]`)
		b.Peer.Dial(b.At()).Send(arr{3, 7, arr{"EX3", 3, 6, "offer"}})
		require.Equal(b, "offer", listening.Ok().O.Value)
	})
}

// Section 2.8.4: the TCP port on which responses are awaited is the UDP source
// port of the discovery, on each interface; each instance on a node has its own.
func TestT11ResponsesComeToTheSourcePort(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		call := b.Discover(bed.Syn("EX1", nil), time.Second, grasp.DiscoverOptions{})
		near, far := b.Peer.Only(), b.Far.Only()
		require.NotEqual(b, near.From.Addr().WithZone(""), far.From.Addr().WithZone(""))
		b.Peer.Respond(near, arr{2, near.ID(b), b.Node.Addr().AsSlice(), 60000, b.Peer.Option()})
		b.Far.Respond(far, arr{2, far.ID(b), b.Node.Addr().AsSlice(), 60000, b.Far.Option()})
		require.Len(b, call.Within(time.Second).Found, 2)

		second := bed.NewASA(b, bed.NewInstance(b, b.Node), "in another instance")
		ex2 := bed.Syn("EX2", nil)
		ex2.LoopCount = 1 // or the first instance would relay it
		got := b.Call(func() bed.Answer {
			_, err := second.Discover(b.Context(), ex2, 0, grasp.DiscoverOptions{})
			return bed.Answer{Err: err}
		})
		require.NotEqual(b, near.From.Port(), b.Peer.Only().From.Port())
		require.NoError(b, got.Within(time.Second).Err)
	})
}

// Section 2.3: every instance on a node listens for itself, and each multicast
// reaches all.
func TestT12InstancesOnANode(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		asas := []*grasp.ASA{b.ASA, bed.NewASA(b, bed.NewInstance(b, b.Node), "2"), bed.NewASA(b, bed.NewInstance(b, b.Node), "3")}
		ex1 := bed.Syn("EX1", nil)
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, "flooded"}, arr{}}})
		for _, a := range asas {
			o, err := a.Synchronize(b.Context(), ex1, nil, 0)
			require.NoError(b, err)
			require.Equal(b, "flooded", o.Value)
		}
		// One of them floods: the others hear it, too.
		require.NoError(b, asas[1].RegisterObj(bed.Syn("EX2", nil), grasp.RegisterOptions{}))
		require.NoError(b, asas[1].Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX2", "mine")}))
		synctest.Wait()
		for _, a := range asas {
			values, err := a.GetFlood(bed.Syn("EX2", nil))
			require.NoError(b, err)
			require.Len(b, values, 1, a.Name())
		}
		// Each answers a discovery.
		for _, a := range asas {
			require.NoError(b, a.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		}
		b.Peer.Multicast(arr{1, 8, b.Peer.Addr(), arr{"EX3", 3, 6, nil}})
		ports := make(map[uint16]bool)
		for range asas {
			ports[uint16(b.Peer.Dialed().Next().Items(b)[4].(arr)[3].(uint64))] = true
		}
		require.Len(b, ports, len(asas))
	})
}

// Section 2.3: a peer may be known by other means than discovery.
func TestT13PeerThatWasNotDiscovered(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", "offer")
		b.Register(ex3)
		call, s, request := b.Asked(ex3)
		request.Is(b, `[3, %d, ["EX3", 3, 6, "offer"]]`)
		s.Send(arr{6, request.ID(b), arr{101}})
		require.Equal(b, "offer", call.Ok().O.Value)
		got := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), 0)
		s = b.Peer.Dialed()
		s.Send(arr{8, s.Next().ID(b), arr{"EX1", 5, 6, "value"}})
		require.Equal(b, "value", got.Ok().O.Value)
		b.Peer.None() // no discovery
	})
}
