package grasp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/negotiation"
	"github.com/go-grasp/grasp/internal/registry"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// DefaultTimeout is the timeout of every call that is given 0
// (GRASP_DEF_TIMEOUT, RFC 8990 section 2.6). Discover has its own rule.
const DefaultTimeout = 60 * time.Second

const opNegotiate = "negotiate"

// ReqNegotiate asks a peer to agree to the value of an objective
// (request_negotiate of RFC 8991 section 2.3.5, M_REQ_NEG). The ASA must have
// registered the objective, with Neg. If peer is nil, ReqNegotiate takes a known
// peer, or discovers one in a round trip or two.
//
// It returns
//   - nil, the objective, nil: the peer accepted, the session is over;
//   - a session, the peer's counter-offer, nil: go on with that objective,
//     whose loop count is the one received;
//   - nil, the zero Objective and an error: [*DeclinedError] if the peer
//     declined.
//
// The addresses of a name are raced (RFC 8305 section 5), and so are the locators of
// all peers that are known or found: they are tried one after the other, 250 ms apart
// or less if there are many, and the first that connects gets the request. If no known
// peer connects within 250 ms, the network is asked. Peers that were of no use lately
// are tried last.
//
// It blocks for at most the timeout until the request is sent, and again for at most
// the timeout until the peer answers, or until the context ends. For sending, 0 means
// 5 s, and without a peer 700 ms per loop count more for the discovery. For the
// answer, 0 means 60 s, and an M_WAIT from the peer replaces the timeout.
//
// Errors: [ErrNotBoth], [ErrNoASA], [ErrNotYourObj], [ErrNotNeg],
// [ErrNoSecurity], [ErrCBORFail], [ErrTooLong], [ErrNoDiscReply],
// [ErrUnusableLocator], [ErrSockErrNegRq], [ErrDeclined], [ErrNoPeer],
// [ErrInvalidNeg], [ErrInvalidEnd], [ErrNoNegReply], [ErrNoValidStep],
// [ErrCancelled].
func (a *ASA) ReqNegotiate(ctx context.Context, o Objective, peer *Locator, timeout time.Duration) (*Session, Objective, error) {
	c := &outgoing{asa: a, objective: o, peer: peer, timeout: timeout}
	s, sent, err := c.openSession(ctx, a.g.objectives.isRapid(o.Name))
	if err != nil {
		return nil, Objective{}, err
	}
	s, answer, err := s.await(ctx, opNegotiate, timeout, sent)
	c.doubt(err)
	return s, answer, err
}

// OpenSession is ReqNegotiate without waiting for the answer: the Python
// API's req_negotiate with noloop=True. The session is meant for Send and
// Recv. The peer gets the session from ListenNegotiate, with the objective's value as
// a first message. OpenSession blocks and fails like ReqNegotiate until the request is
// sent.
func (a *ASA) OpenSession(ctx context.Context, o Objective, peer *Locator, timeout time.Duration) (*Session, error) {
	c := &outgoing{asa: a, objective: o, peer: peer, timeout: timeout}
	s, _, err := c.openSession(ctx, false)
	return s, err
}

// openSession sends the request. It returns the session and the objective as it
// was sent.
func (c *outgoing) openSession(ctx context.Context, rapid bool) (*Session, wire.Objective, error) {
	a, o := c.asa, c.objective
	if err := a.checkNegotiation(opNegotiate, o); err != nil {
		return nil, wire.Objective{}, err
	}
	asked, err := o.encode()
	if err != nil {
		return nil, wire.Objective{}, wrap(opNegotiate, o.Name, err)
	}
	id := a.g.sessions.Begin()
	c.op, c.noneFound, c.sockErr = opNegotiate, ErrNoDiscReply, ErrSockErrNegRq
	c.message = &wire.ReqNeg{SessionID: id, Objective: asked}
	if rapid {
		c.rapid = asked.Value
	}
	st, err := c.send(ctx)
	if err != nil {
		a.g.sessions.End(session.Key{ID: id})
		return nil, wire.Objective{}, err
	}
	if st.session != 0 {
		a.g.sessions.End(session.Key{ID: id})
		id = st.session
	}
	s := a.g.newSession(id, netip.Addr{}, &asked)
	s.stream = st
	s.asa.Store(a)
	a.g.sessions.Attach(s.key, s)
	if err := a.check(); err != nil {
		s.finish() // deregistered meanwhile
		return nil, wire.Objective{}, failWith(opNegotiate, o.Name, s.stream.Peer, ErrNoASA, err)
	}
	return s, asked, nil
}

