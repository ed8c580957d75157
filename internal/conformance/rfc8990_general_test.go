package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// flakyPlane has an endpoint that fails on demand.
type flakyPlane struct {
	acp.Plane
	failing atomic.Bool
	fails   atomic.Int64 // how often it did
}

func (p *flakyPlane) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return &flakyEndpoint{ep, p}, err
}

type flakyEndpoint struct {
	acp.Endpoint
	plane *flakyPlane
}

var errFlaky = errors.New("a socket error")

func (e *flakyEndpoint) fail() error {
	if e.plane.failing.Load() {
		e.plane.fails.Add(1)
		return errFlaky
	}
	return nil
}

func (e *flakyEndpoint) Send(link int, msg []byte) error {
	if err := e.fail(); err != nil {
		return err
	}
	return e.Endpoint.Send(link, msg)
}

func (e *flakyEndpoint) Receive(buf []byte) (int, acp.Origin, error) {
	if err := e.fail(); err != nil {
		return 0, acp.Origin{}, err
	}
	return e.Endpoint.Receive(buf)
}

func (e *flakyEndpoint) Accept() (*acp.Stream, error) {
	if err := e.fail(); err != nil {
		return nil, err
	}
	return e.Endpoint.Accept()
}

func (e *flakyEndpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	if err := e.fail(); err != nil {
		return nil, err
	}
	return e.Endpoint.Dial(ctx, to)
}

// Section 2.2: no socket error, whenever it comes, stops the instance; the API
// reports it. Trap 15: errors without end cost little, and are recovered from.
func TestG01SocketErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{})
		b := &bed.Bed{T: t, Net: n, Links: []*memory.Link{l}, Events: &bed.EventLog{}}
		b.Node = n.NewNode("under test", l)
		plane := &flakyPlane{Plane: b.Node}
		b.G = bed.NewInstance(t, plane)
		b.ASA = bed.NewASA(t, b.G, "ASA")
		b.Peer = b.NewPeer("peer", l)
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(t, b.ASA.ListenSynchronize(ex1))

		plane.failing.Store(true)
		// What waits in Receive and Accept gets one more each.
		b.Peer.Multicast(arr{0})
		require.NoError(t, b.Peer.Dial(b.At()).Close())
		for range 10 {
			bed.IsCode(t, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1}), grasp.ErrSockErr)
			bed.IsCode(t, b.Request(ex3, b.Peer.Locator(), 0).Done().Err, grasp.ErrSockErrNegRq)
			bed.IsCode(t, b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 0).Done().Err, grasp.ErrSockErrSynRq)
			a := b.Discover(bed.Syn("EX2", nil), 0, grasp.DiscoverOptions{}).Within(time.Second)
			bed.IsCode(t, a.Err, grasp.ErrSockErr)
			require.Empty(t, a.Found)
		}
		time.Sleep(time.Hour)
		require.Less(t, plane.fails.Load(), int64(2*3600+100), "errors in an hour")
		plane.failing.Store(false)
		time.Sleep(time.Second) // the longest pause after an error
		b.Peer.All()
		_, ok := b.Peer.Discover(7, "EX1")
		require.True(t, ok)
		s := b.Peer.Dial(b.At())
		s.Send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.Next()
		require.NoError(t, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1}))
		b.Peer.Only()
	})
}

