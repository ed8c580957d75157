package grasp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/negotiation"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/share"
	"github.com/go-grasp/grasp/internal/target"
	"github.com/go-grasp/grasp/internal/wire"
)

// asker is where a discovery came from.
type asker struct {
	acp.Origin
	stream *stream // by which it came; nil: as a datagram
}

// handleDiscovery answers an M_DISCOVERY that came as a datagram, multicast or not, or
// relays it if this node has no answer (RFC 8990 sections 2.5.4.2 and 2.5.4.4).
func (g *Instance) handleDiscovery(m *wire.Discovery, raw []byte, from asker, now time.Time) {
	if g.rapidRequest(m, from) {
		return
	}
	response, pass := g.answer(m, from)
	if response != nil {
		g.respond(response, from)
	}
	if !pass {
		return
	}
	reason, ok := g.relay(m, keyOf(m), raw, from, now)
	if response != nil && reason == ReasonNoOtherLink {
		return // it was answered, and that is all there is
	}
	if !ok {
		g.drop(eventOf(m, Event{Reason: reason, Peer: from.Addr, Link: from.Link, Raw: raw}))
	}
}

// answerOnStream answers an M_DISCOVERY that came by a connection on the same
// one (RFC 8990 section 2.5.4.2). If this node relays it, the connection stays
// for the results.
func (g *Instance) answerOnStream(s *stream, m *wire.Discovery) {
	from := asker{acp.Origin{Link: s.Link, Addr: s.Peer, Unicast: true}, s}
	if g.rapidRequest(m, from) {
		return
	}
	defer s.close()
	response, pass := g.answer(m, from)
	if response != nil {
		g.reply(s, response)
	}
	if !pass {
		return
	}
	key := keyOf(m)
	if reason, ok := g.relay(m, key, s.raw(), from, time.Now()); !ok {
		g.drop(eventOf(m, Event{Reason: reason, Peer: s.Peer, Link: s.Link}))
		return
	}
	defer g.relays.do(func(r *loop.Relay[asker]) { r.Leave(key, time.Now()) })
	_, _ = s.next(context.Background(), g.now().Add(loop.ResultTime)) // until the peer has enough
}

// respond sends a response to where the discovery came from: by the same
// connection, or else by one of its own (RFC 8990 section 2.8.5).
func (g *Instance) respond(response *wire.Response, to asker) {
	dial := g.dial
	var raw []byte
	if g.fast != nil && to.stream == nil {
		var err error
		if raw, err = g.encode(response); err != nil {
			g.drop(eventOf(response, Event{Reason: ReasonSendFailed, Peer: to.Addr, Link: to.Link, Err: err}))
			return
		}
		dial = g.dialWith(raw)
	}
	g.callBack(response, to, dial, func(s *stream) {
		if s.sent {
			g.trace(Sent, response, raw, s.Peer, s.Link)
		} else {
			g.reply(s, response)
		}
		if s != to.stream {
			s.close()
		}
	})
}

// callBack connects to where a discovery came from, unless there is a
// connection, in a goroutine that then runs answer.
func (g *Instance) callBack(m wire.Message, to asker, dial dialer, answer func(*stream)) {
	drop := func(reason Reason, err error) {
		g.drop(eventOf(m, Event{Reason: reason, Peer: to.Addr, Link: to.Link, Err: err}))
	}
	if to.stream == nil && !g.responders.mayConnect(to.Addr.Addr()) {
		g.forgetLater()
		drop(ReasonTooManyResponses, nil)
		return
	}
	ctx, cancel := context.WithTimeoutCause(g.ctx, dialTimeout, errTimeout)
	done := g.responders.add(to.Addr.Addr(), cancel)
	started := g.spawn(func() {
		defer done()
		if to.stream != nil {
			stop := context.AfterFunc(ctx, to.stream.close) // nobody reads there
			answer(to.stream)
			stop()
			return
		}
		s, err := dial(ctx, to.Addr)
		switch {
		case err == nil:
			g.responders.connected(to.Addr.Addr())
			answer(s)
		case errors.Is(err, ErrNoSecurity):
			drop(ReasonNoSecurity, err)
		case context.Cause(ctx) == context.Canceled && g.ctx.Err() == nil:
			drop(ReasonTooManyResponses, err)
		default:
			drop(ReasonSendFailed, err)
		}
	})
	if !started {
		done()
	}
}

