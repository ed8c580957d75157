package conformance

import (
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
)

// Section 2.5.1: a solution names its security and transport substrate: here it
// is the plane, and what it says of itself can be seen.
func TestX01PlaneIsNamed(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.Equal(b, b.Node.Status(), b.G.Snapshot().Status)
		require.True(b, b.G.Snapshot().Status.Secure)
		require.NotEmpty(b, b.G.Snapshot().Status.Reason)
		b.Node.SetStatus(acp.Status{Reason: "no keys"})
		_, err := b.ASA.Discover(b.Context(), bed.Syn("EX1", nil), 0, grasp.DiscoverOptions{})
		require.ErrorContains(b, err, "no keys")
	})
}

// everything calls everything that needs security, and returns the errors.
func everything(b *bed.Bed, session *grasp.Session) map[string]error {
	ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
	errs := map[string]error{
		"Discover":          b.Discover(bed.Syn("EX2", nil), 0, grasp.DiscoverOptions{}).Done().Err,
		"Discover, cached":  b.Discover(bed.Syn("EX9", nil), 0, grasp.DiscoverOptions{CacheOnly: true}).Done().Err,
		"ReqNegotiate":      b.Request(ex3, nil, 0).Done().Err,
		"ReqNegotiate, to":  b.Request(ex3, b.Peer.Locator(), 0).Done().Err,
		"ListenNegotiate":   b.Listen(ex3).Done().Err,
		"Synchronize":       b.Synchronize(bed.Syn("EX2", nil), nil, 0).Done().Err,
		"Synchronize, to":   b.Synchronize(ex1, b.Peer.Locator(), 0).Done().Err,
		"ListenSynchronize": b.ASA.ListenSynchronize(ex1),
		"Flood":             b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1}),
	}
	_, errs["OpenSession"] = b.ASA.OpenSession(b.Context(), ex3, b.Peer.Locator(), 0)
	if session != nil {
		errs["NegotiateStep"] = b.Step(session, ex3, 0).Done().Err
		errs["NegotiateWait"] = session.NegotiateWait(0)
		errs["EndNegotiate"] = session.EndNegotiate(true, "")
		errs["SendInvalid"] = session.SendInvalid(nil)
		errs["Send"] = session.Send(1)
		_, errs["Recv"] = session.Recv(b.Context(), 0)
	}
	return errs
}

// Section 3: without a secure substrate nothing is sent, answered or heeded, and
// every call says so.
func TestX03InsecurePlane(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		session, _, _ := b.Served(ex3, 7, 1)
		listening := b.Listen(ex3)

		for round := range 2 {
			b.Node.SetStatus(acp.Status{Reason: "no keys"})
			synctest.Wait()
			if round == 0 {
				err := listening.Done().Err
				bed.IsCode(b, err, grasp.ErrNoSecurity)
				require.ErrorContains(b, err, "no keys")
			}
			for call, err := range everything(b, session) {
				require.ErrorIs(b, err, grasp.ErrNoSecurity, call)
				require.ErrorContains(b, err, "no keys", call)
			}
			b.Peer.None()
			b.Peer.NotDialed()

			// Nothing that comes is heeded or answered.
			received := b.G.Snapshot().Received
			b.Peer.Multicast(arr{1, 1, b.Peer.Addr(), arr{"EX1", 5, 6, nil}})
			b.Peer.Multicast(arr{9, 2, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, 1}, arr{}}})
			for _, m := range []any{
				arr{3, 3, arr{"EX3", 3, 6, 1}}, arr{4, 4, arr{"EX1", 5, 6, nil}}, arr{1, 5, b.Peer.Addr(), arr{"EX1", 5, 6, nil}},
				arr{3, 6}, arr{42, 7}, []byte{0xff},
			} {
				s := b.Peer.Dial(b.At())
				s.Send(m)
				s.Closed()
			}
			b.Peer.NotDialed()
			require.Equal(b, received, b.G.Snapshot().Received)
			require.Empty(b, b.G.Snapshot().Floods)
			require.Empty(b, b.G.Snapshot().Locators)
			require.Empty(b, b.G.Snapshot().Sessions)
			require.Zero(b, b.G.Snapshot().Streams)

			// The other direction: all works again.
			b.Node.SetStatus(acp.Status{Secure: true, Reason: "keys"})
			synctest.Wait()
			require.NoError(b, b.ASA.ListenSynchronize(ex1))
			_, ok := b.Peer.Discover(uint32(100+round), "EX1")
			require.True(b, ok)
			s := b.Peer.Dial(b.At())
			s.Send(arr{4, 8, arr{"EX1", 5, 6, nil}})
			s.Next()
			session, _, _ = b.Served(ex3, uint32(200+round), 1)
		}
	})
}

