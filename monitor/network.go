package monitor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// Network is what several monitors know of the nodes that they watch, put together.
type Network struct {
	Caption string
	Time    time.Time
	Faults  []Fault // the worst first
	Nodes   []Node  // by name
	Links   []NetworkLink
	Floods  []NetworkFlood
}

// Node is an instance of a network.
type Node struct {
	Name string // unique in the network
	// URL is that of the node's monitor, empty for the instances that this monitor
	// watches itself.
	URL string
	// Trouble says why the monitor gives no answer. All else is then from its last
	// answer.
	Trouble    string
	Time       time.Time // of what is known; zero: nothing is
	Closed     bool
	Status     acp.Status
	Address    netip.Addr
	ASAs       []string
	Objectives []string
	Relayed    uint64 // messages
	// Ends are its links; each is an end of a link of the network.
	Ends []LinkEnd
	// Unused are the interfaces that are not links, but may be meant to be.
	Unused     []acp.Interface
	Neighbours []NodeNeighbour
}

// LinkEnd is a link as one of its nodes knows it.
type LinkEnd struct {
	Name  string
	Link  int    // index in Network.Links
	Fault string // what is wrong with the node there
}

// NodeNeighbour is a neighbour on a plane that knows who its neighbours are.
type NodeNeighbour struct {
	Identity string
	Node     string // the node of the network that has the identity; empty if there is none
}

// NetworkLink is a link with those nodes on it that hear each other.
type NetworkLink struct {
	// Ends are the nodes' names, in order, and those of the link there.
	Ends []NodeLink
	// Strangers is how many nodes are heard there that the network does not have.
	Strangers int
}

// NodeLink is the link of a node.
type NodeLink struct{ Node, Link string }

// NetworkFlood is a flooded value.
type NetworkFlood struct {
	Objective, Source, Value string
	// On and Missing are the nodes that have it in their cache, and that do not.
	On, Missing []string
}

// Fault is something that is wrong, or may be.
type Fault struct {
	Node string // empty: no node of the network
	Bad  bool   // it is wrong; else it may be
	Text string
}

// What of a network is shown at most.
const (
	maxNodes      = 512
	maxFaults     = 200
	maxNetFloods  = 200
	maxNodeValues = 100 // of each list of a node

	maxPairs = 1 << 18 // of ends of a link, to be asked whether one hears the other
)

// source is the state of a monitor, and which monitor that is.
type source struct {
	name, url string
	trouble   string
	state     State // as it was last
}

// part is an instance while a network is put together.
type part struct {
	*Node
	is *InstanceState // nil: unknown
}

// network puts states together.
func network(caption string, now time.Time, sources []source) Network {
	b := &networkBuilder{Network: Network{Caption: caption, Time: now}, names: make(map[string]bool)}
	runs := make(map[string]bool)
	for i := range sources {
		if run := sources[i].state.Run; run != "" {
			if runs[run] {
				continue // the same monitor under another address, or this one
			}
			runs[run] = true
		}
		b.add(&sources[i])
	}
	slices.SortStableFunc(b.parts, func(x, y *part) int { return compareNames(x.Name, y.Name) })
	b.findAddresses()
	b.findLinks()
	b.findNeighbours()
	b.findFloods()
	b.findFaults()
	for _, p := range b.parts {
		b.Nodes = append(b.Nodes, *p.Node)
	}
	return b.Network
}

// compareNames has node2 come before node10.
func compareNames(a, b string) int {
	cut := func(s string) (string, string) {
		head := strings.TrimRight(s, "0123456789")
		return head, strings.TrimLeft(s[len(head):], "0")
	}
	aHead, aDigits := cut(a)
	bHead, bDigits := cut(b)
	return cmp.Or(cmp.Compare(aHead, bHead), cmp.Compare(len(aDigits), len(bDigits)), cmp.Compare(a, b))
}

// networkBuilder puts a network together.
type networkBuilder struct {
	Network
	parts  []*part
	names  map[string]bool
	byAddr map[netip.Addr]*part // by addresses without zone; nil: more than one has it
}

// add adds the instances of a source.
func (b *networkBuilder) add(s *source) {
	if s.state.Time.IsZero() {
		b.addNode(cmp.Or(s.name, s.url), s, nil)
		return
	}
	for i := range s.state.Instances {
		is := &s.state.Instances[i]
		name := is.Name
		switch {
		case s.name != "" && len(s.state.Instances) == 1:
			name = s.name
		case s.name != "":
			name = s.name + "/" + is.Name
		}
		b.addNode(name, s, is)
	}
}

func (b *networkBuilder) addNode(name string, s *source, is *InstanceState) {
	if len(b.parts) == maxNodes {
		return
	}
	free := name
	for i := 2; b.names[free]; i++ {
		free = fmt.Sprintf("%s-%d", name, i)
	}
	b.names[free] = true
	n := &Node{Name: free, URL: s.url, Trouble: s.trouble}
	if is != nil {
		shot := &is.Snapshot
		n.Time, n.Closed, n.Status, n.Address = s.state.Time, is.Closed, shot.Status, shot.Address
		n.ASAs = shot.ASAs[:min(len(shot.ASAs), maxNodeValues)]
		for _, o := range shot.Objectives[:min(len(shot.Objectives), maxNodeValues)] {
			n.Objectives = append(n.Objectives, o.Name)
		}
		for _, count := range shot.Relayed {
			n.Relayed += count
		}
	}
	b.parts = append(b.parts, &part{Node: n, is: is})
}

