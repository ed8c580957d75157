package grasp

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

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/pace"
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
		b := &bed{T: t, net: n, links: []*memory.Link{l}, log: &eventLog{}}
		b.node = n.NewNode("under test", l)
		plane := &flakyPlane{Plane: b.node}
		b.g = newInstance(t, plane)
		b.asa = newASA(t, b.g, "ASA")
		b.peer = b.newPeer("peer", l)
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(t, b.asa.ListenSynchronize(ex1))

		plane.failing.Store(true)
		// What waits in Receive and Accept gets one more each.
		b.peer.multicast(arr{0})
		require.NoError(t, b.peer.dial(b.at()).Close())
		for range 10 {
			isCode(t, b.asa.Flood(0, TaggedObjective{Objective: ex1}), ErrSockErr)
			isCode(t, b.request(ex3, b.peer.locator(), 0).done().err, ErrSockErrNegRq)
			isCode(t, b.synchronize(syn("EX2", nil), b.peer.locator(), 0).done().err, ErrSockErrSynRq)
			a := b.discover(syn("EX2", nil), 0, DiscoverOptions{}).within(time.Second)
			require.NoError(t, a.err, "others might have answered")
			require.Empty(t, a.found)
		}
		time.Sleep(time.Hour)
		require.Less(t, plane.fails.Load(), int64(2*3600+100), "errors in an hour")
		plane.failing.Store(false)
		time.Sleep(pace.MaxBackoff)
		b.peer.all()
		_, ok := b.peer.discover(7, "EX1")
		require.True(t, ok)
		s := b.peer.dial(b.at())
		s.send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.read()
		require.NoError(t, b.asa.Flood(0, TaggedObjective{Objective: ex1}))
		b.peer.only()
	})
}

// Nor does a failed discovery, or a peer that behaves badly at any moment.
func TestG01FailedPeers(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		for range 100 {
			isCode(b, b.request(ex3, nil, 10*time.Millisecond).within(time.Second).err, ErrNoDiscReply)
		}
		b.peer.all()
		for step := range 6 {
			dying := b.newPeer("dying", b.links[0])
			call := b.request(ex3, dying.locator(), 0)
			s := dying.dialed()
			request := s.read()
			switch step {
			case 0:
				dying.node.Kill()
				isCode(b, call.done().err, ErrNoNegReply)
				continue
			case 1:
				dying.node.Detach(b.links[0]) // falls silent
				isCode(b, call.within(DefaultTimeout).err, ErrNoNegReply)
				continue
			}
			s.send(arr{5, request.id(b), arr{"EX3", 3, 5, 1}})
			session := call.ok()
			switch step {
			case 2:
				dying.node.Kill()
				isCode(b, b.step(session.s, session.o, 0).done().err, ErrSockErrNegStep)
			case 3:
				dying.node.Kill()
				isCode(b, session.s.EndNegotiate(true, ""), ErrSockErrEnd)
			case 4:
				dying.node.Kill()
				isCode(b, session.s.NegotiateWait(0), ErrSockErrWait)
			case 5:
				dying.node.Detach(b.links[0])
				isCode(b, b.step(session.s, session.o, time.Second).within(time.Second).err, ErrNoNegReply)
			}
		}
		require.Empty(b, b.g.Snapshot().Sessions)
		require.Zero(b, b.g.Snapshot().Streams)
		call, s, request := b.asked(ex3)
		s.send(arr{6, request.id(b), arr{101}})
		call.ok()
	})
}

// Section 2.2: nothing depends on non-volatile storage: an instance that is
// started anew on a node knows nothing, and works.
func TestG02NothingIsKept(t *testing.T) {
	inBed(t, func(b *bed) {
		b.learn(b.peer, "EX1", 3600_000, b.peer.option())
		b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, 1}, arr{}}})
		require.NoError(b, b.g.Close())
		b.g = newInstance(b, b.node)
		b.asa = newASA(b, b.g, "ASA under test")
		require.Empty(b, b.flooded("EX2"))
		require.Empty(b, b.discover(syn("EX1", nil), 0, DiscoverOptions{CacheOnly: true}).ok().found)
		b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, 2}, arr{}}})
		require.Equal(b, []any{int64(2)}, b.flooded("EX2"))
		b.learn(b.peer, "EX1", 3600_000, b.peer.option())
	})
}

