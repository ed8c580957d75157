package grasp

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// How much is relayed. RFC 8990 demands a limit (sections 2.5.4.4, 2.5.6.2)
// and leaves it open. RFC 8085 section 4.1 allows multicast without congestion
// control about a datagram per round trip: on links of 5 ms that is 200 a
// second, 2 Mbit/s of the longest messages. The neighbours heard on a link
// share it, down to an eighth for each: so one that floods cannot silence the
// others, and one that is a relay, behind which there are many, gets more than
// an eighth where it is the only one.
const (
	defaultRelayRate = 200
	neighbourShare   = 8
	burstTime        = 4 // seconds' worth of messages at once
	neighbourMemory  = time.Minute
)

// relayMemory is how long a relayed message is remembered: twice the default
// timeout (RFC 8990 section 2.5.6.2 asks for that at least).
const relayMemory = 2 * DefaultTimeout

// relay passes a discovery or flood on to all links but the one it came by,
// bit for bit but for the loop count. It returns why it did not.
//
// What came by a stream from beyond the links goes to all of them.
func (g *Instance) relay(m wire.Message, key session.Key, raw []byte, from asker) (Reason, bool) {
	if g.cfg.DULL {
		return ReasonNoOtherLink, false // RFC 8990 section 2.5.2: it relays nothing
	}
	links := slices.DeleteFunc(slices.Clone(g.ep.Links()), func(l acp.Link) bool { return l.Index == from.Link })
	if len(links) == 0 {
		return ReasonNoOtherLink, false
	}
	// RFC 8990 sections 2.5.4.4 and 2.5.6.2: the same session ID and initiator
	// MUST NOT be relayed twice.
	if g.relayed.has(key) {
		return ReasonRelayedBefore, false
	}
	copied, err := wire.AppendRelayed(make([]byte, 0, len(raw)), raw)
	if errors.Is(err, wire.ErrLoopExhausted) {
		return ReasonLoopCount, false
	} else if err != nil {
		return ReasonInvalid, false
	}
	if !g.rates.allowFrom(m.Type(), from.Origin) {
		return ReasonRate, false
	}
	name := ""
	if o := objectiveOf(m); o != nil {
		name = o.Name
	}
	if !g.relayed.addNew(key, &relayed{name: name, from: from}) {
		return ReasonRelayedBefore, false // meanwhile
	}
	for _, l := range links {
		if !g.rates.allowOn(m.Type(), l.Index) {
			g.drop(eventOf(m, Event{Reason: ReasonRate, Peer: from.Addr, Link: l.Index, Raw: copied}))
			continue
		}
		if err := g.ep.Send(l.Index, copied); err != nil {
			g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Link: l.Index, Raw: copied, Err: err}))
			continue
		}
		g.trace(Relayed, m, copied, from.Addr, l.Index)
	}
	return 0, true
}

// passBack sends what a relayed discovery found to where the discovery came
// from (RFC 8990 section 2.5.4.4), each result as it comes, as a Divert. It
// returns false if the response is not for a discovery that was relayed.
func (g *Instance) passBack(m *wire.Response, link int, peer netip.AddrPort) bool {
	r, ok := g.relayed.get(session.Key{ID: m.SessionID, Initiator: m.Initiator})
	if !ok || r.own || time.Since(r.at) > relayTimeout {
		return false
	}
	all := g.takeLocators(r.name, m, link, peer)
	if len(all) == 0 {
		return true
	}
	g.cacheLocators(r.name, all)
	back := &wire.Response{SessionID: m.SessionID, Initiator: m.Initiator, TTL: m.TTL}
	if m.TTL == 0 {
		back.TTL = uint32(defaultResponseTTL.Milliseconds()) // some take 0 for expired
	}
	for _, l := range all {
		if g.locators.mayDivert(l, r.from.Link) {
			back.Diverted = append(back.Diverted, l.wire)
		}
	}
	switch {
	case len(back.Diverted) == 0:
	case r.left:
		g.drop(eventOf(back, Event{Reason: ReasonSendFailed, Peer: r.from.Addr, Link: r.from.Link, Err: net.ErrClosed}))
	default:
		g.respond(back, r.from)
	}
	return true
}

// relayTimeout is how long the results of a relayed discovery are passed back.
// RFC 8990 section 2.5.4.4 suggests 100 ms for each loop count; initiators may
// wait for longer.
const relayTimeout = DefaultTimeout

// relayed is a multicast that this instance relayed or sent.
type relayed struct {
	own  bool
	name string // of its first objective
	from asker
	left bool // by whoever asked: the stream by which it came has ended
	at   time.Time
	key  session.Key
}

