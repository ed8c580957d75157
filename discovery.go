package grasp

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// discoveryStep is the time a discovery is given for each count of its loop
// count (RFC 8990 section 2.5.4.3 suggests 100 ms).
const discoveryStep = 100 * time.Millisecond

// discoveryTime is how long the answers to one M_DISCOVERY are waited for.
func discoveryTime(o Objective) time.Duration {
	return discoveryStep * time.Duration(o.loops())
}

// DiscoverOptions are the settings of Discover. The zero value is the default.
type DiscoverOptions struct {
	// Flush forgets all cached locators of the objective first.
	Flush bool
	// MinimumTTL forgets cached locators that live no longer than this.
	MinimumTTL time.Duration
	// First returns as soon as anything is found, instead of collecting
	// until the timeout.
	First bool
	// CacheOnly returns what is known without asking the network.
	CacheOnly bool
	// Peer is a node to ask alone, instead of all on the links; see Discover.
	Peer *Locator
}

// Discover finds ASAs that support an objective (RFC 8991 section 2.3.4,
// M_DISCOVERY). It returns their locators in the order of arrival, without
// duplicates; that there are none is not an error. The objective need not be
// registered.
//
// What is known at once is returned at once, without a message: objectives of
// other ASAs in this instance and cached locators. Else the network is asked,
// on every link and with a new session ID each time, after 100 ms times the
// loop count and then at twice the interval each, until something is found;
// results are collected until the timeout. Timeout 0 means 100 ms times the
// loop count. It blocks until then, until the first result with First, or
// until the context ends.
//
// With Peer that node alone is asked, always, for what it has itself, has cached
// or finds behind it as a relay (RFC 8990 sections 2.5.4.2 and 2.8.4). What
// this node knows is not returned. Without a port the question goes to
// [acp.Port], where of several instances on a node one listens; another is asked
// by the port of a locator of its own. By TCP it is sent once, the answers come
// by the same connection, and when the peer closes it the call returns, most
// often before the timeout. It is sent as a datagram if the Protocol is UDP, and
// repeated like a multicast; only neighbours get it, and that there is nobody is
// not noticed. A name is resolved, and its addresses are tried in order. What
// makes no sense ends the connection: it is an error if nothing was found
// before. A relay keeps it open while something may yet be found, this library's
// for 60 s: mostly, then, the call ends with the timeout.
//
// Errors: [ErrNoASA], [ErrNotBoth], [ErrNoSecurity] (also of a DULL instance
// with a Peer), [ErrTooLong] (the name does not fit a multicast), [ErrUnspec] (a
// name that is not UTF-8, CacheOnly with a Peer), [ErrUnusableLocator] (of the
// Peer), [ErrSockErr] (connecting or sending to the Peer failed; it wraps
// [errors.ErrUnsupported] where the plane has no datagrams), [ErrCBORFail] and
// [ErrNoDiscReply] (what the Peer sent is not CBOR, or not a response),
// [ErrCancelled].
func (a *ASA) Discover(ctx context.Context, o Objective, timeout time.Duration, opt DiscoverOptions) ([]Locator, error) {
	const op = "discover"
	if err := a.check(); err != nil {
		return nil, fail(op, o.Name, ErrNoASA, err)
	}
	if err := o.check(); err != nil {
		return nil, wrap(op, o.Name, err)
	}
	may := a.g.mayMulticast(o.Name)
	if opt.Peer != nil {
		may = a.g.secure()
	}
	if may != nil {
		return nil, fail(op, o.Name, ErrNoSecurity, may)
	}
	if opt.Peer != nil && opt.CacheOnly {
		return nil, fail(op, o.Name, ErrUnspec, errors.New("a Peer with CacheOnly"))
	}
	if a.g.cfg.DULL {
		o.LoopCount = 1 // RFC 8990 section 2.5.2
	}
	if timeout == 0 {
		timeout = discoveryTime(o)
	}
	found, err := a.g.discover(ctx, &inquiry{asa: a, objective: o, timeout: timeout, opt: opt})
	if err != nil {
		return nil, wrap(op, o.Name, err)
	}
	return found.locators, nil
}

// inquiry is a discovery to be done.
type inquiry struct {
	asa       *ASA
	objective Objective
	timeout   time.Duration
	opt       DiscoverOptions
	rapid     []byte // value of the first message if a rapid answer is welcome, or nil
}