// Section 2.2: renumbering, and links that go and come, are survived, and so are
// sessions where the connection is.
func TestG03Renumbering(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex3)
		require.NoError(b, b.asa.RegisterObj(ex1, RegisterOptions{Discoverable: true}))
		link := linkOf(b.peer.node, b.links[0])
		own := netip.AddrPortFrom(linkOf(b.node, b.links[0]).Addr.WithZone(zone(link.Index)), b.at().Port())
		listening := b.listen(ex3)
		s := b.peer.dial(own)
		s.send(arr{3, 4711, arr{"EX3", 3, 6, 1}})
		session := listening.ok()

		id := 0
		alive := func(p *rawPeer) {
			b.Helper()
			id++
			m, ok := p.discover(uint32(id), "EX1")
			require.True(b, ok)
			require.Equal(b, b.node.Addr(), locatorOf(b.T, m))
			p.multicast(arr{9, id, p.addr(), 0, arr{arr{"EX2", 5, 1, id}, arr{}}})
			require.Equal(b, []any{int64(id)}, b.flooded("EX2"))
			p.all()
			b.flood(0, ex1)
			require.Equal(b, b.node.Addr().AsSlice(), p.only().items(b)[2])
		}
		alive(b.peer)
		alive(b.far)
		b.node.Renumber()
		alive(b.peer)
		b.links[0].Down()
		alive(b.far)
		b.flood(0, ex1)
		b.links[0].Up()
		b.peer.all()
		alive(b.peer)
		b.links[0].Down()
		b.links[1].Down()
		require.NoError(b, b.asa.Flood(0, TaggedObjective{Objective: ex1}), "zero links is a state, not an error")
		require.Empty(b, b.g.Snapshot().Links)
		time.Sleep(24 * time.Hour) // asleep
		b.links[0].Up()
		b.links[1].Up()
		b.peer.all()
		b.far.all()
		alive(b.peer)
		alive(b.far)

		// The session is older than all that.
		step := b.step(session.s, session.o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 5, 1]]`)
		s.send(arr{6, 4711, arr{101}})
		step.ok()

		// A link that is gone for good, and another that comes.
		b.node.Detach(b.links[0])
		alive(b.far)
		b.node.Attach(b.links[0])
		b.node.RenumberLink(b.links[1])
		alive(b.peer)
		alive(b.far)
	})
}

// Section 2.4: several ASAs share an instance.
func TestG04SeveralASAs(t *testing.T) {
	inBed(t, func(b *bed) {
		other := newASA(b, b.g, "other")
		ex1 := syn("EX1", "mine")
		b.register(ex1)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		require.NoError(b, other.RegisterObj(syn("EX2", nil), RegisterOptions{}))
		require.NoError(b, other.ListenSynchronize(syn("EX2", "other's")))
		isCode(b, other.RegisterObj(ex1, RegisterOptions{}), ErrObjReg)
		isCode(b, other.ListenSynchronize(ex1), ErrNotYourObj)
		isCode(b, other.Flood(0, TaggedObjective{Objective: ex1}), ErrNotYourObj)
		require.NoError(b, other.Deregister())
		s := b.peer.dial(b.at())
		s.send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.read().is(b, `[8, %d, ["EX1", 5, 6, "mine"]]`)
	})
}

// Sections 2.4 and 2.2: registries, sessions, caches and connections are
// bounded.
func TestG04Bounds(t *testing.T) {
	cfg := Config{Limits: Limits{MaxASAs: 2, MaxObjectives: 2, MaxCached: 2, MaxSessions: 2, MaxIdle: 2}}
	inBedOf(t, 1, cfg, func(b *bed) {
		newASA(b, b.g, "second")
		_, err := b.g.RegisterASA("third")
		isCode(b, err, ErrASAFull)
		ex3 := neg("EX3", 1)
		b.register(syn("EX1", 1), ex3)
		isCode(b, b.asa.RegisterObj(syn("EX2", 1), RegisterOptions{}), ErrObjFull)

		b.served(ex3, 1, 1)
		b.served(ex3, 2, 1)
		s := b.peer.dial(b.at())
		s.send(arr{3, 3, arr{"EX3", 3, 6, 1}})
		s.closed()
		b.wantDrop(ReasonTooManySessions, 1)

		// Connections that say nothing: the oldest gives way.
		var idle []*rawStream
		for range 4 {
			idle = append(idle, b.peer.dial(b.at()))
			synctest.Wait()
		}
		idle[0].closed()
		idle[1].closed()
		idle[2].silent(soon)
		b.wantDrop(ReasonTooManyIdle, 2)
		// And who does not ask in time is closed.
		time.Sleep(b.g.cfg.IdleTimeout)
		idle[3].closed()
		b.wantDrop(ReasonIdle, 2)

		for i := range 4 {
			name := fmt.Sprint("EX9:", i)
			b.learn(b.peer, name, 60000, b.peer.option())
			b.peer.multicast(arr{9, i, b.peer.addr(), 0, arr{arr{name, 5, 6, 1}, arr{}}})
		}
		require.Len(b, b.g.Snapshot().Locators, 2)
		require.Len(b, b.g.Snapshot().Floods, 2)
	})
}
