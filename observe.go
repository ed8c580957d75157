package grasp

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Observer is told what happens in an instance: see [Instance.Observe]. A nil
// function is told nothing.
type Observer struct {
	// Trace is told every message sent, received, relayed or dropped, like
	// Config.Trace.
	Trace func(Event)
	// Words is told every line of Tprint, and in test mode of Ttprint, whether
	// it is printed or not: the ASA's name, which is empty for those of the
	// package, and the line without it, made fit to be printed.
	Words func(asa, text string)
}

// Observe has an observer told what happens from now on, until the returned
// function is called or the instance is closed. Its functions are called from
// the goroutines in which things happen: they must be quick, safe for
// concurrent use, and must not call the instance. Calls that have begun go on
// when the returned function is called.
func (g *Instance) Observe(o Observer) (stop func()) { return g.observers.add(&o) }

// Done returns a channel that is closed when the instance is, and all its
// goroutines are gone.
func (g *Instance) Done() <-chan struct{} { return g.done }

// observers are those of one instance.
type observers struct {
	mu  sync.Mutex // keeps changes apart
	all atomic.Pointer[[]*Observer]
}

// list returns the observers of this moment. It must not be changed.
func (s *observers) list() []*Observer {
	if all := s.all.Load(); all != nil {
		return *all
	}
	return nil
}

func (s *observers) add(o *Observer) (remove func()) {
	s.change(func(all []*Observer) []*Observer { return append(all, o) })
	return func() {
		s.change(func(all []*Observer) []*Observer {
			return slices.DeleteFunc(all, func(other *Observer) bool { return other == o })
		})
	}
}

// change has f change a copy.
func (s *observers) change(f func([]*Observer) []*Observer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := f(slices.Clone(s.list()))
	s.all.Store(&all)
}

func (s *observers) trace(e Event) {
	for _, o := range s.list() {
		if o.Trace != nil {
			o.Trace(e)
		}
	}
}

func (s *observers) words(asa, text string) {
	for _, o := range s.list() {
		if o.Words != nil {
			o.Words(asa, text)
		}
	}
}
