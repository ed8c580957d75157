package monitor

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/wire"
)

// What a tally keeps at most.
const (
	maxFollowed   = 1024 // sessions under way
	maxObjectives = 50   // objectives with numbers of their own
)

// How long a session may take before a tally gives it up.
const (
	answerTime = 2 * time.Minute // for the answer to a question
	endTime    = 5 * time.Second // for the M_END of a negotiation that the instance no longer has
)

// procedure is what a session is for.
type procedure uint8

const (
	discovery procedure = iota
	synchronization
	negotiation
	procedures
)

var procedureNames = [procedures]string{"discovery", "synchronization", "negotiation"}

// outcome is how a session ended.
type outcome string

const (
	agreed     outcome = "agreed"
	declined   outcome = "declined"
	invalid    outcome = "invalid" // ended by M_INVALID
	broken     outcome = "broken"  // without an M_END
	answered   outcome = "answered"
	unanswered outcome = "unanswered"
	unknown    outcome = "unknown" // too many at a time to follow
)

// tally counts what the events of an instance say about its messages and sessions.
type tally struct {
	mu       sync.Mutex // guards all following fields
	traffic  map[trafficKey]traffic
	followed map[sessionKey]*followed
	sessions map[outcomeKey]uint64
	times    map[timesKey]*histogram
	named    map[string]bool // objectives with numbers of their own
}

type trafficKey struct {
	kind grasp.EventKind
	name string // of the message's type
}

// traffic is a number of messages.
type traffic struct{ messages, bytes uint64 }

// sessionKey tells the sessions of an instance apart. Those that the instance began
// have no peer.
type sessionKey struct {
	what procedure
	id   uint32
	peer netip.AddrPort
}

// followed is a session under way.
type followed struct {
	objective string
	began     time.Time
	ours      bool      // the instance sent a message of it
	missed    time.Time // when the instance was first found not to know it; zero: never
}

type outcomeKey struct {
	what      procedure
	asked     bool // by the instance, else by a peer
	objective string
	outcome   outcome
}

type timesKey struct {
	what      procedure
	objective string
}

func newTally() *tally {
	return &tally{
		traffic: make(map[trafficKey]traffic), followed: make(map[sessionKey]*followed),
		sessions: make(map[outcomeKey]uint64), times: make(map[timesKey]*histogram), named: make(map[string]bool),
	}
}

// count counts an event.
func (t *tally) count(e *grasp.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(e.Raw) > 0 { // else it is no message
		key := trafficKey{e.Kind, e.Message}
		n := t.traffic[key]
		n.messages++
		n.bytes += uint64(len(e.Raw))
		t.traffic[key] = n
	}
	if e.Kind == grasp.Sent || e.Kind == grasp.Received {
		t.followLocked(e)
	}
}

// followLocked follows the session of a message that was sent or received.
func (t *tally) followLocked(e *grasp.Event) {
	sent := e.Kind == grasp.Sent
	here := func(p procedure) sessionKey { return sessionKey{what: p, id: e.SessionID} }
	there := func(p procedure) sessionKey { return sessionKey{p, e.SessionID, e.Peer} }
	switch e.Message {
	case "M_DISCOVERY":
		if sent {
			t.beginLocked(here(discovery), e)
		}
	case "M_RESPONSE":
		if !sent {
			t.endLocked(here(discovery), e, answered)
		}
	case "M_REQ_SYN":
		if sent {
			t.beginLocked(here(synchronization), e)
		} else {
			t.beginLocked(there(synchronization), e)
		}
	case "M_SYNCH":
		if sent {
			t.endLocked(there(synchronization), e, answered)
		} else if !t.endLocked(here(synchronization), e, answered) {
			t.endLocked(here(discovery), e, answered) // in rapid mode
		}
	case "M_REQ_NEG":
		if sent {
			t.beginLocked(here(negotiation), e)
		} else {
			t.beginLocked(there(negotiation), e)
		}
	case "M_NEGOTIATE", "M_WAIT":
		if !sent {
			t.endLocked(here(discovery), e, answered) // in rapid mode
		} else if f := t.followed[there(negotiation)]; f != nil {
			f.ours = true
		}
	case "M_END", "M_INVALID":
		how := outcomeOf(e)
		// An instance that negotiates with itself sees the message twice.
		if !t.endLocked(here(negotiation), e, how) {
			t.endLocked(there(negotiation), e, how)
		}
	}
}

