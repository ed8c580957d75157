package conformance

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// chain returns instances on a chain of links: each has two, but the ends.
func chain(t *testing.T, nodes int, cfg memory.LinkConfig) []*grasp.Instance {
	n := memory.NewNetwork(1)
	var out []*grasp.Instance
	var left *memory.Link
	for i := range nodes {
		var links []*memory.Link
		if left != nil {
			links = append(links, left)
		}
		if i < nodes-1 {
			left = n.NewLink(cfg)
			links = append(links, left)
		}
		out = append(out, bed.NewInstance(t, n.NewNode(string(rune('a'+i)), links...)))
	}
	return out
}

// Sections 2.5.4.4 and 2.8.5: the results of a relayed discovery come back in
// Diverts, hop by hop, and the peer is then reached through the routed path.
func TestR02R08DiscoveryAcrossAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := chain(t, 5, memory.LinkConfig{Delay: time.Millisecond})
		far, near := bed.NewASA(t, nodes[4], "far"), bed.NewASA(t, nodes[0], "near")
		o := grasp.Objective{Name: "EX3", Neg: true, LoopCount: 6}
		require.NoError(t, far.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
		found, err := near.Discover(t.Context(), o, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.True(t, found[0].Diverted)
		require.Equal(t, nodes[4].Snapshot().Address, found[0].IP)

		// A loop count of 3 gets no further than three links.
		o.LoopCount = 3
		found, err = near.Discover(t.Context(), o, 0, grasp.DiscoverOptions{Flush: true})
		require.NoError(t, err)
		require.Len(t, found, 1, "the second node has it in its cache by now")
		for _, g := range nodes[1:3] {
			bed.Flush(t, bed.NewASA(t, g, "flushing"), "EX3")
		}
		found, err = near.Discover(t.Context(), o, 0, grasp.DiscoverOptions{Flush: true})
		require.NoError(t, err)
		require.Len(t, found, 1, "the fourth node has it in its cache by now")
		for _, g := range nodes[1:4] {
			bed.Flush(t, bed.NewASA(t, g, "flushing again"), "EX3")
		}
		found, err = near.Discover(t.Context(), o, 0, grasp.DiscoverOptions{Flush: true})
		require.NoError(t, err)
		require.Empty(t, found)
		require.NotZero(t, nodes[3].Snapshot().Dropped[grasp.ReasonLoopCount])
	})
}

// Section 2.5.6.2: a flood reaches every node of the chain within its loop
// count, and each node once.
func TestF08F10FloodAcrossAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := chain(t, 5, memory.LinkConfig{Delay: time.Millisecond})
		source := bed.NewASA(t, nodes[0], "source")
		o := grasp.Objective{Name: "EX1", Synch: true, LoopCount: 3, Value: "x"}
		require.NoError(t, source.RegisterObj(o, grasp.RegisterOptions{}))
		require.NoError(t, source.Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
		time.Sleep(time.Second)
		for i, g := range nodes {
			flooded, err := bed.NewASA(t, g, "reader").GetFlood(o)
			require.NoError(t, err)
			if i <= 3 {
				require.Len(t, flooded, 1, "node %d", i)
			} else {
				require.Empty(t, flooded, "node %d", i)
			}
		}
	})
}

// Section 2.9.5.2: where IPv4 is translated inside the domain, no IPv4 locator
// goes into a Divert: neither from the cache nor passed back.
func TestO06TranslatedIPv4IsNotDiverted(t *testing.T) {
	for _, translated := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := memory.NewNetwork(1)
			left, right := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
			relay, err := grasp.New(grasp.Config{Plane: n.NewNode("relay", left, right), TranslatedIPv4: translated})
			require.NoError(t, err)
			defer func() { require.NoError(t, relay.Close()) }()
			far := bed.NewASA(t, bed.NewInstance(t, n.NewNode("far", right)), "far")
			near := bed.NewASA(t, bed.NewInstance(t, n.NewNode("near", left)), "near")
			o := grasp.Objective{Name: "EX3", Neg: true, LoopCount: 6}
			v4, v6 := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
			require.NoError(t, far.RegisterObj(o, grasp.RegisterOptions{
				Discoverable: true, Locators: []grasp.Locator{grasp.NewLocator(v4), grasp.NewLocator(v6)},
			}))
			want := []netip.Addr{v4.Addr(), v6.Addr()}
			if translated {
				want = want[1:]
			}
			for _, from := range []string{"passed back", "the cache"} {
				found, err := near.Discover(t.Context(), o, 0, grasp.DiscoverOptions{Flush: true})
				require.NoError(t, err)
				var got []netip.Addr
				for _, l := range found {
					got = append(got, l.IP)
				}
				require.Equal(t, want, got, from)
			}
		})
	}
}