// checkNegotiation does the checks of calls for negotiation, in order.
func (a *ASA) checkNegotiation(op string, o Objective) error {
	if err := a.checkNegotiable(op, o); err != nil {
		return err
	}
	if err := a.g.secure(); err != nil {
		return fail(op, o.Name, ErrNoSecurity, err)
	}
	return nil
}

func (a *ASA) checkNegotiable(op string, o Objective) error {
	if err := a.checkOwned(op, o); err != nil {
		return err
	}
	if !o.Neg {
		return fail(op, o.Name, ErrNotNeg, nil)
	}
	return nil
}

// checkOwned checks what every call on an objective of the ASA's own checks.
func (a *ASA) checkOwned(op string, o Objective) error {
	if err := o.check(); err != nil {
		return wrap(op, o.Name, err)
	}
	if err := a.check(); err != nil {
		return fail(op, o.Name, ErrNoASA, err)
	}
	return wrap(op, o.Name, a.g.objectives.owned(a, o.Name, func(r *registration) error {
		if o.Neg && r.flags&wire.FlagNeg == 0 {
			return ErrNotNeg
		}
		if o.Synch && r.flags&wire.FlagSynch == 0 {
			return ErrNotSynch
		}
		return nil
	}))
}

// ListenNegotiate waits for a request to negotiate an objective that the ASA has
// registered with Neg, and returns a session and the objective that the peer sent.
// From the first call on the objective can be discovered. Call it again for the next
// request. Requests that come meanwhile are queued, up to Config.Backlog; further ones
// are refused by closing. Several goroutines may wait for one objective.
//
// It blocks until a request comes, the context ends, StopNegotiate or
// DeregisterObj is called ([ErrStopped]) or the ASA is gone ([ErrNoASA]).
//
// [ErrIDClash] tells a listener of a request that was dropped because its
// session ID is in use; listening goes on with the next call. Further errors:
// [ErrNotBoth], [ErrNotYourObj], [ErrNotNeg], [ErrNoSecurity], [ErrCancelled].
func (a *ASA) ListenNegotiate(ctx context.Context, o Objective) (*Session, Objective, error) {
	const op = "listen for negotiation of"
	if err := a.checkNegotiation(op, o); err != nil {
		return nil, Objective{}, err
	}
	if ctx.Err() != nil { // even if a request waits
		return nil, Objective{}, fail(op, o.Name, ErrCancelled, context.Cause(ctx))
	}
	var queue *backlog
	err := a.g.objectives.owned(a, o.Name, func(r *registration) error {
		if r.backlog == nil {
			r.backlog = newBacklog(a.g.cfg.Backlog)
		}
		queue = r.backlog
		queue.Start(a)
		return nil
	})
	if err != nil {
		return nil, Objective{}, wrap(op, o.Name, err)
	}
	// Drain and lockDown either see that the ASA listens, or are seen here.
	if a.draining.Load() {
		stopListening(queue, a, ErrStopped)
		return nil, Objective{}, fail(op, o.Name, ErrStopped, errDraining)
	}
	if err := a.g.secure(); err != nil {
		stopListening(queue, a, &withCode{ErrNoSecurity, err})
		return nil, Objective{}, fail(op, o.Name, ErrNoSecurity, err)
	}
	a.g.dropStale(queue)
	r, err := queue.Get(ctx, a, a.gone)
	switch {
	case errors.Is(err, registry.ErrInterrupted):
		return nil, Objective{}, fail(op, o.Name, ErrCancelled, context.Cause(ctx))
	case err != nil:
		return nil, Objective{}, wrap(op, o.Name, registryError(err))
	}
	if err := a.check(); err != nil {
		r.session.finish() // deregistered meanwhile
		return nil, Objective{}, fail(op, o.Name, ErrNoASA, err)
	}
	return r.session, decodeObjective(&r.objective), nil
}