// relayTable remembers multicasts by session ID and initiator, for a time and
// up to a number of them: the oldest gives way.
type relayTable struct {
	limit int

	mu    sync.Mutex // guards all following fields
	byKey map[session.Key]*relayed
	order []*relayed // oldest first
}

func newRelayTable(limit int) *relayTable {
	return &relayTable{limit: limit, byKey: make(map[session.Key]*relayed)}
}

// add remembers a multicast.
func (t *relayTable) add(key session.Key, r *relayed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addLocked(key, r)
}

// addNew remembers a multicast unless it is remembered: then it returns false.
func (t *relayTable) addNew(key session.Key, r *relayed) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.getLocked(key) != nil {
		return false
	}
	t.addLocked(key, r)
	return true
}

func (t *relayTable) addLocked(key session.Key, r *relayed) {
	r.key, r.at = key, time.Now()
	for len(t.order) > 0 && (len(t.order) >= t.limit || r.at.Sub(t.order[0].at) > relayMemory) {
		delete(t.byKey, t.order[0].key)
		t.order[0] = nil
		t.order = t.order[1:]
	}
	t.byKey[key] = r
	t.order = append(t.order, r)
}

// addOwn remembers a multicast that this instance sends, so as to know it
// when it comes back.
func (t *relayTable) addOwn(key session.Key) {
	if !t.isOwn(key) {
		t.add(key, &relayed{own: true})
	}
}

// leave forgets the stream by which a multicast came: it has ended.
func (t *relayTable) leave(key session.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.byKey[key]; r != nil {
		r.from.stream, r.left = nil, true
	}
}

// get returns a multicast that is remembered, as it is now.
func (t *relayTable) get(key session.Key) (relayed, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.getLocked(key); r != nil {
		return *r, true
	}
	return relayed{}, false
}

func (t *relayTable) getLocked(key session.Key) *relayed {
	r := t.byKey[key]
	if r == nil || time.Since(r.at) > relayMemory {
		return nil
	}
	return r
}

func (t *relayTable) has(key session.Key) bool {
	_, ok := t.get(key)
	return ok
}

func (t *relayTable) isOwn(key session.Key) bool {
	r, ok := t.get(key)
	return ok && r.own
}

// relayRates limit what is relayed: for each type of message, from each
// neighbour and on each link.
type relayRates struct {
	perSecond int

	mu         sync.Mutex // guards all following fields
	links      map[rateKey]*rate.Limiter
	neighbours map[rateKey]*rate.Limiter
	heard      map[rateKey]int // how many neighbours, by kind and link
	since      time.Time       // when they began to be counted
}

type rateKey struct {
	kind wire.Type
	link int
	from netip.Addr // a neighbour, or the zero Addr for the link
}

// maxRates bounds the neighbours and links of which the rate is watched. With
// more, all start afresh; neighbours do so after neighbourMemory anyway, since
// not all that were heard are still there.
const maxRates = 1024

func newRelayRates(perSecond int) *relayRates {
	return &relayRates{
		perSecond: perSecond, links: make(map[rateKey]*rate.Limiter),
		neighbours: make(map[rateKey]*rate.Limiter), heard: make(map[rateKey]int),
	}
}

// allowFrom says whether a neighbour is within its share.
func (r *relayRates) allowFrom(kind wire.Type, from acp.Origin) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.neighbours) >= maxRates || time.Since(r.since) > neighbourMemory {
		clear(r.neighbours)
		clear(r.heard)
		r.since = time.Now()
	}
	on := rateKey{kind: kind, link: from.Link}
	key := on
	key.from = from.Addr.Addr()
	if r.neighbours[key] == nil {
		r.heard[on]++
	}
	return allow(r.neighbours, key, max(1, r.perSecond/min(r.heard[on], neighbourShare)))
}

// allowOn says whether a link has room.
func (r *relayRates) allowOn(kind wire.Type, link int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.links) >= maxRates {
		clear(r.links)
	}
	return allow(r.links, rateKey{kind: kind, link: link}, r.perSecond)
}

// allow takes a token. When few are left, more and more are refused by chance:
// else, of a stream that fills the bucket, a message that comes now and then
// would find it empty each time.
func allow(limiters map[rateKey]*rate.Limiter, key rateKey, perSecond int) bool {
	l := limiters[key]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(perSecond), burstTime*perSecond)
		limiters[key] = l
	} else if l.Limit() != rate.Limit(perSecond) {
		l.SetLimit(rate.Limit(perSecond))
		l.SetBurst(burstTime * perSecond)
	}
	few := float64(perSecond) / 2
	if left := l.Tokens(); left < few && rand.Float64()*few > left {
		return false
	}
	return l.Allow()
}
