package tlsplane

import (
	"sync"

	"github.com/go-grasp/grasp/internal/share"
)

// gate bounds the handshakes that peers have begun, in all and by source. When full, it
// ends the oldest handshake of the source that has most. An honest peer's is over in
// milliseconds.
type gate struct {
	mu     sync.Mutex // guards all following fields
	guests *share.Shares[share.Holder, *guest]
}

// guest is a handshake under way.
type guest struct {
	evict func() // ends it
	place *share.Elem[share.Holder, *guest]
}

func newGate(limit int) *gate {
	return &gate{guests: share.New[share.Holder, *guest](limit, max(limit/4, 1))}
}

// enter lets a handshake in, and another out if there are too many. evict is
// called at most once, without a lock.
func (g *gate) enter(source share.Holder, evict func()) *guest {
	in := &guest{evict: evict}
	if out := g.admit(source, in); out != nil {
		out.evict()
	}
	return in
}

func (g *gate) admit(source share.Holder, in *guest) (out *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	place, evicted := g.guests.Add(source, in)
	in.place = place
	if evicted == nil {
		return nil
	}
	g.guests.Remove(evicted)
	return evicted.Value
}

// evict ends the oldest handshake of the source that has most of them, if that
// is more than one.
func (g *gate) evict() bool {
	out := g.largest()
	if out != nil {
		out.evict()
	}
	return out != nil
}

func (g *gate) largest() *guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.guests.Largest() < 2 {
		return nil
	}
	elem := g.guests.OldestOfLargest()
	g.guests.Remove(elem)
	return elem.Value
}

// leave ends a handshake. It may be called more than once.
func (g *gate) leave(in *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.guests.Remove(in.place)
}