// Nor does a failed discovery, or a peer that behaves badly at any moment.
func TestG01FailedPeers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		for range 100 {
			bed.IsCode(b, b.Request(ex3, nil, 10*time.Millisecond).Within(time.Second).Err, grasp.ErrNoDiscReply)
		}
		b.Peer.All()
		for step := range 6 {
			dying := b.NewPeer("dying", b.Links[0])
			call := b.Request(ex3, dying.Locator(), 0)
			s := dying.Dialed()
			request := s.Next()
			switch step {
			case 0:
				dying.Node.Kill()
				bed.IsCode(b, call.Done().Err, grasp.ErrNoNegReply)
				continue
			case 1:
				dying.Node.Detach(b.Links[0]) // falls silent
				bed.IsCode(b, call.Within(grasp.DefaultTimeout).Err, grasp.ErrNoNegReply)
				continue
			}
			s.Send(arr{5, request.ID(b), arr{"EX3", 3, 5, 1}})
			session := call.Ok()
			switch step {
			case 2:
				dying.Node.Kill()
				bed.IsCode(b, b.Step(session.S, session.O, 0).Done().Err, grasp.ErrSockErrNegStep)
			case 3:
				dying.Node.Kill()
				bed.IsCode(b, session.S.EndNegotiate(true, ""), grasp.ErrSockErrEnd)
			case 4:
				dying.Node.Kill()
				bed.IsCode(b, session.S.NegotiateWait(0), grasp.ErrSockErrWait)
			case 5:
				dying.Node.Detach(b.Links[0])
				bed.IsCode(b, b.Step(session.S, session.O, time.Second).Within(time.Second).Err, grasp.ErrNoNegReply)
			}
		}
		require.Empty(b, b.G.Snapshot().Sessions)
		require.Zero(b, b.G.Snapshot().Streams)
		call, s, request := b.Asked(ex3)
		s.Send(arr{6, request.ID(b), arr{101}})
		call.Ok()
	})
}

// Section 2.2: nothing depends on non-volatile storage: an instance that is
// started anew on a node knows nothing, and works.
func TestG02NothingIsKept(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Learn(b.Peer, "EX1", 3600_000, b.Peer.Option())
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, 1}, arr{}}})
		require.NoError(b, b.G.Close())
		b.G = bed.NewInstance(b, b.Node)
		b.ASA = bed.NewASA(b, b.G, "ASA under test")
		require.Empty(b, b.Flooded("EX2"))
		require.Empty(b, b.Discover(bed.Syn("EX1", nil), 0, grasp.DiscoverOptions{CacheOnly: true}).Ok().Found)
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, 2}, arr{}}})
		require.Equal(b, []any{int64(2)}, b.Flooded("EX2"))
		b.Learn(b.Peer, "EX1", 3600_000, b.Peer.Option())
	})
}