// findings are what a discovery led to.
type findings struct {
	locators []Locator
	asked    bool    // the network was asked
	rapid    *stream // a peer's answer to a rapid request is there to be read
}

// discover does the work of Discover.
func (g *Instance) discover(ctx context.Context, q *inquiry) (findings, error) {
	name := q.objective.Name
	if q.opt.Flush {
		g.locators.flush(name)
	} else if q.opt.MinimumTTL > 0 {
		g.locators.flushBefore(name, time.Now().Add(q.opt.MinimumTTL))
	}
	var known []Locator
	if q.opt.Peer == nil {
		known = append(g.localLocators(name, q.asa), g.locators.get(name)...)
		if q.opt.CacheOnly || len(known) > 0 && (q.opt.First || !q.opt.Flush) {
			return findings{locators: known}, nil
		}
	}
	if ctx.Err() != nil {
		return findings{}, &withCode{ErrCancelled, context.Cause(ctx)}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, q.timeout, errTimeout)
	defer cancel()
	s := g.searches.open(name, q.rapid != nil)
	defer g.searches.close(s)
	var err error
	if q.opt.Peer == nil {
		err = g.askRepeatedly(ctx, q, s, func(o wire.Objective) error { return g.multicastDiscovery(s, o) })
	} else {
		err = g.askPeer(ctx, q, s)
	}
	if err != nil {
		return findings{}, err
	}
	return findings{locators: append(known, s.locators()...), asked: true, rapid: s.taken}, nil
}

// askRepeatedly asks at intervals that double, until the search is over.
func (g *Instance) askRepeatedly(ctx context.Context, q *inquiry, s *search, ask func(wire.Objective) error) error {
	asking := q.objective.withoutValue()
	if q.rapid != nil {
		asking.Value = q.rapid
	}
	for interval := discoveryTime(q.objective); ; interval *= 2 {
		if err := ask(asking); err != nil {
			return err
		}
		if over, err := s.wait(ctx, q.asa.gone, interval, q.opt.First); over || err != nil {
			return err
		}
		asking.Value = null // a relay drops rapid answers: ask for ordinary ones
	}
}

// errTimeout is the cause of a context that ended with the timeout of a call.
var errTimeout = errors.New("timeout")

