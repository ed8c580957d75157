package loop

import (
	"bytes"
	"slices"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// Later is what is to be done with a message after its wait is over.
type Later[A any] struct {
	Decision
	Message wire.Message
	Asker   A
}

// later holds the messages that wait to be relayed. They leave in the order in which they
// came, so that a flood does not overtake the one that it replaces: neither here nor on
// the way through others that do the same, since whoever does not send a message on a
// link has heard it there.
type later[A any] struct {
	most  time.Duration // the longest wait; 0: none
	limit int
	queue []waiting[A] // the next one is the first
}

type waiting[A any] struct {
	Message
	raw   []byte // as it is sent
	asker A
	links []int
	due   time.Time
}

// isFull reports whether no further message can wait.
func (l *later[A]) isFull() bool { return len(l.queue) >= l.limit }

// add has a message wait for a part of the longest wait, and for those before it.
func (l *later[A]) add(w waiting[A], part float64, now time.Time) {
	w.due = now.Add(time.Duration(part * float64(l.most)))
	w.Raw = nil // it may be the caller's buffer
	l.queue = append(l.queue, w)
}

// heard takes note of a copy of a message that somebody else sent on a link. It reports
// whether the message was waiting to be sent there, just so. Copies that differ, be it
// only in their loop count, or that not all on the link got, are no replacement.
func (l *later[A]) heard(m *Message) bool {
	if m.Unicast {
		return false
	}
	for i := range l.queue {
		w := &l.queue[i]
		if w.Key != m.Key || !bytes.Equal(w.raw, m.Raw) {
			continue
		}
		at := slices.Index(w.links, m.Link)
		if at < 0 {
			return false
		}
		if w.links = slices.Delete(w.links, at, at+1); len(w.links) == 0 {
			l.queue = slices.Delete(l.queue, i, i+1)
		}
		return true
	}
	return false
}

// Due returns the messages whose wait is over, and when the next one's is; the zero time
// if none waits.
func (r *Relay[A]) Due(now time.Time) (due []Later[A], next time.Time) {
	q := r.later.queue
	for len(q) > 0 && !q[0].due.After(now) {
		w := q[0]
		due = append(due, Later[A]{Decision: r.send(w.Type, w.raw, w.links, now), Message: w.Parsed, Asker: w.asker})
		q = q[1:]
	}
	r.later.queue = slices.Delete(r.later.queue, 0, len(due))
	if len(q) > 0 {
		next = r.later.queue[0].due
	}
	return due, next
}
