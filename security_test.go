package grasp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// when the plane ceases to be secure, calls that wait end with
// noSecurity, and when it is secure again all works as before.
func TestX03StatusChangeEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		node := n.NewNode("a", link)
		a := newASA(t, newInstance(t, node), "a")
		b := newASA(t, newInstance(t, n.NewNode("b", link)), "b")
		o := Objective{Name: "EX3", Neg: true, LoopCount: 6}
		require.NoError(t, a.RegisterObj(o, RegisterOptions{}))
		require.NoError(t, b.RegisterObj(o, RegisterOptions{}))
		failed := make(chan error, 3)
		listen := func() {
			_, _, err := a.ListenNegotiate(t.Context(), o)
			failed <- err
		}
		go listen()
		synctest.Wait()
		s, err := b.OpenSession(t.Context(), o, nil, 0)
		require.NoError(t, err)
		require.NoError(t, <-failed)
		go listen()
		go func() {
			_, err := a.Discover(t.Context(), NewObjective("EX9"), time.Hour, DiscoverOptions{})
			failed <- err
		}()
		synctest.Wait()

		node.SetStatus(acp.Status{Reason: "the keys have gone"})
		for range 2 {
			err := <-failed
			require.ErrorIs(t, err, ErrNoSecurity)
		}
		_, err = a.Discover(t.Context(), o, 0, DiscoverOptions{})
		require.ErrorIs(t, err, ErrNoSecurity)
		require.ErrorContains(t, err, "the keys have gone")
		_, err = s.Recv(t.Context(), 0)
		require.ErrorIs(t, err, ErrNoPeer)
		require.Empty(t, a.g.Snapshot().Sessions)
		require.Zero(t, a.g.Snapshot().Streams)

		node.SetStatus(acp.Status{Secure: true})
		go listen()
		synctest.Wait()
		_, err = b.OpenSession(t.Context(), o, nil, 0)
		require.NoError(t, err)
		require.NoError(t, <-failed)
	})
}

// L-01..L-08: a DULL instance beside a secure one on the same node and port.
func TestL01DULLBesideSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		left, right := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		start := func(cfg Config, name string, links ...*memory.Link) *ASA {
			if cfg.DULL {
				cfg.Plane = memory.Insecure{Plane: n.NewNode(name, links...)}
			} else {
				cfg.Plane = n.NewNode(name, links...)
			}
			g, err := New(cfg)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, g.Close()) })
			return newASA(t, g, name)
		}
		middle := n.NewNode("middle", left, right)
		dull, err := New(Config{DULL: true, Plane: memory.Insecure{Plane: middle}})
		require.NoError(t, err)
		defer func() { require.NoError(t, dull.Close()) }()
		secure := newASA(t, newInstance(t, middle), "secure")
		proxy := newASA(t, dull, "proxy")
		pledge := start(Config{DULL: true}, "pledge", left)
		far := start(Config{DULL: true}, "far", right)
		outsider := start(Config{}, "outsider", left)

		o := Objective{Name: "AN_Proxy", Synch: true, LoopCount: 6, Value: ""}
		require.NoError(t, proxy.RegisterObj(o, RegisterOptions{Discoverable: true}))
		require.NoError(t, proxy.Flood(3*time.Minute, TaggedObjective{Objective: o}))
		time.Sleep(time.Second)
		for _, a := range []*ASA{pledge, far} {
			got, err := a.GetFlood(o)
			require.NoError(t, err)
			require.Len(t, got, 1, a.Name())
			require.EqualValues(t, 1, got[0].Objective.LoopCount)
		}

		// Discovery is answered with a link-local address.
		found, err := pledge.Discover(t.Context(), o, 0, DiscoverOptions{})
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.True(t, found[0].IP.IsLinkLocalUnicast())

		// What is not on the list is neither sent nor taken.
		ex1 := Objective{Name: "EX1", Synch: true, LoopCount: 1, Value: 1}
		require.NoError(t, pledge.RegisterObj(ex1, RegisterOptions{}))
		require.ErrorIs(t, pledge.Flood(0, TaggedObjective{Objective: ex1}), ErrNoSecurity)
		_, err = pledge.Discover(t.Context(), ex1, 0, DiscoverOptions{})
		require.ErrorIs(t, err, ErrNoSecurity)
		require.NoError(t, outsider.RegisterObj(ex1, RegisterOptions{}))
		require.NoError(t, outsider.Flood(0, TaggedObjective{Objective: ex1}))
		time.Sleep(time.Second)
		got, err := pledge.GetFlood(ex1)
		require.NoError(t, err)
		require.Empty(t, got)
		got, err = secure.GetFlood(ex1)
		require.NoError(t, err)
		require.Len(t, got, 1, "the secure instance beside it takes it")

		// Nothing but discovery and floods.
		neg := Objective{Name: "AN_Proxy", Neg: true, LoopCount: 1}
		require.NoError(t, pledge.RegisterObj(neg, RegisterOptions{}))
		_, _, err = pledge.ReqNegotiate(t.Context(), neg, &found[0], 0)
		require.ErrorIs(t, err, ErrNoSecurity)
		_, err = pledge.Synchronize(t.Context(), o, &found[0], 0)
		require.ErrorIs(t, err, ErrNoSecurity)
		value, err := pledge.Synchronize(t.Context(), o, nil, 0)
		require.NoError(t, err, "a flooded value needs no security")
		require.Empty(t, value.Value)
		require.ErrorIs(t, proxy.ListenSynchronize(o), ErrNoSecurity)
		require.Zero(t, dull.Snapshot().Relayed["M_FLOOD"], "it relays nothing")

		_, err = New(Config{DULLObjectives: []string{"AN_ACP"}})
		require.ErrorIs(t, err, ErrUnspec)
	})
}

