package conformance

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// inDULL runs a test with a DULL instance, on a plane that is not secure. Its node
// gets a second link, with b.Far on it, when the instance runs already.
func inDULL(t *testing.T, test func(b *bed.Bed)) {
	t.Helper()
	bed.InLinks(t, 1, grasp.Config{DULL: true, DULLObjectives: []string{"AN_ACP", "EX1", "EX3"}}, func(b *bed.Bed) {
		b.Node.SetStatus(acp.Status{Reason: "no ACP yet"})
		b.Links = append(b.Links, b.Net.NewLink(memory.LinkConfig{}))
		b.Node.Attach(b.Links[1])
		b.Far = b.NewPeer("far", b.Links[1])
		test(b)
	})
}

// Section 2.5.2: a DULL instance serves one interface. New refuses several, since
// nobody could tell which one is meant; what comes later is left alone as long as
// the first one is there.
func TestL01OneInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		links := []*memory.Link{n.NewLink(memory.LinkConfig{Name: "left"}), n.NewLink(memory.LinkConfig{Name: "right"})}
		_, err := grasp.New(grasp.Config{DULL: true, Plane: n.NewNode("x", links...)})
		bed.IsCode(t, err, grasp.ErrUnspec)
		require.ErrorContains(t, err, "left, right")
	})
	inDULL(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", "value")
		require.NoError(b, b.ASA.RegisterObj(ex1, grasp.RegisterOptions{Discoverable: true}))
		silent := func() {
			b.Helper()
			for i, p := range []*bed.Peer{b.Peer, b.Far} {
				p.All()
				b.Flood(0, ex1)
				call := b.Discover(bed.Syn("AN_ACP", nil), 100*time.Millisecond, grasp.DiscoverOptions{})
				require.Equal(b, i == 0, len(p.All()) > 0)
				call.Within(time.Second)
				p.Multicast(arr{1, 100 + i, bed.IP("fe80::1"), arr{"EX1", 5, 1, nil}})
				p.Multicast(arr{9, 200 + i, bed.IP("fe80::1"), 0, arr{arr{"EX3", 4, 1, i}, arr{103, bed.IP("fe80::7"), 6, 1}}})
			}
			b.Peer.Dialed()
			b.Far.NotDialed()
			require.Equal(b, []any{int64(0)}, b.Flooded("EX3"))
		}
		silent()
		require.Len(b, b.G.Snapshot().Links, 1)
		// Once the first one is gone the other may take its place.
		b.Node.Detach(b.Links[0])
		synctest.Wait()
		b.Far.All()
		b.Flood(0, ex1)
		require.Len(b, b.Far.All(), 1)
	})
}

// Section 2.5.2: what a DULL instance knows is of one link. If the link is replaced, be it
// by an interface of the same name, the instance knows nothing of the new one; if it only
// was down for a while, what came by it lives on.
func TestL01TheLinkIsReplaced(t *testing.T) {
	inDULL(t, func(b *bed.Bed) {
		b.Node.Detach(b.Links[1])
		flooded, found := bed.Syn("EX1", nil), bed.Syn("AN_ACP", nil)
		learn := func(id int) {
			b.Helper()
			b.Peer.Multicast(arr{9, id, bed.IP("fe80::1"), 0, arr{arr{"EX1", 4, 1, id}, arr{103, bed.IP("fe80::7"), 6, 1}}})
			call := b.Discover(found, time.Second, grasp.DiscoverOptions{First: true, Flush: true})
			m := b.Peer.Only()
			b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
			require.Len(b, call.Ok().Found, 1)
			require.Equal(b, []any{int64(id)}, b.Flooded("EX1"))
		}
		learn(1)
		var gone []grasp.FloodEvent
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		go func() {
			for e := range b.ASA.WatchFloods(ctx, flooded) {
				if e.Change == grasp.Gone {
					gone = append(gone, e)
				}
			}
		}()
		known := func() int { return len(b.Floods("EX1")) + len(b.G.Snapshot().Locators) }
		for range 2 { // down, and up again
			b.Links[0].Down()
			synctest.Wait()
			require.Equal(b, 2, known())
			b.Links[0].Up()
			synctest.Wait()
			require.Equal(b, 2, known())
		}
		b.Node.Detach(b.Links[0])
		synctest.Wait()
		require.Equal(b, 2, known(), "it may come back")
		b.Node.Attach(b.Links[0]) // it has a new index
		synctest.Wait()
		require.Zero(b, known())
		require.Len(b, gone, 1)
		require.Equal(b, grasp.GoneRemoved, gone[0].Reason)
		b.Peer.All()
		learn(2)
	})
}