// Section 2.2: renumbering, and links that go and come, are survived, and so are
// sessions where the connection is.
func TestG03Renumbering(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex3)
		require.NoError(b, b.ASA.RegisterObj(ex1, grasp.RegisterOptions{Discoverable: true}))
		link := bed.LinkOf(b.Peer.Node, b.Links[0])
		own := netip.AddrPortFrom(bed.LinkOf(b.Node, b.Links[0]).Addr.WithZone(bed.Zone(link.Index)), b.At().Port())
		listening := b.Listen(ex3)
		s := b.Peer.Dial(own)
		s.Send(arr{3, 4711, arr{"EX3", 3, 6, 1}})
		session := listening.Ok()

		id := 0
		alive := func(p *bed.Peer) {
			b.Helper()
			id++
			m, ok := p.Discover(uint32(id), "EX1")
			require.True(b, ok)
			require.Equal(b, b.Node.Addr(), locatorOf(b.T, m))
			p.Multicast(arr{9, id, p.Addr(), 0, arr{arr{"EX2", 5, 1, id}, arr{}}})
			require.Equal(b, []any{int64(id)}, b.Flooded("EX2"))
			p.All()
			b.Flood(0, ex1)
			require.Equal(b, b.Node.Addr().AsSlice(), p.Only().Items(b)[2])
		}
		alive(b.Peer)
		alive(b.Far)
		b.Node.Renumber()
		alive(b.Peer)
		b.Links[0].Down()
		alive(b.Far)
		b.Flood(0, ex1)
		b.Links[0].Up()
		b.Peer.All()
		alive(b.Peer)
		b.Links[0].Down()
		b.Links[1].Down()
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1}), "zero links is a state, not an error")
		require.Empty(b, b.G.Snapshot().Links)
		time.Sleep(24 * time.Hour) // asleep
		b.Links[0].Up()
		b.Links[1].Up()
		b.Peer.All()
		b.Far.All()
		alive(b.Peer)
		alive(b.Far)

		// The session is older than all that.
		step := b.Step(session.S, session.O, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 5, 1]]`)
		s.Send(arr{6, 4711, arr{101}})
		step.Ok()

		// A link that is gone for good, and another that comes.
		b.Node.Detach(b.Links[0])
		alive(b.Far)
		b.Node.Attach(b.Links[0])
		b.Node.RenumberLink(b.Links[1])
		alive(b.Peer)
		alive(b.Far)
	})
}

// Section 2.4: several ASAs share an instance.
func TestG04SeveralASAs(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := bed.NewASA(b, b.G, "other")
		ex1 := bed.Syn("EX1", "mine")
		b.Register(ex1)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		require.NoError(b, other.RegisterObj(bed.Syn("EX2", nil), grasp.RegisterOptions{}))
		require.NoError(b, other.ListenSynchronize(bed.Syn("EX2", "other's")))
		bed.IsCode(b, other.RegisterObj(ex1, grasp.RegisterOptions{}), grasp.ErrObjReg)
		bed.IsCode(b, other.ListenSynchronize(ex1), grasp.ErrNotYourObj)
		bed.IsCode(b, other.Flood(0, grasp.TaggedObjective{Objective: ex1}), grasp.ErrNotYourObj)
		require.NoError(b, other.Deregister())
		s := b.Peer.Dial(b.At())
		s.Send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.Next().Is(b, `[8, %d, ["EX1", 5, 6, "mine"]]`)
	})
}

// Sections 2.4 and 2.2: registries, sessions, caches and connections are
// bounded.
func TestG04Bounds(t *testing.T) {
	cfg := grasp.Config{Limits: grasp.Limits{MaxASAs: 2, MaxObjectives: 2, MaxCached: 2, MaxSessions: 2, MaxIdle: 2}}
	bed.InLinks(t, 1, cfg, func(b *bed.Bed) {
		bed.NewASA(b, b.G, "second")
		_, err := b.G.RegisterASA("third")
		bed.IsCode(b, err, grasp.ErrASAFull)
		ex3 := bed.Neg("EX3", 1)
		b.Register(bed.Syn("EX1", 1), ex3)
		bed.IsCode(b, b.ASA.RegisterObj(bed.Syn("EX2", 1), grasp.RegisterOptions{}), grasp.ErrObjFull)

		b.Served(ex3, 1, 1)
		b.Served(ex3, 2, 1)
		s := b.Peer.Dial(b.At())
		s.Send(arr{3, 3, arr{"EX3", 3, 6, 1}})
		s.Closed()
		b.WantDrop(grasp.ReasonTooManySessions, 1)

		// Connections that say nothing: the oldest gives way.
		var idle []*bed.Stream
		for range 4 {
			idle = append(idle, b.Peer.Dial(b.At()))
			synctest.Wait()
		}
		idle[0].Closed()
		idle[1].Closed()
		idle[2].Silent(bed.Soon)
		b.WantDrop(grasp.ReasonTooManyIdle, 2)
		// And who does not ask in time is closed.
		time.Sleep(10 * time.Second)
		idle[3].Closed()
		b.WantDrop(grasp.ReasonIdle, 2)

		for i := range 4 {
			name := fmt.Sprint("EX9:", i)
			b.Learn(b.Peer, name, 60000, b.Peer.Option())
			b.Peer.Multicast(arr{9, i, b.Peer.Addr(), 0, arr{arr{name, 5, 6, 1}, arr{}}})
		}
		require.Len(b, b.G.Snapshot().Locators, 2)
		require.Len(b, b.G.Snapshot().Floods, 2)
	})
}
