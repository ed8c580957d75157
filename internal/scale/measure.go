package scale

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/topology"
)

// Result is what was measured on one network.
type Result struct {
	Topology topology.Topology
	Diameter int // links from the flooding node to the farthest one

	// At rest, before anything was sent: the share of each node.
	Idle       uint64 // bytes, with the node's part of the network in memory
	Goroutines float64
	Watching   uint64 // bytes, with a watcher of floods
	After      uint64 // bytes, when all was done

	Cold, Known Discovery // from one end of the network to the other, and again from elsewhere
	Flood       Flood     // to all
	Failed      Flood     // with 1 % of the nodes down
	Down        int       // the nodes that were down
	Back        Flood     // the same flood repeated when they are back

	Refused, Dropped uint64 // messages, by the rate of relays and by full queues
}

// Discovery is one discovery.
type Discovery struct {
	Distance  int           // in links
	Took      time.Duration // until the first result
	Packets   uint64        // multicasts
	Responses uint64
	CPU       time.Duration // of all nodes
}

// Flood is one flood.
type Flood struct {
	Expected int // nodes
	Reached  []time.Duration
	Farthest int // links
	Packets  uint64
	CPU      time.Duration // of all nodes
}

// Last returns when the last node got it.
func (f Flood) Last() time.Duration {
	if len(f.Reached) == 0 {
		return 0
	}
	return f.Reached[len(f.Reached)-1]
}

// settle is how long after something was sent all is quiet again.
const settle = 10 * time.Second

// Measure runs a network and measures it. It has to be called in a bubble.
func Measure(t testing.TB, top topology.Topology) *Result {
	t.Helper()
	r := &Result{Topology: top}
	nodes := uint64(top.Nodes)
	before, goroutines := usedMemory(), runtime.NumGoroutine()
	n := New(t, top, grasp.Config{})
	r.Idle = (usedMemory() - before) / nodes
	r.Goroutines = float64(runtime.NumGoroutine()-goroutines) / float64(nodes)

	away := distances(top, 0, nil)
	var far int
	far, r.Diameter = farthest(away)
	o := grasp.NewObjective("scale")
	o.Synch, o.LoopCount = true, uint8(min(2*r.Diameter+2, 255)) // enough for detours
	for i := range n.nodes {
		n.watch(i, o)
	}
	synctest.Wait()
	r.Watching = (usedMemory() - before) / nodes

	r.Cold, r.Known = n.discover(o, far, away[far])
	if err := n.nodes[0].asa.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	r.Flood = n.flood(o, 1, r.Diameter, nil)

	random := rand.New(rand.NewPCG(1, 1))
	down := make(map[int]bool)
	for len(down) < max(1, top.Nodes/100) {
		if i := 1 + random.IntN(top.Nodes-1); !down[i] {
			down[i] = true
			n.kill(i)
		}
	}
	r.Down = len(down)
	_, alive := farthest(distances(top, 0, down))
	r.Failed = n.flood(o, 2, alive, down)
	for i := range down {
		n.start(i)
		n.watch(i, o)
	}
	r.Back = n.flood(o, 2, r.Diameter, nil)
	r.After = (usedMemory() - before) / nodes
	r.Refused, r.Dropped = n.lost()
	return r
}

// discover has node 0 look for an objective that only the node far away supports, and
// then one halfway. All caches are empty at first.
func (n *Network) discover(o grasp.Objective, far, distance int) (cold, known Discovery) {
	o.Name = "wanted"
	o.Value = 1
	responder := n.nodes[far].asa
	if err := responder.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		n.t.Fatal(err)
	}
	if err := responder.ListenSynchronize(o); err != nil {
		n.t.Fatal(err)
	}
	o.Value = nil
	half, to := 0, distances(n.Topology, far, nil)
	for i, d := range to {
		if d == (distance+1)/2 && i != 0 {
			half = i
		}
	}
	return n.find(o, 0, distance), n.find(o, half, to[half])
}

func (n *Network) find(o grasp.Objective, from, distance int) Discovery {
	packets, responses, cpu, start := n.sent(), n.responses(), usedCPU(), time.Now()
	opt := grasp.DiscoverOptions{First: true, Refresh: true}
	found, err := n.nodes[from].asa.Discover(context.Background(), o, time.Minute, opt)
	if err != nil || len(found) == 0 {
		n.t.Errorf("%v: node %d found %d, %v", n.Name, from, len(found), err)
	}
	d := Discovery{Distance: distance, Took: time.Since(start)}
	time.Sleep(settle)
	synctest.Wait()
	d.Packets, d.Responses, d.CPU = n.sent()-packets, n.responses()-responses, usedCPU()-cpu
	return d
}

// flood floods a value from node 0 to all that are not down.
func (n *Network) flood(o grasp.Objective, value int64, farthest int, down map[int]bool) Flood {
	o.Value = value
	f := Flood{Farthest: farthest}
	for _, d := range distances(n.Topology, 0, down) {
		if d >= 0 {
			f.Expected++
		}
	}
	packets, cpu, start := n.sent(), usedCPU(), time.Now()
	if err := n.nodes[0].asa.Flood(time.Hour, grasp.TaggedObjective{Objective: o}); err != nil {
		n.t.Error(fmt.Errorf("%v: %w", n.Name, err))
	}
	time.Sleep(settle)
	synctest.Wait()
	f.Packets, f.CPU = n.sent()-packets, usedCPU()-cpu
	f.Reached = n.arrivals(value, start)
	return f
}
