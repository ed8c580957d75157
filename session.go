package grasp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// Session is one negotiation with one peer: what RFC 8991 calls a
// session_handle. ReqNegotiate gives one to the initiator, ListenNegotiate to
// the responder; then each side in turn calls NegotiateStep, NegotiateWait or
// EndNegotiate.
//
// A session ends with EndNegotiate, SendInvalid or Close, with the peer's M_END or
// M_INVALID, with a broken connection, a timeout or a cancelled context. Every
// call after that returns [ErrNoSession], which a second EndNegotiate may well
// get and ignore. The methods may be called from any goroutine, but only one
// of NegotiateStep and Recv at a time.
type Session struct {
	g      *Instance
	key    session.Key
	name   string // of the objective
	dry    bool   // a session is dry from its first message to its last, or not at all
	stream *stream

	waiting atomic.Bool // a call waits for the peer
	waits   int         // the M_WAIT that came; for the call that waits

	mu    sync.Mutex // guards all following fields
	asa   *ASA       // nil until a listener takes it
	ended bool
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

func (s *Session) owner() *ASA {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asa
}

// finish ends the session on this side. It returns false if it had ended.
func (s *Session) finish() bool {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	s.mu.Unlock()
	if !ended {
		s.g.sessions.End(s.key)
		s.stream.close()
	}
	return !ended
}

// check does what every call on a session checks first. There is no session
// after the peer accepted, so it may be nil.
func (s *Session) check(op string) error {
	if s == nil {
		return fail(op, "", ErrNoSession, nil)
	}
	s.mu.Lock()
	asa, ended := s.asa, s.ended
	s.mu.Unlock()
	if err := asa.check(); err != nil {
		return s.fail(op, ErrNoASA, err)
	}
	if err := s.g.secure(); err != nil {
		return s.fail(op, ErrNoSecurity, err)
	}
	if ended {
		return s.fail(op, ErrNoSession, nil)
	}
	return nil
}

func (s *Session) fail(op string, code ErrorCode, cause error) error {
	return failWith(op, s.name, s.stream.Peer, code, cause)
}

// await waits for the peer's answer to what was sent last.
func (s *Session) await(ctx context.Context, op string, timeout time.Duration, sent wire.Objective) (*Session, Objective, error) {
	m, err := s.receive(ctx, op, timeout)
	if err != nil {
		return nil, Objective{}, err
	}
	code := ErrNoValidStep
	var cause error
	switch m := m.(type) {
	case *wire.Negotiate:
		if m.Objective.Name == s.name && m.Objective.Flags&wire.FlagNeg != 0 {
			o := decodeObjective(&m.Objective)
			o.Dry = s.dry
			// A peer that never counts down must not go on for ever.
			o.LoopCount = min(o.LoopCount, sent.LoopCount)
			return s, o, nil
		}
		code, cause = ErrInvalidNeg, fmt.Errorf("it is about %q with flags %#x", m.Objective.Name, uint64(m.Objective.Flags))
	case *wire.End:
		s.finish()
		if !m.Accept {
			return nil, Objective{}, &DeclinedError{Objective: s.name, Peer: s.stream.Peer, Reason: m.Reason}
		}
		return nil, decodeObjective(&sent), nil
	case *wire.Invalid:
		cause = fmt.Errorf("the peer sent %v: %s", m.Type(), diagnose(m.Info))
	default:
		cause = fmt.Errorf("the peer sent %v", m.Type())
		s.g.dropFrom(s.stream, m, ReasonUnexpected, nil)
	}
	s.finish()
	return nil, Objective{}, s.fail(op, code, cause)
}

// receive waits for the next message of the session that is not M_WAIT. At
// any error the session is over.
func (s *Session) receive(ctx context.Context, op string, timeout time.Duration) (wire.Message, error) {
	if !s.waiting.CompareAndSwap(false, true) {
		return nil, s.fail(op, ErrUnspec, errBusy)
	}
	defer s.waiting.Store(false)
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	deadline := time.Now().Add(timeout)
	for {
		m, err := s.stream.message(ctx, deadline)
		if err != nil {
			return nil, s.broken(op, err)
		}
		s.g.trace(Received, m, s.stream.raw(), s.stream.Peer, s.stream.Link)
		wait, isWait := m.(*wire.Wait)
		switch {
		case wire.SessionID(m) != s.key.ID:
			return nil, s.broken(op, &wire.Error{Type: m.Type(), HasType: true, Err: errWrongSession})
		case isWait:
			// RFC 8990 section 2.8.9: the timer is restarted with the new value.
			if s.waits++; s.waits > s.g.cfg.MaxWaits {
				return nil, s.broken(op, &wire.Error{Type: m.Type(), HasType: true, Err: errTooManyWaits})
			}
			asked := time.Duration(wait.Wait) * time.Millisecond
			if asked > s.g.cfg.MaxWait {
				s.g.drop(eventOf(m, Event{Reason: ReasonLongWait, Peer: s.stream.Peer, Link: s.stream.Link, Objective: s.name}))
			}
			deadline = time.Now().Add(min(asked, s.g.cfg.MaxWait))
		default:
			return m, nil
		}
	}
}

var (
	errBusy         = errors.New("another call waits for the peer")
	errWrongSession = errors.New("wrong session ID")
	errTooManyWaits = errors.New("asked for more time too often")
)

// broken ends a session that could not be read and says why.
func (s *Session) broken(op string, err error) error {
	code := readCode(err)
	if code == ErrCBORFail || code == ErrNoValidStep || code == ErrInvalidEnd {
		s.g.invalid(s.stream, err)
	}
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
// answer, like [ASA.ReqNegotiate] and with the same results. The objective
// must be the one last received, with a new value: its loop count is sent less
// one. Timeout 0 means 60 s.
//
// [ErrLoopExhausted] says that the loop count would be 0: nothing is sent, and
// the session goes on until EndNegotiate or the peer's timeout. This and every
// other error that leaves the session alive comes with the session.
//
// Further errors: [ErrNotBoth], [ErrNoASA], [ErrNotYourObj], [ErrNotNeg],
// [ErrNoSecurity], [ErrNoSession], [ErrInvalidNeg] (another objective than the
// session's), [ErrCBORFail], [ErrTooLong], [ErrSockErrNegStep], and those of
// ReqNegotiate's answers.
func (s *Session) NegotiateStep(ctx context.Context, o Objective, timeout time.Duration) (*Session, Objective, error) {
	next, answer, err := s.step(ctx, o, timeout)
	if err != nil && next == nil && s.lives() {
		next = s
	}
	return next, answer, err
}

// lives says that the session has not ended on this side.
func (s *Session) lives() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended
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
	if o.Name != s.name {
		return nil, Objective{}, s.fail(op, ErrInvalidNeg, fmt.Errorf("the session is about %q, not %q", s.name, o.Name))
	}
	if s.waiting.Load() {
		return nil, Objective{}, s.fail(op, ErrUnspec, errBusy)
	}
	// RFC 8990 section 2.8.7: the sender decrements the loop count, and MUST
	// NOT send 0.
	if o.LoopCount <= 1 {
		return s, o, s.fail(op, ErrLoopExhausted, nil)
	}
	o.LoopCount--
	o.Dry = s.dry
	sent, err := o.encode()
	if err != nil {
		return nil, Objective{}, s.fail(op, ErrCBORFail, err)
	}
	if err := s.send(op, &wire.Negotiate{SessionID: s.key.ID, Objective: sent}, ErrSockErrNegStep); err != nil {
		return nil, Objective{}, err
	}
	return s.await(ctx, op, timeout, sent)
}

// send sends a message of the session. If it cannot be sent the session is
// over.
func (s *Session) send(op string, m wire.Message, sockErr ErrorCode) error {
	raw, err := s.g.encode(m)
	if err != nil {
		return s.fail(op, Code(err), err)
	}
	if err := s.stream.send(raw, sendTimeout); err != nil {
		if !s.finish() {
			sockErr = ErrNoSession
		}
		return s.fail(op, sockErr, err)
	}
	s.g.trace(Sent, m, raw, s.stream.Peer, s.stream.Link)
	return nil
}

// NegotiateWait asks the peer for more time (M_WAIT): its call that waits for
// us will wait for this long from now (0: 60 s). It does not wait itself.
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
	return s.send(op, &wire.Wait{SessionID: s.key.ID, Wait: wait}, ErrSockErrWait)
}

