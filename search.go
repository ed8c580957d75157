package grasp

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/search"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// searching is a discovery under way, and the call that waits for it.
type searching struct {
	name    string
	keys    []searchKey   // of its messages; guarded by searchTable.mu
	arrived chan struct{} // one slot: something was found
	failed  chan struct{} // closed by fail, after err was set
	err     error
	rapid   chan *stream // one slot: a peer's answer to a rapid request; nil: not wanted
	taken   *stream      // it; for the call that waits

	mu    sync.Mutex // guards all following fields
	state *search.Search
	young []cache.Locator // found, and not told by fresh
}

// wake lets the search see what time it is.
func (s *searching) wake(now time.Time, links []int) search.Output {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Wake(now, links)
}

// put adds what a response gave. It returns how many locators were too many.
func (s *searching) put(all []cache.Locator) (tooMany int) {
	s.mu.Lock()
	out := s.state.Respond(all)
	s.young = append(s.young, out.New...)
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	return out.Refused
}

// fresh returns what was found since the last call.
func (s *searching) fresh() []Locator {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := decodeLocators(s.young)
	s.young = nil
	return out
}

// locators returns what was found, in the order of arrival.
func (s *searching) locators() []Locator {
	s.mu.Lock()
	defer s.mu.Unlock()
	return decodeLocators(s.state.Results())
}

// isAnswered reports whether something was found.
func (s *searching) isAnswered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Found()
}

// decodeLocators returns cached locators as an ASA sees them.
func decodeLocators(all []cache.Locator) []Locator {
	var out []Locator
	for i := range all {
		out = append(out, locatorOf(&all[i]))
	}
	return out
}

// searchTable leads responses to the searches that wait for them.
type searchTable struct {
	sessions *session.Table[*Session]
	maxFound int

	mu   sync.Mutex // guards all following fields
	open map[*searching]struct{}
	byID map[uint32]*searching
}

type searchKey struct {
	id        uint32
	initiator netip.Addr // as it was sent
}

func newSearchTable(sessions *session.Table[*Session], maxFound int) *searchTable {
	return &searchTable{
		sessions: sessions, maxFound: maxFound,
		open: make(map[*searching]struct{}), byID: make(map[uint32]*searching),
	}
}

