package tlsplane

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp/internal/share"
)

// Bounds on what announcements, which anybody can forge, can cause.
const (
	maxDials  = 64          // at the same time to members, and as many to unproven candidates
	perSource = 4           // of those to unproven ones, with the same address
	dialTime  = time.Second // for the first dial to be answered; it doubles with each failure

	// Each address that does not exist takes a place for some seconds in the
	// system's table of neighbours, which has a thousand.
	dialRate     = 32 // dials to unproven candidates in a second, on all links
	linkDialRate = 16 // of these, on one link
	dialBurst    = 16 // at once, on one link

	// What proofs may cost that turn out to be none, on all links: a quarter of
	// one processor.
	checkTime  = 100 * time.Microsecond
	checkRate  = rate.Limit(time.Second / checkTime / 4)
	checkBurst = int(checkRate / 2)
)

// dial is one that is under way to a candidate.
type dial struct {
	to     *candidate
	link   *link
	cancel context.CancelCauseFunc
	leave  func() // gives its place up
}

// dials are those under way. Dials to members have a share for each identity, and those
// to unproven candidates, apart from them, one for each link. When either are too many,
// the oldest of the largest share is given up.
type dials struct {
	members *share.Shares[string, *dial]
	others  *share.Shares[int, *dial]
	sources map[netip.Addr]int // of others
}

func newDials() *dials {
	return &dials{
		members: share.New[string, *dial](maxDials, maxDials), others: share.New[int, *dial](maxDials, maxDials),
		sources: make(map[netip.Addr]int),
	}
}

// hasRoom reports whether a dial to a candidate need not wait. One that failed, or has
// stayed silent, never takes another's place.
func (ds *dials) hasRoom(c *candidate, l *link, now time.Time) bool {
	if c.trust > unproven {
		return c.failures == 0 || ds.members.Len() < ds.members.Limit()
	}
	return ds.sources[c.addr.Addr()] < perSource && l.candidates.dials.TokensAt(now) >= 1 &&
		(c.failures == 0 || ds.others.Len() < ds.others.Limit())
}

// add enters a dial, and returns the one to be given up, if any.
func (ds *dials) add(d *dial, now time.Time) (evicted *dial) {
	if d.to.trust > unproven {
		elem, out := ds.members.Add(d.to.identity, d)
		d.leave = func() { ds.members.Remove(elem) }
		if out != nil {
			evicted = out.Value
		}
	} else {
		d.link.candidates.dials.AllowN(now, 1)
		source := d.to.addr.Addr()
		ds.sources[source]++
		elem, out := ds.others.Add(d.link.Index, d)
		left := false
		d.leave = func() {
			ds.others.Remove(elem)
			if left {
				return
			}
			left = true
			if ds.sources[source]--; ds.sources[source] == 0 {
				delete(ds.sources, source)
			}
		}
		if out != nil {
			evicted = out.Value
		}
	}
	if evicted != nil {
		evicted.leave()
	}
	return evicted
}

// shareRatesLocked shares out among the links what the unproven may cost.
func (e *endpoint) shareRatesLocked() {
	for _, l := range e.links {
		l.candidates.dials.SetLimit(min(linkDialRate, dialRate/rate.Limit(len(e.links))))
		l.candidates.checks.SetLimit(checkRate / rate.Limit(len(e.links)))
	}
}

// isWorthChecking reports whether to check the proof of an announcement: not if it
// tells nothing new, nor if too many of those on the link were none.
func (e *endpoint) isWorthChecking(index int, to netip.AddrPort, claim proof, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[index]
	if l == nil {
		return false
	}
	c := l.candidates.byAddr[to]
	if c != nil && c.trust > unproven && (!c.isNewer(claim, e.plane.now()) || now.Sub(c.renewed) < renewal && c.failures == 0) {
		return false
	}
	if l.candidates.checks.TokensAt(now) < 1 {
		e.plane.counters.unchecked.Add(1)
		return false
	}
	return true
}

// chargeForCheck notes what a proof has cost that was none.
func (e *endpoint) chargeForCheck(index, cost int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.links[index]; l != nil {
		l.candidates.checks.ReserveN(time.Now(), min(cost, checkBurst))
	}
}

// consider notes an announcement that proves nothing. It returns true if
// somebody has to be dialed, or answered: who is new and has to wait may dial this
// node instead, if it hears of it. One who has just come has not been told as many
// lies yet.
func (e *endpoint) consider(index int, a announced, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[index]
	if l == nil {
		return false
	}
	c := l.candidates.heard(a, now, l.isFreeLocked)
	if c == nil {
		e.plane.counters.crowded.Add(1)
		return false
	}
	if !e.isDueLocked(l, c, now) {
		return false
	}
	if !e.dials.hasRoom(c, l, now) {
		return c.added.Equal(now) && !e.answers.Swap(true)
	}
	return true
}

