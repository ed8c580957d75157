package tlsplane

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// Bounds on what is kept of a link.
const (
	// perIdentity bounds the neighbours with the same identity: instances of
	// one node, or nodes that share a certificate.
	perIdentity = 16
	// neighbourQueue bounds the multicasts that wait for a neighbour.
	neighbourQueue = 256
	// recentLen and recentTime bound the multicasts that are given to a
	// neighbour who comes when they have been sent already.
	recentLen  = 64
	recentTime = 3 * time.Second
)

// link is a link and who is there, guarded by endpoint.mu.
type link struct {
	acp.Link
	recent     []sent
	peers      map[peerKey]*neighbour
	at         map[netip.AddrPort]int // how many of peers have an address
	candidates *candidates
}

// sent is a multicast that was sent.
type sent struct {
	at    time.Time
	frame []byte
}

// peerKey tells neighbours on a link apart: a node may have two interfaces there.
// Nobody can take the place of another, because the identity is proven.
type peerKey struct {
	identity string
	id       nodeID
	addr     netip.Addr
}

// maxFormer bounds the links, by name, of which the neighbours are remembered
// while they are gone.
const maxFormer = 64

// followLinks takes over the links of the underlay. It returns true if one is
// new. Neighbours on links that went, or got another address, are given up, and
// dialed at once when the link is back.
func (e *endpoint) followLinks() bool {
	now := e.under.Links()
	var gone []*neighbour
	added := false
	e.mu.Lock()
	e.inUse = now
	for index, l := range e.links {
		if !slices.ContainsFunc(now, func(n acp.Link) bool { return n.Index == index && n.Addr == l.Addr }) {
			for _, n := range l.peers {
				gone = append(gone, n)
			}
			if _, is := e.former[l.Name]; is || len(e.former) < maxFormer {
				e.former[l.Name] = l.candidates.former()
			}
			delete(e.links, index)
		}
	}
	for _, n := range now {
		if l := e.links[n.Index]; l != nil {
			l.Link = n
			continue
		}
		added = true
		l := &link{
			Link: n, peers: make(map[peerKey]*neighbour), at: make(map[netip.AddrPort]int),
			candidates: newCandidates(e.plane.maxNeighbours()),
		}
		l.candidates.restore(n.Index, e.former[n.Name], time.Now())
		delete(e.former, n.Name)
		e.links[n.Index] = l
	}
	e.shareRatesLocked()
	e.mu.Unlock()
	for _, n := range gone {
		n.conn.abort()
	}
	return added
}

// queue queues a multicast for all neighbours on a link. It returns the zero Link if the
// link is not in use.
func (e *endpoint) queue(index int, frame []byte) (acp.Link, []*neighbour) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[index]
	if l == nil {
		return acp.Link{}, nil
	}
	now := time.Now()
	l.forgetLocked(now)
	if len(l.recent) == recentLen {
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	l.recent = append(l.recent, sent{now, frame})
	to := make([]*neighbour, 0, len(l.peers))
	for _, n := range l.peers {
		if len(n.waiting) >= neighbourQueue {
			n.slow++
			e.plane.counters.slow.Add(1)
			continue
		}
		n.waiting = append(n.waiting, frame)
		to = append(to, n)
	}
	return l.Link, to
}

// forgetLocked forgets the multicasts that are no longer recent.
func (l *link) forgetLocked(now time.Time) {
	old := 0
	for old < len(l.recent) && now.Sub(l.recent[old].at) > recentTime {
		old++
	}
	l.recent = slices.Delete(l.recent, 0, old)
}

var (
	errSelf   = errors.New("it is this node itself")
	errNoLink = errors.New("not by a link in use")
)

