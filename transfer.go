package grasp

import (
	"context"
	"errors"
	"os"
	"time"
)

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
// Errors: [ErrNoASA], [ErrNoSecurity], [ErrNoSession], [ErrNoReply] (timeout),
// [ErrNoPeer] (the peer closed), [ErrCBORFail], [ErrCancelled].
func (s *Session) Recv(ctx context.Context, timeout time.Duration) (any, error) {
	const op = "receive"
	if err := s.check(op); err != nil {
		return nil, err
	}
	deadline, err := s.startWait(op, timeout)
	if err != nil {
		return nil, err
	}
	defer s.endWait()
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
	if !s.finish() && code != ErrCancelled {
		code = ErrNoSession
	}
	if insecure := s.g.secure(); insecure != nil {
		code, err = ErrNoSecurity, insecure
	}
	return nil, s.fail(op, code, err)
}

// endWait ends a wait for something that was no message.
func (s *Session) endWait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Rest()
}
