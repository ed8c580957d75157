package grasp

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// Section 2.5.1: a solution names its security and transport substrate: here it
// is the plane, and what it says of itself can be seen.
func TestX01PlaneIsNamed(t *testing.T) {
	inBed(t, func(b *bed) {
		require.Equal(b, b.node.Status(), b.g.Snapshot().Status)
		require.True(b, b.g.Snapshot().Status.Secure)
		require.NotEmpty(b, b.g.Snapshot().Status.Reason)
		b.node.SetStatus(acp.Status{Reason: "no keys"})
		_, err := b.asa.Discover(b.Context(), syn("EX1", nil), 0, DiscoverOptions{})
		require.ErrorContains(b, err, "no keys")
	})
}

// everything calls everything that needs security, and returns the errors.
func everything(b *bed, session *Session) map[string]error {
	ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
	errs := map[string]error{
		"Discover":          b.discover(syn("EX2", nil), 0, DiscoverOptions{}).done().err,
		"Discover, cached":  b.discover(syn("EX9", nil), 0, DiscoverOptions{CacheOnly: true}).done().err,
		"ReqNegotiate":      b.request(ex3, nil, 0).done().err,
		"ReqNegotiate, to":  b.request(ex3, b.peer.locator(), 0).done().err,
		"ListenNegotiate":   b.listen(ex3).done().err,
		"Synchronize":       b.synchronize(syn("EX2", nil), nil, 0).done().err,
		"Synchronize, to":   b.synchronize(ex1, b.peer.locator(), 0).done().err,
		"ListenSynchronize": b.asa.ListenSynchronize(ex1),
		"Flood":             b.asa.Flood(0, TaggedObjective{Objective: ex1}),
	}
	_, errs["OpenSession"] = b.asa.OpenSession(b.Context(), ex3, b.peer.locator(), 0)
	if session != nil {
		errs["NegotiateStep"] = b.step(session, ex3, 0).done().err
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
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		session, _, _ := b.served(ex3, 7, 1)
		listening := b.listen(ex3)

		for round := range 2 {
			b.node.SetStatus(acp.Status{Reason: "no keys"})
			synctest.Wait()
			if round == 0 {
				isCode(b, listening.done().err, ErrNoSecurity)
			}
			for call, err := range everything(b, session) {
				require.ErrorIs(b, err, ErrNoSecurity, call)
				require.ErrorContains(b, err, "no keys", call)
			}
			b.peer.none()
			b.peer.notDialed()

			// Nothing that comes is heeded or answered.
			received := b.g.Snapshot().Received
			b.peer.multicast(arr{1, 1, b.peer.addr(), arr{"EX1", 5, 6, nil}})
			b.peer.multicast(arr{9, 2, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, 1}, arr{}}})
			for _, m := range []any{
				arr{3, 3, arr{"EX3", 3, 6, 1}}, arr{4, 4, arr{"EX1", 5, 6, nil}}, arr{1, 5, b.peer.addr(), arr{"EX1", 5, 6, nil}},
				arr{3, 6}, arr{42, 7}, []byte{0xff},
			} {
				s := b.peer.dial(b.at())
				s.send(m)
				s.closed()
			}
			b.peer.notDialed()
			require.Equal(b, received, b.g.Snapshot().Received)
			require.Empty(b, b.g.Snapshot().Floods)
			require.Empty(b, b.g.Snapshot().Locators)
			require.Empty(b, b.g.Snapshot().Sessions)
			require.Zero(b, b.g.Snapshot().Streams)

			// The other direction: all works again.
			b.node.SetStatus(acp.Status{Secure: true, Reason: "keys"})
			synctest.Wait()
			require.NoError(b, b.asa.ListenSynchronize(ex1))
			_, ok := b.peer.discover(uint32(100+round), "EX1")
			require.True(b, ok)
			s := b.peer.dial(b.at())
			s.send(arr{4, 8, arr{"EX1", 5, 6, nil}})
			s.read()
			session, _, _ = b.served(ex3, uint32(200+round), 1)
		}
	})
}

// What is under way when the plane ceases to be secure ends: nothing more is
// sent.
func TestX03CallsUnderWay(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3, neg("EX4", 1))
		discovering := b.discover(syn("EX1", nil), time.Hour, DiscoverOptions{})
		requesting := b.request(neg("EX4", 1), nil, time.Hour) // still discovers
		asked, s, _ := b.asked(ex3)
		waiting := b.synchronize(syn("EX1", nil), b.peer.locator(), time.Hour)
		b.peer.dialed().read()
		b.peer.all()
		b.node.SetStatus(acp.Status{Reason: "no keys"})
		for _, call := range []pending{discovering, requesting, asked, waiting} {
			isCode(b, call.within(time.Second).err, ErrNoSecurity)
		}
		s.closed()
		time.Sleep(time.Hour)
		b.peer.none()
		b.peer.notDialed()
	})
}

