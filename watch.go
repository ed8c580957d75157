package grasp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
)

// Change says what happened to something that is watched.
type Change uint8

// The changes.
const (
	Added   Change = iota + 1 // it is new, or was there when the watching began
	Changed                   // it has another value
	Gone                      // it is no longer there
)

var changeNames = [...]string{Added: "added", Changed: "changed", Gone: "gone"}

func (c Change) String() string {
	if int(c) < len(changeNames) && changeNames[c] != "" {
		return changeNames[c]
	}
	return "unknown"
}

// MarshalText returns the change as a word.
func (c Change) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// GoneReason says why something that was watched is no longer there.
type GoneReason uint8

// The reasons. A flood expires or is removed; a peer may be gone for any of them.
const (
	GoneExpired     GoneReason = iota + 1 // its time to live has ended
	GoneRemoved                           // it was flushed or expired by a call, or gave way to others in a full cache
	GoneUnreachable                       // a call to the peer failed
	GoneReplaced                          // the peer has another port now
)

var goneNames = [...]string{
	GoneExpired: "expired", GoneRemoved: "removed", GoneUnreachable: "unreachable", GoneReplaced: "replaced",
}

func (r GoneReason) String() string {
	if int(r) < len(goneNames) && goneNames[r] != "" {
		return goneNames[r]
	}
	return "unknown"
}