// EndNegotiate ends the negotiation: the peer's last offer is accepted, or
// declined with a reason, which may be empty and is ignored with accept
// (M_END). It does not wait for the peer.
//
// A redundant call returns [ErrNoSession], which means no harm. Other errors:
// [ErrNoASA], [ErrNoSecurity], [ErrTooLong], [ErrUnspec] (a reason that is not
// UTF-8), [ErrSockErrEnd].
func (s *Session) EndNegotiate(accept bool, reason string) error {
	const op = "end negotiate"
	if err := s.check(op); err != nil {
		return err
	}
	m := &wire.End{SessionID: s.key.ID, Accept: accept}
	if !accept {
		m.Reason = reason
	}
	return s.sendLast(op, m)
}

// SendInvalid tells the peer that its last message made no sense, with info
// for its diagnosis (M_INVALID), and ends the session. The peer's call fails
// with [ErrNoValidStep].
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
		return s.fail(op, ErrCBORFail, err)
	}
	return s.sendLast(op, &wire.Invalid{SessionID: s.key.ID, Info: raw})
}

// sendLast sends the message that ends the session. One that is refused
// before it is sent leaves the session as it is.
func (s *Session) sendLast(op string, m wire.Message) error {
	if err := s.send(op, m, ErrSockErrEnd); err != nil {
		return err
	}
	s.finish()
	return nil
}

// Close ends the session on this side without a word: the peer's call fails
// with [ErrNoPeer]. It is for sessions that use Send and Recv, and for giving
// up. It may be called more than once and returns nil.
func (s *Session) Close() error {
	if s != nil {
		s.finish()
	}
	return nil
}

// take gives a session that a listener got to its ASA.
func (s *Session) take(a *ASA) error {
	s.mu.Lock()
	s.asa = a
	s.mu.Unlock()
	err := a.check()
	if err != nil {
		s.finish() // deregistered meanwhile
	}
	return err
}
