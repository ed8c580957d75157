package scenario

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// The same on real links, between processes in namespaces, with global
// addresses that the kernels of the nodes route.
func TestTopologiesInNamespaces(t *testing.T) {
	for _, top := range topologies {
		t.Run(top.Name, func(t *testing.T) {
			if top.Name != "Branches" {
				longtest.Need(t) // the others cross in memory
			}
			if !netbed.Enter(t) {
				return
			}
			acrossTopology(t, topology.Namespaces(t, top, grasp.Config{}).Bed)
		})
	}
}

// Discovery by asking one node, on real links.
func TestD21T03AskAloneInNamespaces(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	askAlone(t, topology.Namespaces(t, topology.Chain(4), grasp.Config{}).Bed)
}

// Flaps of a real link: with all that the kernel takes away with it, such as
// addresses and routes.
func TestFlappingInNamespaces(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	flaps := flapCount
	if !longtest.On() {
		flaps /= 5
	}
	b := topology.Namespaces(t, topology.Chain(3), grasp.Config{})
	r := rand.New(rand.NewPCG(1, 1))
	all := flapping(t, b.Bed, flaps, r, 120*time.Millisecond)
	assert.NotZero(t, all.ok)
}

// Renumbering, a dead relay, sleep: on real links.
func TestChangesInNamespaces(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	b := topology.Namespaces(t, topology.Ring(6), grasp.Config{})
	changeAcross(t, b.Bed, func() {
		b.Eventually(t, 5*time.Second, "the host has no link", func() bool {
			return len(b.On[b.From].Snapshot().Links) == 0
		})
	})
}

