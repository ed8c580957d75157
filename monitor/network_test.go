package monitor

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

var testTime = time.Unix(1e9, 0)

// testNode is a node of a network that is put together.
type testNode struct {
	InstanceState
	skew time.Duration // of its clock
}

// newTestNode returns a node that is well, with the links eth0 and so on, on which it has
// the addresses.
func newTestNode(name string, addrs ...string) *testNode {
	n := &testNode{InstanceState: InstanceState{Name: name, Since: testTime.Add(-time.Hour)}}
	n.Snapshot.Status = acp.Status{Secure: true}
	n.Snapshot.Port = 7000
	n.Spoke = make(map[int]time.Time)
	for i, a := range addrs {
		link := acp.Link{Index: i + 2, Name: "eth" + string(rune('0'+i)), Addr: netip.MustParseAddr(a).WithZone(string(rune('2' + i)))}
		n.Snapshot.Links = append(n.Snapshot.Links, link)
	}
	return n
}

// heard has a node hear another that said something some time ago.
func (n *testNode) heard(link int, other string, ago time.Duration) {
	n.Heard = append(n.Heard, Heard{Link: link, Peer: netip.MustParseAddrPort(other), Multicasts: 1, Last: testTime.Add(n.skew - ago)})
}

// spoke has it say something by a link some time ago.
func (n *testNode) spoke(link int, ago time.Duration) { n.Spoke[link] = testTime.Add(n.skew - ago) }

func together(nodes ...*testNode) Network {
	var all []source
	for _, n := range nodes {
		n.Since = n.Since.Add(n.skew)
		all = append(all, source{name: n.Name, url: "http://" + n.Name + "/", state: State{Time: testTime.Add(n.skew), Instances: []InstanceState{n.InstanceState}}})
	}
	return network("test", testTime, all)
}

// Who hears whom is on the same link; a relay joins two. Names are in order, with their
// numbers.
func TestNetworkLinks(t *testing.T) {
	a, b, r := newTestNode("h10", "fe80::a"), newTestNode("h9", "fe80::b"), newTestNode("r1", "fe80::c", "fe80::d")
	alone := newTestNode("r2", "fe80::e")
	r.heard(2, "[fe80::a]:7000", time.Second)
	b.heard(2, "[fe80::d]:7000", time.Second)
	b.heard(2, "[fe80::77]:7000", time.Second) // of a node that nobody follows
	b.heard(2, "[fe80::b]:9999", time.Second)  // of another instance
	b.heard(77, "[fe80::a]:7000", time.Second) // by a link that is gone
	r.heard(3, "[fe80::77]:7000", time.Second) // the same as above
	n := together(a, b, r, alone)
	require.Equal(t, []NetworkLink{
		{Ends: []NodeLink{{"h9", "eth0"}, {"r1", "eth1"}}, Strangers: 2},
		{Ends: []NodeLink{{"h10", "eth0"}, {"r1", "eth0"}}},
		{Ends: []NodeLink{{"r2", "eth0"}}},
	}, n.Links)
	require.Equal(t, []LinkEnd{{Name: "eth0", Link: 1}, {Name: "eth1", Link: 0}}, n.Nodes[2].Ends)
	require.Empty(t, n.Faults)
}

// A node that does not hear what another on its link says is deaf, whatever the clocks
// say. One that says nothing, or said it before the other was watched, is not unheard.
func TestNetworkDeaf(t *testing.T) {
	for what, c := range map[string]struct {
		change func(deaf, other *testNode)
		faults int
	}{
		"never heard": {func(_, other *testNode) { other.spoke(2, 20*time.Second) }, 1},
		"not heard any more": {func(deaf, other *testNode) {
			other.spoke(2, 20*time.Second)
			deaf.heard(2, "[fe80::b]:7000", time.Minute)
		}, 1},
		"heard": {func(deaf, other *testNode) {
			other.spoke(2, 20*time.Second)
			deaf.heard(2, "[fe80::b]:7000", 21*time.Second)
		}, 0},
		"says nothing":        {func(*testNode, *testNode) {}, 0},
		"just now":            {func(_, other *testNode) { other.spoke(2, time.Second) }, 0},
		"before it was there": {func(deaf, other *testNode) { deaf.Since = testTime.Add(-time.Minute); other.spoke(2, 2*time.Minute) }, 0},
		"to neighbours only": {func(_, other *testNode) {
			other.spoke(2, 20*time.Second)
			other.Snapshot.Neighbours = []acp.Neighbour{{}}
		}, 0},
	} {
		for _, skew := range []time.Duration{0, -24 * time.Hour, time.Hour} {
			deaf, other := newTestNode("deaf", "fe80::a"), newTestNode("other", "fe80::b")
			deaf.skew = skew
			other.heard(2, "[fe80::a]:7000", time.Second)
			c.change(deaf, other)
			n := together(deaf, other)
			require.Len(t, n.Faults, c.faults, "%s: %v", what, n.Faults)
			if c.faults > 0 {
				assert.Equal(t, Fault{"deaf", true, "does not hear other on eth0, though on the same link"}, n.Faults[0], what)
				assert.NotEmpty(t, n.Nodes[0].Ends[0].Fault)
			}
		}
	}
}

