// Package topology runs the same scenario on a network in memory, in virtual
// time, and on real links between processes in network namespaces.
//
// A [Topology] says which nodes are on which links. [Memory] and, on Linux,
// Namespaces make a [Bed] of it: an instance with one ASA on each [Node], and ways to
// break things. Both beds send nodes the same requests: in memory by a call, in
// namespaces as a line to a process.
package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Topology is a network: nodes, numbered from 0, and the links they are on.
type Topology struct {
	Name  string
	Nodes int
	// Links holds the nodes on each link. A node that is listed twice has two
	// interfaces on the link.
	Links [][]int
	// From and To are nodes far apart, the two ends of a scenario. Aside is a node
	// that is not on the way between them, or 0.
	From, To, Aside int
}

// String returns the name of the topology.
func (n Topology) String() string { return n.Name }

// Chain is a chain: hosts at the ends, relays between.
func Chain(nodes int) Topology {
	n := Topology{Name: fmt.Sprintf("Chain%d", nodes), Nodes: nodes, To: nodes - 1}
	for i := range nodes - 1 {
		n.Links = append(n.Links, []int{i, i + 1})
	}
	return n
}

// Ring is a chain whose ends meet.
func Ring(nodes int) Topology {
	n := Chain(nodes)
	n.Name, n.To, n.Aside = fmt.Sprintf("Ring%d", nodes), nodes/2, nodes/2+1
	n.Links = append(n.Links, []int{nodes - 1, 0})
	return n
}

// Mesh has a link between any two nodes.
func Mesh(nodes int) Topology {
	n := Topology{Name: fmt.Sprintf("Mesh%d", nodes), Nodes: nodes, To: nodes - 1, Aside: 1}
	for i := range nodes {
		for j := range i {
			n.Links = append(n.Links, []int{j, i})
		}
	}
	return n
}

// Branches are two links with two hosts and a relay each, and a link between
// the relays.
func Branches() Topology {
	return Topology{Name: "Branches", Nodes: 6, Links: [][]int{{0, 1, 2}, {2, 3}, {3, 4, 5}}, To: 5, Aside: 4}
}

// Doubled is a chain of three, where the relay has two interfaces on the
// first link.
func Doubled() Topology {
	return Topology{Name: "Doubled", Nodes: 3, Links: [][]int{{0, 1, 1}, {1, 2}}, To: 2}
}

// Interfaces counts the interfaces of a node.
func (n Topology) Interfaces(node int) int {
	count := 0
	for _, members := range n.Links {
		for _, m := range members {
			if m == node {
				count++
			}
		}
	}
	return count
}

// FloodPackets returns how many packets it takes to flood all nodes: the origin
// sends by all its interfaces, every other node by all but the one it came by.
func (n Topology) FloodPackets() int {
	total := 1 - n.Nodes
	for _, members := range n.Links {
		total += len(members)
	}
	return total
}

// FewestPackets returns how many packets would be enough if every node knew the
// network: on a tree one for each link, else one for each node but the first.
func (n Topology) FewestPackets() int { return min(len(n.Links), n.Nodes-1) }

// nextHops returns the next link and node on a shortest path from a node to each
// other node.
func (n Topology) nextHops(from int) map[int][2]int {
	hops := make(map[int][2]int)
	seen := []int{from}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		here := queue[0]
		for link, members := range n.Links {
			if !slices.Contains(members, here) {
				continue
			}
			for _, next := range members {
				if slices.Contains(seen, next) {
					continue
				}
				hop := [2]int{link, next}
				if here != from {
					hop = hops[here]
				}
				hops[next] = hop
				seen, queue = append(seen, next), append(queue, next)
			}
		}
	}
	return hops
}

// Bed is a topology that runs.
type Bed struct {
	Topology
	// Real says that it runs on real links, in real time.
	Real bool
	On   []*Node

	set      func(link int, up bool)
	renumber func(node int)
	kill     func(node int)
	restart  func(node int)
}