// begin returns a search that close ends.
func (t *searchTable) begin(q *query, now time.Time) *searching {
	s := &searching{
		name: q.objective.Name, arrived: make(chan struct{}, 1), failed: make(chan struct{}),
		state: search.New(search.Config{
			Mode: q.mode(), Deadline: now.Add(q.timeout), Interval: discoveryTime(q.objective),
			Rapid: q.rapid != nil, Limit: t.maxFound,
		}),
	}
	if q.rapid != nil {
		s.rapid = make(chan *stream, 1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[s] = struct{}{}
	return s
}

// fail ends all searches under way with an error.
func (t *searchTable) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.open {
		if s.err == nil {
			s.err = err
			close(s.failed)
		}
	}
	clear(t.byID)
}

// add leads responses to a message of the search to it.
func (t *searchTable) add(s *searching, id uint32, initiator netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.keys = append(s.keys, searchKey{id, initiator})
	t.byID[id] = s
}

func (t *searchTable) get(id uint32, initiator netip.Addr) *searching {
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
func (t *searchTable) close(s *searching) {
	t.mu.Lock()
	delete(t.open, s)
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
	return len(t.open)
}

// defaultResponseTTL is what a ttl of 0 in a response stands for: something
// much longer than 60 s (RFC 8990 section 2.8.5).
const defaultResponseTTL = 600 * time.Second

// handleResponse takes a response to a discovery, just read from a stream: its locators go
// to the cache and to the search they are for, or back to where a relayed
// discovery came from. Responses nobody asked for are dropped.
func (g *Instance) handleResponse(m *wire.Response, from *stream) {
	link, peer := from.Link, from.Peer
	received := func() { g.trace(Received, m, from.raw(), peer, link) }
	s := g.searches.get(m.SessionID, m.Initiator)
	if s == nil {
		received()
		if !g.passBack(m, link, peer) {
			g.drop(eventOf(m, Event{Reason: ReasonUnsolicited, Peer: peer, Link: link}))
		}
		return
	}
	all := g.locatorsIn(s.name, m, link, peer)
	g.cacheLocators(s.name, all)
	received() // whoever hears of it finds its locators in the cache
	if len(all) > 0 {
		for range s.put(all) {
			g.drop(eventOf(m, Event{Reason: ReasonTooManyFound, Peer: peer, Link: link, Objective: s.name}))
		}
	}
}

// cacheLocators puts what a response brought into the cache.
func (g *Instance) cacheLocators(name string, all []cache.Locator) {
	for range g.locators.put(name, all) {
		g.drop(Event{Reason: ReasonCacheFull, Message: wire.TypeResponse.String(), Objective: name})
	}
	g.forgetLater()
}

// locatorsIn returns the locators of a response about an objective.
func (g *Instance) locatorsIn(name string, m *wire.Response, link int, peer netip.AddrPort) []cache.Locator {
	ttl := time.Duration(m.TTL) * time.Millisecond
	if m.TTL == 0 {
		ttl = defaultResponseTTL
	}
	if ttl > g.cfg.LocatorLifetime {
		ttl = g.cfg.LocatorLifetime
		g.drop(eventOf(m, Event{Reason: ReasonLifetime, Peer: peer, Link: link, Objective: name}))
	}
	expire := time.Now().Add(ttl)
	var all []cache.Locator
	add := func(w wire.Locator, diverted bool) {
		err := origin{link != 0, peer.Addr().IsLoopback(), diverted}.check(w)
		if err != nil || diverted && g.cfg.DULL { // RFC 8990 section 2.5.2: it takes no Divert
			g.drop(eventOf(m, Event{Reason: ReasonBadLocator, Peer: peer, Link: link, Objective: name, Err: err}))
			return
		}
		all = append(all, cache.Locator{Wire: w, Link: link, From: peer.Addr(), Expire: expire, Diverted: diverted})
	}
	for _, w := range m.Locators {
		add(w, false)
	}
	for _, w := range m.Diverted {
		add(w, true)
	}
	// A response with the objective and its value is rapid synchronization
	// as the Python prototype does it.
	if o := m.Objective; o != nil && o.Name == name && o.Flags&wire.FlagSynch != 0 &&
		len(all) > 0 && !all[0].Diverted && !isNull(o.Value) {
		all[0].Rapid = o
	}
	return all
}

// isNull reports whether an encoded value is null or absent.
func isNull(value []byte) bool { return len(value) == 0 || len(value) == 1 && value[0] == null[0] }

// locatorCache is the discovery cache, which may be used concurrently. It wakes
// those who watch an objective when its locators change.
type locatorCache struct {
	aging[*cache.Locators]
	watched *watchTable
}

func newLocatorCache(l cache.Limits, translatedIPv4 bool) *locatorCache {
	c := cache.NewLocators(l)
	c.TranslatedIPv4 = translatedIPv4
	return &locatorCache{aging[*cache.Locators]{guarded: guarded[*cache.Locators]{value: c}}, newWatchTable()}
}

// locatorOf returns a cached locator as an ASA sees it.
func locatorOf(c *cache.Locator) Locator {
	l := decodeLocator(c.Wire, c.Link)
	l.Diverted, l.Expire = c.Diverted, c.Expire
	return l
}

// put adds locators of an objective. It returns how many living ones were
// evicted.
func (c *locatorCache) put(name string, all []cache.Locator) (evicted int) {
	c.do(func(c *cache.Locators, now time.Time) { evicted = c.Put(name, all, now) })
	c.watched.wake(name)
	return evicted
}

// get returns the living locators of an objective, oldest first.
func (c *locatorCache) get(name string) (out []Locator) {
	c.do(func(c *cache.Locators, now time.Time) {
		c.Living(name, now, func(l *cache.Locator) { out = append(out, locatorOf(l)) })
	})
	return out
}

// divert returns what may be said of an objective on a link, and how long it
// lives.
func (c *locatorCache) divert(name string, link int) (out []wire.Locator, life time.Duration) {
	c.do(func(c *cache.Locators, now time.Time) { out, life = c.Divert(name, link, now) })
	return out, life
}

// mayDivert reports whether a locator may be told on a link.
func (c *locatorCache) mayDivert(l *cache.Locator, link int) (may bool) {
	c.do(func(c *cache.Locators, now time.Time) { may = c.MayDivert(l, link, now) })
	return may
}

// rapidValue returns the value that came with a locator, while it lives.
func (c *locatorCache) rapidValue(name string, from Locator) (rapid *wire.Objective) {
	w, err := from.encodeAsIs()
	if err != nil {
		return nil
	}
	c.do(func(c *cache.Locators, now time.Time) {
		c.Living(name, now, func(l *cache.Locator) {
			if l.Wire == w && (!isLinkLocal(w) || locatorOf(l).place() == from.place()) {
				rapid = l.Rapid
			}
		})
	})
	return rapid
}

// forget removes one locator.
func (c *locatorCache) forget(name string, l Locator) {
	c.remove(name, func(c *cache.Locator) bool { return locatorOf(c).place() == l.place() })
}

// flush removes all locators of an objective.
func (c *locatorCache) flush(name string) {
	c.remove(name, func(*cache.Locator) bool { return true })
}

// flushBefore removes the locators that live no longer than until then.
func (c *locatorCache) flushBefore(name string, then time.Time) {
	c.remove(name, func(l *cache.Locator) bool { return !l.Expire.After(then) })
}

func (c *locatorCache) remove(name string, match func(*cache.Locator) bool) {
	c.do(func(c *cache.Locators, now time.Time) { c.Remove(name, match, now) })
	c.watched.wake(name)
}

// states returns the living locators in order of their objectives.
func (c *locatorCache) states() (out []LocatorState) {
	c.do(func(c *cache.Locators, now time.Time) {
		c.Each(now, func(name string, l *cache.Locator) {
			out = append(out, LocatorState{name, locatorOf(l)})
		})
	})
	slices.SortStableFunc(out, func(a, b LocatorState) int { return cmp.Compare(a.Objective, b.Objective) })
	return out
}