// a relay passes nothing on while the plane is not secure, nor back, and
// remembers nothing of it; and relays again when it is.
func TestX03RelayFollowsTheStatus(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		discovery := func(id uint32) arr { return arr{1, id, b.peer.addr(), arr{"EX1", 5, 6, nil}} }
		flood := func(id uint32) arr { return arr{9, id, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}} }
		response := func(id uint32) arr { return arr{2, id, b.peer.addr(), 60_000, b.far.option()} }
		for round := range uint32(3) {
			id := 1000 * round
			b.peer.multicast(discovery(id + 1))
			b.far.only() // which has not answered yet when the plane fails
			b.node.SetStatus(acp.Status{Reason: "no keys"})
			synctest.Wait()
			b.peer.multicast(discovery(id + 2))
			b.peer.multicast(flood(id + 3))
			s := b.far.dial(b.at())
			s.send(response(id + 1))
			s.closed()
			b.far.none()
			b.peer.notDialed()
			require.Empty(b, b.g.Snapshot().Locators)
			require.Empty(b, b.g.Snapshot().Floods)
			b.wantDrop(ReasonNoSecurity, 3*int(round+1))

			b.node.SetStatus(acp.Status{Secure: true})
			synctest.Wait()
			b.peer.multicast(discovery(id + 2)) // was not taken for known
			heard := b.far.only()
			b.far.respond(heard, response(id+2))
			b.peer.dialed().read()
			require.Len(b, b.g.Snapshot().Locators, 1)
			b.peer.multicast(flood(id + 3))
			b.far.only()
			require.Len(b, b.flooded("EX2"), 1)
			b.g.locators.flush("EX1")
			all, err := b.asa.GetFlood(syn("EX2", nil))
			require.NoError(b, err)
			require.NoError(b, b.asa.ExpireFlood(all[0]))
		}
	})
}

// what was learned while the plane was secure is not used while it is
// not, but for reading floods; requests that wait for a listener are refused.
func TestX03WhatWasLearnedBefore(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		b.served(ex3, 1, 1)
		queued := b.peer.dial(b.at())
		queued.send(arr{3, 2, arr{"EX3", 3, 6, nil}})
		b.learn(b.peer, "EX1", 60_000, b.peer.option())
		b.peer.multicast(arr{9, 3, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}})
		late := b.discover(syn("EX4", nil), time.Hour, DiscoverOptions{})
		asked := b.peer.only()
		b.node.SetStatus(acp.Status{Reason: "no keys"})
		queued.closed()
		isCode(b, late.done().err, ErrNoSecurity)
		isCode(b, b.discover(syn("EX1", nil), 0, DiscoverOptions{CacheOnly: true}).done().err, ErrNoSecurity)
		isCode(b, b.synchronize(syn("EX1", nil), nil, 0).done().err, ErrNoSecurity)
		require.EqualValues(b, 7, b.synchronize(syn("EX2", nil), nil, 0).ok().o.Value)
		b.peer.respond(asked, arr{2, asked.id(b), asked.items(b)[2], 60_000, b.peer.option()})
		b.wantDrop(ReasonNoSecurity, 1)
		require.Len(b, b.g.Snapshot().Locators, 1)
		b.peer.none()
		b.peer.notDialed()

		b.node.SetStatus(acp.Status{Secure: true})
		require.Len(b, b.discover(syn("EX1", nil), 0, DiscoverOptions{}).ok().found, 1)
		b.served(ex3, 2, 1)
	})
}

// a DULL instance beside it goes on, whatever the plane says.
func TestX03DULLGoesOn(t *testing.T) {
	inBed(t, func(b *bed) {
		dull := newASA(b, instanceWith(b, b.node, func(c *Config) { c.DULL = true }), "dull")
		o := Objective{Name: "AN_ACP", Synch: true, LoopCount: 1, Value: 1}
		registered(b, o, dull)
		for round, secure := range []bool{true, false, true} {
			b.node.SetStatus(acp.Status{Secure: secure, Reason: "keys or none"})
			synctest.Wait()
			b.peer.all()
			require.NoError(b, dull.Flood(time.Minute, TaggedObjective{Objective: o}))
			b.peer.only().is(b, "[9, %d, "+hx(linkOf(b.node, b.links[0]).Addr.AsSlice())+`, 60000, [["AN_ACP", 5, 1, 1], []]]`)
			local := linkOf(b.peer.node, b.links[0]).Addr.AsSlice()
			name := arr{"AN_ACP", 5, 1, round}
			b.peer.multicast(arr{9, round, local, 60_000, arr{name, arr{103, local, 6, 1}}})
			got, err := dull.GetFlood(o)
			require.NoError(b, err)
			require.EqualValues(b, round, got[len(got)-1].Objective.Value)
			got, err = b.asa.GetFlood(o)
			require.NoError(b, err)
			if secure {
				require.EqualValues(b, round, got[len(got)-1].Objective.Value)
			} else {
				require.Zero(b, got[len(got)-1].Objective.Value, "of the round before")
			}
		}
	})
}
