// Package memory is a network in memory, for tests: many nodes on many links,
// each node an [acp.Plane], in real time or in the virtual time of
// testing/synctest.
package memory

import (
	"container/heap"
	"net/netip"
	"sync"
	"time"
)

// Network is a network in memory: any number of nodes on any number of links,
// with delays, losses and cuts. Each [Node] is a [acp.Plane]. It is for tests, and
// for trying things out where there is no real network.
//
// It behaves like hosts with a kernel: every endpoint of a node hears every
// multicast on the node's links, its own included; receive queues are bounded
// and overflow; a stream to a port nobody listens on is refused; data on a
// stream waits while there is no path. Nodes forward streams for each other,
// like the members of an autonomic control plane, so a global address can be
// reached over any path of links; multicasts stay on their link.
//
// It has no goroutine of its own and keeps time with package time only, so it
// can be used within a bubble of testing/synctest, where it has to be created
// and used by the same bubble. Nothing needs to be closed but endpoints and
// streams.
//
// The methods of a network, its links, its nodes, and what the nodes open may
// be called concurrently.
type Network struct {
	seed uint64

	// mu guards all following fields and those of every link, node, endpoint
	// and stream. Nothing blocks while holding it but sync.Cond.Wait.
	mu      sync.Mutex
	links   int     // made so far
	nodes   []*Node // by Node.id
	byAddr  map[netip.Addr]*Node
	index   int                // the last interface index given out
	version uint64             // of the topology, for cached routes
	stalled map[*conn]struct{} // with data in flight and no path
	events  eventQueue
	order   uint64      // of the last event
	timer   *time.Timer // of the first event
}

// NewNetwork returns a network without links and nodes. The seed decides which
// multicasts are lost and how late the others are. Networks that were built in the same
// order with the same seed lose the same ones in the sequence that a node sends on a
// link, whatever happens elsewhere.
func NewNetwork(seed uint64) *Network {
	return &Network{
		seed:    seed,
		byAddr:  make(map[netip.Addr]*Node),
		stalled: make(map[*conn]struct{}),
	}
}

// event is something that happens at a later time, under Network.mu.
type event struct {
	at    time.Time
	order uint64
	run   func()
}

// eventQueue is a heap: the earliest event is the first, and of those at the
// same time the one that was scheduled first.
type eventQueue []*event

func (q eventQueue) Len() int      { return len(q) }
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(*event)) }

func (q eventQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].order < q[j].order
	}
	return q[i].at.Before(q[j].at)
}

func (q *eventQueue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}

// atLocked has run called at a time, with mu held.
func (n *Network) atLocked(t time.Time, run func()) {
	n.order++
	heap.Push(&n.events, &event{t, n.order, run})
	if n.events[0].order == n.order {
		n.armLocked()
	}
}

func (n *Network) armLocked() {
	d := time.Until(n.events[0].at)
	if n.timer == nil {
		n.timer = time.AfterFunc(d, n.tick)
		return
	}
	n.timer.Reset(d)
}

// tick runs the events that are due. Called too early, it does no harm.
func (n *Network) tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for len(n.events) > 0 && !n.events[0].at.After(now) {
		heap.Pop(&n.events).(*event).run()
	}
	if len(n.events) > 0 {
		n.armLocked()
	}
}

// changeLocked makes a change of the topology take effect: routes are found
// anew, and data that waited for a path sets out if there is one.
func (n *Network) changeLocked() {
	n.version++
	for c := range n.stalled {
		if delay, ok := c.way.delayLocked(); ok {
			delete(n.stalled, c)
			c.launchLocked(delay)
		}
	}
}

// chance returns a number from 0 up to but without 1, the same one for the
// same seed and keys.
func (n *Network) chance(keys ...uint64) float64 {
	x := n.seed
	for _, k := range keys {
		// The mixing function of SplitMix64.
		x += k + 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return float64(x>>11) / (1 << 53)
}

// fifo is a queue whose storage is reused.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(v T) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *fifo[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}
