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

// SmallestShare is the part of a link's rate that a neighbour has at least, an
// eighth. The neighbours that were heard on the link share it: one that floods
// cannot silence the others, and one that is a relay, behind which there are
// many, gets more than an eighth where it is the only one.
const SmallestShare = 8

// BurstTime is how many seconds' worth of messages may come at once.
const BurstTime = 4

const neighbourMemory = time.Minute

// maxRates bounds the neighbours and the links whose rate is watched. With more,
// all start afresh. Neighbours do so after neighbourMemory anyway, since not
// all that were heard are still there.
const maxRates = 1024

// rates limit what is relayed: for each type of message, from each neighbour
// and on each link.
type rates struct {
	perSecond int
	random    func() float64

	links      map[rateKey]*rate.Limiter
	neighbours map[rateKey]*rate.Limiter
	heard      map[rateKey]int // how many neighbours, by type and link
	since      time.Time       // when they began to be counted
}

type rateKey struct {
	kind      wire.Type
	link      int
	neighbour netip.Addr // the zero Addr for the link itself
}

func newRates(perSecond int, random func() float64) rates {
	return rates{
		perSecond: perSecond, random: random, links: make(map[rateKey]*rate.Limiter),
		neighbours: make(map[rateKey]*rate.Limiter), heard: make(map[rateKey]int),
	}
}

// allowFrom says whether a neighbour is within its share.
func (r *rates) allowFrom(kind wire.Type, link int, neighbour netip.Addr, now time.Time) bool {
	if len(r.neighbours) >= maxRates || now.Sub(r.since) > neighbourMemory {
		clear(r.neighbours)
		clear(r.heard)
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

// allowOn says whether a link has room.
func (r *rates) allowOn(kind wire.Type, link int, now time.Time) bool {
	if len(r.links) >= maxRates {
		clear(r.links)
	}
	return r.allow(r.links, rateKey{kind: kind, link: link}, r.perSecond, now)
}

// allow takes a token from a bucket. When few are left, more and more messages
// are refused by chance: else one that comes now and then would find the bucket
// empty each time while a stream of others fills it.
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