// What is under way when the plane ceases to be secure ends: nothing more is
// sent.
func TestX03CallsUnderWay(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3, bed.Neg("EX4", 1))
		discovering := b.Discover(bed.Syn("EX1", nil), time.Hour, grasp.DiscoverOptions{})
		requesting := b.Request(bed.Neg("EX4", 1), nil, time.Hour) // still discovers
		asked, s, _ := b.Asked(ex3)
		waiting := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), time.Hour)
		b.Peer.Dialed().Next()
		b.Peer.All()
		b.Node.SetStatus(acp.Status{Reason: "no keys"})
		for _, call := range []bed.Pending{discovering, requesting, asked, waiting} {
			err := call.Within(time.Second).Err
			bed.IsCode(b, err, grasp.ErrNoSecurity)
			require.ErrorContains(b, err, "no keys")
		}
		s.Closed()
		time.Sleep(time.Hour)
		b.Peer.None()
		b.Peer.NotDialed()
	})
}

// memory.Insecure is never secure.
func TestX03PlaneThatNeverIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{})
		l.Tap(func(p memory.Packet) { t.Errorf("sent: %x", p.Data) })
		b := &bed.Bed{T: t, Net: n, Links: []*memory.Link{l}, Events: &bed.EventLog{}}
		b.Node = n.NewNode("under test", l)
		b.G = bed.NewInstance(t, memory.Insecure{Plane: b.Node})
		b.ASA = bed.NewASA(t, b.G, "ASA")
		b.Peer = b.NewPeer("peer", l)
		b.Register(bed.Syn("EX1", nil), bed.Neg("EX3", nil))
		for call, err := range everything(b, nil) {
			require.ErrorIs(t, err, grasp.ErrNoSecurity, call)
		}
		values, err := b.ASA.GetFlood(bed.Syn("EX1", nil))
		require.NoError(t, err, "reading needs no security")
		require.Empty(t, values)
	})
}

// Section 2.5.1: operation in another domain has its own instance and data.
// Instances in one process share nothing.
func TestX04InstancesShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		inside, outside := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		a := bed.NewASA(t, bed.NewInstance(t, n.NewNode("inside", inside)), "ASA")
		b := bed.NewASA(t, bed.NewInstance(t, n.NewNode("outside", outside)), "ASA") // the name is free there
		ex1 := bed.Syn("EX1", 1)
		for _, asa := range []*grasp.ASA{a, b} {
			require.NoError(t, asa.RegisterObj(ex1, grasp.RegisterOptions{Discoverable: true}))
		}
		require.NoError(t, a.Flood(0, grasp.TaggedObjective{Objective: ex1}))
		synctest.Wait()
		values, err := b.GetFlood(ex1)
		require.NoError(t, err)
		require.Empty(t, values)
		found, err := b.Discover(t.Context(), ex1, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)
		require.Empty(t, found)
		require.NoError(t, a.Instance().Close())
		_, err = b.Discover(t.Context(), ex1, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)
	})
}

