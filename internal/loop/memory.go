package loop

import (
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/share"
)

// Asked is what is remembered of a message: who asked, and for what.
type Asked[A any] struct {
	Objective string
	Asker     A
	Left      bool // the asker has gone
	own       bool // sent by this instance
}

// memory remembers a bounded number of messages for a time. When full, it forgets
// the oldest.
type memory[A any] struct {
	limit int
	byKey map[session.Key]*remembered[A]
	order []*remembered[A] // oldest first
}

type remembered[A any] struct {
	Asked[A]
	key     session.Key
	addedAt time.Time
}

func newMemory[A any](limit int) memory[A] {
	return memory[A]{limit: limit, byKey: make(map[session.Key]*remembered[A])}
}

// add remembers a message that is not remembered yet.
func (m *memory[A]) add(key session.Key, asked Asked[A], now time.Time) {
	for len(m.order) > 0 && (len(m.order) >= m.limit || now.Sub(m.order[0].addedAt) > Memory) {
		if oldest := m.order[0]; m.byKey[oldest.key] == oldest {
			delete(m.byKey, oldest.key)
		}
		m.order[0] = nil
		m.order = m.order[1:]
	}
	e := &remembered[A]{Asked: asked, key: key, addedAt: now}
	m.byKey[key] = e
	m.order = append(m.order, e)
}

// get returns a message that is remembered, or nil.
func (m *memory[A]) get(key session.Key, now time.Time) *remembered[A] {
	if e := m.byKey[key]; e != nil && now.Sub(e.addedAt) <= Memory {
		return e
	}
	return nil
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

func (a *answers) remove(e *share.Elem[netip.Addr, answer]) {
	a.all.Remove(e)
	delete(a.byQuestion, e.Value.question)
}
