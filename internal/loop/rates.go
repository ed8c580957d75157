package loop

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp/internal/wire"
)

// DefaultRate is how many messages of a type are relayed to each link in a
// second. RFC 8990 demands a limit (sections 2.5.4.4, 2.5.6.2) and leaves it
// open. RFC 8085 section 4.1 allows multicast without congestion control about
// one datagram per round trip: on links of 5 ms that is 200 a second, 2 Mbit/s of
// the longest messages.
const DefaultRate = 200

// SmallestShare says which part of a link's rate each neighbour gets at least: an
// eighth. The neighbours heard on the link share the rate, so that one that floods
// cannot silence the others, and a relay that is the only neighbour gets all of it
// for the many nodes behind it.
const SmallestShare = 8

// BurstTime is the number of seconds whose messages may come all at once.
const BurstTime = 4

const neighbourMemory = time.Minute

// maxRates bounds the neighbours and the links whose rate is watched. If there are
// more, all start afresh. Neighbours also start afresh after neighbourMemory, because
// some of them may have gone.
const maxRates = 1024

// rates limit what is relayed: for each type of message, from each neighbour
// and on each link.
type rates struct {
	perSecond int
	random    func() float64

	links      map[rateKey]*rate.Limiter
	neighbours map[rateKey]*rate.Limiter
	heard      map[rateKey]int // how many neighbours, by type and link
	since      time.Time       // when counting them began
}

type rateKey struct {
	kind      wire.Type
	link      int
	neighbour netip.Addr // the zero Addr for the link itself
}

func newRates(perSecond int, random func() float64) rates {
	r := rates{perSecond: perSecond, random: random, links: make(map[rateKey]*rate.Limiter)}
	r.forgetNeighbours()
	return r
}

// allowFrom reports whether a neighbour is within its share.
func (r *rates) allowFrom(kind wire.Type, link int, neighbour netip.Addr, now time.Time) bool {
	if r.forget(now); len(r.neighbours) >= maxRates {
		r.forgetNeighbours()
	}
	if len(r.neighbours) == 0 {
		r.since = now
	}
	on := rateKey{kind: kind, link: link}
	key := on
	key.neighbour = neighbour
	if r.neighbours[key] == nil {
		r.heard[on]++
	}
	return r.allow(r.neighbours, key, max(1, r.perSecond/min(r.heard[on], SmallestShare)), now)
}

// forget forgets the neighbours if they have been counted for long enough.
func (r *rates) forget(now time.Time) {
	if len(r.neighbours) > 0 && now.Sub(r.since) > neighbourMemory {
		r.forgetNeighbours()
	}
}

func (r *rates) forgetNeighbours() {
	r.neighbours, r.heard = make(map[rateKey]*rate.Limiter), make(map[rateKey]int)
}

// allowOn reports whether a link has room.
func (r *rates) allowOn(kind wire.Type, link int, now time.Time) bool {
	if len(r.links) >= maxRates {
		clear(r.links)
	}
	return r.allow(r.links, rateKey{kind: kind, link: link}, r.perSecond, now)
}

// allow takes a token from a bucket. The fewer tokens are left, the more messages it
// refuses at random. Otherwise a steady stream would keep the bucket empty, and a
// message that comes now and then would never find a token.
func (r *rates) allow(limiters map[rateKey]*rate.Limiter, key rateKey, perSecond int, now time.Time) bool {
	l := limiters[key]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(perSecond), BurstTime*perSecond)
		limiters[key] = l
	} else if l.Limit() != rate.Limit(perSecond) {
		l.SetLimitAt(now, rate.Limit(perSecond))
		l.SetBurstAt(now, BurstTime*perSecond)
	}
	few := float64(perSecond) / 2
	if left := l.TokensAt(now); left < few && r.random()*few > left {
		return false
	}
	return l.AllowN(now, 1)
}