// StopNegotiate ends listening for negotiation requests (stop_listen_negotiate of RFC
// 8991): the ASA's calls that wait return [ErrStopped], and requests are refused by
// closing, unless another ASA listens. Sessions go on. It does not block. The next
// ListenNegotiate starts listening again; to end a loop of such calls, cancel their
// context.
//
// Errors: [ErrNotBoth], [ErrNoASA], [ErrNotYourObj].
func (a *ASA) StopNegotiate(o Objective) error {
	const op = "stop negotiation of"
	if err := a.checkOwned(op, o); err != nil {
		return err
	}
	stopListening(a.g.objectives.backlogOf(o.Name), a, ErrStopped)
	return nil
}

// backlog is the queue of requests for one objective.
type backlog = registry.Backlog[*ASA, request]

// newBacklog returns a queue. A session belongs to an ASA as soon as the request leaves the
// queue, even if the call that gets it has not returned: Drain and Deregister reckon with
// it.
func newBacklog(limit int) *backlog {
	return registry.NewBacklog(limit, func(a *ASA, r request) { r.session.asa.Store(a) })
}

// request is what a listener gets: a session, and the objective that its initiator
// sent.
type request struct {
	session   *Session
	objective wire.Objective
}

// staleOf takes out of a queue the requests that have waited for too long, through a time
// that the machine slept or none.
func staleOf(queue *backlog, slept time.Duration) (stale []*Session) {
	for _, r := range queue.Stale(time.Now().Add(min(slept-DefaultTimeout, 0))) {
		stale = append(stale, r.session)
	}
	return stale
}

// dropStale refuses requests that have waited for too long.
func (g *Instance) dropStale(queue *backlog) {
	for _, s := range staleOf(queue, 0) {
		g.refuseRequest(s, ReasonStale)
	}
}

// refuseRequest ends the session of a request that was not handed out.
func (g *Instance) refuseRequest(s *Session, reason Reason) {
	g.drop(Event{
		Reason: reason, Peer: s.Source(), Link: s.stream.Link,
		Message: wire.TypeReqNeg.String(), Objective: s.name, SessionID: s.key.ID,
	})
	s.finish()
}

// handleRequest hands a request for negotiation to whoever listens. RFC 8990
// section 2.8.6: if nobody does, the connection is closed at once.
func (g *Instance) handleRequest(st *stream, m *wire.ReqNeg) {
	queue := g.objectives.backlogOf(m.Objective.Name)
	if !queue.Listening() || m.Objective.Flags&wire.FlagNeg == 0 {
		g.dropFrom(st, m, ReasonNoListener, nil)
		st.close()
		return
	}
	if err := negotiation.Check(&m.Objective); err != nil {
		g.refuse(st, &wire.Error{
			Type: m.Type(), HasType: true, SessionID: m.SessionID, HasSession: true,
			Err: fmt.Errorf("%w: %w", wire.ErrInvalid, err),
		})
		return
	}
	now := g.now()
	g.dropStale(queue)
	s := g.newSession(m.SessionID, st.Peer.Addr(), &m.Objective)
	s.stream = st
	switch err := g.sessions.Accept(s.key, st.holder, s, st.local); {
	case errors.Is(err, session.ErrInUse):
		// The request is discarded, the peer runs into its timeout.
		g.dropFrom(st, m, ReasonIDClash, nil)
		queue.Tell(ErrIDClash)
		g.linger(st)
		return
	case err != nil:
		reason := ReasonTooManySessions
		if errors.Is(err, session.ErrPeerFull) {
			reason = ReasonPeerSessions
		}
		g.dropFrom(st, m, reason, nil)
		st.close()
		return
	}
	if !g.streams.claim(st) {
		s.finish() // it was evicted meanwhile, which is counted
		return
	}
	r := request{session: s, objective: m.Objective}
	if refused, ok := queue.Put(st.holder, r, now); ok {
		g.refuseRequest(refused.session, ReasonBacklogFull)
	}
}

// linger keeps a stream open, and ignores what comes, until the peer gives up. It
// returns at once.
func (g *Instance) linger(st *stream) {
	ignore := func() {
		defer st.close()
		_ = st.SetReadDeadline(time.Now().Add(DefaultTimeout))
		_, _ = io.Copy(io.Discard, st)
	}
	if !g.spawn(ignore) {
		st.close()
	}
}
