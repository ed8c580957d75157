package tlsplane

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// Stats are the counters of a [Plane] since it was made, and its neighbours.
type Stats struct {
	// Handshakes counts those that succeeded, by either side.
	Handshakes uint64
	// Refused counts handshakes that failed, and Expelled standing connections
	// that were ended, both by reason.
	Refused, Expelled map[Reason]uint64
	// Announced counts the floods of AN_ACP that were sent, as many at a time as the
	// proof has parts: at most eight on a link. Announcements counts those that were heard
	// and understood, and Clear the other multicasts in clear: those of other planes
	// and of forgers. They are heard and ignored.
	Announced, Announcements, Clear uint64
	// Proven counts the announcements that were found to be of a member, and
	// Disproved those with a proof that is none. Unchecked counts those whose
	// proof was not looked at, because too many on the link were none. The last
	// two are taken for announcements without a proof.
	Proven, Disproved, Unchecked uint64
	// Parts counts the announcements with a part of a proof, by somebody who knows the
	// trust anchor. Unfinished counts the proofs that were given up because other parts
	// did not come in time, or too many proofs came in parts at once.
	Parts, Unfinished uint64
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
type Neighbour = acp.Neighbour

type counters struct {
	handshakes, announced, announcements, clear, sent, received, slow, unheard atomic.Uint64
	proven, disproved, unchecked, parts, unfinished, crowded                   atomic.Uint64

	mu                sync.Mutex // guards all following fields
	refused, expelled map[Reason]uint64
	refusals          []acp.Refusal // the last ones, the oldest first
}

// maxRefusals is how many refusals are remembered.
const maxRefusals = 16

func (c *counters) refuse(peer netip.AddrPort, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = make(map[Reason]uint64)
	}
	c.refused[reasonOf(err)]++
	c.rememberLocked(peer, err)
}

func (c *counters) expel(peer netip.AddrPort, err *RefusedError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expelled == nil {
		c.expelled = make(map[Reason]uint64)
	}
	c.expelled[err.Reason]++
	c.rememberLocked(peer, err)
}

// rememberLocked remembers a refusal. It takes the place of an earlier one like it.
func (c *counters) rememberLocked(peer netip.AddrPort, err error) {
	r := acp.Refusal{Time: time.Now(), Peer: peer, Reason: string(reasonOf(err))}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		r.Identity = refused.Identity
	}
	c.refusals = slices.DeleteFunc(c.refusals, func(old acp.Refusal) bool {
		return old.Peer.Addr() == peer.Addr() && old.Identity == r.Identity && old.Reason == r.Reason
	})
	if len(c.refusals) == maxRefusals {
		c.refusals = slices.Delete(c.refusals, 0, 1)
	}
	c.refusals = append(c.refusals, r)
}

// neighbourhood returns the refusals.
func (c *counters) neighbourhood() acp.Neighbourhood {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := acp.Neighbourhood{Refused: make(map[string]uint64), Refusals: slices.Clone(c.refusals)}
	for _, counts := range []map[Reason]uint64{c.refused, c.expelled} {
		for reason, k := range counts {
			n.Refused[string(reason)] += k
		}
	}
	return n
}

// Neighbourhood implements [acp.NeighbourLister]. Refusals are those of all
// endpoints of the plane.
func (e *endpoint) Neighbourhood() acp.Neighbourhood {
	n := e.plane.counters.neighbourhood()
	n.Neighbours = e.neighbours()
	return n
}

func (c *counters) stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Handshakes: c.handshakes.Load(), Announced: c.announced.Load(), Announcements: c.announcements.Load(), Clear: c.clear.Load(),
		Proven: c.proven.Load(), Disproved: c.disproved.Load(), Unchecked: c.unchecked.Load(),
		Parts: c.parts.Load(), Unfinished: c.unfinished.Load(), Crowded: c.crowded.Load(),
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
