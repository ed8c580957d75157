// Package target bounds what is sent to a node because a datagram asked for it.
// The source of a datagram can be forged: the node may never have asked.
package target

import (
	"net/netip"
	"time"
)

// The rates. A target that cannot be connected to, or does not answer, has not
// asked: it gets a fortieth of what one gets that does.
const (
	PerSecond = 4000
	Burst     = PerSecond
	FailCost  = 40
	maxNodes  = 4096
)

// Limiter bounds the connections to each target. It must not be used
// concurrently; the zero value is ready to use.
type Limiter struct {
	nodes map[netip.Addr]*bucket
}

// bucket holds tokens. One connection takes one of them, and FailCost if it
// fails.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) fill(now time.Time) {
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*PerSecond, Burst)
	b.at = now
}

// Allow reports whether a target may be connected to once more.
func (l *Limiter) Allow(to netip.Addr, now time.Time) bool {
	b := l.nodes[to]
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
	return true
}

// Succeeded says that a target was connected to, and so did ask, as far as one can
// tell.
func (l *Limiter) Succeeded(to netip.Addr, now time.Time) {
	if b := l.nodes[to]; b != nil {
		b.fill(now)
		b.tokens = min(b.tokens+FailCost-1, Burst)
	}
}

// forget makes room: targets of which nothing is to be remembered go, or else the
// one that has most tokens.
func (l *Limiter) forget(now time.Time) {
	var fullest netip.Addr
	most := -1.0
	for to, b := range l.nodes {
		b.fill(now)
		if b.tokens > most {
			fullest, most = to, b.tokens
		}
		if b.tokens == Burst {
			delete(l.nodes, to)
		}
	}
	delete(l.nodes, fullest)
}
