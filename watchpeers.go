package grasp

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// PeerEvent is a change of the peers that support an objective.
type PeerEvent struct {
	Change Change
	// Peer is the locator as it is now; for Gone, as it was last.
	Peer Locator
	// Reason says why it is Gone.
	Reason GoneReason
	// Err is the error that ends the loop; then all other fields are zero.
	Err error
}

// WatchPeersOptions are the settings of WatchPeers. The zero value is the default.
type WatchPeersOptions struct {
	// Interval is the longest time between two discoveries while no peer is known; 0
	// means a minute.
	Interval time.Duration
}

const (
	defaultWatchInterval = time.Minute
	shortestWatch        = time.Second // between questions
)

// WatchPeers returns the ASAs that support an objective as they come and go: first the
// known ones as Added, then each change. It discovers them, as Discover does, at once.
// While none is known, it repeats that after a second, then after twice as long each
// time up to the Interval, and when a link comes into use. When four fifths of a
// peer's lifetime have passed, it discovers again, and twice more if the peer does not
// answer; the peer is Gone when its lifetime ends. All times are varied at random by up
// to a quarter, so that many watchers do not ask at the same time. With the default
// lifetime of 60 s that is one M_DISCOVERY on each link in 40 to 48 s. When the machine
// wakes up after sleep, WatchPeers discovers at once.
//
// A peer is Gone earlier if a call to it fails. A peer that restarts on another port
// is Added there. Changes of other ASAs of this instance show at the next discovery.
//
// Like that of WatchFloods, the loop blocks between changes, ends with the context, and
// holds up nobody. The objective need not be registered. While the plane is not secure,
// nobody is found.
//
// An event with Err is the last: [ErrNoASA], [ErrNotBoth], [ErrNoSecurity] (only
// of a DULL instance that the objective is not for), [ErrTooLong] (the name does not
// fit a multicast), [ErrUnspec] (a name that is not UTF-8, a negative Interval).
func (a *ASA) WatchPeers(ctx context.Context, o Objective, opt WatchPeersOptions) iter.Seq[PeerEvent] {
	return func(yield func(PeerEvent) bool) {
		const op = "watch peers for"
		if opt.Interval < 0 {
			yield(PeerEvent{Err: fail(op, o.Name, ErrUnspec, errors.New("a negative interval"))})
			return
		}
		w := &peerWatch{
			asa: a, objective: o, known: make(map[place]Locator),
			longest: cmp.Or(opt.Interval, defaultWatchInterval), asked: make(chan struct{}, 1),
		}
		defer w.end()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		wake, leave := a.g.locators.watched.add(o.Name)
		defer leave()
		a.g.now()
		slept := a.g.slept.Load() // before the watch began
		for ctx.Err() == nil {
			awoken := a.g.awoken.wait()
			if err := w.check(op); err != nil {
				yield(PeerEvent{Err: err})
				return
			}
			changed := a.g.changed.wait()
			for _, e := range w.changes(a.g.knownLocators(o.Name, a), time.Now()) {
				w.apply(e, time.Now())
				if !yield(e) {
					return
				}
				if len(wake) > 0 || ctx.Err() != nil {
					break // the others may be out of date
				}
			}
			w.askIfDue(ctx, time.Now())
			w.await(ctx, wake, awoken, changed)
			if by := a.g.slept.Load() - slept; by > 0 {
				slept += by
				w.age(time.Duration(by))
			}
		}
	}
}

// peerWatch is one call of WatchPeers.
type peerWatch struct {
	asa       *ASA
	objective Objective
	longest   time.Duration // between questions

	known   map[place]Locator
	asking  bool
	asked   chan struct{} // has a value when the time for answers is over
	next    time.Time     // when to ask; zero: at once
	planned time.Time     // the expiry that next was made for
	gap     time.Duration // between the last questions without an answer
	awoke   bool          // the machine, since the last question
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
	_, err := a.g.encodeMulticast(&wire.Discovery{SessionID: math.MaxUint32, Initiator: netip6Unspecified, Objective: w.objective.inDiscovery()})
	return wrap(op, name, err)
}

// changes returns the changes that lead from the known peers to the current ones. It
// updates the lifetime of the known peers.
func (w *peerWatch) changes(all []Locator, now time.Time) (events []PeerEvent) {
	current := make(map[place]bool, len(all))
	hosts := make(map[place]bool, len(all))
	for _, l := range all {
		current[l.place()] = true
		hosts[l.host()] = true
	}
	for key, l := range w.known {
		if current[key] {
			continue
		}
		reason := GoneRemoved
		switch {
		case !l.Expire.IsZero() && !l.Expire.After(now):
			reason = GoneExpired
		case l.IP.IsValid() && hosts[l.host()]:
			reason = GoneReplaced
		case w.asa.g.doubts.hasPeer(w.objective.Name, l):
			reason = GoneUnreachable
		}
		events = append(events, PeerEvent{Change: Gone, Peer: l, Reason: reason})
	}
	for _, l := range all {
		was, ok := w.known[l.place()]
		switch {
		case !ok:
			events = append(events, PeerEvent{Change: Added, Peer: l})
		case was.Diverted != l.Diverted || was.IfIndex != l.IfIndex:
			events = append(events, PeerEvent{Change: Changed, Peer: l})
		default:
			w.known[l.place()] = l
		}
	}
	return events
}

// age makes known peers expire earlier, because the machine slept, and has the watch ask
// at once.
func (w *peerWatch) age(by time.Duration) {
	for key, l := range w.known {
		if !l.Expire.IsZero() {
			l.Expire = l.Expire.Add(-by)
			w.known[key] = l
		}
	}
	w.gap, w.next, w.awoke = 0, time.Time{}, true
}

// apply enters the event into what is known. When the last peer is gone, the watch asks
// soon, and not when that peer would have expired.
func (w *peerWatch) apply(e PeerEvent, now time.Time) {
	if e.Change != Gone {
		w.known[e.Peer.place()] = e.Peer
		return
	}
	delete(w.known, e.Peer.place())
	if len(w.known) == 0 && !w.asking && !w.awoke {
		w.plan(now)
	}
}

// askIfDue asks the network in the background when it is time to. If another call
// has found the same peers meanwhile, it asks later.
func (w *peerWatch) askIfDue(ctx context.Context, now time.Time) {
	if w.asking || now.Before(w.next) {
		return
	}
	if first := w.firstExpiry(); !w.awoke && !first.Equal(w.planned) && !first.IsZero() {
		w.plan(now)
		return
	}
	w.awoke = false
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

// await waits until something may have changed, or the context ends.
func (w *peerWatch) await(ctx context.Context, wake chan struct{}, awoken, changed <-chan struct{}) {
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
	case <-awoken:
	case <-timer:
	case <-w.asked:
		w.asking = false
		if !w.awoke { // else that question was asked before the machine slept
			w.plan(time.Now())
		}
	case <-changed:
		if len(w.known) == 0 { // perhaps there is a link now
			w.gap, w.next = 0, time.Time{}
		}
	case <-w.asa.gone:
	case <-ctx.Done():
	}
}

// end waits for a question that is under way. The context has ended.
func (w *peerWatch) end() {
	if w.asking {
		<-w.asked
	}
}
