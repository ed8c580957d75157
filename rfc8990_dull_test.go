package grasp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// inDULL is inBedOf with a DULL instance, on a plane that is not secure.
func inDULL(t *testing.T, links int, test func(b *bed)) {
	t.Helper()
	inBedOf(t, links, Config{DULL: true, DULLObjectives: []string{"AN_ACP", "EX1", "EX3"}}, func(b *bed) {
		b.node.SetStatus(acp.Status{Reason: "no ACP yet"})
		test(b)
	})
}

// Section 2.5.2: a DULL instance may multicast discoveries and floods, with a
// loop count of 1 whatever the objective says, and with link-local addresses.
func TestL02L08Multicasts(t *testing.T) {
	inDULL(t, 2, func(b *bed) {
		ex1 := syn("EX1", "IKEv2")
		ex1.LoopCount = 255
		b.register(ex1)
		b.flood(210*time.Second, ex1, ex1)
		for i, p := range []*rawPeer{b.peer, b.far} {
			own := hx(linkOf(b.node, b.links[i]).Addr.AsSlice())
			p.only().is(b, `[9, %d, `+own+`, 210000, [["EX1", 5, 1, "IKEv2"], []], [["EX1", 5, 1, "IKEv2"], []]]`)
		}
		call := b.discover(ex1, time.Second, DiscoverOptions{First: true})
		for i, p := range []*rawPeer{b.peer, b.far} {
			own := hx(linkOf(b.node, b.links[i]).Addr.AsSlice())
			m := p.only()
			m.is(b, `[1, %d, `+own+`, ["EX1", 5, 1, null]]`)
			if p == b.far {
				peer := linkOf(p.node, p.link).Addr
				p.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, arr{103, peer.AsSlice(), 6, 1}})
				found := call.ok().found
				require.Len(b, found, 1)
				require.Equal(b, peer.WithZone(zone(b.index(b.links[1]))), found[0].IP)
			}
		}
	})
}

// Section 2.5.2: it sends no other message unasked.
func TestL03NothingElseIsSent(t *testing.T) {
	inDULL(t, 1, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		for name, err := range map[string]error{
			"ReqNegotiate":      b.request(ex3, nil, 0).done().err,
			"ReqNegotiate, to":  b.request(ex3, b.peer.locator(), 0).done().err,
			"ListenNegotiate":   b.listen(ex3).done().err,
			"Synchronize":       b.synchronize(ex1, nil, 0).done().err,
			"Synchronize, to":   b.synchronize(ex1, b.peer.locator(), 0).done().err,
			"ListenSynchronize": b.asa.ListenSynchronize(ex1),
			"Discover":          b.discover(syn("EX2", nil), 0, DiscoverOptions{}).done().err,
		} {
			require.ErrorIs(b, err, ErrNoSecurity, name)
		}
		// Nor is anything answered that comes by unicast, malformed or not.
		for _, m := range []any{
			arr{3, 1, arr{"EX3", 3, 1, 1}}, arr{4, 2, arr{"EX1", 5, 1, nil}}, arr{1, 3, b.peer.addr(), arr{"EX1", 5, 1, nil}},
			arr{3, 4}, arr{42, 5}, arr{5, 6, arr{"EX3", 3, 1, 1}}, []byte{0xff},
		} {
			s := b.peer.dial(b.at())
			s.send(m)
			s.closed()
		}
		b.peer.none()
		b.peer.notDialed()
	})
}

