package scale

import (
	"fmt"
	"math/rand/v2"

	"github.com/go-grasp/grasp/internal/topology"
)

// Random returns a random connected graph in which every node has four links, each to
// one other node: two rings that visit the nodes in a random order.
func Random(nodes int, seed uint64) topology.Topology {
	n := topology.Topology{Name: fmt.Sprintf("random, %d nodes", nodes), Nodes: nodes}
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2 {
		ring := r.Perm(nodes)
		for i, node := range ring {
			n.Links = append(n.Links, []int{node, ring[(i+1)%nodes]})
		}
	}
	return n
}

// Tree returns a binary tree of a depth: node 0 is the root.
func Tree(depth int) topology.Topology {
	n := topology.Topology{Name: fmt.Sprintf("tree, %d nodes", 2<<depth-1), Nodes: 2<<depth - 1}
	for i := 1; i < n.Nodes; i++ {
		n.Links = append(n.Links, []int{(i - 1) / 2, i})
	}
	return n
}

// LAN returns nodes on one link.
func LAN(nodes int) topology.Topology {
	n := topology.Topology{Name: fmt.Sprintf("LAN, %d nodes", nodes), Nodes: nodes, Links: [][]int{nil}}
	for i := range nodes {
		n.Links[0] = append(n.Links[0], i)
	}
	return n
}

// Ring returns a ring of nodes.
func Ring(nodes int) topology.Topology {
	n := topology.Ring(nodes)
	n.Name = fmt.Sprintf("ring, %d nodes", nodes)
	return n
}

// distances returns how many links each node is away from one, -1 for those that
// cannot be reached. Nodes that are down pass nothing on.
func distances(n topology.Topology, from int, down map[int]bool) []int {
	on := make([][]int, n.Nodes) // links by node
	for l, members := range n.Links {
		for _, m := range members {
			on[m] = append(on[m], l)
		}
	}
	out := make([]int, n.Nodes)
	for i := range out {
		out[i] = -1
	}
	out[from] = 0
	crossed := make([]bool, len(n.Links))
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		here := queue[0]
		for _, l := range on[here] {
			if crossed[l] {
				continue
			}
			crossed[l] = true
			for _, next := range n.Links[l] {
				if out[next] < 0 && !down[next] {
					out[next] = out[here] + 1
					queue = append(queue, next)
				}
			}
		}
	}
	return out
}

// farthest returns the node that is farthest away, and how far.
func farthest(distances []int) (node, far int) {
	for i, d := range distances {
		if d > far {
			node, far = i, d
		}
	}
	return node, far
}
