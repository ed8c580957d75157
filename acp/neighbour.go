package acp

import (
	"net/netip"
	"time"
)

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

// Refusal is a peer that is not, or no longer, taken for a member.
type Refusal struct {
	// Time is when it was refused last.
	Time time.Time
	// Peer is its address.
	Peer netip.AddrPort
	// Identity is what it says of itself, true or not; it may be empty.
	Identity string
	// Reason is one of those under which Neighbourhood.Refused counts it.
	Reason string
}

// Neighbourhood is who an endpoint has met.
type Neighbourhood struct {
	// Neighbours are those connected now, ordered by link and address.
	Neighbours []Neighbour
	// Refused counts refusals by reason: of peers that were not admitted, and of
	// those that were, until they were no longer members.
	Refused map[string]uint64
	// Refusals are the last ones, the oldest first: 16 at most, and one for each
	// host, identity and reason.
	Refusals []Refusal
}

// NeighbourLister is an [Endpoint] that tells members from others one by one.
type NeighbourLister interface {
	// Neighbourhood returns who it has met. It does not block. The caller may
	// change what it returns.
	Neighbourhood() Neighbourhood
}

// NeighbourhoodOf returns what the endpoint's own Neighbourhood returns, or that of
// the nearest endpoint below which has one. It is false if there is none.
func NeighbourhoodOf(e Endpoint) (Neighbourhood, bool) {
	l, ok := find[NeighbourLister](e)
	if !ok {
		return Neighbourhood{}, false
	}
	return l.Neighbourhood(), true
}
