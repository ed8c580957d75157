package grasp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/negotiation"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// Session is one negotiation with one peer: what RFC 8991 calls a session_handle. The
// initiator gets one from ReqNegotiate, the responder from ListenNegotiate; then the
// two sides call NegotiateStep, NegotiateWait or EndNegotiate in turn.
//
// A session ends with EndNegotiate, SendInvalid or Close, with the peer's M_END or
// M_INVALID, with a broken connection, a timeout or a cancelled context. Every call
// after that returns [ErrNoSession], which can be ignored if it comes from
// EndNegotiate. The methods may be called from any goroutine, but only one of
// NegotiateStep and Recv at a time.
type Session struct {
	g      *Instance
	key    session.Key
	name   string // of the objective
	stream *stream
	asa    atomic.Pointer[ASA] // nil while its request is queued

	mu       sync.Mutex // guards all following fields
	state    negotiation.Session
	released bool // its stream and its place in the table
}

// newSession returns a session that begins with a request for an objective. The
// initiator is the zero Addr for one that this instance begins.
func (g *Instance) newSession(id uint32, initiator netip.Addr, asked *wire.Objective) *Session {
	lim := negotiation.Limits{Message: g.limits.Bytes, Waits: g.cfg.MaxWaits, Wait: g.cfg.MaxWait}
	return &Session{
		g: g, key: session.Key{ID: id, Initiator: initiator}, name: asked.Name,
		state: negotiation.New(lim, id, asked),
	}
}

// Source returns the address of the peer: id_source in the Python API. It is
// the zero AddrPort for no session.
func (s *Session) Source() netip.AddrPort {
	if s == nil {
		return netip.AddrPort{}
	}
	return s.stream.Peer
}

// Identity returns who the peer has proven to be, in the terms of the plane:
// package acp/tlsplane takes a name from its certificate. It is "" where nobody
// proves that, within this instance, and for no session.
func (s *Session) Identity() string {
	if s == nil {
		return ""
	}
	return s.stream.Identity
}

// owner returns the ASA that has the session, nil while the request is queued.
func (s *Session) owner() *ASA { return s.asa.Load() }

// finish ends the session on this side and releases what it holds. It returns
// false if that was done before.
func (s *Session) finish() bool {
	s.mu.Lock()
	s.state.Close()
	released := s.released
	s.released = true
	s.mu.Unlock()
	if !released {
		s.g.sessions.End(s.key)
		s.stream.close()
		s.g.ended.broadcast()
	}
	return !released
}

// check does what every call on a session checks first. There is no session
// after the peer accepted, so it may be nil.
func (s *Session) check(op string) error {
	if s == nil {
		return fail(op, "", ErrNoSession, nil)
	}
	if err := s.owner().check(); err != nil {
		return s.fail(op, ErrNoASA, err)
	}
	if err := s.g.secure(); err != nil {
		return s.fail(op, ErrNoSecurity, err)
	}
	if !s.lives() {
		return s.fail(op, ErrNoSession, nil)
	}
	return nil
}

func (s *Session) fail(op string, code ErrorCode, cause error) error {
	return failWith(op, s.name, s.stream.Peer, code, cause)
}

// await waits for the peer's answer to what was sent last.
func (s *Session) await(ctx context.Context, op string, timeout time.Duration, sent wire.Objective) (*Session, Objective, error) {
	deadline, err := s.startWait(op, timeout)
	for err == nil {
		var m wire.Message
		var out negotiation.Output
		if m, err = s.stream.message(ctx, deadline); err == nil {
			s.g.trace(Received, m, s.stream.raw(), s.stream.Peer, s.stream.Link)
			out = s.received(m)
		} else if out = s.expired(err); out.What != negotiation.Waiting {
			return nil, Objective{}, s.broken(op, err)
		}
		switch out.What {
		case negotiation.Waiting:
			deadline, err = out.Deadline, nil
			if out.Shortened {
				s.g.drop(eventOf(m, Event{Reason: ReasonLongWait, Peer: s.stream.Peer, Link: s.stream.Link, Objective: s.name}))
			}
		case negotiation.Offered:
			return s, decodeObjective(out.Objective), nil
		case negotiation.Accepted:
			s.finish()
			return nil, decodeObjective(&sent), nil
		case negotiation.Declined:
			s.finish()
			return nil, Objective{}, &DeclinedError{Objective: s.name, Peer: s.stream.Peer, Reason: out.Reason}
		case negotiation.Failed:
			err = s.failed(op, m, out.Err)
		}
	}
	return nil, Objective{}, err
}

