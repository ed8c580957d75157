package memory

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// The dynamic ports, as Linux has them.
const (
	firstPort = 32768
	portCount = 28232
)

// Node is a host on a [Network], and the [acp.Plane] of every instance on it. It
// has a global address of its own, a unique local one, and a link-local
// address on each of its links.
//
// No two interfaces on a network ever have the same index, so the same link has another
// index on each node, and an index that is used on the wrong node gives an error.
type Node struct {
	n    *Network
	id   int // in n.nodes
	name string

	// Guarded by n.mu.
	status      acp.Status
	addr        netip.Addr // global
	attachments []*attachment
	links       []acp.Link // those that are up; not changed but replaced
	endpoints   []*endpoint
	ports       map[uint16]*endpoint // nil for those that dialed
	port        uint16               // the last one given out, from firstPort
	serial      uint16               // of the last address
	conns       map[*conn]struct{}
	routes      []time.Duration // by id; see routeLocked
	version     uint64          // of the topology that routes is for
}

// attachment is an interface: a node's end of a link.
type attachment struct {
	node  *Node
	link  *Link
	index int
	zone  string // index in decimal

	// Guarded by Network.mu.
	addr netip.Addr // link-local, without zone
	gone bool
	sent uint64 // multicasts
	told uint64 // datagrams to one node
}

// NewNode adds a node to the network and attaches it to links. Its name is for
// people. Its plane is secure: nothing that is sent leaves the process.
func (n *Network) NewNode(name string, links ...*Link) *Node {
	n.mu.Lock()
	h := &Node{
		n:      n,
		id:     len(n.nodes),
		name:   name,
		status: acp.Status{Secure: true, Assumed: true, Reason: "in-memory network for tests: nothing leaves the process"},
		ports:  make(map[uint16]*endpoint),
		// Ports, too, are of little use on the wrong node.
		port:  uint16(len(n.nodes) * 101 % portCount),
		conns: make(map[*conn]struct{}),
	}
	n.nodes = append(n.nodes, h)
	h.addr = h.newAddrLocked(0xfd00)
	n.byAddr[h.addr] = h
	n.mu.Unlock()

	for _, l := range links {
		h.Attach(l)
	}
	return h
}

// newAddrLocked returns an address that no node ever had, such as fd00::2:1
// for the second node.
func (h *Node) newAddrLocked(prefix uint16) netip.Addr {
	h.serial++
	var a [16]byte
	binary.BigEndian.PutUint16(a[:], prefix)
	binary.BigEndian.PutUint32(a[10:], uint32(h.id+1))
	binary.BigEndian.PutUint16(a[14:], h.serial)
	return netip.AddrFrom16(a)
}

// Name returns the node's name.
func (h *Node) Name() string { return h.name }

// String returns the node's name.
func (h *Node) String() string { return h.name }

// Status returns what SetStatus set, at first a secure one.
func (h *Node) Status() acp.Status {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	return h.status
}

// SetStatus changes the status of the plane. Nothing but the status changes.
func (h *Node) SetStatus(s acp.Status) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.status = s
	h.changeLocked()
}

// Addr returns the node's global address, or the zero Addr if it has none.
func (h *Node) Addr() netip.Addr {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	return h.addr
}

// Renumber gives the node a new global address and returns it. The old one is
// gone: nobody can dial it, and streams that use it stall, as they do on a host
// that loses an address. Streams between link-local addresses go on.
func (h *Node) Renumber() netip.Addr {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.setAddrLocked(h.newAddrLocked(0xfd00))
	return h.addr
}

// SetAddr is like Renumber with a given address, the zero Addr for none. It
// fails with EADDRINUSE if another node has the address, and with
// EADDRNOTAVAIL if it is not a global one.
func (h *Node) SetAddr(addr netip.Addr) error {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if addr.IsValid() {
		if !addr.IsGlobalUnicast() || addr.Zone() != "" {
			return fmt.Errorf("acp: address %v for node %s: %w", addr, h.name, syscall.EADDRNOTAVAIL)
		}
		if other := h.n.byAddr[addr]; other != nil && other != h {
			return fmt.Errorf("acp: address %v for node %s: %w", addr, h.name, syscall.EADDRINUSE)
		}
	}
	h.setAddrLocked(addr)
	return nil
}

func (h *Node) setAddrLocked(addr netip.Addr) {
	delete(h.n.byAddr, h.addr)
	h.addr = addr
	if addr.IsValid() {
		h.n.byAddr[addr] = h
	}
	h.changeLocked()
	h.n.changeLocked()
}