// answer returns the answer to a discovery, nil if there is none, and whether to relay
// the discovery. That is so if there is no answer, or if the answer is from the cache
// and the initiator had one from there before, which was no good.
func (g *Instance) answer(m *wire.Discovery, from asker) (response *wire.Response, pass bool) {
	response = g.response(m, from.Link)
	switch {
	case response == nil:
		return nil, true
	case len(response.Diverted) == 0:
		return response, false
	}
	return response, g.toldBefore(response, m.Objective.Name, from)
}

// response returns the answer to a discovery that came by a link: locators of
// this node, else a Divert to those it knows, else nil.
func (g *Instance) response(m *wire.Discovery, link int) *wire.Response {
	r := &wire.Response{SessionID: m.SessionID, Initiator: m.Initiator}
	if o, ok := g.objectives.offered(m.Objective.Name, nil); ok {
		r.TTL = o.ttl
		r.Locators = g.replyLocators(o, link)
		if g.cfg.DULL {
			r.Locators = slices.DeleteFunc(r.Locators, func(w wire.Locator) bool { return !isLinkLocal(w) })
		}
		if link == 0 {
			// It came from beyond the link, where they are of no use (RFC 8990
			// section 2.9.5.1).
			r.Locators = slices.DeleteFunc(r.Locators, isLinkLocal)
		}
		if o.rapid && g.cfg.Authorize == nil { // else it has to be asked for
			r.Objective = &o.objective
			if _, err := g.encode(r); err != nil {
				r.Objective = nil // no room for the value: let it be asked for
			}
		}
		if len(r.Locators) > 0 {
			return r
		}
	}
	if g.cfg.DULL {
		return nil // RFC 8990 section 2.5.2: never a Divert
	}
	var left time.Duration
	if r.Diverted, left = g.locators.divert(m.Objective.Name, link); r.Diverted == nil {
		return nil
	}
	r.Objective = nil
	r.TTL = uint32(max(left.Milliseconds(), 1)) // 0 would mean much longer
	return r
}

// replyLocators returns the locators that a response on a link gives.
func (g *Instance) replyLocators(o offer, link int) []wire.Locator {
	if o.locators == nil {
		return g.ownLocators(link, o.local || g.cfg.DULL)
	}
	return g.registeredLocators(o, link)
}

// registeredLocators returns the locators that an ASA registered which may be
// given on a link.
func (g *Instance) registeredLocators(o offer, link int) []wire.Locator {
	var on acp.Link
	links := g.ep.Links()
	if i := slices.IndexFunc(links, func(l acp.Link) bool { return l.Index == link }); i >= 0 {
		on = links[i]
	}
	var out []wire.Locator
	for _, l := range o.locators {
		if l.isFor(on) {
			out = append(out, l.Locator)
		}
	}
	return out
}

// relay passes a discovery or flood on to all links but the one it came by; only its
// loop count changes. A message that came by a stream from beyond the links goes to all
// links. If it is not relayed, the result says why.
func (g *Instance) relay(m wire.Message, key session.Key, raw []byte, from asker, now time.Time) (Reason, bool) {
	if g.cfg.DULL {
		return ReasonNoOtherLink, false // RFC 8990 section 2.5.2: it relays nothing
	}
	links := g.ep.Links()
	if len(links) == 1 && links[0].Index == from.Link {
		return ReasonNoOtherLink, false // on most nodes: the relay need not be asked
	}
	in := loop.Message{
		Type: m.Type(), Key: key, Raw: raw, Parsed: m, Link: from.Link, Neighbour: from.Addr.Addr(), Unicast: from.Unicast,
	}
	if o := objectiveOf(m); o != nil {
		in.Objective = o.Name
	}
	var d loop.Decision
	g.relays.do(func(r *loop.Relay[asker]) { d = r.Pass(&in, indexesOf(links), from, now) })
	if d.Spared {
		g.drop(eventOf(m, Event{Reason: ReasonRelayedByOther, Peer: from.Addr, Link: from.Link, Raw: raw}))
	}
	switch {
	case d.Refusal != loop.None:
		return refusalReasons[d.Refusal], false
	case d.Waits:
		g.forgetLater()
		select {
		case g.waits <- struct{}{}:
		default:
		}
	default:
		g.forgetLater()
		g.sendRelayed(m, &d, from.Addr)
	}
	return 0, true
}

