package grasp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// ErrorCode is an error of the GRASP API (RFC 8991, appendix A). Its number
// and text are those of the author's Python module; numbers above 39 are this
// library's own. Every error that a call returns is an [*Error] or wraps one, and
// matches its code: test with errors.Is, or take the number with [Code].
type ErrorCode uint8

// The codes of RFC 8991, of the Python module (39) and of this library (40
// and above).
const (
	OK                 ErrorCode = 0  // no error; never returned
	ErrDeclined        ErrorCode = 1  // the peer declined: see DeclinedError
	ErrNoReply         ErrorCode = 2  // Recv: nothing came in time
	ErrUnspec          ErrorCode = 3  // a call with nonsense in it
	ErrASAFull         ErrorCode = 4  // see Config.MaxASAs
	ErrDupASA          ErrorCode = 5  // the name is taken
	ErrNoASA           ErrorCode = 6  // deregistered, or its instance closed
	ErrNotYourASA      ErrorCode = 7  // not returned: an ASA is its own handle
	ErrNotBoth         ErrorCode = 8  // Synch together with Neg or Dry
	ErrNotDry          ErrorCode = 9  // Dry without Neg
	ErrNotOverlap      ErrorCode = 10 // not returned: overlap is supported
	ErrObjFull         ErrorCode = 11 // see Config.MaxObjectives
	ErrObjReg          ErrorCode = 12 // registered, and not with Overlap by all
	ErrNotYourObj      ErrorCode = 13 // the ASA has not registered it
	ErrNotObj          ErrorCode = 14 // nobody has registered it
	ErrNotNeg          ErrorCode = 15 // not an objective for negotiation
	ErrNoSecurity      ErrorCode = 16 // the plane is not secure
	ErrNoDiscReply     ErrorCode = 17 // nobody to negotiate with was found, or no valid response
	ErrSockErrNegRq    ErrorCode = 18 // connecting or sending a request failed
	ErrNoSession       ErrorCode = 19 // the session has ended
	ErrNoSocket        ErrorCode = 20 // not returned: a session has a connection
	ErrLoopExhausted   ErrorCode = 21 // the step would send a loop count of 0
	ErrSockErrNegStep  ErrorCode = 22 // sending a step failed
	ErrNoPeer          ErrorCode = 23 // the peer closed without a word
	ErrCBORFail        ErrorCode = 24 // what came, or a value to send, is not CBOR
	ErrInvalidNeg      ErrorCode = 25 // M_NEGOTIATE for something else
	ErrInvalidEnd      ErrorCode = 26 // M_END neither accepts nor declines
	ErrNoNegReply      ErrorCode = 27 // no answer in time, or broken connection
	ErrNoValidStep     ErrorCode = 28 // malformed, unexpected or M_INVALID
	ErrSockErrWait     ErrorCode = 29 // sending M_WAIT failed
	ErrSockErrEnd      ErrorCode = 30 // sending M_END or M_INVALID failed
	ErrIDClash         ErrorCode = 31 // a request with an active session ID came
	ErrNotSynch        ErrorCode = 32 // not an objective for synchronization
	ErrNotFloodDisc    ErrorCode = 33 // no flooded value and nobody to ask
	ErrSockErrSynRq    ErrorCode = 34 // connecting or sending a request failed
	ErrNoListener      ErrorCode = 35 // the peer closed without a word
	ErrNoSynchReply    ErrorCode = 36 // no answer in time, or broken connection
	ErrNoValidSynch    ErrorCode = 37 // malformed, unexpected or M_INVALID
	ErrInvalidLoc      ErrorCode = 38 // a locator that cannot be sent
	ErrSockErr         ErrorCode = 39 // sending failed
	ErrTooLong         ErrorCode = 40 // the message would be too long; nothing was sent
	ErrCancelled       ErrorCode = 41 // the context ended; wraps its cause
	ErrStopped         ErrorCode = 42 // StopNegotiate ended the listening
	ErrUnusableLocator ErrorCode = 43 // the peer's locator cannot be connected to
)