// RFC 8994 section 6.9.2: without neighbours, links or addresses the ASAs of one
// node still find each other.
func TestX06ASAsOfOneNode(t *testing.T) {
	for name, setUp := range map[string]func(b *bed.Bed){
		"link and address": func(b *bed.Bed) {},
		"no address":       func(b *bed.Bed) { require.NoError(b, b.Node.SetAddr(netip.Addr{})) },
		"no link":          func(b *bed.Bed) { b.Node.Detach(b.Links[0]) },
		"link down":        func(b *bed.Bed) { b.Links[0].Down() },
		"nothing": func(b *bed.Bed) {
			b.Node.Detach(b.Links[0])
			require.NoError(b, b.Node.SetAddr(netip.Addr{}))
		},
	} {
		for _, local := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", local ", local), func(t *testing.T) {
				bed.In(t, func(b *bed.Bed) {
					setUp(b)
					other := bed.NewASA(b, b.G, "other")
					ex1, ex3 := bed.Syn("EX1", "value"), bed.Neg("EX3", "offer")
					for _, o := range []grasp.Objective{ex1, ex3} {
						require.NoError(b, other.RegisterObj(o, grasp.RegisterOptions{Local: local}))
					}
					require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX4", nil), grasp.RegisterOptions{}))
					require.NoError(b, other.ListenSynchronize(ex1))
					listening := b.Call(func() bed.Answer {
						s, o, err := other.ListenNegotiate(b.Context(), ex3)
						return bed.Answer{S: s, O: o, Err: err}
					})
					got := b.Synchronize(bed.Syn("EX1", nil), nil, 0).Ok()
					require.Equal(b, "value", got.O.Value)
					found := b.Discover(ex3, 0, grasp.DiscoverOptions{}).Ok().Found
					require.Len(b, found, 1)
					// A third ASA, since a negotiation objective belongs to one.
					s := b.Call(func() bed.Answer {
						s, err := other.OpenSession(b.Context(), ex3, &found[0], 0)
						return bed.Answer{S: s, Err: err}
					}).Ok().S
					session := listening.Ok()
					require.Equal(b, "offer", session.O.Value)
					require.NoError(b, session.S.Send("hello"))
					v, err := s.Recv(b.Context(), 0)
					require.NoError(b, err)
					require.Equal(b, "hello", v)

					require.NoError(b, other.Flood(0, grasp.TaggedObjective{Objective: ex1}))
					require.Equal(b, []any{"value"}, b.Flooded("EX1"))
				})
			})
		}
	}
}

// RFC 8994 section 6.9.2: without an ACP the ASAs go on running, and learn from
// the API that there is none.
func TestX06WithoutACP(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Node.SetStatus(acp.Status{Reason: "no ACP"})
		b.Register(bed.Neg("EX3", nil))
		bed.IsCode(b, b.Listen(bed.Neg("EX3", nil)).Done().Err, grasp.ErrNoSecurity)
		require.False(b, b.G.Snapshot().Status.Secure)
		require.Equal(b, "no ACP", b.G.Snapshot().Status.Reason)
		b.Node.SetStatus(acp.Status{Secure: true})
		b.Listen(bed.Neg("EX3", nil)).Blocks()
	})
}

// Section 3: a call that comes to search the network after the plane has ceased to be
// secure sends nothing there: here the known peer does not answer.
func TestX03SearchAfterwards(t *testing.T) {
	for name, call := range map[string]func(b *bed.Bed) bed.Pending{
		"ReqNegotiate": func(b *bed.Bed) bed.Pending { return b.Request(bed.Neg("EX3", 1), nil, time.Minute) },
		"Synchronize":  func(b *bed.Bed) bed.Pending { return b.Synchronize(bed.Syn("EX3", nil), nil, time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			inSwallowingBed(t, func(b *bed.Bed, _ *swallowing) {
				if name == "ReqNegotiate" {
					b.Register(bed.Neg("EX3", 1))
				}
				b.Learn(b.Peer, "EX3", 3_600_000, swallowed(1))
				asked := call(b)
				time.Sleep(100 * time.Millisecond)
				b.Peer.None()
				b.Node.SetStatus(acp.Status{Reason: "no keys"})
				bed.IsCode(b, asked.Within(dialTimeout).Err, grasp.ErrNoSecurity)
				time.Sleep(time.Minute)
				b.Peer.None()
			})
		})
	}
}