// Section 2.5.2: a DULL instance may multicast discoveries and floods, with a
// loop count of 1 whatever the objective says, and with link-local addresses.
func TestL02L08Multicasts(t *testing.T) {
	inDULL(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", "IKEv2")
		ex1.LoopCount = 255
		b.Register(ex1)
		b.Flood(210*time.Second, ex1, ex1)
		own := bed.Hex(bed.LinkOf(b.Node, b.Links[0]).Addr.AsSlice())
		b.Peer.Only().Is(b, `[9, %d, `+own+`, 210000, [["EX1", 5, 1, "IKEv2"], []], [["EX1", 5, 1, "IKEv2"], []]]`)
		call := b.Discover(ex1, time.Second, grasp.DiscoverOptions{First: true})
		m := b.Peer.Only()
		m.Is(b, `[1, %d, `+own+`, ["EX1", 5, 1, null]]`)
		peer := bed.LinkOf(b.Peer.Node, b.Peer.Link).Addr
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, arr{103, peer.AsSlice(), 6, 1}})
		found := call.Ok().Found
		require.Len(b, found, 1)
		require.Equal(b, peer.WithZone(bed.Zone(b.Index(b.Links[0]))), found[0].IP)
	})
}

// Section 2.5.2: it sends no other message unasked.
func TestL03NothingElseIsSent(t *testing.T) {
	inDULL(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		for name, err := range map[string]error{
			"ReqNegotiate":      b.Request(ex3, nil, 0).Done().Err,
			"ReqNegotiate, to":  b.Request(ex3, b.Peer.Locator(), 0).Done().Err,
			"ListenNegotiate":   b.Listen(ex3).Done().Err,
			"Synchronize":       b.Synchronize(ex1, nil, 0).Done().Err,
			"Synchronize, to":   b.Synchronize(ex1, b.Peer.Locator(), 0).Done().Err,
			"ListenSynchronize": b.ASA.ListenSynchronize(ex1),
			"Discover":          b.Discover(bed.Syn("EX2", nil), 0, grasp.DiscoverOptions{}).Done().Err,
		} {
			require.ErrorIs(b, err, grasp.ErrNoSecurity, name)
		}
		// Nor is anything answered that comes by unicast, malformed or not.
		for _, m := range []any{
			arr{3, 1, arr{"EX3", 3, 1, 1}}, arr{4, 2, arr{"EX1", 5, 1, nil}}, arr{1, 3, b.Peer.Addr(), arr{"EX1", 5, 1, nil}},
			arr{3, 4}, arr{42, 5}, arr{5, 6, arr{"EX3", 3, 1, 1}}, []byte{0xff},
		} {
			s := b.Peer.Dial(b.At())
			s.Send(m)
			s.Closed()
		}
		b.Peer.None()
		b.Peer.NotDialed()
	})
}

