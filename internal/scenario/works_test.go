package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// patience bounds the wait for what happens soon on real links.
const patience = netbed.Patience

// works has one node discover, negotiate and synchronize what another one has, and hear
// its flood.
func works(t *testing.T, build func(t *testing.T) (asking, giving *topology.Node)) {
	asking, giving := build(t)
	for _, n := range []*topology.Node{asking, giving} {
		within(t, "there is a link", func() bool { return len(n.Snapshot().Links) > 0 })
	}
	giving.Offer("offered")
	giving.Provide("provided", 7)
	call := func(r topology.Request) topology.Reply {
		t.Helper()
		var out topology.Reply
		within(t, fmt.Sprint(r.Op, " succeeds"), func() bool {
			out = asking.Call(r)
			return out.Err == "" && (r.Op != topology.OpDiscover || len(out.Locators) > 0)
		})
		return out
	}
	found := call(topology.Request{Op: topology.OpDiscover, Objective: "offered", First: true, Timeout: 2 * time.Second})
	onLink := make(map[int]int)
	for _, l := range found.Locators {
		onLink[l.IfIndex]++
	}
	for link, count := range onLink {
		assert.LessOrEqual(t, count, acp.MaxAddrs, "link %d", link)
	}
	t.Logf("found %v", found.Locators)
	agreed := call(topology.Request{Op: topology.OpNegotiate, Objective: "offered", Value: 100, Timeout: 5 * time.Second})
	assert.EqualValues(t, 50, agreed.Value)
	synched := call(topology.Request{Op: topology.OpSynchronize, Objective: "provided", Timeout: 5 * time.Second})
	assert.EqualValues(t, 7, synched.Value)
	within(t, "the flood is heard", func() bool {
		giving.Flood("flooded", 9, grasp.DefaultLoopCount)
		return len(asking.Flooded("flooded")) == 1
	})
	assert.Equal(t, []int64{9}, asking.Flooded("flooded"))
	t.Logf("negotiation took %v, synchronization %v", agreed.Took, synched.Took)
}

func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	netbed.Eventually(t, patience, what, cond)
}