// outcomeOf returns what a message that ends a negotiation makes of it.
func outcomeOf(e *grasp.Event) outcome {
	if e.Message == "M_INVALID" {
		return invalid
	}
	m, err := wire.Parse(e.Raw, wire.Limits{Bytes: len(e.Raw), Elements: len(e.Raw)})
	if end, ok := m.(*wire.End); err == nil && ok && end.Accept {
		return agreed
	}
	return declined
}

// beginLocked follows a session from now on. It gives up the oldest if there are too many.
func (t *tally) beginLocked(key sessionKey, e *grasp.Event) {
	if t.followed[key] != nil {
		return // a discovery is sent on every link
	}
	if len(t.followed) >= maxFollowed {
		var oldest sessionKey
		var since time.Time
		for k, f := range t.followed {
			if since.IsZero() || f.began.Before(since) {
				oldest, since = k, f.began
			}
		}
		t.overLocked(oldest, unknown)
	}
	t.followed[key] = &followed{objective: e.Objective, began: e.Time, ours: e.Kind == grasp.Sent}
}

// endLocked ends a session that is followed, and reports whether it was.
func (t *tally) endLocked(key sessionKey, e *grasp.Event, how outcome) bool {
	f := t.followed[key]
	if f == nil {
		return false
	}
	f.ours = f.ours || e.Kind == grasp.Sent
	objective := t.overLocked(key, how)
	at := timesKey{key.what, objective}
	if t.times[at] == nil {
		t.times[at] = new(histogram)
	}
	t.times[at].add(max(0, e.Time.Sub(f.began)))
	return true
}

// overLocked counts the outcome of a session that is followed, and returns the
// objective under which it does.
func (t *tally) overLocked(key sessionKey, how outcome) string {
	f := t.followed[key]
	delete(t.followed, key)
	objective := t.nameLocked(f)
	t.sessions[outcomeKey{key.what, !key.peer.IsValid(), objective, how}]++
	return objective
}

// nameLocked returns the objective under which a session counts: its own if the instance
// has sent a message about it, or empty if there are too many of those or it has not. So
// peers cannot use up the names.
func (t *tally) nameLocked(f *followed) string {
	if f.ours && len(t.named) < maxObjectives {
		t.named[f.objective] = true
	}
	if t.named[f.objective] {
		return f.objective
	}
	return ""
}

// settle gives up the sessions that ended without a message: negotiations that are not
// among those under way any more, and others that have taken too long.
func (t *tally) settle(under []grasp.SessionState, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := make(map[sessionKey]bool, len(under))
	for _, s := range under {
		key := sessionKey{what: negotiation, id: s.ID}
		if !s.Initiator {
			key.peer = s.Peer
		}
		known[key] = true
	}
	for key, f := range t.followed {
		switch {
		case key.what != negotiation:
			if now.Sub(f.began) > answerTime {
				t.overLocked(key, unanswered)
			}
		case known[key]:
			f.missed = time.Time{}
		case f.missed.IsZero():
			f.missed = now
		case now.Sub(f.missed) >= endTime: // its M_END would have been seen by now
			t.overLocked(key, broken)
		}
	}
}

// tallied is a copy of what a tally counted.
type tallied struct {
	traffic  map[trafficKey]traffic
	sessions map[outcomeKey]uint64
	times    map[timesKey]histogram
}

func (t *tally) copy() tallied {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := tallied{maps.Clone(t.traffic), maps.Clone(t.sessions), make(map[timesKey]histogram, len(t.times))}
	for key, h := range t.times {
		c.times[key] = *h
	}
	return c
}

// bounds are the upper bounds of a histogram, in seconds. There is one more, without a bound.
var bounds = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// histogram counts durations by their length.
type histogram struct {
	counts [len(bounds) + 1]uint64 // each between two bounds
	sum    time.Duration
}

func (h *histogram) add(d time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], d.Seconds())
	h.counts[i]++
	h.sum += d
}
