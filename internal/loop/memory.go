package loop

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/share"
)

// Asked is what is remembered of a discovery: who asked, and for what.
type Asked[A any] struct {
	Objective string
	Asker     A
	Left      bool // the asker has gone
	addedAt   time.Time
}

// memory remembers a bounded number of messages for a time, each with a value. When full,
// it forgets the oldest. What it takes grows and shrinks with what it remembers.
type memory[V any] struct {
	limit int
	byKey map[key]V
	peak  int // the most messages since byKey was made
	order order
	since time.Time
}

// key is a session.Key without a pointer, so that the garbage collector need not look at
// each of many.
type key [20]byte

func compact(k session.Key) (out key) {
	addr := k.Initiator.As16()
	binary.NativeEndian.PutUint32(out[copy(out[:], addr[:]):], k.ID)
	return out
}

func newMemory[V any](limit int) memory[V] { return memory[V]{limit: limit} }

// add remembers a message that is not remembered yet.
func (m *memory[V]) add(k session.Key, v V, now time.Time) {
	if m.forget(now); m.order.len >= m.limit {
		m.forgetOldest()
	}
	if m.byKey == nil {
		m.byKey, m.since = make(map[key]V), now
	}
	c := compact(k)
	m.byKey[c] = v
	m.order.add(added{c, now.Sub(m.since)})
	m.peak = max(m.peak, m.order.len)
}

// get returns the value of a message, and whether the message is remembered.
func (m *memory[V]) get(k session.Key, now time.Time) (V, bool) {
	m.forget(now)
	v, ok := m.byKey[compact(k)]
	return v, ok
}

// forget forgets what has been remembered for long enough.
func (m *memory[V]) forget(now time.Time) {
	long := now.Sub(m.since) - Memory
	for m.order.len > 0 && m.order.oldest().at < long {
		m.forgetOldest()
	}
}

// forgetOldest forgets the oldest message. If few are left of many, it gives back the memory
// that these took: a map does not shrink.
func (m *memory[V]) forgetOldest() {
	delete(m.byKey, m.order.oldest().key)
	switch m.order.removeOldest(); {
	case m.order.len == 0:
		*m = newMemory[V](m.limit)
	case m.order.len < m.peak/4:
		all := make(map[key]V, m.order.len)
		for e := range m.order.all() {
			all[e.key] = m.byKey[e.key]
		}
		m.byKey, m.peak = all, m.order.len
	}
}

// answers remembers the questions that were answered from the cache. When full, it
// forgets the oldest answer of the largest neighbour.
type answers struct {
	byQuestion map[question]*share.Elem[netip.Addr, answer]
	all        *share.Shares[netip.Addr, answer]
}

// question says who asks for which objective.
type question struct {
	initiator netip.Addr
	objective string
}

type answer struct {
	question
	id    uint32 // of the session in which it was asked
	until time.Time
}

func newAnswers(limit int) answers {
	return answers{
		byQuestion: make(map[question]*share.Elem[netip.Addr, answer]),
		all:        share.New[netip.Addr, answer](limit, limit),
	}
}

// add remembers an answer. It reports whether the same question, with another
// session ID, had an answer that still lives.
func (a *answers) add(q question, id uint32, neighbour netip.Addr, until, now time.Time) (again bool) {
	if old := a.byQuestion[q]; old != nil {
		if old.Value.until.After(now) {
			again = old.Value.id != id
			if old.Value.until.After(until) {
				until = old.Value.until
			}
		}
		a.remove(old)
	}
	e, evict := a.all.Add(neighbour, answer{q, id, until})
	a.byQuestion[q] = e
	if evict != nil {
		a.remove(evict)
	}
	return again
}

// forget forgets the answers that live no longer.
func (a *answers) forget(now time.Time) {
	n := len(a.byQuestion)
	for _, e := range a.byQuestion {
		if !e.Value.until.After(now) {
			a.remove(e)
		}
	}
	switch left := len(a.byQuestion); {
	case left == 0:
		*a = newAnswers(a.all.Limit())
	case left < n/4:
		byQuestion := make(map[question]*share.Elem[netip.Addr, answer], left)
		maps.Copy(byQuestion, a.byQuestion)
		a.byQuestion = byQuestion
	}
}

func (a *answers) remove(e *share.Elem[netip.Addr, answer]) {
	a.all.Remove(e)
	delete(a.byQuestion, e.Value.question)
}