// A DULL instance and a secure one in a process, twice, on a real link: they
// share the port and nothing else (section 2.5.2).
func TestL01L02L03L04L05L06L07DULLOnARealLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	start := func(link string, dull bool) *grasp.ASA {
		cfg := grasp.Config{DULL: dull, Plane: &acp.Layer2{Links: []string{link}}}
		if dull {
			cfg.Plane = memory.Insecure{Plane: cfg.Plane}
		}
		g, err := grasp.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		require.NoError(t, g.WaitForLink(t.Context()))
		a, err := g.RegisterASA(link)
		require.NoError(t, err)
		return a
	}
	dull, secure := [2]*grasp.ASA{}, [2]*grasp.ASA{}
	for i, link := range []string{"va0", "va1"} {
		dull[i], secure[i] = start(link, true), start(link, false)
	}
	o := grasp.Objective{Name: "AN_ACP", Synch: true, LoopCount: 1, Value: "IKEv2"}
	ex1 := grasp.Objective{Name: "EX1", Synch: true, LoopCount: 6, Value: 1}
	flooded := func(a *grasp.ASA, name string) int {
		all, err := a.GetFlood(grasp.Objective{Name: name, Synch: true})
		require.NoError(t, err)
		return len(all)
	}

	// Each takes what is for it.
	require.NoError(t, dull[0].RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
	require.NoError(t, secure[0].RegisterObj(ex1, grasp.RegisterOptions{Discoverable: true}))
	require.NoError(t, dull[0].Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
	require.NoError(t, secure[0].Flood(time.Minute, grasp.TaggedObjective{Objective: ex1}))
	topology.Eventually(t, patience, "the floods are there", func() bool {
		return flooded(dull[1], "AN_ACP") == 1 && flooded(secure[1], "EX1") == 1
	})
	require.Zero(t, flooded(dull[1], "EX1"))

	found, err := dull[1].Discover(t.Context(), o, patience, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.True(t, found[0].IP.IsLinkLocalUnicast())
	require.False(t, found[0].Diverted)
	found, err = secure[1].Discover(t.Context(), ex1, patience, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.Len(t, found, 1)
	_, err = dull[1].Synchronize(t.Context(), o, &found[0], time.Second)
	require.ErrorIs(t, err, grasp.ErrNoSecurity)
	_, err = dull[1].Discover(t.Context(), ex1, 0, grasp.DiscoverOptions{})
	require.ErrorIs(t, err, grasp.ErrNoSecurity)

	for _, a := range dull {
		s := a.Instance().Snapshot()
		require.Empty(t, s.Relayed)
		for message := range s.Sent {
			require.Contains(t, []string{"M_DISCOVERY", "M_FLOOD", "M_RESPONSE"}, message)
		}
	}
}

// The Python prototype as one of a chain of five, the others being instances:
// at its end, and as a relay, which finds out what it is asked but does not say
// so until it is asked again.
func TestInteropPrototypeInAChain(t *testing.T) {
	const timeout = 3 * time.Second
	setup := func(t *testing.T, at int) (*topology.NamespaceBed, *graspybed.ASA) {
		b := topology.Namespaces(t, topology.Chain(5), grasp.Config{})
		b.Kill(at)
		// Its address goes to an interface that it uses.
		n, name := b.Spaces[at], b.Interfaces[at][0]
		n.Delete(t, "stub")
		n.AddAddr(t, name, fmt.Sprintf("fd00:0:%x::1/128", at+1))
		peer := graspybed.Start(t, n, n.String())
		return b, peer.RegisterASA(t, "peer", graspybed.Options{})
	}
	news := func(name string) graspybed.Objective {
		return graspybed.Objective{Name: name, Synch: true, LoopCount: 6, Value: 7}
	}
	found := func(n *topology.Node, name string) []grasp.Locator {
		r := topology.Request{Op: topology.OpDiscover, Objective: name, First: true, Timeout: timeout}
		return topology.Routed(n.Call(r).Locators)
	}
	t.Run("Host", func(t *testing.T) {
		graspybed.Checkout(t)
		if !netbed.Enter(t) {
			return
		}
		b, py := setup(t, 4)
		py.RegisterObj(t, news("theirs"), nil)
		py.ListenSynchronize(t, news("theirs"))
		at := found(b.On[0], "theirs")
		require.Len(t, at, 1)
		require.Equal(t, "fd00:0:5::1", at[0].IP.String())
		out := b.On[0].Call(topology.Request{Op: topology.OpSynchronize, Objective: "theirs", Peer: &at[0], Timeout: timeout})
		require.Empty(t, out.Err)
		require.EqualValues(t, 7, out.Value)

		py.RegisterObj(t, news("flooded"), nil)
		py.Flood(t, time.Minute, graspybed.Tagged{Objective: news("flooded")})
		topology.Eventually(t, timeout, "the flood is at the other end", func() bool {
			return len(b.On[0].Flooded("flooded")) == 1
		})

		b.On[0].Provide("ours", 7)
		back := py.Discover(t, news("ours"), timeout, true)
		require.Len(t, back, 1)
		require.Equal(t, "fd00:0:1::1", back[0].Locator)
		code, o := py.Synchronize(t, news("ours"), &back[0], timeout)
		require.Zero(t, code)
		require.EqualValues(t, 7, o.Value)
	})
	t.Run("Relay", func(t *testing.T) {
		graspybed.Checkout(t)
		if !netbed.Enter(t) {
			return
		}
		b, _ := setup(t, 2)
		b.On[4].Provide("beyond", 7)
		r := topology.Request{Op: topology.OpDiscover, Objective: "beyond", Timeout: 600 * time.Millisecond}
		first := b.On[0].Call(r).Locators
		t.Logf("the first discovery across the prototype found %v", first)
		var at []grasp.Locator
		topology.Eventually(t, 2*timeout, "a later discovery finds it", func() bool {
			at = found(b.On[0], "beyond")
			return len(at) > 0
		})
		require.Len(t, at, 1)
		require.Equal(t, "fd00:0:5::1", at[0].IP.String())
		require.True(t, at[0].Diverted)
		out := b.On[0].Call(topology.Request{Op: topology.OpSynchronize, Objective: "beyond", Peer: &at[0], Timeout: timeout})
		require.Empty(t, out.Err)
		b.On[0].Flood("through", 1, 6)
		topology.Eventually(t, timeout, "the flood is at the other end", func() bool {
			return len(b.On[4].Flooded("through")) == 1
		})
	})
}