// Section 2.5.2: what has a loop count other than 1, a source that is not
// link-local, or no part in a service that is meant is discarded silently.
func TestL04L06WhatIsDiscarded(t *testing.T) {
	inDULL(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Syn("EX1", nil), grasp.RegisterOptions{Discoverable: true}))
		require.NoError(b, b.ASA.RegisterObj(bed.Syn("EX2", nil), grasp.RegisterOptions{Discoverable: true}))
		good := arr{arr{"EX1", 4, 1, "value"}, arr{}}
		drops := 0
		for i, objectives := range [][]any{
			{arr{arr{"EX1", 4, 6, 1}, arr{}}},
			{arr{arr{"EX1", 4, 0, 1}, arr{}}},
			{good, arr{arr{"AN_ACP", 4, 2, 1}, arr{}}},
			{arr{arr{"EX2", 4, 1, 1}, arr{}}},
			// The rule holds before any pair is passed over.
			{arr{arr{"EX1", 4, 255, 1}, arr{110, "x"}}, good},
			{arr{arr{"EX1", 4, 255, 1, "five"}, arr{}}, good},
			{good, arr{arr{"EX2", 4, 2, 1}, arr{}}},
		} {
			b.Peer.Multicast(append(arr{9, i, bed.IP("fe80::1"), 0}, objectives...))
			drops++
			b.WantDrop(grasp.ReasonNoSecurity, drops)
			require.Empty(b, b.G.Snapshot().Floods)
		}
		for i, o := range []arr{{"EX1", 5, 6, nil}, {"EX1", 5, 0, nil}, {"EX2", 5, 1, nil}} {
			b.Peer.Multicast(arr{1, i, bed.IP("fe80::1"), o})
			drops++
			b.WantDrop(grasp.ReasonNoSecurity, drops)
		}
		b.Peer.NotDialed()
		// RFC 8995 section 4.1.1: two services may share a message. The one that
		// this instance is not for is passed over.
		other := arr{arr{"EX2", 4, 1, 1}, arr{}}
		for i, objectives := range [][]any{{good, other}, {other, good}, {good}} {
			b.Peer.Multicast(append(arr{9, 10 + i, bed.IP("fe80::1"), 0}, objectives...))
			require.Equal(b, []any{"value"}, b.Flooded("EX1"))
			require.Len(b, b.G.Snapshot().Floods, 1)
			require.NoError(b, b.ASA.ExpireFlood(b.Floods("EX1")[0]))
		}
		b.Peer.Multicast(arr{1, 8, bed.IP("fe80::1"), arr{"EX1", 5, 1, nil}})
		b.Peer.Dialed()
	})
}

// Section 2.5.2: it relays nothing.
func TestL05NothingIsRelayed(t *testing.T) {
	inDULL(t, func(b *bed.Bed) {
		for _, loops := range []int{1, 2, 255} {
			b.Peer.Multicast(arr{1, loops, bed.IP("fe80::1"), arr{"EX1", 5, loops, nil}})
			b.Peer.Multicast(arr{9, loops, bed.IP("fe80::1"), 0, arr{arr{"EX1", 5, loops, 1}, arr{}}})
		}
		b.Far.None()
	})
}

// Section 2.5.2: its responses give a link-local address, and never a Divert.
func TestL07Responses(t *testing.T) {
	inDULL(t, func(b *bed.Bed) {
		for name, opt := range map[string]grasp.RegisterOptions{
			"EX1": {Discoverable: true},
			"EX3": {Discoverable: true, Locators: []grasp.Locator{*b.Peer.Locator(), {FQDN: "example.com", Port: 1}}},
		} {
			require.NoError(b, b.ASA.RegisterObj(grasp.NewObjective(name), opt))
		}
		b.Peer.Multicast(arr{1, 1, bed.IP("fe80::1"), arr{"EX1", 1, 1, nil}})
		own := bed.Hex(bed.LinkOf(b.Node, b.Links[0]).Addr.AsSlice())
		b.Peer.Dialed().Next().Is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, bed.Hex(bed.IP("fe80::1")), own, b.At().Port()))
		b.Peer.Multicast(arr{1, 10, bed.IP("fe80::1"), arr{"EX3", 1, 1, nil}})
		b.Peer.NotDialed() // nothing that could be said
		// What it has found it does not pass on, nor does it take a Divert.
		call := b.Discover(grasp.NewObjective("AN_ACP"), 100*time.Millisecond, grasp.DiscoverOptions{})
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, arr{100, b.Peer.Option()}})
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		require.Len(b, call.Within(time.Second).Found, 1)
		b.Peer.Multicast(arr{1, 20, bed.IP("fe80::1"), arr{"AN_ACP", 1, 1, nil}})
		b.Peer.NotDialed()
		b.Far.None()
	})
}