// Ready reports whether all nodes use all their links.
func (b *Bed) Ready() bool {
	for i := range b.On {
		if !b.uses(i) {
			return false
		}
	}
	return true
}

func (b *Bed) uses(i int) bool {
	s := b.On[i].Snapshot()
	return len(s.Links) == b.Topology.Interfaces(i) && s.Address.IsValid()
}

// SetLink takes a link down or up.
func (b *Bed) SetLink(link int, up bool) { b.set(link, up) }

// Renumber gives a node another address instead of the one it has.
func (b *Bed) Renumber(node int) { b.renumber(node) }

// Kill ends a node without letting it close anything.
func (b *Bed) Kill(node int) { b.kill(node) }

// Restart starts a node that was killed afresh.
func (b *Bed) Restart(node int) { b.restart(node) }

// Node is a node of a bed.
type Node struct {
	Name string
	t    testing.TB
	do   func(Request) Reply
}

// Call makes the node do something. It may block.
func (n *Node) Call(r Request) Reply { return n.do(r) }

// must is Call for what cannot fail.
func (n *Node) must(r Request) Reply {
	n.t.Helper()
	out := n.do(r)
	if out.Err != "" {
		n.t.Fatalf("node %s: %s %q: %s", n.Name, r.Op, r.Objective, out.Err)
	}
	return out
}

// Offer makes the node negotiate an objective with all comers: it offers half of
// what it is asked for, and agrees to that.
func (n *Node) Offer(objective string) {
	n.t.Helper()
	n.must(Request{Op: OpOffer, Objective: objective})
}

// Provide makes the node give a value to all who synchronize.
func (n *Node) Provide(objective string, value int64) {
	n.t.Helper()
	n.must(Request{Op: OpProvide, Objective: objective, Value: value})
}

// Flood floods a value.
func (n *Node) Flood(objective string, value int64, loops uint8) {
	n.t.Helper()
	n.must(Request{Op: OpFlood, Objective: objective, Value: value, LoopCount: loops, TTL: time.Hour})
}

// Flooded returns the flooded values of an objective in the node's cache.
func (n *Node) Flooded(objective string) []int64 {
	n.t.Helper()
	return n.must(Request{Op: OpFlooded, Objective: objective}).Values
}

// Discover looks for an objective for the default time, from a cold cache.
func (n *Node) Discover(objective string) []grasp.Locator {
	n.t.Helper()
	return n.must(Request{Op: OpDiscover, Objective: objective}).Locators
}

// Routed returns the locators that are of use beyond a link. On a link, neighbours
// also give link-local ones.
func Routed(all []grasp.Locator) []grasp.Locator {
	return slices.DeleteFunc(slices.Clone(all), func(l grasp.Locator) bool { return l.IP.IsLinkLocalUnicast() })
}

// Snapshot returns what the node's instance knows.
func (n *Node) Snapshot() grasp.Snapshot {
	n.t.Helper()
	return *n.must(Request{Op: OpSnapshot}).Snapshot
}

// At returns where the node can be reached.
func (n *Node) At() netip.AddrPort {
	n.t.Helper()
	s := n.Snapshot()
	return netip.AddrPortFrom(s.Address, s.Port)
}

// Traffic returns what the node's instance did with multicasts about an
// objective so far, by link of the topology.
func (n *Node) Traffic(objective string) []Traffic {
	n.t.Helper()
	return n.must(Request{Op: OpTraffic, Objective: objective}).Traffic
}

// linkOf returns which link of the topology an interface is on: its name is
// "l", the number of the link, and perhaps "m" and more.
func linkOf(name string) int {
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "l"), "m")
	link, err := strconv.Atoi(name)
	if err != nil {
		return -1
	}
	return link
}

// Eventually polls until cond is true, and fails the test if it is not within
// the given time. On real links it waits longer, because the machine may be busy.
func (b *Bed) Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if b.Real {
		within = max(within, netbed.Patience)
	}
	Eventually(t, within, what, cond)
}

// Eventually polls until cond is true, and fails the test if it is not within
// the given time.
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
