package grasp

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/session"
)

// search is a discovery under way: a call of Discover that waits.
type search struct {
	name    string
	keys    []searchKey   // of its messages; guarded by searchTable.mu
	arrived chan struct{} // one slot: something was found
	failed  chan struct{} // closed by fail, after err was set
	err     error
	rapid   chan *stream // one slot: a peer's answer to a rapid request; nil: not wanted
	taken   *stream      // it, once wait has returned

	limit int // Config.MaxFound

	mu    sync.Mutex // guards all following fields
	found []*cache.Locator
	at    map[cache.Place]*cache.Locator
	of    map[netip.Addr]int // how many a peer gave
}

// peerShare is the part of a bound that is for one peer.
const peerShare = 4

// put adds locators that are not there yet. It returns how many were too many.
func (s *search) put(all []cache.Locator) (tooMany int) {
	s.mu.Lock()
	for _, l := range all {
		old := s.at[l.Place()]
		switch {
		case old != nil:
			old.Merge(l)
		case len(s.found) >= s.limit || s.of[l.From] >= max(1, s.limit/peerShare):
			tooMany++
		default:
			s.at[l.Place()] = &l
			s.of[l.From]++
			s.found = append(s.found, &l)
		}
	}
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	return tooMany
}

// wait waits for answers to a message of the search. It returns true when the
// search is over: with the context's timeout, an answer to a rapid request, or
// the first answer of any kind with first. It returns false after the interval,
// if there was no answer yet: then it is time to repeat the message.
func (s *search) wait(ctx context.Context, gone <-chan struct{}, interval time.Duration, first bool) (bool, error) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	repeat := timer.C
	for {
		select {
		case <-s.arrived:
			if first {
				return true, nil
			}
			repeat = nil
		case s.taken = <-s.rapid:
			return true, nil
		case <-repeat:
			if deadline, _ := ctx.Deadline(); !time.Now().Before(deadline) {
				return true, nil
			}
			return false, nil
		case <-s.failed:
			return true, s.err
		case <-gone:
			return true, ErrNoASA
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, errTimeout) {
				return true, &withCode{ErrCancelled, cause}
			}
			return true, nil
		}
	}
}

// locators returns what was found, in the order of arrival.
func (s *search) locators() []Locator {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Locator
	for _, l := range s.found {
		out = append(out, locatorOf(l))
	}
	return out
}

// searchTable leads responses to the searches that wait for them.
type searchTable struct {
	sessions *session.Table[*Session]
	maxFound int

	mu   sync.Mutex // guards all following fields
	byID map[uint32]*search
}

type searchKey struct {
	id        uint32
	initiator netip.Addr // as it was sent
}

func newSearchTable(sessions *session.Table[*Session], maxFound int) *searchTable {
	return &searchTable{sessions: sessions, maxFound: maxFound, byID: make(map[uint32]*search)}
}

func (t *searchTable) open(name string, rapid bool) *search {
	s := &search{
		name: name, arrived: make(chan struct{}, 1), failed: make(chan struct{}),
		limit: t.maxFound, at: make(map[cache.Place]*cache.Locator), of: make(map[netip.Addr]int),
	}
	if rapid {
		s.rapid = make(chan *stream, 1)
	}
	return s
}

// fail ends all searches under way with an error.
func (t *searchTable) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byID {
		if s.err == nil {
			s.err = err
			close(s.failed)
		}
	}
	clear(t.byID)
}

// add leads responses to a message of the search to it.
func (t *searchTable) add(s *search, id uint32, initiator netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.keys = append(s.keys, searchKey{id, initiator})
	t.byID[id] = s
}

func (t *searchTable) get(id uint32, initiator netip.Addr) *search {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[id]
	if s == nil || !slices.Contains(s.keys, searchKey{id, initiator}) {
		return nil
	}
	return s
}

// close ends a search: later answers find nobody. The session ID of a rapid
// answer that was taken lives on.
func (t *searchTable) close(s *search) {
	t.mu.Lock()
	keys := s.keys
	for _, key := range keys {
		delete(t.byID, key.id)
	}
	t.mu.Unlock()
	for _, key := range keys {
		if s.taken == nil || s.taken.session != key.id {
			t.sessions.End(session.Key{ID: key.id})
		}
	}
	select {
	case late := <-s.rapid:
		late.close()
	default:
	}
}

// len returns how many discoveries are under way.
func (t *searchTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	open := make(map[*search]struct{})
	for _, s := range t.byID {
		open[s] = struct{}{}
	}
	return len(open)
}
