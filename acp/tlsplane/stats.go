package tlsplane

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the counters of a [Plane] since it was made, and its neighbours.
type Stats struct {
	// Handshakes counts those that succeeded, by either side.
	Handshakes uint64
	// Refused counts handshakes that failed, and Expelled standing connections
	// that were ended, both by reason.
	Refused, Expelled map[Reason]uint64
	// Announcements counts the floods of AN_ACP that were understood, and Clear
	// the other multicasts in clear: those of other planes and of forgers. They
	// are heard and ignored.
	Announcements, Clear uint64
	// Proven counts the announcements that were found to be of a member, and
	// Disproved those with a proof that is none. Unchecked counts those whose
	// proof was not looked at, because too many on the link were none. The last
	// two are taken for announcements without a proof.
	Proven, Disproved, Unchecked uint64
	// Crowded counts the announcements for which there was no room.
	Crowded uint64
	// Sent and Received count multicasts: each copy to and from a neighbour.
	Sent, Received uint64
	// Slow counts copies for neighbours that did not take them fast enough, and
	// Unheard own multicasts that the endpoint itself did not receive fast
	// enough. They are lost.
	Slow, Unheard uint64
	// Neighbours are those connected now, ordered by link and address.
	Neighbours []Neighbour
}

// Neighbour is another member on a link.
type Neighbour struct {
	// Link is the index of the link.
	Link int
	// Identity says who it is, as its certificate does.
	Identity string
	// Addr is where it sends from and accepts streams.
	Addr netip.AddrPort
	// Since is when the connection came about.
	Since time.Time
	// Slow counts the multicasts that it did not take fast enough.
	Slow uint64
}

type counters struct {
	handshakes, announcements, clear, sent, received, slow, unheard atomic.Uint64
	proven, disproved, unchecked, crowded                           atomic.Uint64

	mu                sync.Mutex // guards all following fields
	refused, expelled map[Reason]uint64
}

func (c *counters) refuse(r Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = make(map[Reason]uint64)
	}
	c.refused[r]++
}

func (c *counters) expel(r Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expelled == nil {
		c.expelled = make(map[Reason]uint64)
	}
	c.expelled[r]++
}

func (c *counters) stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Handshakes: c.handshakes.Load(), Announcements: c.announcements.Load(), Clear: c.clear.Load(),
		Proven: c.proven.Load(), Disproved: c.disproved.Load(), Unchecked: c.unchecked.Load(), Crowded: c.crowded.Load(),
		Sent: c.sent.Load(), Received: c.received.Load(), Slow: c.slow.Load(), Unheard: c.unheard.Load(),
		Refused: maps.Clone(c.refused), Expelled: maps.Clone(c.expelled),
	}
}

// Stats returns the counters. It does not block.
func (p *Plane) Stats() Stats {
	s := p.counters.stats()
	p.mu.Lock()
	endpoints := slices.Collect(maps.Keys(p.endpoints))
	p.mu.Unlock()
	for _, e := range endpoints {
		s.Neighbours = append(s.Neighbours, e.neighbours()...)
	}
	slices.SortFunc(s.Neighbours, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr))
	})
	return s
}
