package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/lazyctx"
	"github.com/go-grasp/grasp/internal/search"
	"github.com/go-grasp/grasp/internal/wire"
)

// discoveryStep is the time that a discovery waits for answers, for each unit of its
// loop count (RFC 8990 section 2.5.4.3 suggests 100 ms).
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
	// Refresh asks the network even if locators are known, and returns known and new
	// ones. It is discover of RFC 8991 with a timeout and a minimum_TTL above 0. With
	// First, Discover waits for the first answer.
	Refresh bool
	// CacheOnly returns what is known without asking the network.
	CacheOnly bool
	// Peer is a node to ask alone, instead of all on the links; see Discover.
	Peer *Locator
}

// Discover finds ASAs that support an objective (RFC 8991 section 2.3.4,
// M_DISCOVERY). It returns their locators in the order of arrival, without
// duplicates. If there are none, it returns an empty list and no error. The objective
// need not be registered.
//
// If locators are known, Discover returns them at once and sends nothing: those of
// other ASAs in this instance, and cached ones. Otherwise, or with Refresh, it sends a
// query on every link. If nothing is found it repeats the query, with a new session
// ID: first after 100 ms times the loop count, then after twice the time each. A link
// that comes into use gets the query at once. Discover collects results until the
// timeout, where 0 means 100 ms times the loop count. It blocks until then, with First
// until the first result, or until the context ends.
//
// With Peer, Discover asks that node alone, for what it has itself, has cached or
// finds behind it as a relay (RFC 8990 sections 2.5.4.2 and 2.8.4). It does not
// return what this node knows. A name is resolved. A locator without a port means
// [acp.Port], where one of the instances on the peer's node listens; to ask another
// one, give its port.
//
//   - By TCP, the query is sent once, and the answers come by the same connection.
//     The addresses of a name are raced: see [ASA.ReqNegotiate]. The call returns when
//     the peer closes the connection. A relay keeps it open while it may find more,
//     this library's for 60 s, so that the call ends with the timeout. A message that
//     makes no sense ends the connection, and is an error if nothing was found before.
//   - By UDP, if that is the Protocol of the Peer, the query is repeated like a
//     multicast. Only neighbours get it, and nobody notices if there is no such node.
//
// Errors: [ErrNoASA], [ErrNotBoth], [ErrNoSecurity] (also of a DULL instance
// with a Peer), [ErrTooLong] (the name does not fit a multicast), [ErrUnspec] (a
// name that is not UTF-8, CacheOnly with a Peer), [ErrUnusableLocator] (of the
// Peer), [ErrSockErr] (connecting or sending to the Peer failed, or sending on
// every link did and nothing was found; it wraps [errors.ErrUnsupported] where
// the plane has no datagrams), [ErrCBORFail] and
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
	q := &query{asa: a, objective: o, timeout: timeout, opt: opt}
	if err := a.g.mayAsk(q); err != nil {
		return nil, fail(op, o.Name, ErrNoSecurity, err)
	}
	if opt.Peer != nil && opt.CacheOnly {
		return nil, fail(op, o.Name, ErrUnspec, errors.New("a Peer with CacheOnly"))
	}
	if a.g.cfg.DULL {
		q.objective.LoopCount = 1 // RFC 8990 section 2.5.2
	}
	if timeout == 0 {
		q.timeout = discoveryTime(q.objective)
	}
	found, err := a.g.discover(ctx, q)
	if err != nil {
		return nil, wrap(op, o.Name, err)
	}
	return found.locators, nil
}

// query is what a discovery is to find, and how.
type query struct {
	asa       *ASA
	objective Objective
	timeout   time.Duration
	opt       DiscoverOptions
	rapid     []byte // value of the first message if a rapid answer is welcome, or nil

	// found, if not nil, is called with locators as they come. Then the query is
	// repeated until the timeout, whatever comes.
	found func([]Locator)
}

// mayAsk returns why the instance must not ask others for what a query is to find, or nil.
func (g *Instance) mayAsk(q *query) error {
	if q.opt.Peer != nil {
		return g.secure()
	}
	return g.mayMulticast(q.objective.Name)
}

func (q *query) mode() search.Mode {
	switch {
	case q.found != nil:
		return search.Persist
	case q.opt.First:
		return search.First
	}
	return search.Collect
}

// results are what a discovery found.
type results struct {
	locators []Locator
	rapid    *stream // a stream with a peer's answer to a rapid request, or nil
}

// discover does the work of Discover.
func (g *Instance) discover(ctx context.Context, q *query) (results, error) {
	name := q.objective.Name
	if q.opt.Flush {
		g.locators.flush(name)
	} else if q.opt.MinimumTTL > 0 {
		g.locators.flushBefore(name, time.Now().Add(q.opt.MinimumTTL))
	}
	var known []Locator
	if q.opt.Peer == nil {
		known = g.knownLocators(name, q.asa)
		if q.opt.CacheOnly || len(known) > 0 && !q.opt.Refresh && (q.opt.First || !q.opt.Flush) {
			return results{locators: known}, nil
		}
	}
	if ctx.Err() != nil {
		return results{}, &withCode{ErrCancelled, context.Cause(ctx)}
	}
	r, err := g.search(ctx, q)
	if err == nil || len(known) > 0 && Code(err) == ErrSockErr {
		r.locators, err = united(known, r.locators), nil
	}
	return r, err
}

