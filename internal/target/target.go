// Package target bounds what is sent to nodes because a datagram asked for it.
// The source of a datagram can be forged: the node may never have asked, or there may
// be none.
package target

import (
	"maps"
	"net/netip"
	"time"
)

// The rates. A target that cannot be connected to did not ask, as far as one can tell:
// it gets a fortieth of the connections that another one gets.
const (
	PerSecond = 4000
	Burst     = PerSecond
	FailCost  = 40
	maxNodes  = 4096
)

// Strangers is how many connections in a second, and at once, may fail to all targets on
// one link that were never connected to. Each address where nobody is takes a place in
// the system's table of neighbours for some seconds, and that has a thousand.
const Strangers = 64

// Again is how many more may fail at once to strangers that had to go without and ask again
// within some seconds, as those do that are there. Whoever forges addresses has to use each
// twice to get in their way.
const Again = 32

// Limiter bounds the connections to each target, and for each link the connections to
// all targets that were never connected to (strangers). So whoever floods one link with
// forged addresses does not keep the nodes of other links from being answered. The zone
// of an address says which link it is on; addresses without a zone count as those of one
// link. A Limiter must not be used concurrently. The zero value is ready to use.
type Limiter struct {
	nodes     map[netip.Addr]*bucket
	strangers map[string]*tries // by zone
	refused   refused           // strangers that had to go without
}

// tries counts the connections to strangers that were tried and have not succeeded.
type tries struct {
	n  float64
	at time.Time
}

// triesOf returns the tries on the link of a target.
func (l *Limiter) triesOf(to netip.Addr, now time.Time) *tries {
	t := l.strangers[to.Zone()]
	if t == nil {
		if l.strangers == nil {
			l.strangers = make(map[string]*tries)
		}
		// Links that come and go must not leave anything behind.
		maps.DeleteFunc(l.strangers, func(_ string, t *tries) bool { return t.left(now) == 0 })
		t = &tries{at: now}
		l.strangers[to.Zone()] = t
	}
	t.n = t.left(now)
	t.at = now
	return t
}

// left returns how many of the tries still count.
func (t *tries) left(now time.Time) float64 { return max(t.n-now.Sub(t.at).Seconds()*Strangers, 0) }

// bucket holds the tokens of a target. A connection takes one of them, or FailCost if it
// fails.
type bucket struct {
	tokens float64
	at     time.Time
	met    bool // it was connected to
}

func (b *bucket) fill(now time.Time) {
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*PerSecond, Burst)
	b.at = now
}

// Allow reports whether a target may be connected to once more.
func (l *Limiter) Allow(to netip.Addr, now time.Time) bool {
	strangers := l.triesOf(to, now)
	b := l.nodes[to]
	stranger := b == nil || !b.met
	most := float64(Strangers)
	if b == nil && l.refused.has(to, now) {
		most += Again
	}
	if stranger && strangers.n > most-1 {
		l.refused.add(to, now)
		return false
	}
	if b == nil {
		if len(l.nodes) >= maxNodes {
			l.forget(now)
		}
		if l.nodes == nil {
			l.nodes = make(map[netip.Addr]*bucket)
		}
		b = &bucket{tokens: Burst, at: now}
		l.nodes[to] = b
	}
	b.fill(now)
	if b.tokens < FailCost {
		return false
	}
	b.tokens -= FailCost
	if stranger {
		strangers.n++
	}
	return true
}

// Succeeded notes that a target was connected to, and so did ask, as far as one can
// tell.
func (l *Limiter) Succeeded(to netip.Addr, now time.Time) {
	b := l.nodes[to]
	if b == nil {
		return
	}
	if !b.met {
		b.met = true
		strangers := l.triesOf(to, now)
		strangers.n = max(strangers.n-1, 0)
	}
	b.fill(now)
	b.tokens = min(b.tokens+FailCost-1, Burst)
}

// Forget gives back the memory of strangers that had to go without long ago, which is most
// of what a Limiter takes. It reports whether some are left that will be too old.
func (l *Limiter) Forget(now time.Time) bool {
	l.refused.turn(now)
	return l.refused.now != nil || l.refused.old != nil
}

// forget makes room. It forgets all strangers whose bucket is full, of which nothing is
// to be remembered, and one node more: the stranger with most tokens or, if there are no
// strangers, the node with most.
func (l *Limiter) forget(now time.Time) {
	var fullest netip.Addr
	most, met := -1.0, true
	for to, b := range l.nodes {
		b.fill(now)
		if met && !b.met || met == b.met && b.tokens > most {
			fullest, most, met = to, b.tokens, b.met
		}
		if b.tokens == Burst && !b.met {
			delete(l.nodes, to)
		}
	}
	delete(l.nodes, fullest)
}
