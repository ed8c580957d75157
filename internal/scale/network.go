// Package scale measures networks of thousands of nodes: instances in one process, on
// a network in memory, in the virtual time of testing/synctest.
package scale

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/topology"
)

// Delay is the delay of every link.
const Delay = time.Millisecond

// Network is a network that runs.
type Network struct {
	topology.Topology
	t     testing.TB
	cfg   grasp.Config
	hosts []*memory.Node
	links []*memory.Link
	on    [][]*memory.Link // by node
	nodes []*node
}

// node is an instance with an ASA.
type node struct {
	g    *grasp.Instance
	asa  *grasp.ASA
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex // guards all following fields
	events int        // that the watcher of floods got
	value  any        // of the last one
	at     time.Time  // of that one; of the first one that a watcher of peers got
	gone   int        // peers that a watcher of peers lost
}

// New starts a network, which ends with the test.
func New(t testing.TB, top topology.Topology, cfg grasp.Config) *Network {
	t.Helper()
	n := &Network{Topology: top, t: t, cfg: cfg, on: make([][]*memory.Link, top.Nodes), nodes: make([]*node, top.Nodes)}
	n.cfg.Dialogue.Silent = true
	m := memory.NewNetwork(1)
	for _, members := range top.Links {
		l := m.NewLink(memory.LinkConfig{Delay: Delay})
		n.links = append(n.links, l)
		for _, i := range members {
			n.on[i] = append(n.on[i], l)
		}
	}
	for i := range top.Nodes {
		n.hosts = append(n.hosts, m.NewNode(fmt.Sprint("n", i)))
		n.start(i)
	}
	t.Cleanup(n.close)
	synctest.Wait()
	return n
}

// start starts a node and attaches it to its links.
func (n *Network) start(i int) {
	n.t.Helper()
	for _, l := range n.on[i] {
		n.hosts[i].Attach(l)
	}
	cfg := n.cfg
	cfg.Plane = n.hosts[i]
	g, err := grasp.New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	asa, err := g.RegisterASA("scale")
	if err != nil {
		n.t.Fatal(err)
	}
	n.nodes[i] = &node{g: g, asa: asa, stop: func() {}}
}

// kill ends a node without letting it close anything.
func (n *Network) kill(i int) {
	n.hosts[i].Kill()
	n.nodes[i].close(n.t)
}

func (n *Network) close() {
	for _, o := range n.nodes {
		o.close(n.t)
	}
}

func (o *node) close(t testing.TB) {
	o.stop()
	o.done.Wait()
	if err := o.g.Close(); err != nil {
		t.Error(err)
	}
}

// watch starts a watcher of floods on a node.
func (n *Network) watch(i int, o grasp.Objective) {
	n.nodes[i].run(func(ctx context.Context, here *node) {
		for e := range here.asa.WatchFloods(ctx, o) {
			here.mu.Lock()
			here.events++
			here.value, here.at = e.Flood.Objective.Value, time.Now()
			here.mu.Unlock()
		}
	})
}

// run runs a watcher on the node until it closes.
func (o *node) run(watcher func(context.Context, *node)) {
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	o.done.Go(func() { watcher(ctx, o) })
}

// sent returns how many multicasts were sent so far.
func (n *Network) sent() (total uint64) {
	for _, l := range n.links {
		total += l.Stats().Sent
	}
	return total
}

// lost returns how many messages relays refused because of their rate, and how many
// met a full queue.
func (n *Network) lost() (refused, dropped uint64) {
	for _, o := range n.nodes {
		refused += o.g.Snapshot().Dropped[grasp.ReasonRate]
	}
	for _, l := range n.links {
		dropped += l.Stats().Dropped
	}
	return refused, dropped
}

// responses returns how many responses were sent so far, each by a connection of its
// own.
func (n *Network) responses() (total uint64) {
	for _, o := range n.nodes {
		total += o.g.Snapshot().Sent["M_RESPONSE"]
	}
	return total
}

// arrivals returns how long after a time the watchers of floods saw a value, in order.
// Those that saw it before do not count.
func (n *Network) arrivals(value any, since time.Time) (out []time.Duration) {
	for _, o := range n.nodes {
		o.mu.Lock()
		if o.value == value && !o.at.Before(since) {
			out = append(out, o.at.Sub(since))
		}
		o.mu.Unlock()
	}
	slices.Sort(out)
	return out
}

// usedMemory returns the bytes in use, on the heap and by stacks, after a garbage
// collection.
func usedMemory() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