// knownLocators returns where an objective can be reached as far as this node
// knows.
func (g *Instance) knownLocators(name string, asking *ASA) []Locator {
	return append(g.localLocators(name, asking), g.locators.get(name)...)
}

// united returns the known locators that still live, and the found ones. A locator
// that is in both is returned once, as it was found.
func united(known, found []Locator) []Locator {
	if len(known) == 0 {
		return found
	}
	index := make(map[place]int) // in out
	var out []Locator
	now := time.Now()
	for i, l := range slices.Concat(known, found) {
		if i < len(known) && !l.Expire.IsZero() && !l.Expire.After(now) {
			continue
		}
		if j, ok := index[l.place()]; ok {
			out[j] = l
			continue
		}
		index[l.place()] = len(out)
		out = append(out, l)
	}
	return out
}

// search asks others, all of them or one, until the search is over.
func (g *Instance) search(ctx context.Context, q *query) (results, error) {
	s := g.searches.begin(q, g.now())
	defer g.searches.close(s)
	// If the plane ceases to be secure from now on, lockDown ends the search.
	err := g.mayAsk(q)
	if err != nil {
		return results{}, &withCode{ErrNoSecurity, err}
	}
	if q.opt.Peer == nil {
		err = g.askAll(ctx, q, s)
	} else {
		err = g.askPeer(ctx, q, s)
	}
	if err != nil {
		return results{}, err
	}
	return results{locators: s.locators(), rapid: s.taken}, nil
}

// askAll asks on every link. It goes on if a link fails, because others may answer.
// If all links fail and nobody answers, it returns an error.
func (g *Instance) askAll(ctx context.Context, q *query, s *searching) error {
	var failed error
	err := g.ask(ctx, q, s, func(o wire.Objective, links []int) error {
		var refused error
		refused, failed = g.multicastQuestion(s, o, links)
		return refused
	})
	if err == nil && s.taken == nil && !s.isAnswered() {
		err = failed
	}
	return err
}

// ask asks when the search says so, until it is over.
func (g *Instance) ask(ctx context.Context, q *query, s *searching, question func(o wire.Objective, links []int) error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := g.changed.wait()
		out := s.wake(time.Now(), indexesOf(g.ep.Links()))
		if out.Ask {
			o := q.objective.inDiscovery()
			if out.Rapid {
				o.Value = q.rapid
			}
			if err := question(o, out.Links); err != nil {
				return err
			}
		}
		if out.Done {
			return nil
		}
		timer.Reset(time.Until(out.Wake))
		select {
		case <-s.arrived:
			if q.found != nil {
				q.found(s.fresh())
			}
		case s.taken = <-s.rapid:
			return nil
		case <-timer.C:
		case <-changed:
		case <-s.failed:
			return s.err
		case <-q.asa.gone:
			return ErrNoASA
		case <-ctx.Done():
			return &withCode{ErrCancelled, context.Cause(ctx)}
		}
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
	var first acp.Link
	links := g.ep.Links()
	if len(links) > 0 {
		first = links[0]
	}
	var out []Locator
	for _, l := range o.locators { // each with a link that it may be used on
		if i := slices.IndexFunc(links, l.isFor); i >= 0 {
			out = append(out, decodeLocator(l.Locator, links[i].Index))
		} else if l.isFor(first) {
			out = append(out, decodeLocator(l.Locator, 0))
		}
	}
	if o.locators == nil {
		own := g.Locator()
		if o.local && first.Addr.IsValid() {
			own.IP = first.Addr
		}
		own.IfIndex = first.Index
		out = append(out, own)
	}
	return out
}

// question returns an M_DISCOVERY with a new session ID that leads to the search.
func (g *Instance) question(s *searching, o wire.Objective) *wire.Discovery {
	m := &wire.Discovery{SessionID: g.sessions.Begin(), Initiator: g.initiator(), Objective: o}
	g.searches.add(s, m.SessionID, m.Initiator)
	return m
}

// multicastQuestion sends M_DISCOVERY on some of the links. It may be refused,
// or fail on all of them.
func (g *Instance) multicastQuestion(s *searching, o wire.Objective, links []int) (refused, failed error) {
	m := g.question(s, o)
	if _, err := g.encodeMulticast(m); err != nil {
		return err, nil
	}
	return nil, g.multicast(func(l acp.Link) wire.Message {
		if !slices.Contains(links, l.Index) {
			return nil
		}
		if !g.cfg.DULL {
			return m
		}
		copied := *m
		copied.Initiator = l.Addr.WithZone("")
		g.searches.add(s, copied.SessionID, copied.Initiator)
		return &copied
	})
}