// MarshalText returns the reason as words.
func (r GoneReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// FloodEvent is a change of a flooded value.
type FloodEvent struct {
	Change Change
	// Flood is the value as it is now; for Gone, as it was last.
	Flood TaggedObjective
	// Reason says why it is Gone.
	Reason GoneReason
	// Err is the error that ends the watching; then all else is zero.
	Err error
}

// WatchFloods returns the changes of an objective's flooded values: first those
// that are cached as Added, then what changes, as it changes. A value that is
// flooded again unchanged is no change. Values of different sources are told
// apart, as in GetFlood.
//
//	for e := range asa.WatchFloods(ctx, o) {
//		...
//	}
//
// The loop blocks between changes. It ends with the context, without an event. A
// loop that is slower than the changes holds nobody up: it gets the latest value
// of each source and misses those in between. The objective need not be
// registered; Synch must be set. It works without security, as GetFlood does.
//
// An event with Err is the last: [ErrNoASA], [ErrNotBoth], [ErrNotSynch].
func (a *ASA) WatchFloods(ctx context.Context, o Objective) iter.Seq[FloodEvent] {
	return func(yield func(FloodEvent) bool) {
		wake, stop := a.g.floods.watched.add(o.Name)
		defer stop()
		known := make(map[cache.Place][]cache.Flood)
		for {
			if err := a.checkSynch("watch floods of", o); err != nil {
				yield(FloodEvent{Err: err})
				return
			}
			changes, next := floodChanges(known, a.g.floods.get(o.Name), time.Now())
			for len(changes) > 0 && len(wake) == 0 { // else they may be out of date
				changes[0].apply(known)
				if !yield(changes[0].event()) {
					return
				}
				changes = changes[1:]
			}
			if !a.awaitChange(ctx, wake, next) {
				return
			}
		}
	}
}

// awaitChange waits until what is watched changes, the ASA is gone, or until a
// time, which may be zero. It returns false if the context has ended.
func (a *ASA) awaitChange(ctx context.Context, wake chan struct{}, until time.Time) bool {
	var expired <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-wake:
	case <-expired:
	case <-a.gone:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// floodChange is a change of a flooded value.
type floodChange struct {
	change   Change
	was, now cache.Flood // was is not set for Added, now not for Gone
	reason   GoneReason
}

func (c *floodChange) event() FloodEvent {
	e := FloodEvent{Change: c.change, Reason: c.reason}
	if c.change == Gone {
		e.Flood = decodeFlood(&c.was)
	} else {
		e.Flood = decodeFlood(&c.now)
	}
	return e
}

// apply enters the change into what a watcher knows.
func (c *floodChange) apply(known map[cache.Place][]cache.Flood) {
	place := cmp.Or(c.was.Place, c.now.Place)
	values := known[place]
	if c.change != Added {
		i := slices.IndexFunc(values, func(f cache.Flood) bool { return sameValue(&f, &c.was) })
		values = slices.Delete(values, i, i+1)
	}
	if c.change != Gone {
		values = append(values, c.now)
	}
	if known[place] = values; len(values) == 0 {
		delete(known, place)
	}
}

func sameValue(a, b *cache.Flood) bool { return bytes.Equal(a.Objective.Value, b.Objective.Value) }

// floodChanges returns what leads from the values known to those of now, and
// when the first of these expires: the zero time if none does. The expiry of
// what is known is brought up to date.
func floodChanges(known map[cache.Place][]cache.Flood, all []cache.Flood, now time.Time) (changes []floodChange, next time.Time) {
	current := make(map[cache.Place][]cache.Flood, len(all))
	for _, f := range all {
		current[f.Place] = append(current[f.Place], f)
		if !f.Expire.IsZero() && (next.IsZero() || f.Expire.Before(next)) {
			next = f.Expire
		}
	}
	for place, was := range known {
		if len(current[place]) == 0 {
			for _, f := range was {
				changes = append(changes, goneFlood(f, now))
			}
		}
	}
	for _, f := range all { // in their order, each place once
		if values := current[f.Place]; len(values) > 0 {
			delete(current, f.Place)
			changes = append(changes, placeChanges(known[f.Place], values, now)...)
		}
	}
	return changes, next
}

// placeChanges returns the changes of the values that have one tag.
func placeChanges(was, values []cache.Flood, now time.Time) (changes []floodChange) {
	var fresh []cache.Flood
	left := slices.Clone(was)
	for _, f := range values {
		i := slices.IndexFunc(left, func(old cache.Flood) bool { return sameValue(&old, &f) })
		if i < 0 {
			fresh = append(fresh, f)
			continue
		}
		left = slices.Delete(left, i, i+1)
		was[slices.IndexFunc(was, func(old cache.Flood) bool { return sameValue(&old, &f) })].Expire = f.Expire
	}
	for _, f := range fresh {
		if len(left) == 0 {
			changes = append(changes, floodChange{change: Added, now: f})
			continue
		}
		changes = append(changes, floodChange{change: Changed, was: left[0], now: f})
		left = left[1:]
	}
	for _, f := range left {
		changes = append(changes, goneFlood(f, now))
	}
	return changes
}

func goneFlood(f cache.Flood, now time.Time) floodChange {
	reason := GoneRemoved
	if !f.Expire.IsZero() && !f.Expire.After(now) {
		reason = GoneExpired
	}
	return floodChange{change: Gone, was: f, reason: reason}
}

// PeerEvent is a change of where an objective is supported.
type PeerEvent struct {
	Change Change
	// Peer is the locator as it is now; for Gone, as it was last.
	Peer Locator
	// Reason says why it is Gone.
	Reason GoneReason
	// Err is the error that ends the watching; then all else is zero.
	Err error
}

// WatchPeersOptions are the settings of WatchPeers. The zero value is the default.
type WatchPeersOptions struct {
	// Interval is the longest time between questions to the network while no
	// peer is known; 0 means a minute.
	Interval time.Duration
}

const (
	defaultWatchInterval = time.Minute
	shortestWatch        = time.Second // between questions
)

// WatchPeers returns the ASAs that support an objective as they come and go:
// those that are known when the loop begins as Added, then what changes. It
// discovers them, as Discover does: at once, and then, while none is known, after
// a second and twice as long each time up to the Interval, or when a link comes
// into use. Known peers are asked for again when four fifths of their lifetime
// have passed, twice more if one does not answer, and are Gone when it ends. All
// times are varied at random by up to a quarter, so that many watchers do not ask
// together. With the default lifetime of 60 s that is one M_DISCOVERY on each link
// in 40 to 48 s.
//
// A peer is Gone earlier if a call to it fails. One that restarts on another port
// is Added there. Other ASAs of this instance are noticed when the network is
// asked.
//
// The loop blocks between changes, ends with the context, and holds nobody up,
// like that of WatchFloods. The objective need not be registered. While there is
// no security, nobody is found.
//
// An event with Err is the last: [ErrNoASA], [ErrNotBoth], [ErrNoSecurity] (only
// of a DULL instance that the objective is not for), [ErrUnspec] (a negative
// Interval).
func (a *ASA) WatchPeers(ctx context.Context, o Objective, opt WatchPeersOptions) iter.Seq[PeerEvent] {
	return func(yield func(PeerEvent) bool) {
		const op = "watch peers for"
		if opt.Interval < 0 {
			yield(PeerEvent{Err: fail(op, o.Name, ErrUnspec, errors.New("a negative interval"))})
			return
		}
		w := &peerWatch{
			asa: a, objective: o, known: make(map[peerKey]Locator),
			longest: cmp.Or(opt.Interval, defaultWatchInterval), asked: make(chan struct{}, 1),
		}
		defer w.end()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		wake, leave := a.g.locators.watched.add(o.Name)
		defer leave()
		for {
			if err := w.check(op); err != nil {
				yield(PeerEvent{Err: err})
				return
			}
			changed := a.g.changed.wait()
			changes := w.changes(a.g.knownLocators(o.Name, a), time.Now())
			for len(changes) > 0 && len(wake) == 0 {
				w.apply(changes[0])
				if !yield(changes[0]) {
					return
				}
				changes = changes[1:]
			}
			w.askIfDue(ctx, time.Now())
			if !w.await(ctx, wake, changed) {
				return
			}
		}
	}
}

// peerKey tells peers apart.
type peerKey struct {
	ip             netip.Addr
	fqdn, uri      string
	protocol, port int
}

func keyOfPeer(l Locator) peerKey { return peerKey{l.IP, l.FQDN, l.URI, l.Protocol, l.Port} }

// peerWatch is one call of WatchPeers.
type peerWatch struct {
	asa       *ASA
	objective Objective
	longest   time.Duration // between questions

	known   map[peerKey]Locator
	asking  bool
	asked   chan struct{} // has a value when the time for answers is over
	next    time.Time     // when to ask; zero: at once
	planned time.Time     // the expiry that next was made for
	gap     time.Duration // between the last questions without an answer
}

// check returns why there is nothing to be watched, or nil.
func (w *peerWatch) check(op string) error {
	a, name := w.asa, w.objective.Name
	if err := a.check(); err != nil {
		return fail(op, name, ErrNoASA, err)
	}
	if err := w.objective.check(); err != nil {
		return wrap(op, name, err)
	}
	if err := a.g.mayMulticast(name); err != nil && a.g.cfg.DULL {
		return fail(op, name, ErrNoSecurity, err)
	}
	return nil
}

// changes returns what leads from the peers known to those of now. What is known
// of their lifetime is brought up to date.
func (w *peerWatch) changes(all []Locator, now time.Time) (events []PeerEvent) {
	current := make(map[peerKey]bool, len(all))
	addrs := make(map[netip.Addr]bool, len(all))
	for _, l := range all {
		current[keyOfPeer(l)] = true
		addrs[l.IP] = true
	}
	for key, l := range w.known {
		if current[key] {
			continue
		}
		reason := GoneRemoved
		switch {
		case !l.Expire.IsZero() && !l.Expire.After(now):
			reason = GoneExpired
		case l.IP.IsValid() && addrs[l.IP]:
			reason = GoneReplaced
		case w.asa.g.doubts.has(w.objective.Name, netip.AddrPortFrom(l.IP, uint16(l.Port))):
			reason = GoneUnreachable
		}
		events = append(events, PeerEvent{Change: Gone, Peer: l, Reason: reason})
	}
	for _, l := range all {
		was, ok := w.known[keyOfPeer(l)]
		switch {
		case !ok:
			events = append(events, PeerEvent{Change: Added, Peer: l})
		case was.Diverted != l.Diverted || was.IfIndex != l.IfIndex:
			events = append(events, PeerEvent{Change: Changed, Peer: l})
		default:
			w.known[keyOfPeer(l)] = l
		}
	}
	return events
}

func (w *peerWatch) apply(e PeerEvent) {
	if e.Change == Gone {
		delete(w.known, keyOfPeer(e.Peer))
		return
	}
	w.known[keyOfPeer(e.Peer)] = e.Peer
}

// askIfDue asks the network in the background when it is time to. If somebody
// else had the same peers found meanwhile, there is more time.
func (w *peerWatch) askIfDue(ctx context.Context, now time.Time) {
	if w.asking || now.Before(w.next) {
		return
	}
	if first := w.firstExpiry(); !first.Equal(w.planned) && !first.IsZero() {
		w.plan(now)
		return
	}
	w.asking = w.asa.g.spawn(func() {
		_, _ = w.asa.Discover(ctx, w.objective, 0, DiscoverOptions{Refresh: true}) // what is found is cached
		w.asked <- struct{}{}
	})
}

// firstExpiry returns when the first of the known peers expires, the zero time
// if none does.
func (w *peerWatch) firstExpiry() (first time.Time) {
	for _, l := range w.known {
		if !l.Expire.IsZero() && (first.IsZero() || l.Expire.Before(first)) {
			first = l.Expire
		}
	}
	return first
}

// plan says when to ask next.
func (w *peerWatch) plan(now time.Time) {
	w.planned = w.firstExpiry()
	switch {
	case len(w.known) == 0:
		w.gap = min(max(2*w.gap, shortestWatch), w.longest)
		w.next = now.Add(w.gap - vary(w.gap))
	case w.planned.IsZero():
		w.gap, w.next = 0, now.Add(w.longest-vary(w.longest))
	default:
		part := w.planned.Sub(now) * 4 / 5
		w.gap, w.next = 0, now.Add(max(part-vary(part)*2/3, shortestWatch))
	}
}

// vary returns a random part of a time, up to a quarter.
func vary(d time.Duration) time.Duration { return rand.N(max(d/4, 0) + 1) }

// await waits until something may have changed. It returns false if the context
// has ended.
func (w *peerWatch) await(ctx context.Context, wake chan struct{}, changed <-chan struct{}) bool {
	until := w.firstExpiry()
	if !w.asking && (until.IsZero() || w.next.Before(until)) {
		until = w.next
	}
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-wake:
	case <-timer:
	case <-w.asked:
		w.asking = false
		w.plan(time.Now())
	case <-changed:
		if len(w.known) == 0 { // perhaps there is a link now
			w.gap, w.next = 0, time.Time{}
		}
	case <-w.asa.gone:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// end waits for a question that is under way. The context has ended.
func (w *peerWatch) end() {
	if w.asking {
		<-w.asked
	}
}

// watchTable wakes those who watch an objective.
type watchTable struct {
	mu     sync.Mutex                 // guards all following fields
	byName map[string][]chan struct{} // the slices are not changed
}

func newWatchTable() *watchTable { return &watchTable{byName: make(map[string][]chan struct{})} }

// add returns a channel that has a value after the objective changed, until
// stop is called.
func (t *watchTable) add(name string) (wake chan struct{}, stop func()) {
	wake = make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName[name] = append(slices.Clone(t.byName[name]), wake)
	return wake, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(t.byName[name]), func(c chan struct{}) bool { return c == wake })
		if t.byName[name] = rest; len(rest) == 0 {
			delete(t.byName, name)
		}
	}
}

// wake wakes those who watch an objective. It does not block.
func (t *watchTable) wake(name string) {
	t.mu.Lock()
	watching := t.byName[name]
	t.mu.Unlock()
	for _, wake := range watching {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
