package wire

import (
	"errors"
	"fmt"
	"math"
)

// The classes of errors, for errors.Is.
var (
	// ErrTruncated says that the bytes end before the item does.
	ErrTruncated = errors.New("cut short")
	// ErrMalformed says that the bytes are not one item of well-formed CBOR, or that
	// a text in them is not UTF-8.
	ErrMalformed = errors.New("malformed CBOR")
	// ErrInvalid says that the item is well-formed, but no message of RFC 8990.
	ErrInvalid = errors.New("invalid message")
	// ErrUnknownType says that the message has a type this package does not know.
	ErrUnknownType = errors.New("unknown message type")
	// ErrTooLong, ErrTooDeep and ErrTooMany say which of the Limits is exceeded.
	ErrTooLong = errors.New("too long")
	// ErrTooDeep: see ErrTooLong.
	ErrTooDeep = errors.New("nested too deep")
	// ErrTooMany: see ErrTooLong.
	ErrTooMany = errors.New("too many items")
	// ErrLoopExhausted says that a message must not be relayed, because its loop
	// count would reach zero.
	ErrLoopExhausted = errors.New("loop count exhausted")
	// ErrNoOption says that an M_END holds neither accept nor decline. It is an
	// ErrInvalid too.
	ErrNoOption = fmt.Errorf("%w: neither accept nor decline", ErrInvalid)
)

// Error is the error of Parse, of AppendRelayed and of the Append methods. It says
// what is wrong, and what could be read of the message.
type Error struct {
	Type       Type
	HasType    bool // Type could be read, known or not
	SessionID  uint32
	HasSession bool // SessionID could be read: an M_INVALID may answer
	Err        error
}

// Error returns a text such as "grasp: M_END: invalid message: ...".
func (e *Error) Error() string {
	if !e.HasType {
		return "grasp: " + e.Err.Error()
	}
	return "grasp: " + e.Type.String() + ": " + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// fault is one of the error classes with its cause.
type fault struct {
	class error
	what  string
	at    int // offset in the bytes
	hard  bool
}

func (f *fault) Error() string {
	return fmt.Sprintf("%v: %s at byte %d", f.class, f.what, f.at)
}

func (f *fault) Unwrap() error { return f.class }

// Offset returns where in its bytes a message is wrong, from the error of Parse or
// Scan. It returns false if the error does not say, as for ErrTruncated, where that is
// the end.
func Offset(err error) (int, bool) {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return 0, false
	}
	return f.at, true
}

// unreadable wraps err, which reading b gave, with the type and the session ID if
// these can be read.
func unreadable(b []byte, err error) *Error {
	e := &Error{Err: err}
	h, i := readHead(b, 0)
	if i == 0 || h.major != majorArray {
		return e
	}
	items := h.arg
	if h.open() {
		items = math.MaxUint64
	}
	t, n := readHead(b, i)
	if items < 1 || n == 0 || t.major != majorUint || t.open() {
		return e
	}
	if t.arg <= math.MaxUint8 {
		e.Type, e.HasType = Type(t.arg), true
		if e.Type == TypeNoop {
			return e // it has no session
		}
	}
	s, m := readHead(b, i+n)
	if items < 2 || m == 0 || s.major != majorUint || s.open() || s.arg > math.MaxUint32 {
		return e
	}
	e.SessionID, e.HasSession = uint32(s.arg), true
	return e
}
