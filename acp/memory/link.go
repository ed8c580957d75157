package memory

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// LinkConfig describes a link of a [Network]. The zero value is a link without
// delay and losses.
type LinkConfig struct {
	// Name is the name of the interfaces on the link; "" for one of the
	// network's choice, "link1" being the first.
	Name string
	// Delay is the time that anything takes to cross the link. With 0 it has
	// arrived when the call that sends it returns.
	Delay time.Duration
	// Jitter is the largest delay that a multicast has in addition, each
	// copy its own: multicasts can overtake one another. Streams have none.
	Jitter time.Duration
	// Loss is the probability with which each node on the link misses a
	// multicast or datagram. The sending node misses none, and streams lose
	// nothing.
	Loss float64
}

// Link is a link of a [Network]. Two links may connect the same nodes.
// A new link is up.
type Link struct {
	n  *Network
	id int // from 0

	// Guarded by n.mu.
	cfg     LinkConfig
	down    bool
	downs   uint64 // how often the link went down: what was under way is lost
	members []*attachment
	byAddr  map[netip.Addr]*attachment // without zone
	cuts    map[[2]*Node]struct{}      // from the first node to the second
	stats   LinkStats
	taps    []*func(Packet)
}

// LinkStats counts the multicasts on a link since it was made.
type LinkStats struct {
	// Sent and SentBytes count what was sent on the link, each message once.
	Sent, SentBytes uint64
	// Delivered and DeliveredBytes count the copies that endpoints got,
	// those of the sending node included.
	Delivered, DeliveredBytes uint64
	// Lost counts the nodes that missed a message: by chance, because they
	// are cut off from the sender, or because the link went down or they
	// left it while the message was under way.
	Lost uint64
	// Dropped counts the copies that met the full queue of an endpoint.
	Dropped uint64
}

// Packet is a multicast on a link of a [Network].
type Packet struct {
	// Time is when it was sent.
	Time time.Time
	// Link is the link it was sent on, and From the node that sent it.
	Link *Link
	From *Node
	// Source is the source address, without a zone.
	Source netip.AddrPort
	// Data is the message. It must not be changed, but may be kept.
	Data []byte
}

// NewLink adds a link to the network.
func (n *Network) NewLink(cfg LinkConfig) *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links++
	if cfg.Name == "" {
		cfg.Name = fmt.Sprintf("link%d", n.links)
	}
	return &Link{
		n:      n,
		id:     n.links - 1,
		cfg:    cfg,
		byAddr: make(map[netip.Addr]*attachment),
		cuts:   make(map[[2]*Node]struct{}),
	}
}

// Name returns the link's name.
func (l *Link) Name() string { return l.cfg.Name }

// String returns the link's name.
func (l *Link) String() string { return l.cfg.Name }

// SetDelay changes the delay. Messages under way keep the old delay, so later
// multicasts can overtake them; data on streams stays in order.
func (l *Link) SetDelay(d time.Duration) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.cfg.Delay = d
	l.n.changeLocked()
}

// SetJitter changes the jitter.
func (l *Link) SetJitter(d time.Duration) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.cfg.Jitter = d
}

// SetLoss changes the probability of losses.
func (l *Link) SetLoss(p float64) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.cfg.Loss = p
}

// Down takes the link down: every node on it loses the link, and multicasts
// under way are lost. It does nothing if the link is down.
func (l *Link) Down() { l.setDown(true) }

// Up takes the link up again, with the indexes and addresses it had. It does
// nothing if the link is up.
func (l *Link) Up() { l.setDown(false) }

func (l *Link) setDown(down bool) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.down == down {
		return
	}
	l.down = down
	if down {
		l.downs++
	}
	for _, a := range l.members {
		a.node.changeLocked()
	}
	l.n.changeLocked()
}

// Cut cuts two nodes on the link off from each other, both ways. They are not told, and
// others on the link miss nothing. Streams can find a way around.
func (l *Link) Cut(a, b *Node) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.cuts[[2]*Node{a, b}] = struct{}{}
	l.cuts[[2]*Node{b, a}] = struct{}{}
	l.n.changeLocked()
}

// CutOneWay has nothing cross the link from one node to another. The way back is as it
// was, but neither can dial the other by it. They are not told.
func (l *Link) CutOneWay(from, to *Node) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.cuts[[2]*Node{from, to}] = struct{}{}
	l.n.changeLocked()
}

// Mend undoes Cut and CutOneWay.
func (l *Link) Mend(a, b *Node) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	delete(l.cuts, [2]*Node{a, b})
	delete(l.cuts, [2]*Node{b, a})
	l.n.changeLocked()
}

func (l *Link) isCutLocked(from, to *Node) bool {
	_, cut := l.cuts[[2]*Node{from, to}]
	return cut
}

// Stats returns the link's counters.
func (l *Link) Stats() LinkStats {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	return l.stats
}

// Tap calls f for every multicast sent on the link, before any endpoint hears it, until
// remove is called. The goroutine that sends calls f, so several may do so at once. f may
// call anything but should not block.
func (l *Link) Tap(f func(Packet)) (remove func()) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	tap := &f
	l.taps = append(slices.Clip(l.taps), tap)
	return func() {
		l.n.mu.Lock()
		defer l.n.mu.Unlock()
		// The slice may be in use by a sender.
		l.taps = slices.DeleteFunc(slices.Clone(l.taps), func(t *func(Packet)) bool { return t == tap })
	}
}

// packet is a message on its way, shared by all who hear it.
type packet struct {
	src  netip.AddrPort // without zone
	data []byte
}

// transmitLocked sends a multicast from one node on the link to all.
func (l *Link) transmitLocked(from *attachment, m *packet) {
	l.stats.Sent++
	l.stats.SentBytes += uint64(len(m.data))
	from.sent++
	for _, to := range l.members {
		l.crossLocked(from, heard{by: to, m: m}, from.sent)
	}
}

// carryLocked sends a datagram from one node on the link to another.
func (l *Link) carryLocked(from, to *attachment, m *packet) {
	from.told++
	l.crossLocked(from, heard{by: to, m: m, unicast: true}, from.told)
}

// crossLocked has a datagram, the sender's latest of its kind by number, cross
// the link to one node, if it gets there.
func (l *Link) crossLocked(from *attachment, h heard, number uint64) {
	to := h.by
	if to == from {
		to.hearLocked(h)
		return
	}
	kind := uint64(0) // a kind has two keys: for losses and for delays
	if h.unicast {
		kind = 2
	}
	if l.isCutLocked(from.node, to.node) || l.cfg.Loss > 0 &&
		l.n.chance(kind, uint64(from.index), number, uint64(to.index)) < l.cfg.Loss {
		l.loseLocked(h)
		return
	}
	delay := l.cfg.Delay
	if l.cfg.Jitter > 0 {
		x := l.n.chance(kind+1, uint64(from.index), number, uint64(to.index))
		delay += time.Duration(x * float64(l.cfg.Jitter))
	}
	if delay <= 0 {
		to.hearLocked(h)
		return
	}
	downs := l.downs
	l.n.atLocked(time.Now().Add(delay), func() {
		if l.downs != downs || to.gone {
			l.loseLocked(h)
			return
		}
		to.hearLocked(h)
	})
}

func (l *Link) loseLocked(h heard) {
	if !h.unicast {
		l.stats.Lost++
	}
}