// localLocators returns the locator of this instance if another of its ASAs
// supports the objective (RFC 8994 section 6.9.2: those on one node still
// find each other).
func (g *Instance) localLocators(name string, asking *ASA) []Locator {
	o, ok := g.objectives.offered(name, asking)
	if !ok {
		return nil
	}
	link := 0 // a link-local address is of use with its link only
	links := g.ep.Links()
	if len(links) > 0 {
		link = links[0].Index
	}
	var out []Locator
	for _, w := range g.registeredLocators(o, link) {
		out = append(out, decodeLocator(w, link))
	}
	if o.locators == nil {
		own := g.Locator()
		if o.local && len(links) > 0 {
			own.IP = links[0].Addr
		}
		own.IfIndex = link
		out = append(out, own)
	}
	return out
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

// question returns an M_DISCOVERY with a new session ID that leads to the search.
func (g *Instance) question(s *search, o wire.Objective) *wire.Discovery {
	m := &wire.Discovery{SessionID: g.sessions.Begin(), Initiator: g.initiator(), Objective: o}
	g.searches.add(s, m.SessionID, m.Initiator)
	return m
}

// multicastDiscovery sends M_DISCOVERY on every link.
func (g *Instance) multicastDiscovery(s *search, o wire.Objective) error {
	m := g.question(s, o)
	if _, err := g.encodeMulticast(m); err != nil {
		return err
	}
	// A link that fails is no reason to give up: others may answer.
	_ = g.multicast(func(l acp.Link) wire.Message {
		if !g.cfg.DULL {
			return m
		}
		copied := *m
		copied.Initiator = l.Addr.WithZone("")
		g.searches.add(s, copied.SessionID, copied.Initiator)
		return &copied
	})
	return nil
}

// defaultResponseTTL is what a ttl of 0 in a response stands for: something
// much longer than 60 s (RFC 8990 section 2.8.5).
const defaultResponseTTL = 600 * time.Second

// found takes a response to a discovery, just read from a stream: its locators go
// to the cache and to the search they are for, or back to where a relayed
// discovery came from. Responses nobody asked for are dropped.
func (g *Instance) found(m *wire.Response, from *stream) {
	link, peer := from.Link, from.Peer
	received := func() { g.trace(Received, m, from.raw(), peer, link) }
	s := g.searches.get(m.SessionID, m.Initiator)
	if s == nil {
		received()
		if !g.passBack(m, link, peer) {
			g.drop(eventOf(m, Event{Reason: ReasonUnsolicited, Peer: peer, Link: link}))
		}
		return
	}
	all := g.takeLocators(s.name, m, link, peer)
	g.cacheLocators(s.name, all)
	received() // whoever hears of it finds its locators in the cache
	if len(all) > 0 {
		for range s.put(all) {
			g.drop(eventOf(m, Event{Reason: ReasonTooManyFound, Peer: peer, Link: link, Objective: s.name}))
		}
	}
}

// cacheLocators puts what a response brought into the cache.
func (g *Instance) cacheLocators(name string, all []cache.Locator) {
	for range g.locators.put(name, all) {
		g.drop(Event{Reason: ReasonCacheFull, Message: wire.TypeResponse.String(), Objective: name})
	}
}

// takeLocators returns the locators of a response about an objective.
func (g *Instance) takeLocators(name string, m *wire.Response, link int, peer netip.AddrPort) []cache.Locator {
	ttl := time.Duration(m.TTL) * time.Millisecond
	if m.TTL == 0 {
		ttl = defaultResponseTTL
	}
	if ttl > g.cfg.LocatorLifetime {
		ttl = g.cfg.LocatorLifetime
		g.drop(eventOf(m, Event{Reason: ReasonLifetime, Peer: peer, Link: link, Objective: name}))
	}
	expire := time.Now().Add(ttl)
	var all []cache.Locator
	add := func(w wire.Locator, diverted bool) {
		err := origin{link != 0, peer.Addr().IsLoopback(), diverted}.check(w)
		if err != nil || diverted && g.cfg.DULL { // RFC 8990 section 2.5.2: it takes no Divert
			g.drop(eventOf(m, Event{Reason: ReasonBadLocator, Peer: peer, Link: link, Objective: name, Err: err}))
			return
		}
		all = append(all, cache.Locator{Wire: w, Link: link, From: peer.Addr(), Expire: expire, Diverted: diverted})
	}
	for _, w := range m.Locators {
		add(w, false)
	}
	for _, w := range m.Diverted {
		add(w, true)
	}
	// A response with the objective and its value is rapid synchronization
	// as the Python prototype does it.
	if o := m.Objective; o != nil && o.Name == name && o.Flags&wire.FlagSynch != 0 &&
		len(all) > 0 && !all[0].Diverted && !isNull(o.Value) {
		all[0].Rapid = o
	}
	return all
}

func isNull(value []byte) bool { return len(value) == 0 || len(value) == 1 && value[0] == null[0] }

// takeDiscovery takes an M_DISCOVERY that came as a datagram, be it a multicast
// or not: it is answered if this node can, else relayed (RFC 8990 sections
// 2.5.4.2 and 2.5.4.4).
func (g *Instance) takeDiscovery(m *wire.Discovery, raw []byte, from asker) {
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
	reason, ok := g.relay(m, keyOf(m), raw, from)
	if response != nil && reason == ReasonNoOtherLink {
		return // it was answered, and that is all there is
	}
	if !ok {
		g.drop(eventOf(m, Event{Reason: reason, Peer: from.Addr, Link: from.Link, Raw: raw}))
	}
}

// respond sends a response to where the discovery came from: by the same
// connection, or else by one of its own (RFC 8990 section 2.8.5).
func (g *Instance) respond(response *wire.Response, to asker) {
	g.callBack(response, to, func(s *stream) {
		g.reply(s, response)
		if s != to.stream {
			s.close()
		}
	})
}

// callBack connects to where a discovery came from, unless there is a
// connection, in a goroutine that then runs answer.
func (g *Instance) callBack(m wire.Message, to asker, answer func(*stream)) {
	drop := func(reason Reason, err error) {
		g.drop(eventOf(m, Event{Reason: reason, Peer: to.Addr, Link: to.Link, Err: err}))
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
		s, err := g.dial(ctx, to.Addr)
		switch {
		case err == nil:
			answer(s)
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

// answer returns the answer to a discovery, nil if there is none, and whether the
// question has to be passed on. That is so without an answer, and with one from
// the cache if the initiator had one before: it was no good.
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
		if o.rapid {
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
