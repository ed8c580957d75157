package grasp

import (
	"context"
	"net/netip"
	"sync"

	"github.com/go-grasp/grasp/internal/share"
)

// maxResponders bounds the discoveries that are answered at the same time, and
// respondersPerNeighbour those of one neighbour.
const (
	maxResponders          = 256
	respondersPerNeighbour = 64
)

// responderTable holds what is answering a discovery, which means connecting to
// where it came from. When full, the oldest of the neighbour that has most is
// cancelled. A discovery can be sent in anybody's name: an address where nobody
// answers must not keep the others waiting, who are connected to in a round
// trip.
type responderTable struct {
	mu  sync.Mutex // guards all
	all *share.Shares[netip.Addr, context.CancelFunc]
}

func newResponderTable() *responderTable {
	return &responderTable{all: share.New[netip.Addr, context.CancelFunc](maxResponders, respondersPerNeighbour)}
}

// add enters what answers a neighbour, and can be cancelled. The function
// returned takes it out and cancels it.
func (t *responderTable) add(neighbour netip.Addr, cancel context.CancelFunc) (done func()) {
	t.mu.Lock()
	elem, evict := t.all.Add(neighbour, cancel)
	if evict != nil {
		t.all.Remove(evict)
	}
	t.mu.Unlock()
	if evict != nil {
		evict.Value()
	}
	return func() {
		t.mu.Lock()
		t.all.Remove(elem)
		t.mu.Unlock()
		cancel()
	}
}

func (t *responderTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.Len()
}
