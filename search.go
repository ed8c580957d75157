package grasp

import (
	"net/netip"
	"slices"
	"sync"
)

// maxFound is how many locators one discovery collects.
const maxFound = 256

// search is a discovery under way: a call of Discover that waits.
type search struct {
	name    string
	keys    []searchKey   // of its messages; guarded by searchTable.mu
	arrived chan struct{} // one slot: something was found
	failed  chan struct{} // closed by fail, after err was set
	err     error

	mu    sync.Mutex // guards all following fields
	found []cachedLocator
}

// put adds locators that are not there yet.
func (s *search) put(all []cachedLocator) {
	s.mu.Lock()
	for _, l := range all {
		i := slices.IndexFunc(s.found, l.same)
		switch {
		case i >= 0 && l.Expire.After(s.found[i].Expire):
			s.found[i].Expire = l.Expire
		case i < 0 && len(s.found) < maxFound:
			s.found = append(s.found, l)
		}
	}
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// locators returns what was found, in the order of arrival.
func (s *search) locators() []Locator {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Locator
	for _, l := range s.found {
		out = append(out, l.Locator)
	}
	return out
}

// searchTable leads responses to the searches that wait for them.
type searchTable struct {
	sessions *sessionTable

	mu   sync.Mutex // guards all following fields
	byID map[searchKey]*search
}

type searchKey struct {
	id        uint32
	initiator netip.Addr // as it was sent
}

func newSearchTable(sessions *sessionTable) *searchTable {
	return &searchTable{sessions: sessions, byID: make(map[searchKey]*search)}
}

func (t *searchTable) open(name string) *search {
	return &search{name: name, arrived: make(chan struct{}, 1), failed: make(chan struct{})}
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
	t.byID[searchKey{id, initiator}] = s
}

func (t *searchTable) get(id uint32, initiator netip.Addr) *search {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[searchKey{id, initiator}]
}

// close ends a search: later responses find nobody.
func (t *searchTable) close(s *search) {
	t.mu.Lock()
	keys := s.keys
	for _, key := range keys {
		delete(t.byID, key)
	}
	t.mu.Unlock()
	for _, key := range keys {
		t.sessions.end(sessionKey{id: key.id})
	}
}