// Attach puts the node on a link of its network and returns what the node
// calls the link. The index and the address are new, also on a link that the
// node was on before. A node can be on a link more than once.
func (h *Node) Attach(l *Link) acp.Link {
	if l.n != h.n {
		panic("memory: Attach: the link is of another network")
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.n.index++
	a := &attachment{
		node:  h,
		link:  l,
		index: h.n.index,
		zone:  strconv.Itoa(h.n.index),
		addr:  h.newAddrLocked(0xfe80),
	}
	h.attachments = append(h.attachments, a)
	l.members = append(l.members, a)
	l.byAddr[a.addr] = a
	h.changeLocked()
	h.n.changeLocked()
	return a.linkLocked()
}

// Detach takes the node off a link, for good: streams between link-local
// addresses on it stall, also if the node is attached again. It does nothing
// if the node is not on the link.
func (h *Node) Detach(l *Link) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.detachLocked(func(a *attachment) bool { return a.link == l })
}

func (h *Node) detachLocked(match func(*attachment) bool) {
	h.attachments = slices.DeleteFunc(h.attachments, func(a *attachment) bool {
		if !match(a) {
			return false
		}
		a.gone = true
		delete(a.link.byAddr, a.addr)
		a.link.members = slices.DeleteFunc(a.link.members, func(m *attachment) bool { return m == a })
		return true
	})
	h.changeLocked()
	h.n.changeLocked()
}

// RenumberLink gives the node a new link-local address on a link. The old one
// is gone, like that of Renumber; the index stays.
func (h *Node) RenumberLink(l *Link) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	for _, a := range h.attachments {
		if a.link == l {
			delete(l.byAddr, a.addr)
			a.addr = h.newAddrLocked(0xfe80)
			l.byAddr[a.addr] = a
		}
	}
	h.changeLocked()
	h.n.changeLocked()
}

// Link returns what the node calls a link, which may be down, and whether the
// node is on it. Of several attachments it is the first.
func (h *Node) Link(l *Link) (acp.Link, bool) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	for _, a := range h.attachments {
		if a.link == l {
			return a.linkLocked(), true
		}
	}
	return acp.Link{}, false
}

// Kill ends the node suddenly: its endpoints and streams end, its peers' streams are
// reset at once, whatever the delay, and it is taken off its links. Attach and Open bring
// it back. For a node that falls silent and lets its peers wait, see Detach.
func (h *Node) Kill() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	for len(h.endpoints) > 0 {
		h.endpoints[0].closeLocked()
	}
	for c := range h.conns {
		c.abortLocked()
	}
	h.detachLocked(func(*attachment) bool { return true })
}

// Open opens an endpoint on the node. It hears the multicasts on every link
// that the node is on or comes to be on. The only error is EADDRNOTAVAIL, if
// the node is out of ports.
func (h *Node) Open() (acp.Endpoint, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	e := &endpoint{
		node:    h,
		done:    make(chan struct{}),
		changed: make(chan struct{}, 1),
		hear:    sync.Cond{L: &h.n.mu},
		accept:  sync.Cond{L: &h.n.mu},
	}
	port, err := h.takePortLocked(e)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	e.port = port
	h.endpoints = append(h.endpoints, e)
	h.shareLocked()
	return e, nil
}

// shareLocked gives the port of GRASP to the endpoint that was opened first.
func (h *Node) shareLocked() {
	delete(h.ports, acp.Port)
	if len(h.endpoints) > 0 {
		h.ports[acp.Port] = h.endpoints[0]
	}
}

// takePortLocked gives out the next free port; e is nil if nobody listens.
func (h *Node) takePortLocked(e *endpoint) (uint16, error) {
	for range portCount {
		h.port = (h.port + 1) % portCount
		port := firstPort + h.port
		if _, taken := h.ports[port]; !taken {
			h.ports[port] = e
			return port, nil
		}
	}
	return 0, syscall.EADDRNOTAVAIL
}

// changeLocked tells the node's endpoints of a change.
func (h *Node) changeLocked() {
	h.links = nil
	for _, a := range h.attachments {
		if !a.link.down {
			h.links = append(h.links, a.linkLocked())
		}
	}
	for _, e := range h.endpoints {
		select {
		case e.changed <- struct{}{}:
		default:
		}
	}
}

func (a *attachment) linkLocked() acp.Link {
	return acp.Link{Index: a.index, Name: a.link.cfg.Name, Addr: a.addr.WithZone(a.zone)}
}

// hearLocked delivers a multicast to the endpoints of the node, and what was
// sent to the node alone to the one that has the port of GRASP.
func (a *attachment) hearLocked(h heard) {
	if h.unicast {
		if e := a.node.ports[acp.Port]; e != nil {
			e.hearLocked(h)
		}
		return
	}
	stats := &a.link.stats
	for _, e := range a.node.endpoints {
		if !e.hearLocked(h) {
			stats.Dropped++
			continue
		}
		stats.Delivered++
		stats.DeliveredBytes += uint64(len(h.m.data))
	}
}
