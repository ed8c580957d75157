package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/lazyctx"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// outgoing is a request to a peer, for negotiation or synchronization.
type outgoing struct {
	asa       *ASA
	op        string
	objective Objective
	peer      *Locator // nil: to be discovered
	timeout   time.Duration
	message   wire.Message
	rapid     []byte    // see query
	noneFound ErrorCode // nobody was discovered
	sockErr   ErrorCode // connecting or sending failed

	// rapidValue says that a value which came with a discovered locator will do;
	// value is that one, if there was.
	rapidValue bool
	value      *wire.Objective

	// reached is the discovered locator that was connected to, or suffices.
	reached   *Locator
	reachedAt netip.AddrPort // by this of its addresses
}

// patience is how long peers are searched for: three rounds, each twice as long,
// if the call does not say.
func (c *outgoing) patience() time.Duration {
	if c.timeout != 0 {
		return c.timeout
	}
	return 7 * discoveryTime(c.objective)
}

// suffices reports whether nothing need be asked at a locator, because the value came
// with it.
func (c *outgoing) suffices(l Locator) bool {
	if c.rapidValue {
		c.value = c.asa.g.locators.rapidValue(c.objective.Name, l)
	}
	return c.value != nil
}

// limit is how long discovery, resolution, connecting and sending may take
// together.
func (c *outgoing) limit() time.Duration {
	switch {
	case c.timeout != 0:
		return c.timeout
	case c.peer != nil:
		return dialTimeout
	}
	return c.patience() + dialTimeout
}

// send connects to the peer, or to one that is discovered, and sends the message.
// Nothing is sent before the message is known to be a valid one. The stream of a
// peer that answered in rapid mode has its own session ID. There is none if a
// locator suffices.
func (c *outgoing) send(ctx context.Context) (*stream, error) {
	g := c.asa.g
	raw, err := g.encode(c.message)
	if err != nil {
		return nil, wrap(c.op, c.objective.Name, err)
	}
	if ctx.Err() != nil {
		return nil, c.failed(ctx, netip.AddrPort{}, ErrCancelled, nil)
	}
	limit := c.limit()
	if c.peer != nil && c.peer.IP.IsValid() {
		limit = min(limit, dialTimeout) // it is one attempt
	}
	trying := lazyctx.New(ctx, c.asa.ctx, limit)
	defer trying.Release()
	if c.timeout < 0 { // the peer must not accept what nobody waits for
		code := c.sockErr
		if c.peer == nil {
			code = c.noneFound
		}
		return nil, c.failed(ctx, netip.AddrPort{}, code, errTimeout)
	}
	if c.peer == nil {
		return c.sendToAny(ctx, trying, raw)
	}
	targets, err := g.resolve(trying, *c.peer)
	if err != nil {
		return nil, c.failed(ctx, addressOf(*c.peer), ErrUnusableLocator, err)
	}
	if len(targets) == 1 {
		s, err := g.dialWith(raw)(trying, targets[0])
		if err == nil {
			err = c.sendBy(s, raw)
		}
		if err != nil {
			return nil, c.failed(ctx, targets[0], c.sockErr, err)
		}
		return s, nil
	}
	r := g.newReach(trying)
	defer r.stop()
	r.race.Add(targets...)
	if g.fast != nil {
		r.request = raw
	}
	return c.sendToFirst(ctx, r, raw)
}

// sendToFirst sends the message to the first that a reach connects to.
func (c *outgoing) sendToFirst(ctx context.Context, r *reach, raw []byte) (*stream, error) {
	for {
		s, err := r.next()
		if err != nil {
			return nil, c.failed(ctx, r.to, c.sockErr, err)
		}
		if err = c.sendBy(s, raw); err == nil {
			return s, nil
		}
		r.fail(r.at, err)
	}
}

// sendBy sends the message by a stream, unless it went with the opening. The stream is
// closed if that fails.
func (c *outgoing) sendBy(s *stream, raw []byte) error {
	if !s.sent {
		if err := s.send(raw, sendTimeout); err != nil {
			s.close()
			return err
		}
	}
	c.asa.g.trace(Sent, c.message, raw, s.Peer, s.Link)
	return nil
}

