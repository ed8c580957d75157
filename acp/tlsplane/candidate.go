package tlsplane

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// Bounds on the candidates of a link.
const (
	perAddress  = 16               // unproven ones with the same address
	minLifetime = 10 * time.Second // of a candidate
	maxFailures = 8                // after which a former neighbour is forgotten that is not announced
	renewal     = 10 * time.Second // of a proof, for who need not be dialed

	trustedPause = 250 * time.Millisecond // before the second dial to who is trusted
	otherPause   = time.Second            // and to others; both double with each failure
	longestPause = 64 * time.Second
	maxDoublings = 8
)

// trust is what is known of a candidate.
type trust int

const (
	unproven trust = iota // it was announced, and anybody can do that
	proven                // a member has signed its announcement
	known                 // it is, or was, a neighbour
)

// candidate is who may become a neighbour on a link, or is one.
type candidate struct {
	addr     netip.AddrPort
	trust    trust
	identity string    // "" if unproven
	signed   time.Time // when its last proof was made
	renewed  time.Time // when that was checked
	added    time.Time
	expires  time.Time // of the announcement
	next     time.Time // not to be dialed before
	failures int       // in a row
	answered bool      // the last time that it failed, there was somebody
	dial     *dial     // under way
	key      peerKey   // who it turned out to be, when it was dialed last
}

// failed puts the next dial off. Somebody may have answered nevertheless.
func (c *candidate) failed(now time.Time, answered bool) {
	c.failures++
	c.answered = answered
	d := otherPause
	if c.trust > unproven {
		d = trustedPause
	}
	d = min(d<<min(c.failures-1, maxDoublings), longestPause)
	c.next = now.Add(d + rand.N(d/4)) // or all would dial at the same time
}

// isNewer reports whether a proof was made after the last one. If that seems to be
// from the future, a clock has been set back, and any proof is newer.
func (c *candidate) isNewer(claim proof, now time.Time) bool {
	return claim.Time > c.signed.UnixMilli() || c.signed.Sub(now) > proofTime
}

// isOver reports whether a candidate can be forgotten.
func (c *candidate) isOver(now time.Time) bool {
	return !c.expires.After(now) && (c.trust < known || c.failures >= maxFailures)
}

// candidates are those of a link. There may be twice as many that have proven to be
// members, as neighbours have, as unproven ones.
type candidates struct {
	most   int // who are unproven
	byAddr map[netip.AddrPort]*candidate
	dials  *rate.Limiter // of unproven ones
	checks *rate.Limiter // of proofs that fail
}

func newCandidates(most int) *candidates {
	return &candidates{
		most: most, byAddr: make(map[netip.AddrPort]*candidate),
		dials: rate.NewLimiter(linkDialRate, dialBurst), checks: rate.NewLimiter(checkRate, checkBurst),
	}
}

// heard notes an announcement that proves nothing. When full, a new candidate takes the
// place of the one that failed most often, among those that are not being dialed and
// that evictable agrees to. If there is none, heard returns nil.
func (cs *candidates) heard(a announced, now time.Time, evictable func(*candidate) bool) *candidate {
	c := cs.byAddr[a.to]
	if c == nil {
		if !cs.makeRoom(a.to.Addr(), evictable) {
			return nil
		}
		c = cs.add(a.to, now)
	}
	c.expires = latest(c.expires, now.Add(min(max(a.ttl, minLifetime), lifetime(maxInterval))))
	return c
}

// vouched notes who is to be found at an address: what a proof says, or a
// connection. It returns nil if there is no room.
func (cs *candidates) vouched(to netip.AddrPort, trust trust, identity string, now time.Time, evictable func(*candidate) bool) *candidate {
	c := cs.byAddr[to]
	if c == nil || c.trust == unproven {
		if !cs.makeTrustedRoom(evictable) {
			return nil
		}
		if c == nil {
			c = cs.add(to, now)
		}
	}
	c.trust, c.identity = max(c.trust, trust), identity
	return c
}

func (cs *candidates) add(to netip.AddrPort, now time.Time) *candidate {
	c := &candidate{addr: to, added: now}
	cs.byAddr[to] = c
	return c
}

// makeRoom makes room for an unproven candidate.
func (cs *candidates) makeRoom(addr netip.Addr, evictable func(*candidate) bool) bool {
	all, same := 0, 0
	var worst, worstOfSame *candidate
	for _, c := range cs.byAddr {
		if c.trust > unproven {
			continue
		}
		all++
		free := c.dial == nil && evictable(c)
		if free && c.goesBefore(worst) {
			worst = c
		}
		if c.addr.Addr() != addr {
			continue
		}
		same++
		if free && c.goesBefore(worstOfSame) {
			worstOfSame = c
		}
	}
	switch {
	case same >= perAddress:
		worst = worstOfSame
	case all < cs.most:
		return true
	}
	if worst == nil {
		return false
	}
	delete(cs.byAddr, worst.addr)
	return true
}

// goesBefore reports whether a candidate is evicted rather than another.
func (c *candidate) goesBefore(other *candidate) bool {
	return other == nil || c.failures > other.failures || c.failures == other.failures && c.added.Before(other.added)
}

// makeTrustedRoom makes room for a candidate that is vouched for: one of the
// identity that has most of them is evicted.
func (cs *candidates) makeTrustedRoom(evictable func(*candidate) bool) bool {
	count, all := make(map[string]int), 0
	for _, c := range cs.byAddr {
		if c.trust > unproven {
			count[c.identity]++
			all++
		}
	}
	if all < 2*cs.most {
		return true
	}
	var worst *candidate
	for _, c := range cs.byAddr {
		if c.trust == unproven || c.dial != nil || !evictable(c) {
			continue
		}
		if worst == nil || count[c.identity] > count[worst.identity] ||
			count[c.identity] == count[worst.identity] && c.goesBefore(worst) {
			worst = c
		}
	}
	if worst == nil {
		return false
	}
	delete(cs.byAddr, worst.addr)
	return true
}

// former returns the neighbours there are or were, as candidates of a link that
// is gone for the time being.
func (cs *candidates) former() []*candidate {
	var all []*candidate
	for _, c := range cs.byAddr {
		if c.trust == known {
			all = append(all, &candidate{addr: c.addr, trust: known, identity: c.identity, signed: c.signed, expires: c.expires})
		}
	}
	return all
}

// restore takes over the former neighbours of a link that is back, maybe under
// another index. They are to be dialed at once.
func (cs *candidates) restore(index int, former []*candidate, now time.Time) {
	for _, c := range former {
		if c.addr.Addr().Zone() != "" {
			c.addr = netip.AddrPortFrom(c.addr.Addr().WithZone(strconv.Itoa(index)), c.addr.Port())
		}
		c.added, c.next = now, now
		cs.byAddr[c.addr] = c
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
