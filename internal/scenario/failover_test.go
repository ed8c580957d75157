package scenario

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// behindRelays is a node that asks, relays, and two others on the last link.
func behindRelays(relays int) topology.Topology {
	n := topology.Topology{Name: fmt.Sprint("Behind", relays), Nodes: relays + 3, From: 0, To: relays + 1}
	for i := range relays {
		n.Links = append(n.Links, []int{i, i + 1})
	}
	n.Links = append(n.Links, []int{relays, relays + 1, relays + 2})
	return n
}

// failover has peers die and come back, between calls that do not name one. What
// the caller and the relays have cached is wrong then; the first call after that
// succeeds all the same, or the second. silence makes a node fall silent, so that
// nobody is told that it is gone.
func failover(t *testing.T, b *topology.Bed, silence func(node int)) {
	t.Helper()
	from, relay := b.On[b.From], b.To-1
	timeout := 10 * time.Second
	if b.Real {
		timeout = netbed.Patience // the machine may be busy
	}
	provide := func(objective string, nodes ...int) {
		for _, i := range nodes {
			b.On[i].Provide(objective, int64(i))
			b.On[i].Offer("neg " + objective)
		}
	}
	// call synchronizes and negotiates, and returns who gave the value.
	call := func(objective string) (int, error) {
		start := time.Now()
		synch := from.Call(topology.Request{Op: topology.OpSynchronize, Objective: objective, Timeout: timeout})
		if synch.Err != "" {
			return 0, fmt.Errorf("after %v: %s", time.Since(start), synch.Err)
		}
		neg := from.Call(topology.Request{Op: topology.OpNegotiate, Objective: "neg " + objective, Value: 10, Timeout: timeout})
		if neg.Err != "" {
			return 0, fmt.Errorf("after %v: %s", time.Since(start), neg.Err)
		}
		t.Logf("%s: synchronized in %v, negotiated in %v", objective, synch.Took, neg.Took)
		return int(synch.Value), nil
	}
	calls := func(objective string) int {
		t.Helper()
		who, err := call(objective)
		if err != nil {
			t.Logf("%s: the first call: %v", objective, err)
			who, err = call(objective)
		}
		require.NoError(t, err, "the second call for %s", objective)
		return who
	}
	first := func(objective string) int {
		t.Helper()
		who, err := call(objective)
		require.NoError(t, err)
		return who
	}
	other := func(i int) int { return 2*b.To + 1 - i }

	// A process dies: its peers are told when they connect.
	provide("killed", b.To, b.To+1)
	dead := first("killed")
	b.Kill(dead)
	require.Equal(t, other(dead), calls("killed"))

	// So it is if the relays have not heard of any other.
	b.Restart(dead)
	provide("known alone", dead)
	require.Equal(t, dead, first("known alone"))
	provide("known alone", other(dead))
	b.Kill(dead)
	require.Equal(t, other(dead), calls("known alone"))

	// It comes back, on another port, and is the only one.
	b.Restart(dead)
	provide("restarted", dead)
	require.Equal(t, dead, first("restarted"))
	b.Kill(dead)
	b.Restart(dead)
	provide("restarted", dead)
	require.Equal(t, dead, calls("restarted"))

	// A relay restarts: it has forgotten everything, and has another port.
	provide("relay restarted", b.To, b.To+1)
	first("relay restarted")
	b.Kill(relay)
	b.Restart(relay)
	calls("relay restarted")

	// A node falls silent: nobody is told.
	provide("silent", b.To, b.To+1)
	dead = first("silent")
	silence(dead)
	require.Equal(t, other(dead), calls("silent"))
}

// Failover in virtual time, behind one relay and behind three.
func TestFailoverInMemory(t *testing.T) {
	for _, relays := range []int{1, 3} {
		t.Run(fmt.Sprint(relays), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := topology.Memory(t, behindRelays(relays), memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{})
				failover(t, b.Bed, func(i int) { b.Hosts[i].Detach(b.Links[len(b.Links)-1]) })
			})
		})
	}
}

// moving is a caller that has a link with each of two relays, which have links with a
// provider each.
var moving = topology.Topology{Name: "Moving", Nodes: 5, Links: [][]int{{0, 1}, {0, 2}, {1, 3}, {2, 4}}, To: 3}

// failoverOfALink has a link move to another relay, of another part of the network.
func failoverOfALink(t *testing.T, b *topology.Bed) {
	timeout := 10 * time.Second
	if b.Real {
		timeout = netbed.Patience // the machine may be busy
	}
	b.SetLink(1, false)
	for _, i := range []int{3, 4} {
		b.On[i].Provide("moving", int64(i))
	}
	synch := func() topology.Reply {
		return b.On[0].Call(topology.Request{Op: topology.OpSynchronize, Objective: "moving", Timeout: timeout})
	}
	require.EqualValues(t, 3, synch().Value)
	b.SetLink(0, false)
	b.SetLink(1, true)
	if b.Real { // in virtual time that takes no time
		topology.Eventually(t, 30*time.Second, "the other link is in use", func() bool {
			return len(b.On[0].Snapshot().Links) == 1 && len(b.On[2].Snapshot().Links) == 2
		})
	}
	out := synch()
	if out.Err != "" {
		t.Log("the first call: ", out.Err)
		out = synch()
	}
	require.Empty(t, out.Err)
	require.EqualValues(t, 4, out.Value)
	t.Logf("the call took %v", out.Took)
}

func TestFailoverOfALinkInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failoverOfALink(t, topology.Memory(t, moving, memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{}).Bed)
	})
}