// Where one and many refuse each other, the fault is the one's, and it is on their link.
func TestNetworkRefusals(t *testing.T) {
	refuse := func(n *testNode, peer, reason string) {
		n.Snapshot.Refusals = append(n.Snapshot.Refusals, acp.Refusal{Time: testTime, Peer: netip.MustParseAddrPort(peer), Reason: reason})
	}
	a, b, c, odd := newTestNode("a", "fe80::a"), newTestNode("b", "fe80::b"), newTestNode("c", "fe80::c"), newTestNode("odd", "fe80::d")
	a.heard(2, "[fe80::b]:7000", time.Second)
	a.heard(2, "[fe80::c]:7000", time.Second)
	refuse(odd, "[fe80::a%2]:1", "foreign")
	refuse(odd, "[fe80::b%2]:1", "foreign")
	refuse(a, "[fe80::d%2]:1", "protocol")
	refuse(b, "[fe80::d%2]:1", "foreign")
	refuse(c, "[fe80::99%2]:1", "expired")
	a.Snapshot.Refusals = append(a.Snapshot.Refusals, acp.Refusal{Time: testTime.Add(-time.Hour), Peer: netip.MustParseAddrPort("[fe80::c%2]:1"), Reason: "revoked"})
	n := together(a, b, c, odd)
	require.Equal(t, []Fault{
		{"odd", true, "refused by a, b: its certificate leads to no trust anchor of theirs"},
		{"", true, "who is at fe80::99 is refused by c: its certificate has expired, or its clock is wrong"},
	}, n.Faults)
	require.Len(t, n.Links, 1, "where it is refused it is")
	require.Equal(t, "is refused", n.Nodes[3].Ends[0].Fault)
}

// What is wrong with a node comes first if it is bad.
func TestNetworkFaults(t *testing.T) {
	well, ill := newTestNode("well", "fe80::a"), newTestNode("ill")
	well.Recent = map[grasp.Reason]uint64{grasp.ReasonRelayedBefore: 1000, grasp.ReasonMalformed: manyDrops, grasp.ReasonInvalid: manyDrops - 1}
	well.Snapshot.Interfaces = []acp.Interface{
		{Name: "lo", State: acp.LinkLoopback}, {Name: "eth0", State: acp.LinkInUse}, {Name: "eth7", State: acp.LinkDown},
		{Name: "eth8", State: acp.LinkNoCarrier}, {Name: "eth9", State: acp.LinkDown, Named: true},
	}
	ill.Snapshot.Status = acp.Status{Reason: "no certificate"}
	gone := newTestNode("gone")
	gone.Closed = true
	n := network("test", testTime, []source{
		{state: State{Time: testTime, Instances: []InstanceState{well.InstanceState, ill.InstanceState, gone.InstanceState}}},
		{name: "dead", url: "http://dead/", trouble: "connection refused"},
		{name: "dead", url: "http://dead2/", trouble: "it wants its token"},
	})
	require.Equal(t, []Fault{
		{"dead", true, "its monitor gives no answer: connection refused"},
		{"dead-2", true, "its monitor gives no answer: it wants its token"},
		{"gone", true, "the instance is closed"},
		{"ill", true, "not secure: no certificate"},
		{"ill", true, "has no link"},
		{"well", true, "no link: eth9: down"},
		{"well", false, "no link: eth8: no carrier"},
		{"well", false, "dropped 10 in the last minute: malformed"},
	}, n.Faults)
	require.Len(t, n.Nodes[4].Unused, 2)
}

// What is flooded where.
func TestNetworkFloods(t *testing.T) {
	a, b, c := newTestNode("a", "fe80::a"), newTestNode("b", "fe80::b"), newTestNode("c", "fe80::c")
	one := grasp.FloodState{Objective: "EX1", Value: "1", Source: grasp.Locator{IP: netip.MustParseAddr("fd00::1"), Port: 1}}
	two := one
	two.Source.Port = 2
	a.Snapshot.Floods = []grasp.FloodState{one, two}
	b.Snapshot.Floods = []grasp.FloodState{one}
	c.Closed = true
	n := together(a, b, c)
	require.Equal(t, []NetworkFlood{
		{"EX1", "[fd00::1]:1", "1", []string{"a", "b"}, nil},
		{"EX1", "[fd00::1]:2", "1", []string{"a"}, []string{"b"}},
	}, n.Floods)
}

// However many nodes and faults there are, the network is bounded; a monitor that is
// followed twice is there once.
func TestNetworkBounds(t *testing.T) {
	var all []source
	for range maxNodes + 10 {
		all = append(all, source{url: "x", trouble: "x"})
	}
	n := network("", testTime, all)
	require.Len(t, n.Nodes, maxNodes)
	require.Len(t, n.Faults, maxFaults)
	twice := source{state: State{Run: "run", Time: testTime, Instances: []InstanceState{newTestNode("a").InstanceState}}}
	require.Len(t, network("", testTime, []source{twice, twice}).Nodes, 1)
}

// Ears forget who was not heard for the longest time.
func TestEars(t *testing.T) {
	h := newEars()
	event := func(i int, kind grasp.EventKind, peer string) {
		e := grasp.Event{Time: testTime.Add(time.Duration(i) * time.Second), Kind: kind, Message: "M_FLOOD", Link: 2, Raw: []byte{1}}
		if peer != "" {
			e.Peer = netip.MustParseAddrPort(peer)
		}
		h.listen(&e)
	}
	for i := range 2 * maxHeard {
		event(i, grasp.Received, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7).String())
	}
	event(7, grasp.Sent, "")
	event(8, grasp.Sent, "10.0.0.1:7") // to one node
	event(9, grasp.Dropped, "[fe80::1%2]:7")
	heard, spoke := h.all()
	require.Len(t, heard, maxHeard)
	require.Equal(t, netip.MustParseAddrPort("[fe80::1]:7"), heard[maxHeard-1].Peer)
	require.Equal(t, map[int]time.Time{2: testTime.Add(7 * time.Second)}, spoke)
}