// Section 2.5.2: what has a loop count other than 1, a source that is not
// link-local, or no part in a service that is meant is discarded silently.
func TestL04L06WhatIsDiscarded(t *testing.T) {
	inDULL(t, 1, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(syn("EX1", nil), RegisterOptions{Discoverable: true}))
		require.NoError(b, b.asa.RegisterObj(syn("EX2", nil), RegisterOptions{Discoverable: true}))
		good := arr{arr{"EX1", 4, 1, "value"}, arr{}}
		drops := 0
		for i, objectives := range [][]any{
			{arr{arr{"EX1", 4, 6, 1}, arr{}}},
			{arr{arr{"EX1", 4, 0, 1}, arr{}}},
			{good, arr{arr{"AN_ACP", 4, 2, 1}, arr{}}},
			{arr{arr{"EX2", 4, 1, 1}, arr{}}},
			{good, arr{arr{"EX2", 4, 1, 1}, arr{}}},
		} {
			b.peer.multicast(append(arr{9, i, ip("fe80::1"), 0}, objectives...))
			drops++
			b.wantDrop(ReasonNoSecurity, drops)
			require.Empty(b, b.g.Snapshot().Floods)
		}
		for i, o := range []arr{{"EX1", 5, 6, nil}, {"EX1", 5, 0, nil}, {"EX2", 5, 1, nil}} {
			b.peer.multicast(arr{1, i, ip("fe80::1"), o})
			drops++
			b.wantDrop(ReasonNoSecurity, drops)
		}
		b.peer.notDialed()
		b.peer.multicast(arr{9, 7, ip("fe80::1"), 0, good})
		require.Equal(b, []any{"value"}, b.flooded("EX1"))
		b.peer.multicast(arr{1, 8, ip("fe80::1"), arr{"EX1", 5, 1, nil}})
		b.peer.dialed()

		// In memory every source is link-local.
		m := &wire.Flood{Initiator: netip.MustParseAddr("fe80::1"), Objectives: []wire.Flooded{{Objective: wire.Objective{Name: "EX1", LoopCount: 1}}}}
		for addr, want := range map[string]bool{"[fe80::2%1]:7017": true, "[fd00::2]:7017": false, "192.0.2.1:7017": false} {
			require.Equal(b, want, b.g.mayTake(m, acp.Origin{Link: 1, Addr: netip.MustParseAddrPort(addr)}), addr)
		}
	})
}

// Section 2.5.2: it relays nothing.
func TestL05NothingIsRelayed(t *testing.T) {
	inDULL(t, 2, func(b *bed) {
		for _, loops := range []int{1, 2, 255} {
			b.peer.multicast(arr{1, loops, ip("fe80::1"), arr{"EX1", 5, loops, nil}})
			b.peer.multicast(arr{9, loops, ip("fe80::1"), 0, arr{arr{"EX1", 5, loops, 1}, arr{}}})
		}
		b.far.none()
	})
}

// Section 2.5.2: its responses give a link-local address, and never a Divert.
func TestL07Responses(t *testing.T) {
	inDULL(t, 2, func(b *bed) {
		for name, opt := range map[string]RegisterOptions{
			"EX1": {Discoverable: true},
			"EX3": {Discoverable: true, Locators: []Locator{*b.peer.locator(), {FQDN: "example.com", Port: 1}}},
		} {
			require.NoError(b, b.asa.RegisterObj(NewObjective(name), opt))
		}
		for i, p := range []*rawPeer{b.peer, b.far} {
			p.multicast(arr{1, i, ip("fe80::1"), arr{"EX1", 1, 1, nil}})
			own := hx(linkOf(b.node, b.links[i]).Addr.AsSlice())
			p.dialed().read().is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, hx(ip("fe80::1")), own, b.at().Port()))
			p.multicast(arr{1, 10 + i, ip("fe80::1"), arr{"EX3", 1, 1, nil}})
			p.notDialed() // nothing that could be said
		}
		// What it has found it does not pass on, nor does it take a Divert.
		call := b.discover(NewObjective("AN_ACP"), 100*time.Millisecond, DiscoverOptions{})
		b.peer.all()
		m := b.far.only()
		b.far.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, arr{100, b.far.option()}})
		b.far.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.far.option()})
		require.Len(b, call.within(time.Second).found, 1)
		b.peer.multicast(arr{1, 20, ip("fe80::1"), arr{"AN_ACP", 1, 1, nil}})
		b.peer.notDialed()
		b.far.none()
	})
}
