package grasp

import (
	"container/list"
	"net/netip"
)

// shares holds things in a bounded number, in a share for each source: a peer
// or a neighbour, or the zero Addr for this instance. When there are too many,
// the oldest thing gives way of whoever has most: so one source cannot
// displace what others have, as long as they have less. All is done in
// constant time.
//
// A share is kept in order by add and touch: what was added or touched last is
// the youngest.
type shares[T any] struct {
	limit, perSource int

	n        int
	bySource map[netip.Addr]*share[T]
	bySize   []*list.List // of *share[T]: those with as many things as the index says
	largest  int          // the last index of bySize with anything in it, 0 for none
	turns    *list.List   // of *share[T]: whose turn it is next
	spare    *share[T]    // an empty one, for whoever comes next
}

// share is what one source has.
type share[T any] struct {
	source netip.Addr
	things list.List     // of *held[T], oldest first
	size   *list.Element // its place in bySize
	turn   *list.Element // its place in turns
}

// held is a thing in its share.
type held[T any] struct {
	value T
	share *share[T]
	at    *list.Element
}

func newShares[T any](limit, perSource int) *shares[T] {
	return &shares[T]{limit: limit, perSource: perSource, bySource: make(map[netip.Addr]*share[T]), turns: list.New()}
}

// add enters a thing. It returns what has to give way for it, to be removed,
// or nil.
func (s *shares[T]) add(source netip.Addr, value T) (h, displaced *held[T]) {
	of := s.bySource[source]
	if of == nil {
		if of, s.spare = s.spare, nil; of == nil {
			of = new(share[T])
		}
		of.source = source
		of.turn = s.turns.PushBack(of)
		s.bySource[source] = of
	}
	h = &held[T]{value: value, share: of}
	h.at = of.things.PushBack(h)
	s.n++
	s.resized(of, of.things.Len()-1)
	switch {
	case of.things.Len() > s.perSource:
		return h, of.oldest()
	case s.n > s.limit:
		return h, s.ofLargest().oldest()
	}
	return h, nil
}

// remove takes a thing out. It may be called more than once.
func (s *shares[T]) remove(h *held[T]) {
	if h.at == nil {
		return
	}
	of := h.share
	of.things.Remove(h.at)
	h.at = nil
	s.n--
	s.resized(of, of.things.Len()+1)
	if of.things.Len() == 0 {
		delete(s.bySource, of.source)
		s.turns.Remove(of.turn)
		s.spare = of
	}
}

// touch makes a thing the youngest of its share.
func (s *shares[T]) touch(h *held[T]) { h.share.things.MoveToBack(h.at) }

// next returns the oldest thing of the source whose turn it is, nil if there
// is none, and passes the turn on.
func (s *shares[T]) next() *held[T] {
	front := s.turns.Front()
	if front == nil {
		return nil
	}
	s.turns.MoveToBack(front)
	return front.Value.(*share[T]).oldest()
}

// of returns how many things a source has.
func (s *shares[T]) of(source netip.Addr) int {
	if of := s.bySource[source]; of != nil {
		return of.things.Len()
	}
	return 0
}

// ofLargest returns the share with most things, of equal ones the one that has
// had so many for longest.
func (s *shares[T]) ofLargest() *share[T] {
	return s.bySize[s.largest].Front().Value.(*share[T])
}

// resized moves a share to its place in bySize.
func (s *shares[T]) resized(of *share[T], was int) {
	now := of.things.Len()
	if of.size != nil {
		s.bySize[was].Remove(of.size)
		of.size = nil
	}
	if now > 0 {
		for len(s.bySize) <= now {
			s.bySize = append(s.bySize, list.New())
		}
		of.size = s.bySize[now].PushBack(of)
	}
	// It grew or shrank by one: so did the largest, or it is another one.
	if now > s.largest || s.largest == was && s.bySize[was].Len() == 0 {
		s.largest = now
	}
}

func (of *share[T]) oldest() *held[T] { return of.things.Front().Value.(*held[T]) }

func (of *share[T]) youngest() *held[T] { return of.things.Back().Value.(*held[T]) }