// enter makes a connection the one that its neighbour is served by. If the neighbour
// has another connection already, one of the two is retired: it ends when what is under
// way has arrived. If there are too many neighbours, another one is evicted.
func (e *endpoint) enter(n *neighbour) error {
	retired, evicted, err := e.place(n)
	if retired != nil {
		retired.retire()
	}
	if evicted != nil {
		evicted.conn.expel(&RefusedError{Reason: ReasonTooMany, Identity: evicted.key.identity, Err: errCrowded})
	}
	return err
}

var errCrowded = errors.New("no other identity has as many neighbours on the link, and another one came")

func (e *endpoint) place(n *neighbour) (retired, evicted *neighbour, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[n.link]
	if l == nil {
		return nil, nil, errNoLink
	}
	old := l.peers[n.key]
	switch {
	case old == nil:
		if evicted, err = l.makeNeighbourRoomLocked(n.key.identity, e.plane.maxNeighbours()); err != nil {
			return nil, nil, err
		}
		if evicted != nil {
			l.removeLocked(evicted)
			l.putOffLocked(evicted)
		}
		l.forgetLocked(time.Now())
		for _, s := range l.recent {
			n.waiting = append(n.waiting, s.frame)
		}
	case old.outranks(n):
		return n, nil, nil
	default:
		n.slow += old.slow
		l.removeLocked(old)
	}
	l.peers[n.key] = n
	l.at[n.addr]++
	if c := l.candidates.vouched(n.addr, known, n.key.identity, n.since, l.isFreeLocked); c != nil {
		c.key = n.key // whether it stays is yet to be seen
	}
	return old, evicted, nil
}

func (l *link) removeLocked(n *neighbour) {
	delete(l.peers, n.key)
	if l.at[n.addr]--; l.at[n.addr] == 0 {
		delete(l.at, n.addr)
	}
}

// makeNeighbourRoomLocked returns the neighbour to evict for a new one, or nil if there
// is room: the oldest neighbour of the identity that has most. If the newcomer's
// identity would then have more neighbours than that one, the error says that there is
// no room.
func (l *link) makeNeighbourRoomLocked(identity string, most int) (evicted *neighbour, err error) {
	count := make(map[string]int)
	for k := range l.peers {
		count[k.identity]++
	}
	refused := &RefusedError{
		Reason: ReasonTooMany, Identity: identity,
		Err: fmt.Errorf("%d neighbours on %s, %d of this identity", len(l.peers), l.Name, count[identity]),
	}
	if count[identity] >= perIdentity {
		return nil, refused
	}
	if len(l.peers) < most {
		return nil, nil
	}
	for k, n := range l.peers {
		if count[k.identity] < count[identity]+2 {
			continue
		}
		if evicted == nil || count[k.identity] > count[evicted.key.identity] ||
			count[k.identity] == count[evicted.key.identity] && n.since.Before(evicted.since) {
			evicted = n
		}
	}
	if evicted == nil {
		return nil, refused
	}
	return evicted, nil
}

// leave removes a neighbour whose connection ended, and has it dialed again.
func (e *endpoint) leave(n *neighbour) (was bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[n.link]
	if l == nil || l.peers[n.key] != n {
		return false
	}
	l.removeLocked(n)
	now := time.Now()
	if now.Sub(n.since) < steady {
		l.putOffLocked(n)
	} else if c := l.candidates.byAddr[n.addr]; c != nil {
		c.failures, c.next = 0, now
	}
	return true
}

// putOffLocked has a neighbour not be dialed for a while.
func (l *link) putOffLocked(n *neighbour) {
	if c := l.candidates.byAddr[n.addr]; c != nil {
		c.failed(time.Now(), true)
	}
}

// neighbours returns those that are connected.
func (e *endpoint) neighbours() []Neighbour {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []Neighbour
	for _, l := range e.links {
		for _, n := range l.peers {
			all = append(all, Neighbour{Link: n.link, Identity: n.key.identity, Addr: n.addr, Since: n.since, Slow: n.slow})
		}
	}
	slices.SortFunc(all, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr))
	})
	return all
}