// failed names what came of a request, and with whom, as far as it is known.
func (c *outgoing) failed(ctx context.Context, to netip.AddrPort, code ErrorCode, err error) error {
	switch {
	case ctx.Err() != nil:
		code, err = ErrCancelled, context.Cause(ctx)
	case c.asa.check() != nil:
		code, err = ErrNoASA, c.asa.check()
	case c.asa.g.secure() != nil:
		code, err = ErrNoSecurity, c.asa.g.secure()
	}
	return failWith(c.op, c.objective.Name, to, code, err)
}

// addressOf returns the address of a locator, the zero AddrPort if it has none that can
// be.
func addressOf(l Locator) netip.AddrPort {
	if !l.IP.IsValid() || l.Port != int(uint16(l.Port)) {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(l.IP, uint16(l.Port))
}

// candidates are the peers of a request that are known, or are found while
// others are tried. They are raced: the first that connects gets the request.
// When none that is known has answered within a moment the network is asked,
// again and again until one does: a relay whose first answer was no good finds
// others when it is asked again.
type candidates struct {
	outgoing // a copy
	*reach
	of       map[netip.AddrPort]*candidate
	fresh    netip.AddrPort   // the only address of a peer that has just answered
	doubtful []netip.AddrPort // tried when others have had their chance
	chance   time.Time        // until then

	searched chan struct{} // closed when the search is over; nil: not begun
	over     bool          // it is, and its outcome was taken
	failure  error         // of the search: there is nothing more to be done
	silence  error         // of the search: the question did not get out
	unusable error         // why a locator cannot be connected to
	useless  Locator       // which
}

// candidate is a peer.
type candidate struct {
	locator Locator
	left    int // addresses that may be of use
}

// sendToAny sends the message to the first peer that can be connected to.
func (c *outgoing) sendToAny(ctx, trying context.Context, raw []byte) (*stream, error) {
	x := &candidates{outgoing: *c, reach: c.asa.g.newReach(trying), of: make(map[netip.AddrPort]*candidate)}
	x.more, x.lost = x.findMore, x.giveUp
	if x.g.fast != nil {
		x.request, x.early = raw, x.mayGoEarly
	}
	defer func() {
		x.end()
		c.reached, c.reachedAt, c.value = x.reached, x.reachedAt, x.value
	}()
	for _, l := range x.g.knownLocators(c.objective.Name, c.asa) {
		x.offer(l)
	}
	for {
		s, err := x.next()
		switch {
		case err != nil:
			return nil, x.explain(ctx, err)
		case x.failure != nil:
			return nil, wrap(c.op, c.objective.Name, x.failure)
		case s == nil, s.session != 0: // a locator suffices, or the answer is there
			return s, nil
		}
		if err = c.sendBy(s, raw); err == nil {
			x.reached, x.reachedAt = &x.of[x.at].locator, x.at
			x.g.doubts.remove(c.objective.Name, x.at)
			return s, nil
		}
		x.fail(x.at, err)
	}
}

// mayGoEarly reports whether the message may go with the opening of a stream to a peer:
// one that was connected to lately, or has just answered the search and has one address,
// if nobody else is known. While the search is one in rapid mode, those who hear it have
// the request already, and one of them may be this peer.
func (x *candidates) mayGoEarly(to netip.AddrPort) bool {
	if x.rapid != nil && x.searched != nil {
		return false
	}
	return to == x.fresh && len(x.of) == 1 || x.g.recent.has(to)
}

// foundNow takes what the search has found so far.
func (x *candidates) foundNow(all []Locator) {
	for _, l := range all {
		x.offer(l)
	}
	if len(all) == 1 && all[0].IP.IsValid() && !all[0].Diverted {
		if targets, err := x.g.resolve(x.ctx, all[0]); err == nil { // which does not block
			x.fresh = targets[0]
		}
	}
}

// end ends the search and all attempts, and waits for the search.
func (x *candidates) end() {
	x.stop()
	if x.searched != nil {
		<-x.searched
	}
}

// offer adds a peer.
func (x *candidates) offer(l Locator) {
	if x.suffices(l) {
		x.reached, x.done = &l, true
		return
	}
	if l.IP.IsValid() {
		targets, err := x.g.resolve(x.ctx, l) // which does not block
		x.add(l, targets, err)
		return
	}
	x.pending++
	lookUp := func() {
		targets, err := x.g.resolve(x.ctx, l)
		x.post(func() {
			x.pending--
			x.add(l, targets, err)
		})
	}
	if !x.g.spawn(lookUp) {
		x.pending--
	}
}

// add adds the addresses of a peer, those that were of no use lately in
// reserve.
func (x *candidates) add(l Locator, targets []netip.AddrPort, err error) {
	name := x.objective.Name
	if err != nil {
		x.unusable, x.useless = err, l
		x.g.lose(name, l)
		return
	}
	c := &candidate{locator: l}
	for _, to := range targets {
		if x.of[to] != nil || len(x.of) == maxTargets {
			continue
		}
		x.of[to] = c
		c.left++
		if x.g.doubts.has(name, to) {
			x.doubtful = append(x.doubtful, to)
		} else {
			x.race.Add(to)
		}
	}
}

// giveUp takes the news that an address is of no use. A peer that has no other
// is forgotten.
func (x *candidates) giveUp(to netip.AddrPort, _ error) {
	name := x.objective.Name
	x.g.doubt(name, to)
	c := x.of[to]
	if c.left--; c.left == 0 {
		x.g.lose(name, c.locator)
	}
}

// findMore searches the network, once. Who is in doubt is tried when the search
// has had time for a round, or is over.
func (x *candidates) findMore(now time.Time) time.Time {
	if x.searched == nil {
		x.search(now)
	}
	switch {
	case len(x.doubtful) == 0:
		return time.Time{}
	case x.over || !now.Before(x.chance):
		x.race.Add(x.doubtful...)
		x.doubtful = nil
		return time.Time{}
	}
	return x.chance
}

// search begins the search.
func (x *candidates) search(now time.Time) {
	x.chance = now.Add(min(discoveryTime(x.objective), x.patience()/2))
	x.searched = make(chan struct{})
	q := &query{
		asa: x.asa, objective: x.objective, timeout: x.patience(), rapid: x.rapid,
		found: func(all []Locator) { x.post(func() { x.foundNow(all) }) },
	}
	x.pending++
	searching := func() {
		defer close(x.searched)
		found, err := x.g.search(x.ctx, q)
		if !x.post(func() { x.finish(found, err) }) && found.rapid != nil {
			x.g.sessions.End(session.Key{ID: found.rapid.session})
			found.rapid.close()
		}
	}
	if !x.g.spawn(searching) {
		close(x.searched)
		x.finish(results{}, errClosed)
	}
}

// finish takes the outcome of the search.
func (x *candidates) finish(found results, err error) {
	x.over = true
	x.pending--
	switch {
	case Code(err) == ErrSockErr:
		x.silence = err
	case err != nil:
		x.failure, x.done = err, true
	case found.rapid != nil:
		x.won = found.rapid
	}
}

// explain names why there is no connection.
func (x *candidates) explain(ctx context.Context, err error) error {
	switch {
	case x.to.IsValid():
		return x.failed(ctx, x.to, x.sockErr, err)
	case x.unusable != nil:
		return x.failed(ctx, addressOf(x.useless), ErrUnusableLocator, x.unusable)
	}
	return x.failed(ctx, netip.AddrPort{}, x.noneFound, x.silence)
}

// doubt says that the peer which was reached had no use for the request: the
// next one without a peer is for others, if there are any.
func (c *outgoing) doubt(err error) {
	if c.reached == nil {
		return
	}
	switch Code(err) {
	case ErrNoPeer, ErrNoNegReply, ErrNoListener, ErrNoSynchReply:
		c.asa.g.doubt(c.objective.Name, c.reachedAt)
		c.asa.g.lose(c.objective.Name, *c.reached)
	}
}

// usualSize is enough room for most messages.
const usualSize = 128

// encode returns a unicast message as it is sent. The error has a code:
// ErrTooLong for one longer than Config.MaxMessage, or that of unsendable.
func (g *Instance) encode(m wire.Message) ([]byte, error) {
	raw, err := m.Append(make([]byte, 0, usualSize))
	if err != nil {
		return nil, &withCode{unsendable(err), err}
	}
	if len(raw) > g.limits.Bytes {
		return nil, &withCode{ErrTooLong, fmt.Errorf("%v of %d bytes, the limit is %d", m.Type(), len(raw), g.limits.Bytes)}
	}
	return raw, nil
}

// unsendable returns the code for a message that cannot be encoded: ErrCBORFail
// for a value that is nested too deep in it, else ErrUnspec.
func unsendable(err error) ErrorCode {
	if errors.Is(err, wire.ErrTooDeep) || errors.Is(err, wire.ErrMalformed) {
		return ErrCBORFail
	}
	return ErrUnspec
}
