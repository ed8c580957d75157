package memory

import (
	"container/heap"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// way is the way of a stream from one address to another. It stays the same;
// whether it can be gone, and how, changes with the network.
type way struct {
	from, to *Node
	src, dst netip.Addr // without zone
	// near and far are the ends of the link between link-local addresses,
	// nil between global ones.
	near, far *attachment
}

// back is the way of the answers.
func (w way) back() way {
	return way{from: w.to, to: w.from, src: w.dst, dst: w.src, near: w.far, far: w.near}
}

// peer returns the address at the end of the way and the link it is on, as the
// node at its beginning calls them.
func (w way) peer() (netip.Addr, int) {
	if w.near == nil {
		return w.dst, 0
	}
	return w.dst.WithZone(w.near.zone), w.near.index
}

// delayLocked returns how long it takes to go the way, if it is open.
func (w way) delayLocked() (time.Duration, bool) {
	if w.near == nil {
		if w.from.addr != w.src || w.to.addr != w.dst {
			return 0, false
		}
		return w.from.routeLocked(w.to)
	}
	if w.near.gone || w.far.gone || w.near.addr != w.src || w.far.addr != w.dst {
		return 0, false
	}
	if w.from == w.to {
		return 0, true
	}
	l := w.near.link
	return max(0, l.cfg.Delay), !l.down && !l.isCutLocked(w.from, w.to)
}

// wayLocked finds the way from the node to an address, which may be closed:
// see delayLocked. The error is what connect would say.
func (h *Node) wayLocked(to netip.Addr) (way, error) {
	if !to.IsLinkLocalUnicast() {
		far := h.n.byAddr[to.WithZone("")]
		switch {
		case far == h:
		case len(h.links) == 0 || !h.addr.IsValid():
			return way{}, syscall.ENETUNREACH
		case far == nil:
			return way{}, syscall.EHOSTUNREACH
		}
		return way{from: h, to: far, src: h.addr, dst: far.addr}, nil
	}

	if to.Zone() == "" {
		return way{}, syscall.EINVAL
	}
	index, err := strconv.Atoi(to.Zone())
	if err != nil {
		return way{}, syscall.EINVAL
	}
	near := h.attachmentLocked(index)
	if near == nil {
		return way{}, syscall.ENODEV
	}
	far := near.link.byAddr[to.WithZone("")]
	switch {
	case far != nil && far.node == h:
	case near.link.down:
		return way{}, syscall.ENETUNREACH
	case far == nil:
		return way{}, syscall.EHOSTUNREACH
	}
	return way{from: h, to: far.node, src: near.addr, dst: far.addr, near: near, far: far}, nil
}

func (h *Node) attachmentLocked(index int) *attachment {
	for _, a := range h.attachments {
		if a.index == index {
			return a
		}
	}
	return nil
}

// routeLocked returns the delay of the fastest path from the node to another
// over links that are up, and whether there is one. What it found is kept
// until the topology changes.
func (h *Node) routeLocked(to *Node) (time.Duration, bool) {
	if h == to {
		return 0, true
	}
	if h.version != h.n.version || len(h.routes) != len(h.n.nodes) {
		h.findRoutesLocked()
		h.version = h.n.version
	}
	d := h.routes[to.id]
	return d, d >= 0
}

// findRoutesLocked is Dijkstra's algorithm.
func (h *Node) findRoutesLocked() {
	const unreached = -1
	h.routes = make([]time.Duration, len(h.n.nodes))
	for i := range h.routes {
		h.routes[i] = unreached
	}
	crossed := make([]bool, h.n.links)
	h.routes[h.id] = 0
	queue := hopQueue{{node: h}}
	for len(queue) > 0 {
		here := heap.Pop(&queue).(hop)
		if here.delay > h.routes[here.node.id] {
			continue
		}
		for _, a := range here.node.attachments {
			// The first node to be taken from the queue is the best one to
			// cross a link from, unless it cannot reach everybody on it.
			l := a.link
			if l.down || crossed[l.id] {
				continue
			}
			crossed[l.id] = len(l.cuts) == 0
			delay := here.delay + max(0, l.cfg.Delay)
			for _, b := range l.members {
				old := h.routes[b.node.id]
				if (old == unreached || delay < old) && !l.isCutLocked(here.node, b.node) {
					h.routes[b.node.id] = delay
					heap.Push(&queue, hop{b.node, delay})
				}
			}
		}
	}
}

// hop is a node and how long it takes to get there.
type hop struct {
	node  *Node
	delay time.Duration
}

// hopQueue is a heap: the nearest hop is the first.
type hopQueue []hop

func (q hopQueue) Len() int           { return len(q) }
func (q hopQueue) Less(i, j int) bool { return q[i].delay < q[j].delay }
func (q hopQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *hopQueue) Push(x any)        { *q = append(*q, x.(hop)) }

func (q *hopQueue) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	*q = (*q)[:last]
	return h
}
