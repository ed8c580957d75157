// Package search holds the rules of one discovery (RFC 8990 sections 2.5.4.3 and
// 2.8.4) as its initiator sees it: on which links the question is asked and when
// again, what counts as an answer, and when the discovery is over.
//
// There is no clock, lock, goroutine or socket here. Whoever owns a Search tells
// it what came and what time it is, and does what it answers.
package search

import (
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
)

// Mode is what answers do to a search.
type Mode uint8

const (
	// Collect keeps all answers until the deadline. After the first the question
	// is not repeated.
	Collect Mode = iota
	// First ends with the first answer.
	First
	// Persist keeps all answers and goes on to ask until the deadline: whether
	// they are any good is not known yet.
	Persist
)

// Config is how a search is set up.
type Config struct {
	Mode     Mode
	Deadline time.Time
	// Interval is how long the answers to the first question are waited for; then
	// it is asked again, and after twice the interval each (section 2.5.4.3: with
	// exponential backoff). 0 means that it is asked once.
	Interval time.Duration
	// Rapid says that the first question carries a value (section 2.5.5.1). Others
	// do not: a relay drops rapid answers.
	Rapid bool
	// Limit is how many results are kept. A quarter of them may be from one peer.
	Limit int
}

// Search is one discovery. [New] makes one; its methods must not be called at
// the same time.
type Search struct {
	cfg      Config
	interval time.Duration // until the question after the next
	next     time.Time     // when it is asked again
	asked    []int         // on these links
	begun    bool
	done     bool

	results []*cache.Locator // in the order of arrival
	byPlace map[cache.Place]*cache.Locator
	perPeer map[netip.Addr]int
}

// New returns a search that has not begun: the first call of Wake asks.
func New(cfg Config) *Search {
	return &Search{cfg: cfg, byPlace: make(map[cache.Place]*cache.Locator), perPeer: make(map[netip.Addr]int)}
}

// Output is what follows from an input.
type Output struct {
	Ask     bool            // ask, with a new session ID (section 2.7)
	Links   []int           // on these links
	Rapid   bool            // with a value
	New     []cache.Locator // that were not known before
	Refused int             // how many were too many
	Done    bool            // the search is over
	Wake    time.Time       // when to call Wake unless it is done
}

// Wake is called to begin, at the time that the last output gave, and when the
// links in use change. Links on which nothing was asked yet are asked at once,
// unless there are answers.
func (s *Search) Wake(now time.Time, links []int) Output {
	switch {
	case s.done:
		return Output{Done: true}
	case !s.begun: // asked whatever the time
		s.begun, s.interval = true, s.cfg.Interval
		out := s.ask(now, links)
		out.Rapid = s.cfg.Rapid
		return out
	case !now.Before(s.cfg.Deadline):
		s.done = true
		return Output{Done: true}
	case s.answered():
	case s.interval > 0 && !now.Before(s.next):
		return s.ask(now, links)
	default:
		out := Output{Wake: s.wake()}
		for _, l := range links {
			if !slices.Contains(s.asked, l) {
				out.Ask = true
				out.Links = append(out.Links, l)
				s.asked = append(s.asked, l)
			}
		}
		return out
	}
	return Output{Wake: s.wake()}
}

// ask asks on all links. Those that are no longer in use are asked again when
// they come back.
func (s *Search) ask(now time.Time, links []int) Output {
	s.next = now.Add(s.interval)
	s.interval *= 2
	s.asked = slices.Clone(links)
	return Output{Ask: true, Links: links, Wake: s.wake()}
}

// answered says that the question is not repeated.
func (s *Search) answered() bool { return s.cfg.Mode != Persist && len(s.results) > 0 }

func (s *Search) wake() time.Time {
	if s.interval > 0 && !s.answered() && s.next.Before(s.cfg.Deadline) {
		return s.next
	}
	return s.cfg.Deadline
}

// Respond takes what a response to the question gave.
func (s *Search) Respond(all []cache.Locator) Output {
	if s.done {
		return Output{Done: true}
	}
	var out Output
	for i := range all {
		r := &all[i]
		if old := s.byPlace[r.Place()]; old != nil {
			old.Merge(*r) // the later expiry wins (D-25)
			continue
		}
		if len(s.results) >= s.cfg.Limit || s.perPeer[r.From] >= max(1, s.cfg.Limit/4) {
			out.Refused++
			continue
		}
		kept := *r
		s.byPlace[r.Place()] = &kept
		s.perPeer[r.From]++
		s.results = append(s.results, &kept)
		out.New = append(out.New, kept)
	}
	s.done = s.cfg.Mode == First && len(s.results) > 0
	out.Done, out.Wake = s.done, s.wake()
	return out
}

// End ends the search: nobody waits for it any more, or there will be no
// further answers. It returns false if it had ended.
func (s *Search) End() bool {
	was := s.done
	s.done = true
	return !was
}

// Found says that there are results.
func (s *Search) Found() bool { return len(s.results) > 0 }

// Results returns what was found, in the order of arrival.
func (s *Search) Results() []cache.Locator {
	out := make([]cache.Locator, 0, len(s.results))
	for _, r := range s.results {
		out = append(out, *r)
	}
	return out
}
