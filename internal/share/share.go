// Package share bounds the number of elements that several holders have. When
// full, it evicts the oldest element of the largest holder, so no holder can crowd
// out one that holds less.
package share

import "container/list"

// Shares holds the elements of all holders, a share for each. All operations take
// constant time. A Shares must not be used concurrently.
//
// The youngest element of a share is the one that was added or touched last.
type Shares[K comparable, T any] struct {
	limit, perHolder int

	n        int
	byHolder map[K]*share[K, T]
	bySize   []*list.List // of *share: bySize[n] lists the shares with n elements
	largest  int          // the last index of bySize that is in use, 0 for none
	turns    *list.List   // of *share: the one whose turn is next is first
	spare    *share[K, T] // an empty share to be used for the next holder
}

// share holds the elements of one holder.
type share[K comparable, T any] struct {
	holder K
	elems  list.List     // of *Elem, oldest first
	size   *list.Element // its place in bySize
	turn   *list.Element // its place in turns
}

// Elem is an element of a Shares.
type Elem[K comparable, T any] struct {
	Value T
	share *share[K, T]
	place *list.Element // in share.elems; nil once it was removed
}

// New returns a Shares for at most limit elements, and perHolder of each
// holder.
func New[K comparable, T any](limit, perHolder int) *Shares[K, T] {
	return &Shares[K, T]{limit: limit, perHolder: perHolder, byHolder: make(map[K]*share[K, T]), turns: list.New()}
}

// Limit returns how many elements there may be.
func (s *Shares[K, T]) Limit() int { return s.limit }

// Len returns how many elements there are.
func (s *Shares[K, T]) Len() int { return s.n }

// CountOf returns how many elements a holder has.
func (s *Shares[K, T]) CountOf(holder K) int {
	if h := s.byHolder[holder]; h != nil {
		return h.elems.Len()
	}
	return 0
}

// Largest returns how many elements the largest holder has.
func (s *Shares[K, T]) Largest() int { return s.largest }

// Add adds an element. If that makes too many, it also returns the element to
// evict, which the caller has to remove: the oldest of the same holder if this
// holder has too many, else the oldest of the largest holder.
func (s *Shares[K, T]) Add(holder K, value T) (elem, evict *Elem[K, T]) {
	h := s.byHolder[holder]
	if h == nil {
		if h, s.spare = s.spare, nil; h == nil {
			h = new(share[K, T])
		}
		h.holder = holder
		h.turn = s.turns.PushBack(h)
		s.byHolder[holder] = h
	}
	elem = &Elem[K, T]{Value: value, share: h}
	elem.place = h.elems.PushBack(elem)
	s.n++
	s.resized(h, h.elems.Len()-1)
	switch {
	case h.elems.Len() > s.perHolder:
		return elem, h.oldest()
	case s.n > s.limit:
		return elem, s.largestShare().oldest()
	}
	return elem, nil
}

// Remove removes an element. It may be called more than once.
func (s *Shares[K, T]) Remove(e *Elem[K, T]) {
	if e.place == nil {
		return
	}
	h := e.share
	h.elems.Remove(e.place)
	e.place = nil
	s.n--
	s.resized(h, h.elems.Len()+1)
	if h.elems.Len() == 0 {
		delete(s.byHolder, h.holder)
		s.turns.Remove(h.turn)
		s.spare = h
	}
}

// Touch makes an element the youngest of its holder.
func (s *Shares[K, T]) Touch(e *Elem[K, T]) { e.share.elems.MoveToBack(e.place) }

// Next returns the oldest element of the holder whose turn it is, nil if there
// is none, and passes the turn on to the next holder.
func (s *Shares[K, T]) Next() *Elem[K, T] {
	front := s.turns.Front()
	if front == nil {
		return nil
	}
	s.turns.MoveToBack(front)
	return front.Value.(*share[K, T]).oldest()
}

// OldestOfLargest returns the oldest element of the largest holder. There must
// be one.
func (s *Shares[K, T]) OldestOfLargest() *Elem[K, T] { return s.largestShare().oldest() }

// YoungestOfLargest returns the youngest element of the largest holder. There
// must be one.
func (s *Shares[K, T]) YoungestOfLargest() *Elem[K, T] { return s.largestShare().youngest() }

// largestShare returns the share with most elements; if there are several, the one
// that has had that many for longest.
func (s *Shares[K, T]) largestShare() *share[K, T] {
	return s.bySize[s.largest].Front().Value.(*share[K, T])
}

// resized moves a share whose number of elements has changed to its new place in
// bySize. was is the number before.
func (s *Shares[K, T]) resized(h *share[K, T], was int) {
	now := h.elems.Len()
	if h.size != nil {
		s.bySize[was].Remove(h.size)
		h.size = nil
	}
	if now > 0 {
		for len(s.bySize) <= now {
			s.bySize = append(s.bySize, list.New())
		}
		h.size = s.bySize[now].PushBack(h)
	}
	// The share grew or shrank by one, so largest changes by one at most.
	if now > s.largest || s.largest == was && s.bySize[was].Len() == 0 {
		s.largest = now
	}
}

func (h *share[K, T]) oldest() *Elem[K, T] { return h.elems.Front().Value.(*Elem[K, T]) }

func (h *share[K, T]) youngest() *Elem[K, T] { return h.elems.Back().Value.(*Elem[K, T]) }