// considerProven notes an announcement that a member has signed. That it was
// signed after the last one says that it is there now: if nobody answered before,
// it is dialed at once.
func (e *endpoint) considerProven(index int, a announced, identity string, signed, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[index]
	if l == nil {
		return false
	}
	c := l.candidates.vouched(a.to, proven, identity, now, l.isFreeLocked)
	if c == nil {
		e.plane.counters.crowded.Add(1)
		return false
	}
	l.candidates.heard(a, now, l.isFreeLocked)
	if !c.answered {
		c.failures, c.next = 0, now
	}
	c.signed, c.renewed = signed, now
	return e.isDueLocked(l, c, now)
}

// isFreeLocked reports whether a candidate is no neighbour.
func (l *link) isFreeLocked(c *candidate) bool {
	return l.at[c.addr] == 0 && l.peers[c.key] == nil
}

// isDueLocked reports whether a candidate is to be dialed now.
func (e *endpoint) isDueLocked(l *link, c *candidate, now time.Time) bool {
	return c.dial == nil && !c.next.After(now) && l.isFreeLocked(c)
}

// dialDue dials who is to be dialed, those first of whom most is known, and
// returns when to look again, which may be never: the zero Time.
func (e *endpoint) dialDue(now time.Time) (next time.Time) {
	started, displaced, next := e.startDials(now)
	for _, d := range displaced {
		d.cancel(errDialDisplaced)
	}
	for _, d := range started {
		e.done.Go(d)
	}
	return next
}

func (e *endpoint) startDials(now time.Time) (started []func(), displaced []*dial, next time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	type due struct {
		l *link
		c *candidate
	}
	var all []due
	notBefore := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, l := range e.links {
		for addr, c := range l.candidates.byAddr {
			switch {
			case c.dial != nil, !l.isFreeLocked(c):
			case c.isOver(now):
				delete(l.candidates.byAddr, addr)
			case c.next.After(now):
				notBefore(c.next)
			default:
				all = append(all, due{l, c})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b due) int { // of equal ones, in the order of the map: none
		if a.c.trust > unproven != (b.c.trust > unproven) {
			return int(b.c.trust) - int(a.c.trust)
		}
		return a.c.failures - b.c.failures
	})
	for _, d := range all {
		if !e.dials.hasRoom(d.c, d.l, now) {
			notBefore(now.Add(time.Second / dialRate))
			continue
		}
		ctx, cancel := context.WithCancelCause(e.ctx)
		d.c.dial = &dial{to: d.c, link: d.l, cancel: cancel}
		if out := e.dials.add(d.c.dial, now); out != nil {
			displaced = append(displaced, out)
		}
		patience, trusted := min(dialTime<<min(d.c.failures, maxDoublings), e.plane.handshakeTimeout()), d.c.trust > unproven
		started = append(started, func() { e.court(ctx, d.c.dial, patience, trusted) })
	}
	return started, displaced, next
}

var errDialDisplaced = &RefusedError{Reason: ReasonDisplaced, Err: errors.New("too many dials to who was announced")}

// court dials a candidate, and serves the connection if it becomes a neighbour.
func (e *endpoint) court(ctx context.Context, d *dial, patience time.Duration, trusted bool) {
	defer d.cancel(nil)
	n, err := e.dialNeighbour(ctx, d.to.addr, patience, trusted)
	now := time.Now()
	e.mu.Lock()
	d.leave()
	c := d.to
	c.dial = nil
	if err != nil {
		c.failed(now, !isUnreachable(err))
	} else {
		c.key = n.key
	}
	e.mu.Unlock()
	e.poke()
	switch {
	case err == nil:
		n.run()
	case e.ctx.Err() == nil:
		e.plane.failed("a neighbour that was announced", c.addr, err)
	}
}

// dialNeighbour dials who may be a neighbour. Patience is for an answer; who has
// proven to be a member may take longer to say what it has to.
func (e *endpoint) dialNeighbour(ctx context.Context, addr netip.AddrPort, patience time.Duration, trusted bool) (*neighbour, error) {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := e.under.Dial(short, addr)
	if err != nil {
		return nil, &unreachableError{err}
	}
	if !trusted {
		ctx = short
	}
	conn, err := e.plane.secure(ctx, s, false, protoNeighbour)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, conn.abort)()
	return e.meet(conn, s, true)
}

// unreachableError says that there was nobody to refuse, or be refused.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

func isUnreachable(err error) bool {
	var unreachable *unreachableError
	return errors.As(err, &unreachable)
}