// end is a link of a node: an index of parts, and one of the node's links.
type end struct{ part, link int }

// findLinks finds out which links of nodes are the same link: those by which one of two
// nodes hears the other.
func (b *networkBuilder) findLinks() {
	at := make(map[netip.AddrPort][]end)
	same := make(map[end]end) // leads to another end of the same link, in the end to the first
	var all []end
	for i, p := range b.parts {
		if p.is == nil {
			continue
		}
		for k, l := range p.is.Snapshot.Links {
			e := end{i, k}
			all = append(all, e)
			same[e] = e
			key := netip.AddrPortFrom(l.Addr.WithZone(""), p.is.Snapshot.Port)
			at[key] = append(at[key], e)
		}
	}
	first := func(e end) end {
		for same[e] != e {
			e = same[e]
		}
		return e
	}
	strangers := make(map[end]map[netip.AddrPort]bool)
	for i, p := range b.parts {
		if p.is == nil {
			continue
		}
		for _, h := range p.is.Heard {
			here := end{i, slices.IndexFunc(p.is.Snapshot.Links, func(l acp.Link) bool { return l.Index == h.Link })}
			if here.link < 0 {
				continue
			}
			switch there := at[h.Peer]; len(there) {
			case 0:
				if strangers[here] == nil {
					strangers[here] = make(map[netip.AddrPort]bool)
				}
				strangers[here][h.Peer] = true
			case 1:
				same[first(there[0])] = first(here)
			}
		}
	}
	// A node shares a link with those that it refuses.
	for i, p := range b.parts {
		for _, r := range refusalsOf(p) {
			if here, there, ok := b.refusedEnd(i, &r); ok {
				same[first(there)] = first(here)
			}
		}
	}
	index := make(map[end]int)
	for _, e := range all {
		root := first(e)
		k, found := index[root]
		if !found {
			k = len(b.Links)
			index[root] = k
			b.Links = append(b.Links, NetworkLink{})
		}
		p := b.parts[e.part]
		name := p.is.Snapshot.Links[e.link].Name
		b.Links[k].Ends = append(b.Links[k].Ends, NodeLink{p.Name, name})
		p.Ends = append(p.Ends, LinkEnd{Name: name, Link: k})
	}
	for k := range b.Links {
		heard := make(map[netip.AddrPort]bool)
		for e, of := range strangers {
			if index[first(e)] == k {
				maps.Copy(heard, of)
			}
		}
		b.Links[k].Strangers = len(heard)
	}
}

// findAddresses notes who has which address.
func (b *networkBuilder) findAddresses() {
	b.byAddr = make(map[netip.Addr]*part)
	for _, p := range b.parts {
		if p.is == nil {
			continue
		}
		addrs := []netip.Addr{p.Address}
		for _, l := range p.is.Snapshot.Links {
			addrs = append(addrs, l.Addr)
		}
		for _, a := range addrs {
			a = a.WithZone("")
			if other, taken := b.byAddr[a]; taken && other != p {
				b.byAddr[a] = nil // several instances on a host, or nodes with the same link-local address
			} else {
				b.byAddr[a] = p
			}
		}
	}
}

// nodeAt returns the node that has an address, nil if there is none or more than one.
func (b *networkBuilder) nodeAt(addr netip.Addr) *part { return b.byAddr[addr.WithZone("")] }

// findNeighbours finds the neighbours of each node.
func (b *networkBuilder) findNeighbours() {
	for _, p := range b.parts {
		if p.is == nil {
			continue
		}
		for _, n := range p.is.Snapshot.Neighbours[:min(len(p.is.Snapshot.Neighbours), maxNodeValues)] {
			neighbour := NodeNeighbour{Identity: n.Identity}
			if at := b.nodeAt(n.Addr.Addr()); at != nil {
				neighbour.Node = at.Name
			}
			p.Neighbours = append(p.Neighbours, neighbour)
		}
	}
}

// findFloods finds the nodes that have each flooded value.
func (b *networkBuilder) findFloods() {
	type key struct{ objective, source string }
	on := make(map[key]map[string]bool)
	values := make(map[key]string)
	for _, p := range b.parts {
		if p.is == nil {
			continue
		}
		for _, f := range p.is.Snapshot.Floods {
			k := key{f.Objective, f.Source.String()}
			if on[k] == nil {
				if len(on) == maxNetFloods {
					continue
				}
				on[k] = make(map[string]bool)
			}
			on[k][p.Name] = true
			values[k] = firstLetters(f.Value)
		}
	}
	keys := slices.SortedFunc(maps.Keys(on), func(x, y key) int {
		return cmp.Or(cmp.Compare(x.objective, y.objective), cmp.Compare(x.source, y.source))
	})
	for _, k := range keys {
		flood := NetworkFlood{Objective: k.objective, Source: k.source, Value: values[k]}
		for _, p := range b.parts {
			switch {
			case on[k][p.Name]:
				flood.On = append(flood.On, p.Name)
			case p.is != nil && !p.Closed:
				flood.Missing = append(flood.Missing, p.Name)
			}
		}
		b.Floods = append(b.Floods, flood)
	}
}