// memory.Insecure is never secure.
func TestX03PlaneThatNeverIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{})
		l.Tap(func(p memory.Packet) { t.Errorf("sent: %x", p.Data) })
		b := &bed{T: t, net: n, links: []*memory.Link{l}, log: &eventLog{}}
		b.node = n.NewNode("under test", l)
		b.g = newInstance(t, memory.Insecure{Plane: b.node})
		b.asa = newASA(t, b.g, "ASA")
		b.peer = b.newPeer("peer", l)
		b.register(syn("EX1", nil), neg("EX3", nil))
		for call, err := range everything(b, nil) {
			require.ErrorIs(t, err, ErrNoSecurity, call)
		}
		values, err := b.asa.GetFlood(syn("EX1", nil))
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
		a := newASA(t, newInstance(t, n.NewNode("inside", inside)), "ASA")
		b := newASA(t, newInstance(t, n.NewNode("outside", outside)), "ASA") // the name is free there
		ex1 := syn("EX1", 1)
		for _, asa := range []*ASA{a, b} {
			require.NoError(t, asa.RegisterObj(ex1, RegisterOptions{Discoverable: true}))
		}
		require.NoError(t, a.Flood(0, TaggedObjective{Objective: ex1}))
		synctest.Wait()
		values, err := b.GetFlood(ex1)
		require.NoError(t, err)
		require.Empty(t, values)
		found, err := b.Discover(t.Context(), ex1, 0, DiscoverOptions{})
		require.NoError(t, err)
		require.Empty(t, found)
		require.NoError(t, a.g.Close())
		_, err = b.Discover(t.Context(), ex1, 0, DiscoverOptions{})
		require.NoError(t, err)
	})
}

// RFC 8994 section 6.9.2: without neighbours, links or addresses the ASAs of one
// node still find each other.
func TestX06ASAsOfOneNode(t *testing.T) {
	for name, setUp := range map[string]func(b *bed){
		"link and address": func(b *bed) {},
		"no address":       func(b *bed) { require.NoError(b, b.node.SetAddr(netip.Addr{})) },
		"no link":          func(b *bed) { b.node.Detach(b.links[0]) },
		"link down":        func(b *bed) { b.links[0].Down() },
		"nothing": func(b *bed) {
			b.node.Detach(b.links[0])
			require.NoError(b, b.node.SetAddr(netip.Addr{}))
		},
	} {
		for _, local := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", local ", local), func(t *testing.T) {
				inBed(t, func(b *bed) {
					setUp(b)
					other := newASA(b, b.g, "other")
					ex1, ex3 := syn("EX1", "value"), neg("EX3", "offer")
					for _, o := range []Objective{ex1, ex3} {
						require.NoError(b, other.RegisterObj(o, RegisterOptions{Local: local}))
					}
					require.NoError(b, b.asa.RegisterObj(neg("EX4", nil), RegisterOptions{}))
					require.NoError(b, other.ListenSynchronize(ex1))
					listening := b.call(func() answer {
						s, o, err := other.ListenNegotiate(b.Context(), ex3)
						return answer{s: s, o: o, err: err}
					})
					got := b.synchronize(syn("EX1", nil), nil, 0).ok()
					require.Equal(b, "value", got.o.Value)
					found := b.discover(ex3, 0, DiscoverOptions{}).ok().found
					require.Len(b, found, 1)
					// A third ASA, since a negotiation objective belongs to one.
					s := b.call(func() answer {
						s, err := other.OpenSession(b.Context(), ex3, &found[0], 0)
						return answer{s: s, err: err}
					}).ok().s
					session := listening.ok()
					require.Equal(b, "offer", session.o.Value)
					require.NoError(b, session.s.Send("hello"))
					v, err := s.Recv(b.Context(), 0)
					require.NoError(b, err)
					require.Equal(b, "hello", v)

					require.NoError(b, other.Flood(0, TaggedObjective{Objective: ex1}))
					require.Equal(b, []any{"value"}, b.flooded("EX1"))
				})
			})
		}
	}
}

// RFC 8994 section 6.9.2: without an ACP the ASAs go on running, and learn from
// the API that there is none.
func TestX06WithoutACP(t *testing.T) {
	inBed(t, func(b *bed) {
		b.node.SetStatus(acp.Status{Reason: "no ACP"})
		b.register(neg("EX3", nil))
		isCode(b, b.listen(neg("EX3", nil)).done().err, ErrNoSecurity)
		require.False(b, b.g.Snapshot().Status.Secure)
		require.Equal(b, "no ACP", b.g.Snapshot().Status.Reason)
		b.node.SetStatus(acp.Status{Secure: true})
		b.listen(neg("EX3", nil)).blocks()
	})
}