var errorTexts = [...]string{
	OK:                 "OK",
	ErrDeclined:        "Declined",
	ErrNoReply:         "No reply",
	ErrUnspec:          "Unspecified error",
	ErrASAFull:         "ASA registry full",
	ErrDupASA:          "Duplicate ASA name",
	ErrNoASA:           "ASA not registered",
	ErrNotYourASA:      "ASA registered but not by you",
	ErrNotBoth:         "Objective cannot support both negotiation and synchronization",
	ErrNotDry:          "Dry-run allowed only with negotiation",
	ErrNotOverlap:      "Overlap not supported by this implementation",
	ErrObjFull:         "Objective registry full",
	ErrObjReg:          "Objective already registered",
	ErrNotYourObj:      "Objective not registered by this ASA",
	ErrNotObj:          "Objective not found",
	ErrNotNeg:          "Objective not negotiable",
	ErrNoSecurity:      "No security",
	ErrNoDiscReply:     "No reply to discovery",
	ErrSockErrNegRq:    "Socket error sending negotiation request",
	ErrNoSession:       "No session",
	ErrNoSocket:        "No socket",
	ErrLoopExhausted:   "Loop count exhausted",
	ErrSockErrNegStep:  "Socket error sending negotiation step",
	ErrNoPeer:          "Negotiation peer not listening",
	ErrCBORFail:        "CBOR decode failure",
	ErrInvalidNeg:      "Invalid Negotiate message",
	ErrInvalidEnd:      "Invalid end message",
	ErrNoNegReply:      "No reply to negotiation step",
	ErrNoValidStep:     "No valid reply to negotiation step",
	ErrSockErrWait:     "Socket error sending wait message",
	ErrSockErrEnd:      "Socket error sending end message",
	ErrIDClash:         "Incoming request Session ID clash",
	ErrNotSynch:        "Not a synchronization objective",
	ErrNotFloodDisc:    "Not flooded and no reply to discovery",
	ErrSockErrSynRq:    "Socket error sending synch request",
	ErrNoListener:      "Synchronization peer not listening",
	ErrNoSynchReply:    "No reply to synchronization request",
	ErrNoValidSynch:    "No valid reply to synchronization request",
	ErrInvalidLoc:      "Invalid locator",
	ErrSockErr:         "Socket error sending gmessage",
	ErrTooLong:         "Message too long",
	ErrCancelled:       "Call cancelled",
	ErrStopped:         "Listening stopped",
	ErrUnusableLocator: "Locator cannot be used",
}

// Error returns the text of the code.
func (c ErrorCode) Error() string {
	if int(c) < len(errorTexts) {
		return errorTexts[c]
	}
	return fmt.Sprintf("Unknown error %d", uint8(c))
}

// Code returns the code of an error that a call of this package returned: OK
// for nil, ErrUnspec for an error that is not of this package.
func Code(err error) ErrorCode {
	if err == nil {
		return OK
	}
	var code ErrorCode
	if errors.As(err, &code) {
		return code
	}
	return ErrUnspec
}

// Error is the error of a call that failed: the call, the objective, the peer, the
// code and the cause. In the sense of errors.Is it matches Code and whatever Err
// matches.
type Error struct {
	Op        string         // what was tried, such as "negotiate" or "register"
	Objective string         // the objective's name; for RegisterASA and Deregister the ASA's
	Peer      netip.AddrPort // the other side; the zero AddrPort if none was reached, or by name only
	Code      ErrorCode
	Err       error // the cause, nil if the code says all
}

var _ net.Error = (*Error)(nil)

// Error names all that is known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("grasp: " + e.Op)
	if e.Objective != "" {
		fmt.Fprintf(&b, " %q", e.Objective)
	}
	if e.Peer.IsValid() {
		b.WriteString(" with " + e.Peer.String())
	}
	b.WriteString(": " + e.Code.Error())
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the code and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

// Timeout reports whether time ran out: the timeout of the call, for an answer, for a
// connection or for a peer to be found, or the deadline of its context. Only an error
// of the latter kind, with the code [ErrCancelled], matches
// [context.DeadlineExceeded].
func (e *Error) Timeout() bool {
	switch {
	case e.Err == nil:
		return e.Code == ErrNoDiscReply || e.Code == ErrNotFloodDisc // nobody answered in time
	case errors.Is(e.Err, errTimeout):
		return true
	}
	cause, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](e.Err)
	return ok && cause.Timeout()
}

// Temporary is Timeout: what ran out of time may be tried again.
//
// Deprecated: it is here for [net.Error], of which it is deprecated, too.
func (e *Error) Temporary() bool { return e.Timeout() }

// DeclinedError says that the peer declined: it ended the negotiation with
// M_END and the decline option (RFC 8990 section 2.9.4). It wraps an [*Error]
// with the code [ErrDeclined].
type DeclinedError struct {
	Objective string         // the name of the objective
	Peer      netip.AddrPort // who declined
	Reason    string         // the peer's reason, empty if it gave none
}

func (e *DeclinedError) Error() string {
	text := e.Unwrap().Error()
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Unwrap returns an *Error.
func (e *DeclinedError) Unwrap() error {
	return &Error{Op: opNegotiate, Objective: e.Objective, Peer: e.Peer, Code: ErrDeclined}
}

// fail returns an *Error without a peer. The cause may be nil.
func fail(op, objective string, code ErrorCode, cause error) error {
	return failWith(op, objective, netip.AddrPort{}, code, cause)
}

// failWith returns an *Error that names the peer.
func failWith(op, objective string, peer netip.AddrPort, code ErrorCode, cause error) error {
	if cause == code { //nolint:errorlint // the code itself, not an error that wraps it
		cause = nil
	}
	return &Error{Op: op, Objective: objective, Peer: peer, Code: code, Err: cause}
}

// wrap names the call in an error that is or has an ErrorCode. It returns nil
// for nil.
func wrap(op, objective string, err error) error {
	if err == nil {
		return nil
	}
	return fail(op, objective, Code(err), err)
}

// withCode gives an internal error its code.
type withCode struct {
	code ErrorCode
	err  error
}

func (e *withCode) Error() string   { return e.err.Error() }
func (e *withCode) Unwrap() []error { return []error{e.code, e.err} }
