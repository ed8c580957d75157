package conformance

import (
	"context"
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

// when the plane ceases to be secure, calls that wait end with
// noSecurity, and when it is secure again all works as before.
func TestX03StatusChangeEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		node := n.NewNode("a", link)
		a := bed.NewASA(t, bed.NewInstance(t, node), "a")
		b := bed.NewASA(t, bed.NewInstance(t, n.NewNode("b", link)), "b")
		o := grasp.Objective{Name: "EX3", Neg: true, LoopCount: 6}
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
		require.NoError(t, b.RegisterObj(o, grasp.RegisterOptions{}))
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
			_, err := a.Discover(t.Context(), grasp.NewObjective("EX9"), time.Hour, grasp.DiscoverOptions{})
			failed <- err
		}()
		synctest.Wait()

		node.SetStatus(acp.Status{Reason: "the keys have gone"})
		for range 2 {
			err := <-failed
			require.ErrorIs(t, err, grasp.ErrNoSecurity)
		}
		_, err = a.Discover(t.Context(), o, 0, grasp.DiscoverOptions{})
		require.ErrorIs(t, err, grasp.ErrNoSecurity)
		require.ErrorContains(t, err, "the keys have gone")
		_, err = s.Recv(t.Context(), 0)
		require.ErrorIs(t, err, grasp.ErrNoPeer)
		require.Empty(t, a.Instance().Snapshot().Sessions)
		require.Zero(t, a.Instance().Snapshot().Streams)

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
		start := func(cfg grasp.Config, name string, links ...*memory.Link) *grasp.ASA {
			if cfg.DULL {
				cfg.Plane = memory.Insecure{Plane: n.NewNode(name, links...)}
			} else {
				cfg.Plane = n.NewNode(name, links...)
			}
			g, err := grasp.New(cfg)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, g.Close()) })
			return bed.NewASA(t, g, name)
		}
		// Two links, a DULL instance for each; one of them beside a secure instance.
		middle := n.NewNode("middle", left)
		dull, err := grasp.New(grasp.Config{DULL: true, Plane: memory.Insecure{Plane: middle}})
		require.NoError(t, err)
		defer func() { require.NoError(t, dull.Close()) }()
		secure := bed.NewASA(t, bed.NewInstance(t, middle), "secure")
		proxy := bed.NewASA(t, dull, "proxy")
		proxies := []*grasp.ASA{proxy, start(grasp.Config{DULL: true}, "right proxy", right)}
		pledge := start(grasp.Config{DULL: true}, "pledge", left)
		far := start(grasp.Config{DULL: true}, "far", right)
		outsider := start(grasp.Config{}, "outsider", left)

		o := grasp.Objective{Name: "AN_Proxy", Synch: true, LoopCount: 6, Value: ""}
		for _, proxy := range proxies {
			require.NoError(t, proxy.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
			require.NoError(t, proxy.Flood(3*time.Minute, grasp.TaggedObjective{Objective: o}))
		}
		time.Sleep(time.Second)
		for _, a := range []*grasp.ASA{pledge, far} {
			got, err := a.GetFlood(o)
			require.NoError(t, err)
			require.Len(t, got, 1, a.Name())
			require.EqualValues(t, 1, got[0].Objective.LoopCount)
		}

		// Discovery is answered with a link-local address.
		found, err := pledge.Discover(t.Context(), o, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.True(t, found[0].IP.IsLinkLocalUnicast())

		// What is not on the list is neither sent nor taken.
		ex1 := grasp.Objective{Name: "EX1", Synch: true, LoopCount: 1, Value: 1}
		require.NoError(t, pledge.RegisterObj(ex1, grasp.RegisterOptions{}))
		require.ErrorIs(t, pledge.Flood(0, grasp.TaggedObjective{Objective: ex1}), grasp.ErrNoSecurity)
		_, err = pledge.Discover(t.Context(), ex1, 0, grasp.DiscoverOptions{})
		require.ErrorIs(t, err, grasp.ErrNoSecurity)
		require.NoError(t, outsider.RegisterObj(ex1, grasp.RegisterOptions{}))
		require.NoError(t, outsider.Flood(0, grasp.TaggedObjective{Objective: ex1}))
		time.Sleep(time.Second)
		got, err := pledge.GetFlood(ex1)
		require.NoError(t, err)
		require.Empty(t, got)
		got, err = secure.GetFlood(ex1)
		require.NoError(t, err)
		require.Len(t, got, 1, "the secure instance beside it takes it")

		// Nothing but discovery and floods.
		neg := grasp.Objective{Name: "AN_Proxy", Neg: true, LoopCount: 1}
		require.NoError(t, pledge.RegisterObj(neg, grasp.RegisterOptions{}))
		_, _, err = pledge.ReqNegotiate(t.Context(), neg, &found[0], 0)
		require.ErrorIs(t, err, grasp.ErrNoSecurity)
		_, err = pledge.Synchronize(t.Context(), o, &found[0], 0)
		require.ErrorIs(t, err, grasp.ErrNoSecurity)
		value, err := pledge.Synchronize(t.Context(), o, nil, 0)
		require.NoError(t, err, "a flooded value needs no security")
		require.Empty(t, value.Value)
		require.ErrorIs(t, proxy.ListenSynchronize(o), grasp.ErrNoSecurity)
		require.Zero(t, dull.Snapshot().Relayed["M_FLOOD"], "it relays nothing")

		_, err = grasp.New(grasp.Config{DULLObjectives: []string{"AN_ACP"}})
		require.ErrorIs(t, err, grasp.ErrUnspec)
	})
}

