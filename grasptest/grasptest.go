// Package grasptest helps to test Autonomic Service Agents: it runs nodes on a
// network in memory and in virtual time, with links that delay, lose and can be
// cut, and records what the nodes send.
//
// Within [Run] the clock moves only while every goroutine waits. So an hour of
// protocol time takes milliseconds, and a test gives the same result on a busy
// machine as on a quiet one. Real sockets do not work there.
package grasptest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
)

// Link is a link of a [Network]. Its methods make it delay or lose what crosses it, cut
// it and mend it.
type Link = memory.Link

// LinkConfig says how a link behaves. The zero value neither delays nor loses.
type LinkConfig = memory.LinkConfig

// Network is the network of one test.
type Network struct {
	t       *testing.T
	memory  *memory.Network
	capture Capture
}

// Node is a node of the network: an instance, and its place in the network.
type Node struct {
	*grasp.Instance
	// Host attaches the node to links, detaches, renumbers and kills it.
	Host *memory.Node

	t    *testing.T
	name string
}

// Run runs a test on a new network, in a bubble of [testing/synctest]. When f returns,
// all nodes are closed; if a goroutine of the test is left then, the test fails.
func Run(t *testing.T, f func(t *testing.T, n *Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, &Network{t: t, memory: memory.NewNetwork(1), capture: Capture{start: time.Now()}})
	})
}

// Link adds a link to the network.
func (n *Network) Link(cfg LinkConfig) *Link { return n.memory.NewLink(cfg) }

// Node adds a node on links, whose instance has the default settings.
func (n *Network) Node(name string, links ...*Link) *Node {
	n.t.Helper()
	return n.NodeWith(name, grasp.Config{}, links...)
}

// NodeWith adds a node on links, whose instance has settings of its own; the
// Plane in cfg is replaced. If the instance cannot be made, the test fails.
func (n *Network) NodeWith(name string, cfg grasp.Config, links ...*Link) *Node {
	n.t.Helper()
	host := n.memory.NewNode(name, links...)
	cfg.Plane = host
	if cfg.Dialogue.Output == nil {
		cfg.Dialogue.Output = n.t.Output()
	}
	g, err := grasp.New(cfg)
	if err != nil {
		n.t.Fatalf("node %s: %v", name, err)
	}
	n.t.Cleanup(func() { _ = g.Close() })
	n.capture.watch(name, g)
	return &Node{Instance: g, Host: host, t: n.t, name: name}
}

// LAN adds a link and, for each name, a node on it.
func (n *Network) LAN(names ...string) []*Node {
	n.t.Helper()
	link := n.Link(LinkConfig{})
	nodes := make([]*Node, len(names))
	for i, name := range names {
		nodes[i] = n.Node(name, link)
	}
	return nodes
}

// Chain adds a node for each name, and a link between each node and the next. All but
// the first and the last relay.
func (n *Network) Chain(cfg LinkConfig, names ...string) []*Node {
	n.t.Helper()
	nodes := make([]*Node, len(names))
	for i, name := range names {
		nodes[i] = n.Node(name)
		if i > 0 {
			link := n.Link(cfg)
			nodes[i-1].Host.Attach(link)
			nodes[i].Host.Attach(link)
		}
	}
	return nodes
}

// Settle waits, without the clock moving on, until every goroutine waits for
// time to pass or for another: all that can happen now has happened.
func (n *Network) Settle() { synctest.Wait() }

// Advance lets time pass.
func (n *Network) Advance(d time.Duration) {
	time.Sleep(d) // in virtual time
	synctest.Wait()
}

// Capture returns what was recorded of all nodes' messages so far. It goes on
// recording.
func (n *Network) Capture() *Capture { return &n.capture }

// Name returns the name that the node was given.
func (n *Node) Name() string { return n.name }

// ASA registers an ASA. If that fails, the test fails.
func (n *Node) ASA(name string) *grasp.ASA {
	n.t.Helper()
	asa, err := n.RegisterASA(name)
	if err != nil {
		n.t.Fatalf("node %s: %v", n.name, err)
	}
	return asa
}

// Objective registers an objective of an ASA with the default options, and returns it. If
// that fails, the test fails.
func Objective(t testing.TB, asa *grasp.ASA, o grasp.Objective) grasp.Objective {
	t.Helper()
	if err := asa.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	return o
}