// askPeer asks one node (RFC 8990 section 2.8.4) until the search is over.
func (g *Instance) askPeer(ctx context.Context, q *query, s *searching) error {
	peer := *q.opt.Peer
	trying := lazyctx.New(ctx, q.asa.ctx, q.timeout)
	defer trying.Release()
	var err error
	switch peer.Protocol {
	case 0, TCP, UDP:
		var targets []netip.AddrPort
		targets, err = g.placesOf(trying, peer, acp.Port)
		switch {
		case err != nil:
			err = &withCode{ErrUnusableLocator, err}
		case peer.Protocol == UDP:
			err = g.ask(ctx, q, s, func(o wire.Objective, _ []int) error { return g.sendQuestion(s, o, targets) })
		default:
			err = g.askByStream(trying, q, s, targets)
		}
	default:
		err = &withCode{ErrUnusableLocator, fmt.Errorf("%v: neither TCP nor UDP", peer)}
	}
	return q.outcome(ctx, s, err)
}

// outcome returns why a call ended that had an error: for another reason than
// that, perhaps.
func (q *query) outcome(ctx context.Context, s *searching, err error) error {
	select {
	case <-s.failed:
		return s.err
	default:
	}
	if gone := q.asa.check(); gone != nil {
		return &withCode{ErrNoASA, gone}
	}
	if insecure := q.asa.g.secure(); err != nil && insecure != nil {
		return &withCode{ErrNoSecurity, insecure}
	}
	if ctx.Err() != nil {
		return &withCode{ErrCancelled, context.Cause(ctx)}
	}
	return err
}

// sendQuestion sends M_DISCOVERY as a datagram to the first address that takes
// one.
func (g *Instance) sendQuestion(s *searching, o wire.Objective, targets []netip.AddrPort) error {
	m := g.question(s, o)
	raw, err := g.encodeMulticast(m)
	if err != nil {
		return err
	}
	g.rememberOwn(m) // it may come back by way of others
	var errs []error
	for _, to := range targets {
		if err = acp.SendTo(g.ep, to, raw); err == nil {
			g.trace(Sent, m, raw, to, 0)
			return nil
		}
		g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Peer: to, Err: err}))
		errs = append(errs, fmt.Errorf("%v: %w", to, err))
	}
	return &withCode{ErrSockErr, errors.Join(errs...)}
}

// askByStream connects to the first address that accepts, sends M_DISCOVERY and takes
// the responses that come by the same connection.
func (g *Instance) askByStream(ctx context.Context, q *query, s *searching, targets []netip.AddrPort) error {
	m := g.question(s, q.objective.inDiscovery())
	raw, err := g.encodeMulticast(m)
	if err != nil {
		return err
	}
	g.rememberOwn(m) // it may come back by way of others
	r := g.newReach(ctx)
	defer r.stop()
	r.lost = func(to netip.AddrPort, err error) {
		g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Peer: to, Err: err}))
	}
	r.race.Add(targets...)
	for {
		conn, err := r.next()
		if err != nil {
			return &withCode{ErrSockErr, fmt.Errorf("%v: %w", r.to, err)}
		}
		if err := conn.send(raw, sendTimeout); err != nil {
			conn.close()
			r.fail(r.at, err)
			continue
		}
		defer conn.close()
		g.trace(Sent, m, raw, conn.Peer, conn.Link)
		if err := g.takeResponses(ctx, q, s, conn); err != nil && !s.isAnswered() {
			return fmt.Errorf("%v: %w", conn.Peer, err)
		}
		return nil
	}
}

// takeResponses takes responses to a search from a connection until it ends, in
// whatever way (RFC 8990 section 2.8.5), or until as many have come as are kept. Its
// error says what was wrong with a message.
func (g *Instance) takeResponses(ctx context.Context, q *query, s *searching, conn *stream) error {
	for n := 0; ; n++ {
		m, err := conn.message(ctx, time.Time{})
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			g.refuse(conn, err)
			if code := discoverCodes[readCode(err)]; code != OK {
				return &withCode{code, err}
			}
			return nil
		}
		response, ok := m.(*wire.Response)
		if !ok {
			g.trace(Received, m, conn.raw(), conn.Peer, conn.Link)
			g.dropFrom(conn, m, ReasonUnexpected, nil)
			return &withCode{ErrNoDiscReply, errSent(m)}
		}
		if n == g.cfg.MaxFound {
			g.trace(Received, m, conn.raw(), conn.Peer, conn.Link)
			g.drop(eventOf(m, Event{Reason: ReasonTooManyFound, Peer: conn.Peer, Link: conn.Link, Objective: s.name}))
			return nil
		}
		g.handleResponse(response, conn)
		if q.opt.First && s.isAnswered() {
			return nil
		}
	}
}

// discoverCodes are the codes of a failed discovery for those of a failed
// negotiation. Others are none: that there is no answer, for whatever reason, is
// not an error.
var discoverCodes = map[ErrorCode]ErrorCode{
	ErrCBORFail:    ErrCBORFail,
	ErrNoValidStep: ErrNoDiscReply,
	ErrInvalidEnd:  ErrNoDiscReply,
}