// a relay passes nothing on while the plane is not secure, nor back, and
// remembers nothing of it; and relays again when it is.
func TestX03RelayFollowsTheStatus(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		discovery := func(id uint32) arr { return arr{1, id, b.Peer.Addr(), arr{"EX1", 5, 6, nil}} }
		flood := func(id uint32) arr { return arr{9, id, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}} }
		response := func(id uint32) arr { return arr{2, id, b.Peer.Addr(), 60_000, b.Far.Option()} }
		for round := range uint32(3) {
			id := 1000 * round
			b.Peer.Multicast(discovery(id + 1))
			b.Far.Only() // which has not answered yet when the plane fails
			b.Node.SetStatus(acp.Status{Reason: "no keys"})
			synctest.Wait()
			b.Peer.Multicast(discovery(id + 2))
			b.Peer.Multicast(flood(id + 3))
			s := b.Far.Dial(b.At())
			s.Send(response(id + 1))
			s.Closed()
			b.Far.None()
			b.Peer.NotDialed()
			require.Empty(b, b.G.Snapshot().Locators)
			require.Empty(b, b.G.Snapshot().Floods)
			b.WantDrop(grasp.ReasonNoSecurity, 3*int(round+1))

			b.Node.SetStatus(acp.Status{Secure: true})
			synctest.Wait()
			b.Peer.Multicast(discovery(id + 2)) // was not taken for known
			heard := b.Far.Only()
			b.Far.Respond(heard, response(id+2))
			b.Peer.Dialed().Next()
			require.Len(b, b.G.Snapshot().Locators, 1)
			b.Peer.Multicast(flood(id + 3))
			b.Far.Only()
			require.Len(b, b.Flooded("EX2"), 1)
			bed.Flush(b, b.ASA, "EX1")
			all, err := b.ASA.GetFlood(bed.Syn("EX2", nil))
			require.NoError(b, err)
			require.NoError(b, b.ASA.ExpireFlood(all[0]))
		}
	})
}

// what was learned while the plane was secure is not used while it is
// not, but for reading floods; requests that wait for a listener are refused.
func TestX03WhatWasLearnedBefore(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		b.Served(ex3, 1, 1)
		queued := b.Peer.Dial(b.At())
		queued.Send(arr{3, 2, arr{"EX3", 3, 6, nil}})
		b.Learn(b.Peer, "EX1", 60_000, b.Peer.Option())
		b.Peer.Multicast(arr{9, 3, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}})
		late := b.Discover(bed.Syn("EX4", nil), time.Hour, grasp.DiscoverOptions{})
		asked := b.Peer.Only()
		b.Node.SetStatus(acp.Status{Reason: "no keys"})
		queued.Closed()
		bed.IsCode(b, late.Done().Err, grasp.ErrNoSecurity)
		bed.IsCode(b, b.Discover(bed.Syn("EX1", nil), 0, grasp.DiscoverOptions{CacheOnly: true}).Done().Err, grasp.ErrNoSecurity)
		bed.IsCode(b, b.Synchronize(bed.Syn("EX1", nil), nil, 0).Done().Err, grasp.ErrNoSecurity)
		require.EqualValues(b, 7, b.Synchronize(bed.Syn("EX2", nil), nil, 0).Ok().O.Value)
		b.Peer.Respond(asked, arr{2, asked.ID(b), asked.Items(b)[2], 60_000, b.Peer.Option()})
		b.WantDrop(grasp.ReasonNoSecurity, 1)
		require.Len(b, b.G.Snapshot().Locators, 1)
		b.Peer.None()
		b.Peer.NotDialed()

		b.Node.SetStatus(acp.Status{Secure: true})
		require.Len(b, b.Discover(bed.Syn("EX1", nil), 0, grasp.DiscoverOptions{}).Ok().Found, 1)
		b.Served(ex3, 2, 1)
	})
}