// relayLater sends the messages that waited to be relayed (Config.RelayWait) until the
// instance is closed.
func (g *Instance) relayLater() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.waits:
		case <-timer.C:
		}
		var due []loop.Later[asker]
		var next time.Time
		g.relays.do(func(r *loop.Relay[asker]) { due, next = r.Due(time.Now()) })
		for _, l := range due {
			if g.secure() != nil {
				g.drop(eventOf(l.Message, Event{Reason: ReasonNoSecurity, Peer: l.Asker.Addr, Link: l.Asker.Link, Raw: l.Raw}))
				continue
			}
			g.sendRelayed(l.Message, &l.Decision, l.Asker.Addr)
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// refusalReasons are the reasons for what the relay refuses.
var refusalReasons = [...]Reason{
	loop.NoOtherLink:   ReasonNoOtherLink,
	loop.RelayedBefore: ReasonRelayedBefore,
	loop.LoopCount:     ReasonLoopCount,
	loop.Invalid:       ReasonInvalid,
	loop.Rate:          ReasonRate,
}

// indexesOf returns the indexes of links.
func indexesOf(links []acp.Link) []int {
	indexes := make([]int, len(links))
	for i, l := range links {
		indexes[i] = l.Index
	}
	return indexes
}

// rememberOwn remembers a multicast that this instance sends, so that it is recognized
// when it comes back.
func (g *Instance) rememberOwn(m wire.Message) {
	g.relays.do(func(r *loop.Relay[asker]) { r.RememberOwn(keyOf(m), time.Now()) })
	g.forgetLater()
}

// isOwnMulticast reports whether a multicast was sent by this instance.
func (g *Instance) isOwnMulticast(key session.Key, now time.Time) (own bool) {
	g.relays.do(func(r *loop.Relay[asker]) { own = r.IsOwn(key, now) })
	return own
}

// toldBefore notes that an initiator is told what others know of an objective. It
// reports whether it was told before, for another question, what should still
// live.
func (g *Instance) toldBefore(m *wire.Response, objective string, to asker) (before bool) {
	key := session.Key{ID: m.SessionID, Initiator: m.Initiator}
	life := time.Duration(m.TTL) * time.Millisecond
	g.relays.do(func(r *loop.Relay[asker]) {
		before = r.Answered(key, to.Addr.Addr(), objective, life, time.Now())
	})
	g.forgetLater()
	return before
}

// passBack sends what a relayed discovery found to where the discovery came
// from (RFC 8990 section 2.5.4.4), each result as it comes, as a Divert. It
// returns false if the response is not for a discovery that was relayed.
func (g *Instance) passBack(m *wire.Response, link int, peer netip.AddrPort) bool {
	var asked loop.Asked[asker]
	var ok bool
	key := session.Key{ID: m.SessionID, Initiator: m.Initiator}
	g.relays.do(func(r *loop.Relay[asker]) { asked, ok = r.Asker(key, time.Now()) })
	if !ok {
		return false
	}
	all := g.locatorsIn(asked.Objective, m, link, peer)
	if len(all) == 0 {
		return true
	}
	g.cacheLocators(asked.Objective, all)
	back := &wire.Response{SessionID: m.SessionID, Initiator: m.Initiator, TTL: m.TTL}
	if m.TTL == 0 {
		back.TTL = uint32(defaultResponseTTL.Milliseconds()) // some take 0 for expired
	}
	for _, l := range all {
		if g.locators.mayDivert(&l, asked.Asker.Link) {
			back.Diverted = append(back.Diverted, l.Wire)
		}
	}
	if len(back.Diverted) > 0 {
		g.toldBefore(back, asked.Objective, asked.Asker)
	}
	switch {
	case len(back.Diverted) == 0:
	case asked.Left:
		g.drop(eventOf(back, Event{Reason: ReasonSendFailed, Peer: asked.Asker.Addr, Link: asked.Asker.Link, Err: net.ErrClosed}))
	default:
		g.respond(back, asked.Asker)
	}
	return true
}

// maxResponders bounds the discoveries that are answered at the same time, and
// respondersPerNeighbour those of one neighbour.
const (
	maxResponders          = 256
	respondersPerNeighbour = 64
)

// responderTable holds the answers to discoveries that are under way: each connects to
// where its discovery came from. When full, it cancels the oldest answer of the largest
// neighbour. A discovery can be sent in anybody's name, and addresses where nobody
// accepts must not hold up the answers to others, which take a round trip.
type responderTable struct {
	mu      sync.Mutex // guards all following fields
	all     *share.Shares[netip.Addr, context.CancelFunc]
	targets target.Limiter
}

func newResponderTable() *responderTable {
	return &responderTable{all: share.New[netip.Addr, context.CancelFunc](maxResponders, respondersPerNeighbour)}
}

// add enters what answers a neighbour, and can be cancelled. The function
// returned takes it out and cancels it.
func (t *responderTable) add(neighbour netip.Addr, cancel context.CancelFunc) (done func()) {
	t.mu.Lock()
	elem, evict := t.all.Add(neighbour, cancel)
	if evict != nil {
		t.all.Remove(evict)
	}
	t.mu.Unlock()
	if evict != nil {
		evict.Value()
	}
	return func() {
		t.mu.Lock()
		t.all.Remove(elem)
		t.mu.Unlock()
		cancel()
	}
}

// mayConnect reports whether this node may connect to a neighbour because of a
// discovery, which somebody else may have sent in the neighbour's name.
func (t *responderTable) mayConnect(neighbour netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.targets.Allow(neighbour, time.Now())
}

// connected notes that a connection to the neighbour succeeded.
func (t *responderTable) connected(neighbour netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.targets.Succeeded(neighbour, time.Now())
}

// forget gives back the memory of what is too old. It reports whether anything is left.
func (t *responderTable) forget(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.targets.Forget(now)
}

func (t *responderTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.Len()
}

// rapidRequest takes a discovery as a request for negotiation, if it carries a
// value and the objective is registered for rapid mode (RFC 8990 section
// 2.5.5.1): the listener gets a session on a connection to the initiator. It
// returns false if the discovery is an ordinary one.
func (g *Instance) rapidRequest(m *wire.Discovery, from asker) bool {
	o := &m.Objective
	if isNull(o.Value) || negotiation.Check(o) != nil || !g.objectives.isRapid(o.Name) ||
		!g.objectives.backlogOf(o.Name).Listening() || g.cfg.DULL {
		return false
	}
	request := func(s *stream) {
		// A connection of this node's own waits like those that peers open.
		if (s == from.stream || g.await(s)) && g.mayHave(s, m, wantOf(o), o) {
			g.handleRequest(s, &wire.ReqNeg{SessionID: m.SessionID, Objective: *o})
		}
	}
	first := false
	g.relays.do(func(r *loop.Relay[asker]) { // nothing will be passed back
		first = r.Remember(keyOf(m), loop.Asked[asker]{Objective: o.Name, Left: true}, time.Now())
	})
	g.forgetLater()
	switch {
	case !first:
		// Another copy of it came by another link.
		g.drop(eventOf(m, Event{Reason: ReasonRelayedBefore, Peer: from.Addr, Link: from.Link}))
		if from.stream != nil {
			from.stream.close()
		}
	case from.stream != nil:
		request(from.stream)
	default:
		g.callBack(m, from, g.dial, request)
	}
	return true
}

// rapidAnswer hands a stream that begins with an answer to a rapid request to
// the search that waits for it. Late ones are dropped (section 2.8.4).
func (g *Instance) rapidAnswer(s *stream, m wire.Message) {
	g.streams.claim(s)
	s.reader.Unread() // whoever takes it reads the message
	s.session = wire.SessionID(m)
	if !g.searches.handleRapid(s) {
		g.dropFrom(s, m, ReasonUnsolicited, nil)
		s.close()
	}
}

// handleRapid hands a stream to the search that sent its session ID, if that
// still waits for a rapid answer.
func (t *searchTable) handleRapid(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.byID[s.session]
	if waiting == nil {
		return false
	}
	select {
	case waiting.rapid <- s:
		return true
	default:
		return false // not wanted, or another was first
	}
}
