package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// ErrorCode is an error of the GRASP API (RFC 8991, appendix A). Its number
// and text are those of the author's Python module; numbers above 39 are this
// library's own. Every error that a call returns is, or wraps, one of them:
// test with errors.Is, or take the number with [Code].
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

// DeclinedError says that the peer declined: it ended the negotiation with
// M_END and the decline option (RFC 8990, section 2.9.4). It matches
// [ErrDeclined].
type DeclinedError struct {
	Objective string         // the name of the objective
	Peer      netip.AddrPort // who declined
	Reason    string         // the peer's reason, empty if it gave none
}

func (e *DeclinedError) Error() string {
	text := fmt.Sprintf("grasp: negotiate %q with %v: %v", e.Objective, e.Peer, ErrDeclined)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Unwrap makes the error match ErrDeclined.
func (e *DeclinedError) Unwrap() error { return ErrDeclined }

// opError is an error of a call: what was tried, on which objective and with
// whom, the code and the cause.
type opError struct {
	op        string
	objective string
	peer      string
	code      ErrorCode
	err       error // may be nil
}

func (e *opError) Error() string {
	var b strings.Builder
	b.WriteString("grasp: " + e.op)
	if e.objective != "" {
		fmt.Fprintf(&b, " %q", e.objective)
	}
	if e.peer != "" {
		b.WriteString(" with " + e.peer)
	}
	b.WriteString(": " + e.code.Error())
	if e.err != nil {
		b.WriteString(": " + e.err.Error())
	}
	return b.String()
}

func (e *opError) Unwrap() []error {
	if e.err == nil {
		return []error{e.code}
	}
	return []error{e.code, e.err}
}

// Timeout makes the error a timeout in the sense of net.Error.
func (e *opError) Timeout() bool {
	return errors.Is(e.err, os.ErrDeadlineExceeded) || errors.Is(e.err, context.DeadlineExceeded)
}

// fail returns an opError without a peer. The cause may be nil.
func fail(op, objective string, code ErrorCode, cause error) error {
	if cause == code { //nolint:errorlint // the code itself, not an error that wraps it
		cause = nil
	}
	return &opError{op: op, objective: objective, code: code, err: cause}
}

// failWith returns an opError that names the peer.
func failWith(op, objective string, peer fmt.Stringer, code ErrorCode, cause error) error {
	return &opError{op: op, objective: objective, peer: peer.String(), code: code, err: cause}
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