// a DULL instance beside it goes on, whatever the plane says.
func TestX03DULLGoesOn(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		dull := bed.NewASA(b, bed.InstanceWith(b, b.Node, func(c *grasp.Config) { c.DULL = true }), "dull")
		o := grasp.Objective{Name: "AN_ACP", Synch: true, LoopCount: 1, Value: 1}
		bed.Registered(b, o, dull)
		for round, secure := range []bool{true, false, true} {
			b.Node.SetStatus(acp.Status{Secure: secure, Reason: "keys or none"})
			synctest.Wait()
			b.Peer.All()
			require.NoError(b, dull.Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
			b.Peer.Only().Is(b, "[9, %d, "+bed.Hex(bed.LinkOf(b.Node, b.Links[0]).Addr.AsSlice())+`, 60000, [["AN_ACP", 5, 1, 1], []]]`)
			local := bed.LinkOf(b.Peer.Node, b.Links[0]).Addr.AsSlice()
			name := arr{"AN_ACP", 5, 1, round}
			b.Peer.Multicast(arr{9, round, local, 60_000, arr{name, arr{103, local, 6, 1}}})
			got, err := dull.GetFlood(o)
			require.NoError(b, err)
			require.EqualValues(b, round, got[len(got)-1].Objective.Value)
			got, err = b.ASA.GetFlood(o)
			require.NoError(b, err)
			if secure {
				require.EqualValues(b, round, got[len(got)-1].Objective.Value)
			} else {
				require.Zero(b, got[len(got)-1].Objective.Value, "of the round before")
			}
		}
	})
}

// a request or an answer whose connection is still being opened when the plane
// ceases to be secure is not sent.
func TestX03NothingIsSentWithoutSecurity(t *testing.T) {
	for name, call := range map[string]func(b *bed.Bed) error{
		"ReqNegotiate": func(b *bed.Bed) error {
			return bed.Third(b.ASA.ReqNegotiate(bed.Forever, bed.Neg("EX1", "secret"), b.Peer.Locator(), time.Hour))
		},
		"OpenSession": func(b *bed.Bed) error {
			return bed.Second(b.ASA.OpenSession(bed.Forever, bed.Neg("EX1", "secret"), b.Peer.Locator(), time.Hour))
		},
		"Synchronize": func(b *bed.Bed) error {
			return bed.Second(b.ASA.Synchronize(bed.Forever, bed.Syn("EX2", nil), b.Peer.Locator(), time.Hour))
		},
		"Discover": func(b *bed.Bed) error {
			return bed.Second(b.ASA.Discover(bed.Forever, bed.Syn("EX2", nil), time.Hour, grasp.DiscoverOptions{Peer: b.Peer.Locator()}))
		},
		"an answer to M_DISCOVERY": func(b *bed.Bed) error {
			b.Peer.Multicast(arr{1, 5, b.Peer.Addr(), arr{"EX3", 5, 6, nil}})
			return grasp.ErrNoSecurity
		},
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
				require.NoError(t, b.ASA.RegisterObj(bed.Syn("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
				b.Links[0].SetDelay(time.Second)
				failed := make(chan error, 1)
				go func() { failed <- call(b) }()
				time.Sleep(time.Second + bed.Soon) // a multicast has come, no connection is open
				b.Node.SetStatus(acp.Status{Reason: "the keys have gone"})
				time.Sleep(10 * time.Second)
				require.NotEmpty(t, failed)
				bed.IsCode(b, <-failed, grasp.ErrNoSecurity)
				for _, e := range b.Traced() {
					require.NotEqual(t, grasp.Sent, e.Kind, "%v", e.Message)
				}
				b.NothingLeft()
			})
		})
	}
}

// nor is a discovery relayed about which Config.Authorize decides meanwhile.
func TestX03NothingIsRelayedWithoutSecurity(t *testing.T) {
	var decide chan struct{} // made in the bubble
	authorize := func(context.Context, grasp.Request) error { <-decide; return nil }
	bed.InLinks(t, 2, grasp.Config{Authorize: authorize}, func(b *bed.Bed) {
		decide = make(chan struct{})
		ours, theirs := bed.LinkOf(b.Node, b.Links[0]), bed.LinkOf(b.Peer.Node, b.Links[0])
		to := netip.AddrPortFrom(ours.Addr.WithZone(theirs.Addr.Zone()), acp.Port)
		require.NoError(b, acp.SendTo(b.Peer.Endpoint, to, bed.Encoded(b, arr{1, 11, b.Peer.Addr(), arr{"EX4", 3, 6, nil}})))
		synctest.Wait()
		b.Node.SetStatus(acp.Status{Reason: "the keys have gone"})
		close(decide)
		synctest.Wait()
		b.Far.None()
		b.WantDrop(grasp.ReasonNoSecurity, 1)
	})
}
