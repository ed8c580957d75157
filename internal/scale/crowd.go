package scale

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/topology"
)

// Crowd is what happens when all nodes but one watch the peers of an objective
// (WatchPeers), which that one supports, and all begin at the same time.
type Crowd struct {
	Topology topology.Topology
	Found    []time.Duration // when each watcher knew the peer, in order
	Minutes  []uint64        // multicasts in each minute
	Gone     int             // how often a watcher lost the peer, which was always there
	Refused  uint64          // messages, by the rate of relays
	Dropped  uint64          // by full queues
	Memory   uint64          // bytes of each node in the end
	CPU      time.Duration   // of all nodes
}

// Watch lets all nodes watch for some minutes. It has to be called in a bubble.
func Watch(t testing.TB, top topology.Topology, minutes int) *Crowd {
	t.Helper()
	c := &Crowd{Topology: top}
	before := usedMemory()
	n := New(t, top, grasp.Config{})
	_, far := farthest(distances(top, 0, nil))
	o := grasp.NewObjective("wanted")
	o.Synch, o.LoopCount, o.Value = true, uint8(min(2*far+2, 255)), 1
	if err := n.nodes[0].asa.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.nodes[0].asa.ListenSynchronize(o); err != nil {
		t.Fatal(err)
	}
	o.Value = nil
	start, cpu := time.Now(), usedCPU()
	for i := 1; i < top.Nodes; i++ {
		n.watchPeers(i, o)
	}
	for sent := n.sent(); len(c.Minutes) < minutes; sent = n.sent() {
		time.Sleep(time.Minute)
		synctest.Wait()
		c.Minutes = append(c.Minutes, n.sent()-sent)
	}
	c.CPU = usedCPU() - cpu
	for _, o := range n.nodes[1:] {
		o.mu.Lock()
		if !o.at.IsZero() {
			c.Found = append(c.Found, o.at.Sub(start))
		}
		c.Gone += o.gone
		o.mu.Unlock()
	}
	slices.Sort(c.Found)
	c.Refused, c.Dropped = n.lost()
	c.Memory = (usedMemory() - before) / uint64(top.Nodes)
	return c
}

// watchPeers starts a watcher of peers on a node.
func (n *Network) watchPeers(i int, o grasp.Objective) {
	n.nodes[i].run(func(ctx context.Context, here *node) {
		for e := range here.asa.WatchPeers(ctx, o, grasp.WatchPeersOptions{}) {
			here.mu.Lock()
			switch {
			case e.Change == grasp.Gone:
				here.gone++
			case here.at.IsZero():
				here.at = time.Now()
			}
			here.mu.Unlock()
		}
	})
}
