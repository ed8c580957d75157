// Package outlet hands what an engine reports to receivers outside of it: a
// terminal, a log, an observer. A receiver that is slow or stuck never holds up the
// engine.
package outlet

import (
	"sync"
	"sync/atomic"
)

// How much waits for one receiver at most. As much again may be in the batch that is
// being handed over.
const (
	MaxItems = 8192
	MaxBytes = 2 << 20
)

// Outlet hands items to a receiver one by one, in order, in a goroutine that exists
// only while there are items. An item for which there is no room is lost.
type Outlet[T any] struct {
	receive func(T)
	lost    func()
	closed  atomic.Bool

	mu      sync.Mutex // guards all following fields
	waiting []T
	bytes   int           // of what waits
	running bool          // there is a goroutine
	idle    chan struct{} // closed when it ends; nil if nobody waits for that
}

// New returns an outlet. It calls receive with each item. It calls lost for each item
// that is lost, in the goroutine that called Put, so lost must not block.
func New[T any](receive func(T), lost func()) *Outlet[T] {
	return &Outlet[T]{receive: receive, lost: lost}
}

// Put hands over an item of a size in bytes. It does not block.
func (o *Outlet[T]) Put(item T, size int) {
	if !o.put(item, size) {
		o.lost()
	}
}

func (o *Outlet[T]) put(item T, size int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed.Load() || len(o.waiting) >= MaxItems || len(o.waiting) > 0 && o.bytes+size > MaxBytes {
		return false
	}
	o.waiting = append(o.waiting, item)
	o.bytes += size
	if !o.running {
		o.running = true
		go o.run()
	}
	return true
}

// run hands over what waits until nothing does.
func (o *Outlet[T]) run() {
	for batch := o.next(nil); batch != nil; batch = o.next(batch) {
		for _, item := range batch {
			if o.closed.Load() {
				break
			}
			o.receive(item)
		}
	}
}

// keptItems is how much room for items is kept for the next ones.
const keptItems = 256

// next returns what waits, and puts the room of the last batch in its place. It
// returns nil if nothing waits: then the goroutine is over.
func (o *Outlet[T]) next(last []T) []T {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(last)
	if cap(last) > keptItems {
		last = nil
	}
	if len(o.waiting) == 0 {
		o.running = false
		if cap(o.waiting) == 0 {
			o.waiting = last[:0]
		}
		if o.idle != nil {
			close(o.idle)
			o.idle = nil
		}
		return nil
	}
	batch := o.waiting
	o.waiting, o.bytes = last[:0], 0
	return batch
}

// Flush waits until nothing is left to be handed over, or until the channel is
// closed.
func (o *Outlet[T]) Flush(until <-chan struct{}) {
	o.mu.Lock()
	if !o.running {
		o.mu.Unlock()
		return
	}
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle := o.idle
	o.mu.Unlock()
	select {
	case <-idle:
	case <-until:
	}
}

// Close makes the outlet hand over nothing more: items that wait or come later are
// lost. It does not wait for a receiver that is busy with an item.
func (o *Outlet[T]) Close() {
	o.closed.Store(true)
	o.mu.Lock()
	left := len(o.waiting)
	o.waiting, o.bytes = nil, 0
	o.mu.Unlock()
	for range left {
		o.lost()
	}
}