// startWait begins to wait for the peer and returns until when.
func (s *Session) startWait(op string, timeout time.Duration) (time.Time, error) {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	now := s.g.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	deadline, err := s.state.Await(now, timeout)
	return deadline, s.refused(op, err)
}

func (s *Session) received(m wire.Message) negotiation.Output {
	now := s.g.now() // from which on an M_WAIT counts
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Receive(now, m)
}

// expired returns what follows from a timeout of reading. The wait goes on if the
// timer was early.
func (s *Session) expired(err error) negotiation.Output {
	if readCode(err) != ErrNoNegReply || !errors.Is(err, os.ErrDeadlineExceeded) {
		return negotiation.Output{What: negotiation.Failed}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Expired(time.Now())
}

// failed ends a session because of a message of the peer's, and says why.
func (s *Session) failed(op string, m wire.Message, cause error) error {
	switch {
	case errors.Is(cause, negotiation.ErrEnded): // by another call, meanwhile
		return s.fail(op, ErrNoSession, nil)
	case errors.Is(cause, negotiation.ErrWrongID), errors.Is(cause, negotiation.ErrTooManyWaits):
		return s.broken(op, &wire.Error{Type: m.Type(), HasType: true, Err: cause})
	}
	code, reason := ErrNoValidStep, ReasonUnexpected
	if m.Type() == wire.TypeNegotiate {
		code, reason = ErrInvalidNeg, ReasonInvalid
	} else {
		cause = errSent(m)
	}
	if m.Type() != wire.TypeInvalid { // which was heeded
		s.g.dropFrom(s.stream, m, reason, cause)
	}
	s.finish()
	return s.fail(op, code, cause)
}

// broken ends a session that could not be read and says why.
func (s *Session) broken(op string, err error) error {
	code := readCode(err)
	if code == ErrCBORFail || code == ErrNoValidStep || code == ErrInvalidEnd {
		s.g.invalid(s.stream, err)
	}
	return s.over(op, code, err)
}

// over ends a session because of a failure to read, unless it was ended before, and
// says why it is over.
func (s *Session) over(op string, code ErrorCode, err error) error {
	if !s.finish() && code != ErrCancelled {
		code = ErrNoSession // ended by another call, or with its ASA
	}
	if insecure := s.g.secure(); insecure != nil {
		code, err = ErrNoSecurity, insecure
	}
	return s.fail(op, code, err)
}

// readCode returns the code of a failure to read an answer.
func readCode(err error) ErrorCode {
	var bad *wire.Error
	switch {
	case errors.Is(err, ErrCancelled):
		return ErrCancelled
	case errors.Is(err, io.EOF):
		return ErrNoPeer
	case errors.Is(err, wire.ErrNoOption):
		return ErrInvalidEnd
	case errors.Is(err, acp.ErrForeign), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrTruncated),
		errors.Is(err, wire.ErrTooLong), errors.Is(err, wire.ErrTooDeep), errors.Is(err, wire.ErrTooMany):
		return ErrCBORFail
	case errors.As(err, &bad):
		return ErrNoValidStep
	case errors.Is(err, net.ErrClosed):
		return ErrNoSession
	default:
		return ErrNoNegReply
	}
}

// NegotiateStep sends the next offer (M_NEGOTIATE) and waits for the peer's
// answer, like [ASA.ReqNegotiate] and with the same results. The objective must be
// the one received last, with a new value; NegotiateStep decrements its loop count.
// Timeout 0 means 60 s.
//
// [ErrLoopExhausted] says that the loop count would be 0: nothing is sent, and
// the session goes on until EndNegotiate or the peer's timeout. This and every
// other error that leaves the session alive comes with the session.
//
// Further errors: [ErrNotBoth], [ErrNoASA], [ErrNotYourObj], [ErrNotNeg],
// [ErrNoSecurity], [ErrNoSession], [ErrInvalidNeg] (another objective than the
// session's), [ErrUnspec] (another call waits for the peer), [ErrCBORFail],
// [ErrTooLong], [ErrSockErrNegStep], and those of ReqNegotiate's answers.
func (s *Session) NegotiateStep(ctx context.Context, o Objective, timeout time.Duration) (*Session, Objective, error) {
	next, answer, err := s.step(ctx, o, timeout)
	if err != nil && next == nil && s.lives() {
		next = s
	}
	return next, answer, err
}

