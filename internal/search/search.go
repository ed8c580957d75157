// Package search holds the rules of one discovery (RFC 8990 sections 2.5.4.3 and
// 2.8.4) as its initiator sees it: on which links and how often the query is sent,
// what counts as an answer, and when the discovery is over.
//
// There is no clock, lock, goroutine or socket here. The owner of a Search tells it
// what came and what time it is, and does what the Search returns.
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
	// Collect keeps all answers until the deadline. After the first answer the query
	// is not repeated.
	Collect Mode = iota
	// First ends with the first answer.
	First
	// Persist keeps all answers and repeats the query until the deadline, because it
	// is not known yet whether the answers are any good.
	Persist
)

// Config is how a search is set up.
type Config struct {
	Mode     Mode
	Deadline time.Time
	// Interval is the time after which the query is first repeated; then each interval
	// is twice the one before (section 2.5.4.3: exponential backoff). 0 means that the
	// query is sent once.
	Interval time.Duration
	// Rapid says that the first query carries a value (section 2.5.5.1). Later ones
	// do not, because a relay drops rapid answers.
	Rapid bool
	// Limit bounds the results. A quarter of them may be from one peer.
	Limit int
}

// Search is one discovery. [New] makes one; its methods must not be called
// concurrently.
type Search struct {
	cfg      Config
	interval time.Duration // between the next query and the one after it
	next     time.Time     // when the query is sent next
	asked    []int         // the links it was sent on
	begun    bool
	done     bool

	results []*cache.Locator // in the order of arrival
	byPlace map[cache.Place]*cache.Locator
	perPeer map[netip.Addr]int
}

// New returns a search that has not begun: the first call of Wake sends the query.
func New(cfg Config) *Search {
	return &Search{cfg: cfg, byPlace: make(map[cache.Place]*cache.Locator), perPeer: make(map[netip.Addr]int)}
}

// Output is what the owner has to do.
type Output struct {
	Ask     bool            // send the query, with a new session ID (section 2.7)
	Links   []int           // the links to send it on
	Rapid   bool            // the query carries a value
	New     []cache.Locator // results that were not known before
	Refused int             // how many results exceeded the limit
	Done    bool            // the search is over
	Wake    time.Time       // when to call Wake unless it is done
}

// Wake is called to begin, at the time that the last output gave, and when the links
// in use change. On links that the query was not sent on yet it is sent at once,
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

// ask sends the query on all links. Links that are not in use now get it when they
// come back.
func (s *Search) ask(now time.Time, links []int) Output {
	s.next = now.Add(s.interval)
	s.interval *= 2
	s.asked = slices.Clone(links)
	return Output{Ask: true, Links: links, Wake: s.wake()}
}

// answered reports whether the query is no longer repeated.
func (s *Search) answered() bool { return s.cfg.Mode != Persist && len(s.results) > 0 }

func (s *Search) wake() time.Time {
	if s.interval > 0 && !s.answered() && s.next.Before(s.cfg.Deadline) {
		return s.next
	}
	return s.cfg.Deadline
}

// Age brings all times forward by a time that the machine slept and the clock did not
// measure. Wake is to be called after it.
func (s *Search) Age(by time.Duration) {
	s.cfg.Deadline = s.cfg.Deadline.Add(-by)
	s.next = s.next.Add(-by)
}

// Respond takes the locators of a response.
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

// End ends the search, because nobody waits for it any more or no further answers
// can come. It returns false if the search had ended before.
func (s *Search) End() bool {
	was := s.done
	s.done = true
	return !was
}

// Found reports whether there are results.
func (s *Search) Found() bool { return len(s.results) > 0 }

// Results returns what was found, in the order of arrival.
func (s *Search) Results() []cache.Locator {
	out := make([]cache.Locator, 0, len(s.results))
	for _, r := range s.results {
		out = append(out, *r)
	}
	return out
}
