package monitor

import (
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
)

// How long a history reaches back, and in what steps.
const (
	historyStep  = 5 * time.Second
	historySteps = int64(time.Hour / historyStep)
)

// History counts the messages of an instance in each step of the last hour, or since the
// instance is watched, the oldest step first.
type History struct {
	Instance string // the name under which it is watched
	// End is when the last step ended.
	End  time.Time
	Step time.Duration
	// Sent, Received, Relayed and Dropped count messages. Instances drop their own
	// multicasts, which come back to them: these do not count.
	Sent, Received, Relayed, Dropped []uint64
	// BytesOut are those sent and relayed, BytesIn those received.
	BytesOut, BytesIn []uint64
	// Reasons splits Dropped by the reason.
	Reasons map[grasp.Reason][]uint64 `json:",omitempty"`
}

// period is what happened in one step.
type period struct {
	n                                int64 // of the step, from the epoch
	sent, received, relayed, dropped uint64
	out, in                          uint64
	reasons                          map[grasp.Reason]uint64 // nil: none
}

// past is what happened in the last hour.
type past struct {
	mu      sync.Mutex // guards all following fields
	begun   int64      // the first step of which all is known
	last    time.Time  // of what came, or was asked
	periods []period   // step n is at index n % historySteps; nil before the first event
}

func newPast(now time.Time) *past { return &past{begun: stepOf(now) + 1, last: now} }

// stepOf returns the number of the step that a time is in.
func stepOf(t time.Time) int64 { return t.Unix() / int64(historyStep/time.Second) }

// mostSetBack is how far the clock can be set back without the history beginning anew.
const mostSetBack = time.Minute

// heedLocked notes the time. If the clock was set back, the history begins anew: its steps
// seem to be in the future, and it would be empty until then.
func (p *past) heedLocked(now time.Time) {
	if now.Before(p.last) { // by the clock that nobody sets
		return
	}
	if p.last.Round(0).Sub(now.Round(0)) > mostSetBack {
		p.begun, p.periods = stepOf(now)+1, nil
	}
	p.last = now
}

// count counts an event.
func (p *past) count(e *grasp.Event) {
	n := stepOf(e.Time)
	if e.Reason == grasp.ReasonOwn || n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heedLocked(e.Time)
	at := int(n % historySteps)
	if p.periods == nil {
		p.periods = make([]period, historySteps)
	}
	if p.periods[at].n > n {
		return // an hour late
	}
	if p.periods[at].n < n {
		p.periods[at] = period{n: n}
	}
	now, size := &p.periods[at], uint64(len(e.Raw))
	switch e.Kind {
	case grasp.Sent:
		now.sent++
		now.out += size
	case grasp.Relayed:
		now.relayed++
		now.out += size
	case grasp.Received:
		now.received++
		now.in += size
	case grasp.Dropped:
		now.dropped++
		if now.reasons == nil {
			now.reasons = make(map[grasp.Reason]uint64)
		}
		now.reasons[e.Reason]++
	}
}

// history returns the steps that are over.
func (p *past) history(name string, now time.Time) History {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heedLocked(now)
	end := stepOf(now)
	first := max(p.begun, end-historySteps+1) // the step under way takes one of the places
	h := History{Instance: name, End: time.Unix(end*int64(historyStep/time.Second), 0), Step: historyStep}
	steps := int(max(0, end-first))
	all := []*[]uint64{&h.Sent, &h.Received, &h.Relayed, &h.Dropped, &h.BytesOut, &h.BytesIn}
	for _, list := range all {
		*list = make([]uint64, steps)
	}
	for i := range steps {
		n := first + int64(i)
		at := int(n % historySteps)
		if p.periods == nil || p.periods[at].n != n {
			continue // nothing happened
		}
		was := &p.periods[at]
		for k, value := range []uint64{was.sent, was.received, was.relayed, was.dropped, was.out, was.in} {
			(*all[k])[i] = value
		}
		for reason, count := range was.reasons {
			if h.Reasons[reason] == nil {
				if h.Reasons == nil {
					h.Reasons = make(map[grasp.Reason][]uint64)
				}
				h.Reasons[reason] = make([]uint64, steps)
			}
			h.Reasons[reason][i] = count
		}
	}
	return h
}

// dropped counts what was dropped lately.
func (p *past) dropped(now time.Time, within time.Duration) map[grasp.Reason]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heedLocked(now)
	counts := make(map[grasp.Reason]uint64)
	if p.periods == nil {
		return counts
	}
	for n := max(stepOf(now.Add(-within)), 1); n <= stepOf(now); n++ {
		if was := &p.periods[n%historySteps]; was.n == n {
			for reason, count := range was.reasons {
				counts[reason] += count
			}
		}
	}
	return counts
}

// histories returns what happened in the last hour in the instances with these names, or
// without names in all that are watched.
func (m *Monitor) histories(names []string, now time.Time) []History {
	all := []History{} // none is an empty array
	for _, w := range m.all() {
		if len(names) == 0 || slices.Contains(names, w.name) {
			all = append(all, w.past.history(w.name, now))
		}
	}
	return all
}
