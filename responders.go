package grasp

import (
	"context"
	"net/netip"
	"sync"
)

// maxResponders bounds the discoveries that are answered at the same time, and
// respondersPerNeighbour those of one neighbour.
const (
	maxResponders          = 256
	respondersPerNeighbour = 64
)

// responderTable holds what is answering a discovery, which means connecting to
// where it came from. If there are too many, the oldest gives way of the
// neighbour that has most: whoever is there is connected to in a round trip,
// and whoever is not, since a discovery can be sent in anybody's name, does not
// keep the others waiting.
type responderTable struct {
	mu  sync.Mutex // guards all
	all *shares[context.CancelFunc]
}

func newResponderTable() *responderTable {
	return &responderTable{all: newShares[context.CancelFunc](maxResponders, respondersPerNeighbour)}
}

// add enters what answers a neighbour, and can be cancelled. The function
// returned takes it out and cancels it.
func (t *responderTable) add(neighbour netip.Addr, cancel context.CancelFunc) (done func()) {
	t.mu.Lock()
	h, displaced := t.all.add(neighbour, cancel)
	if displaced != nil {
		t.all.remove(displaced)
	}
	t.mu.Unlock()
	if displaced != nil {
		displaced.value()
	}
	return func() {
		t.mu.Lock()
		t.all.remove(h)
		t.mu.Unlock()
		cancel()
	}
}

func (t *responderTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.n
}
