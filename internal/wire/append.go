package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"unicode/utf8"
)

// writer writes items. After the first error, the bytes it wrote must not be used.
type writer struct {
	b   []byte
	err error
}

// begin writes the items that all messages but M_NOOP begin with.
func begin(b []byte, t Type, session uint32, items int) writer {
	w := writer{b: b}
	w.head(majorArray, uint64(items))
	w.head(majorUint, uint64(t))
	w.head(majorUint, uint64(session))
	return w
}

// done returns the results of Append. b is the slice that Append was given.
func (w *writer) done(b []byte, t Type, session uint32) ([]byte, error) {
	if w.err != nil {
		return b, &Error{Type: t, HasType: true, SessionID: session, HasSession: true, Err: w.err}
	}
	return w.b, nil
}

// fail records the first error.
func (w *writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
}

// appendHead appends the shortest head for major and n.
func appendHead(b []byte, major byte, n uint64) []byte {
	first := major << 5
	switch {
	case n < infoUint8:
		return append(b, first|byte(n))
	case n <= math.MaxUint8:
		return append(b, first|infoUint8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, first|infoUint16), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, first|infoUint32), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, first|infoUint64), n)
	}
}

func (w *writer) head(major byte, n uint64) { w.b = appendHead(w.b, major, n) }

func (w *writer) text(what, s string) {
	if !utf8.ValidString(s) {
		w.fail("%s %q is not UTF-8", what, s)
		return
	}
	w.head(majorText, uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) addr(what string, addr netip.Addr) {
	switch {
	case addr.Is4():
		a := addr.As4()
		w.head(majorBytes, uint64(len(a)))
		w.b = append(w.b, a[:]...)
	case addr.Is6():
		a := addr.As16()
		w.head(majorBytes, uint64(len(a)))
		w.b = append(w.b, a[:]...)
	default:
		w.fail("%s is no address", what)
	}
}

// raw writes an encoded item within levels arrays.
func (w *writer) raw(what string, item []byte, levels int) {
	lim := noLimits
	lim.Depth = DefaultDepth - levels
	if err := wellFormed(item, lim); err != nil {
		if w.err == nil {
			w.err = fmt.Errorf("%w: %s is not one CBOR item: %w", ErrInvalid, what, err)
		}
		return
	}
	w.b = append(w.b, item...)
}

// Append implements Message.
func (m *Noop) Append(b []byte) ([]byte, error) {
	return append(b, majorArray<<5|1, byte(TypeNoop)), nil
}

// Append implements Message.
func (m *Discovery) Append(b []byte) ([]byte, error) {
	w := begin(b, TypeDiscovery, m.SessionID, 4)
	w.addr("initiator", m.Initiator)
	w.objective(&m.Objective, 1)
	return w.done(b, TypeDiscovery, m.SessionID)
}

// Append implements Message.
func (m *Response) Append(b []byte) ([]byte, error) {
	items := 4 + len(m.Locators)
	if len(m.Diverted) > 0 {
		items++
	}
	// RFC 8990 section 4: (+locator-option // divert-option, ?objective).
	empty := items == 4
	if m.Objective != nil {
		items++
	}
	w := begin(b, TypeResponse, m.SessionID, items)
	if empty {
		w.fail("neither locator nor divert")
	}
	w.addr("initiator", m.Initiator)
	w.head(majorUint, uint64(m.TTL))
	for i := range m.Locators {
		w.locator(&m.Locators[i])
	}
	if len(m.Diverted) > 0 {
		w.head(majorArray, uint64(1+len(m.Diverted)))
		w.head(majorUint, optDivert)
		for i := range m.Diverted {
			w.locator(&m.Diverted[i])
		}
	}
	if m.Objective != nil {
		w.objective(m.Objective, 1)
	}
	return w.done(b, TypeResponse, m.SessionID)
}

// Append implements Message.
func (m *ReqNeg) Append(b []byte) ([]byte, error) {
	return appendObjective(b, TypeReqNeg, m.SessionID, &m.Objective)
}

// Append implements Message.
func (m *ReqSyn) Append(b []byte) ([]byte, error) {
	return appendObjective(b, TypeReqSyn, m.SessionID, &m.Objective)
}

// Append implements Message.
func (m *Negotiate) Append(b []byte) ([]byte, error) {
	return appendObjective(b, TypeNegotiate, m.SessionID, &m.Objective)
}

// Append implements Message.
func (m *Synch) Append(b []byte) ([]byte, error) {
	return appendObjective(b, TypeSynch, m.SessionID, &m.Objective)
}

// appendObjective appends a message that has a session ID and an objective only.
func appendObjective(b []byte, t Type, session uint32, o *Objective) ([]byte, error) {
	w := begin(b, t, session, 3)
	w.objective(o, 1)
	return w.done(b, t, session)
}

// Append implements Message.
func (m *End) Append(b []byte) ([]byte, error) {
	w := begin(b, TypeEnd, m.SessionID, 3)
	switch {
	case m.Accept:
		w.head(majorArray, 1)
		w.head(majorUint, optAccept)
	case m.Reason == "":
		w.head(majorArray, 1)
		w.head(majorUint, optDecline)
	default:
		w.head(majorArray, 2)
		w.head(majorUint, optDecline)
		w.text("reason", m.Reason)
	}
	return w.done(b, TypeEnd, m.SessionID)
}

// Append implements Message.
func (m *Wait) Append(b []byte) ([]byte, error) {
	w := begin(b, TypeWait, m.SessionID, 3)
	w.head(majorUint, uint64(m.Wait))
	return w.done(b, TypeWait, m.SessionID)
}

// Append implements Message.
func (m *Flood) Append(b []byte) ([]byte, error) {
	w := begin(b, TypeFlood, m.SessionID, 4+len(m.Objectives))
	if len(m.Objectives) == 0 {
		w.fail("no objective")
	}
	w.addr("initiator", m.Initiator)
	w.head(majorUint, uint64(m.TTL))
	for i := range m.Objectives {
		f := &m.Objectives[i]
		w.head(majorArray, 2)
		w.objective(&f.Objective, 2)
		// RFC 8990 section 2.8.11: an objective without locator has the empty array
		// in its place.
		if f.Locator == (Locator{}) {
			w.head(majorArray, 0)
		} else {
			w.locator(&f.Locator)
		}
	}
	return w.done(b, TypeFlood, m.SessionID)
}

// Append implements Message.
func (m *Invalid) Append(b []byte) ([]byte, error) {
	items := 2
	if m.Info != nil {
		items = 3
	}
	w := begin(b, TypeInvalid, m.SessionID, items)
	if m.Info != nil {
		w.raw("diagnostic data", m.Info, 1)
	}
	return w.done(b, TypeInvalid, m.SessionID)
}