// lives reports whether the session has not ended on this side.
func (s *Session) lives() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.state.Ended()
}

// step does the work of NegotiateStep.
func (s *Session) step(ctx context.Context, o Objective, timeout time.Duration) (*Session, Objective, error) {
	const op = "negotiate step"
	if s == nil {
		return nil, Objective{}, s.check(op)
	}
	if err := s.owner().checkNegotiation(op, o); err != nil {
		return nil, Objective{}, err
	}
	if err := s.check(op); err != nil {
		return nil, Objective{}, err
	}
	s.mu.Lock()
	err := s.state.MayOffer(o.Name, o.LoopCount)
	s.mu.Unlock()
	if errors.Is(err, negotiation.ErrLoopExhausted) {
		return s, o, s.refused(op, err)
	} else if err != nil {
		return nil, Objective{}, s.refused(op, err)
	}
	sent, err := o.encode()
	if err != nil {
		return nil, Objective{}, s.fail(op, Code(err), err)
	}
	switch { // the peer must not accept what nobody waits for
	case ctx.Err() != nil:
		s.finish()
		return nil, Objective{}, s.fail(op, ErrCancelled, context.Cause(ctx))
	case timeout < 0:
		s.finish()
		return nil, Objective{}, s.fail(op, ErrNoNegReply, errTimeout)
	}
	m, err := s.say(op, ErrSockErrNegStep, func(n *negotiation.Session) (negotiation.Sending, error) { return n.Offer(sent) })
	if err != nil {
		return nil, Objective{}, err
	}
	return s.await(ctx, op, timeout, m.(*wire.Negotiate).Objective)
}

// say sends a message of the negotiation. If it cannot be sent, the session is over.
func (s *Session) say(op string, sockErr ErrorCode, what func(*negotiation.Session) (negotiation.Sending, error)) (wire.Message, error) {
	s.mu.Lock()
	out, err := what(&s.state)
	s.mu.Unlock()
	if err != nil {
		return nil, s.refused(op, err)
	}
	if err := s.stream.send(out.Bytes, sendTimeout); err != nil {
		if !s.finish() {
			sockErr = ErrNoSession
		}
		return nil, s.fail(op, sockErr, err)
	}
	s.g.trace(Sent, out.Message, out.Bytes, s.stream.Peer, s.stream.Link)
	return out.Message, nil
}

// refused returns the error for a call that the state of the negotiation does not
// allow. It returns nil for nil.
func (s *Session) refused(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, negotiation.ErrEnded):
		return s.fail(op, ErrNoSession, nil)
	case errors.Is(err, negotiation.ErrLoopExhausted):
		return s.fail(op, ErrLoopExhausted, nil)
	case errors.Is(err, negotiation.ErrOther):
		return s.fail(op, ErrInvalidNeg, err)
	case errors.Is(err, negotiation.ErrTooLong):
		return s.fail(op, ErrTooLong, err)
	default:
		return s.fail(op, unsendable(err), err)
	}
}

// NegotiateWait asks the peer for more time (M_WAIT): the peer's call that waits for
// this side goes on waiting for this long from now (0: 60 s). NegotiateWait itself does
// not wait.
//
// Errors: [ErrNoASA], [ErrNoSecurity], [ErrNoSession], [ErrUnspec] (a time
// that 32 bits of milliseconds cannot hold), [ErrSockErrWait].
func (s *Session) NegotiateWait(timeout time.Duration) error {
	const op = "negotiate wait"
	if err := s.check(op); err != nil {
		return err
	}
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	wait, err := milliseconds(timeout)
	if err != nil {
		return s.fail(op, ErrUnspec, err)
	}
	_, err = s.say(op, ErrSockErrWait, func(n *negotiation.Session) (negotiation.Sending, error) { return n.Delay(wait) })
	return err
}

// EndNegotiate ends the negotiation (M_END): with accept it accepts the peer's last
// offer; otherwise it declines it with a reason, which may be empty. It does not wait
// for the peer. While another call waits for the peer's answer there is no offer to
// accept, but the negotiation can be ended by declining.
//
// A redundant call returns [ErrNoSession], which is harmless. Other errors:
// [ErrNoASA], [ErrNoSecurity], [ErrTooLong], [ErrUnspec] (to accept while another call
// waits for the peer, or a reason that is not UTF-8; the session goes on), [ErrSockErrEnd].
func (s *Session) EndNegotiate(accept bool, reason string) error {
	const op = "end negotiate"
	if err := s.check(op); err != nil {
		return err
	}
	return s.sayLast(op, func(n *negotiation.Session) (negotiation.Sending, error) { return n.End(accept, reason) })
}

