package grasp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// when the plane ceases to be secure, calls that wait end with
// noSecurity, and when it is secure again all works as before.
func TestX03StatusChangeEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := acp.NewNetwork(1)
		link := n.NewLink(acp.LinkConfig{})
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
		n := acp.NewNetwork(1)
		left, right := n.NewLink(acp.LinkConfig{}), n.NewLink(acp.LinkConfig{})
		start := func(cfg Config, name string, links ...*acp.MemoryLink) *ASA {
			if cfg.DULL {
				cfg.Plane = acp.Insecure{Plane: n.NewNode(name, links...)}
			} else {
				cfg.Plane = n.NewNode(name, links...)
			}
			g, err := New(cfg)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, g.Close()) })
			return newASA(t, g, name)
		}
		middle := n.NewNode("middle", left, right)
		dull, err := New(Config{DULL: true, Plane: acp.Insecure{Plane: middle}})
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
