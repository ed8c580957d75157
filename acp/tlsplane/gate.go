package tlsplane

import (
	"container/list"
	"net/netip"
	"sync"
)

// gate bounds the handshakes that peers have begun, in all and by source. The
// oldest gives way to a new one: an honest peer is through in milliseconds.
type gate struct {
	limit, perSource int

	mu       sync.Mutex // guards all following fields
	all      *list.List // of *guest, oldest first
	bySource map[netip.Prefix]*list.List
}

// guest is a handshake under way.
type guest struct {
	source    netip.Prefix
	displace  func() // ends it
	displaced bool
	inAll     *list.Element
	inSource  *list.Element
}

func newGate(limit int) *gate {
	return &gate{limit: limit, perSource: max(limit/4, 1), all: list.New(), bySource: make(map[netip.Prefix]*list.List)}
}

// sourceOf returns what stands for a peer: its address, or the prefix of a
// global one, of which a host can have any number.
func sourceOf(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() && !addr.IsLinkLocalUnicast() && !addr.IsLoopback() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits) // fails for the zero Addr only
	return p
}

// enter lets a handshake in, and another out if there are too many. displace
// is called at most once, without a lock.
func (g *gate) enter(source netip.Prefix, displace func()) *guest {
	guest, oldest := g.admit(source, displace)
	if oldest != nil {
		oldest.displace()
	}
	return guest
}

func (g *gate) admit(source netip.Prefix, displace func()) (in, out *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	same := g.bySource[source]
	switch {
	case same != nil && same.Len() >= g.perSource:
		out = same.Front().Value.(*guest)
	case g.all.Len() >= g.limit:
		out = g.all.Front().Value.(*guest)
	}
	if out != nil {
		out.displaced = true
		g.removeLocked(out)
	}
	if same = g.bySource[source]; same == nil {
		same = list.New()
		g.bySource[source] = same
	}
	in = &guest{source: source, displace: displace}
	in.inAll, in.inSource = g.all.PushBack(in), same.PushBack(in)
	return in, out
}

// leave ends a handshake. It returns false if it had been displaced. It may be
// called more than once.
func (g *gate) leave(in *guest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.removeLocked(in)
	return !in.displaced
}

func (g *gate) removeLocked(in *guest) {
	if in.inAll == nil {
		return
	}
	g.all.Remove(in.inAll)
	same := g.bySource[in.source]
	same.Remove(in.inSource)
	if same.Len() == 0 {
		delete(g.bySource, in.source)
	}
	in.inAll = nil
}