// SendInvalid tells the peer that its last message made no sense (M_INVALID), with
// info that helps to find out why, and ends the session. The peer's call fails with
// [ErrNoValidStep].
//
// Errors: [ErrNoASA], [ErrNoSecurity], [ErrNoSession], [ErrCBORFail],
// [ErrTooLong], [ErrSockErrEnd].
func (s *Session) SendInvalid(info any) error {
	const op = "send invalid"
	if err := s.check(op); err != nil {
		return err
	}
	raw, err := encodeValue(info)
	if err != nil {
		return s.fail(op, Code(err), err)
	}
	return s.sayLast(op, func(n *negotiation.Session) (negotiation.Sending, error) { return n.Refuse(raw) })
}

// sayLast sends the message that ends the session. One that is refused before it
// is sent leaves the session as it is.
func (s *Session) sayLast(op string, what func(*negotiation.Session) (negotiation.Sending, error)) error {
	if _, err := s.say(op, ErrSockErrEnd, what); err != nil {
		return err
	}
	s.finish()
	return nil
}

// Close ends the session on this side without a message: the peer's call fails with
// [ErrNoPeer]. It is for sessions that use Send and Recv, and for giving up. It may be
// called more than once, and always returns nil.
func (s *Session) Close() error {
	if s != nil {
		s.finish()
	}
	return nil
}

// Send sends any value as a bare CBOR item (gsend of the Python API), up to
// Config.MaxTransfer bytes. It is for sessions that use Send and Recv by turns instead of
// negotiation steps. It blocks while the peer does not read, for at most 60 s.
//
// Errors: [ErrNoASA], [ErrNoSecurity], [ErrNoSession], [ErrCBORFail],
// [ErrTooLong], [ErrSockErr].
func (s *Session) Send(v any) error {
	const op = "send"
	if err := s.check(op); err != nil {
		return err
	}
	raw, err := encodeValueOf(v, s.g.cfg.MaxTransfer)
	if err != nil {
		return s.fail(op, Code(err), err)
	}
	if err := s.stream.send(raw, DefaultTimeout); err != nil {
		code := ErrSockErr
		if !s.finish() {
			code = ErrNoSession // ended by another call, or with its ASA
		}
		return s.fail(op, code, err)
	}
	return nil
}

// Recv waits for what the peer sends with Send (grecv of the Python API), for
// at most the timeout (0: 60 s) or until the context ends. A failure ends the
// session.
//
// Errors: [ErrNoASA], [ErrNoSecurity], [ErrNoSession], [ErrUnspec] (another call waits
// for the peer), [ErrNoReply] (timeout), [ErrNoPeer] (the peer closed), [ErrCBORFail],
// [ErrCancelled].
func (s *Session) Recv(ctx context.Context, timeout time.Duration) (any, error) {
	const op = "receive"
	if err := s.check(op); err != nil {
		return nil, err
	}
	deadline, err := s.hear(op, timeout)
	if err != nil {
		return nil, err
	}
	defer s.rest()
	s.stream.setLimits(s.g.cfg.transfers())
	defer s.stream.setLimits(s.g.limits)
	raw, err := s.stream.next(ctx, deadline)
	if err == nil {
		return decodeValue(raw), nil
	}
	code := readCode(err)
	switch code {
	case ErrCBORFail:
		s.g.drop(Event{Reason: reasonOf(err), Peer: s.stream.Peer, Link: s.stream.Link, Objective: s.name, SessionID: s.key.ID, Err: err})
	case ErrNoNegReply:
		code = ErrNoPeer
		if errors.Is(err, os.ErrDeadlineExceeded) {
			code = ErrNoReply
		}
	}
	return nil, s.over(op, code, err)
}

// hear begins to wait for something that is no message, and returns until when.
func (s *Session) hear(op string, timeout time.Duration) (time.Time, error) {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	deadline := s.g.now().Add(timeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	return deadline, s.refused(op, s.state.Hear())
}

// rest ends what hear began.
func (s *Session) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Rest()
}
