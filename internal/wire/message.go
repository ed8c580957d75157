// Package wire turns the messages of GRASP (RFC 8990) into bytes and bytes into
// messages. It has no sockets, no clock and no goroutines, and writes no logs.
//
// # What is accepted
//
// Parse is strict about the ranges and shapes of the grammar in RFC 8990 section 4. It
// is lenient about what the grammar leaves open or peers are known to send:
//
//   - Any well-formed CBOR encoding: integers and lengths that are not in their
//     shortest form, arrays and strings of indefinite length. Text must be valid
//     UTF-8 everywhere in a message, values included.
//   - An objective has three or four items in every message. Its value may be any
//     well-formed item and is kept as the bytes it came in. Unknown flags are kept.
//   - Options that do not belong to a message, options of an unknown number, and
//     whatever else follows the items of a message are ignored (section 2.8.2).
//   - M_RESPONSE may mix locators and diverts, and have several diverts.
//   - A known option in M_RESPONSE that has the wrong shape, such as a URI locator
//     without protocol and port, is dropped and the rest used. A port above 65535
//     makes the message invalid.
//   - An objective of M_FLOOD is left out of the result if it or its locator has the
//     wrong shape, or if its locator is an unknown option: then the tag under which to
//     cache it is unknown. Its name, flags and loop count must be valid all the same.
//     AppendRelayed still passes it on, and LoopCounts counts it.
//   - A locator of any kind may have null for protocol and port, and a protocol
//     that is neither TCP nor UDP.
//
// Everything a peer declares is checked against Limits before memory is allocated.
// Parsed messages share no memory with the bytes they were parsed from.
//
// # What is sent
//
// Append writes the preferred encoding of RFC 8949 section 4.1, with definite
// lengths, and refuses what the grammar does not allow. Values go out as they are.
package wire

import (
	"fmt"
	"net/netip"
)

// Type is the number of a message type, RFC 8990 section 2.8.
type Type uint8

// The message types of RFC 8990 section 5.
const (
	TypeNoop      Type = 0
	TypeDiscovery Type = 1
	TypeResponse  Type = 2
	TypeReqNeg    Type = 3
	TypeReqSyn    Type = 4
	TypeNegotiate Type = 5
	TypeEnd       Type = 6
	TypeWait      Type = 7
	TypeSynch     Type = 8
	TypeFlood     Type = 9
	TypeInvalid   Type = 99
)

// String returns the name RFC 8990 has for the type, such as "M_DISCOVERY".
func (t Type) String() string {
	switch t {
	case TypeNoop:
		return "M_NOOP"
	case TypeDiscovery:
		return "M_DISCOVERY"
	case TypeResponse:
		return "M_RESPONSE"
	case TypeReqNeg:
		return "M_REQ_NEG"
	case TypeReqSyn:
		return "M_REQ_SYN"
	case TypeNegotiate:
		return "M_NEGOTIATE"
	case TypeEnd:
		return "M_END"
	case TypeWait:
		return "M_WAIT"
	case TypeSynch:
		return "M_SYNCH"
	case TypeFlood:
		return "M_FLOOD"
	case TypeInvalid:
		return "M_INVALID"
	default:
		return fmt.Sprintf("message type %d", uint8(t))
	}
}

// Message is one of the messages of this package, always as a pointer. The set is
// closed.
type Message interface {
	// Type returns the message type.
	Type() Type
	// Append appends the encoded message to b. If the message is not one that may
	// be sent, it returns b as it was, and an *Error. Objective values may nest as
	// deep as DefaultDepth allows for the whole message; its length is not checked.
	Append(b []byte) ([]byte, error)

	message()
}

// Noop is M_NOOP, RFC 8990 section 2.8.13.
type Noop struct{}

// Discovery is M_DISCOVERY, RFC 8990 section 2.8.4.
type Discovery struct {
	SessionID uint32
	Initiator netip.Addr // see the note on initiators at Flood
	Objective Objective
}

// Response is M_RESPONSE, RFC 8990 section 2.8.5. One that is sent has a locator or
// a diverted locator at least; a received one may have neither, if all of its
// options were unknown.
type Response struct {
	SessionID uint32
	Initiator netip.Addr // that of the M_DISCOVERY
	TTL       uint32     // milliseconds
	Locators  []Locator  // of the responder itself
	Diverted  []Locator  // those in its Divert options
	Objective *Objective // nil if there is none
}

// ReqNeg is M_REQ_NEG, RFC 8990 section 2.8.6.
type ReqNeg struct {
	SessionID uint32
	Objective Objective
}

// ReqSyn is M_REQ_SYN, RFC 8990 section 2.8.6.
type ReqSyn struct {
	SessionID uint32
	Objective Objective
}

// Negotiate is M_NEGOTIATE, RFC 8990 section 2.8.7.
type Negotiate struct {
	SessionID uint32
	Objective Objective
}

// End is M_END, RFC 8990 section 2.8.8.
type End struct {
	SessionID uint32
	Accept    bool   // O_ACCEPT, else O_DECLINE
	Reason    string // of a decline, may be empty; with Accept it is not sent
}

// Wait is M_WAIT, RFC 8990 section 2.8.9.
type Wait struct {
	SessionID uint32
	Wait      uint32 // milliseconds
}

// Synch is M_SYNCH, RFC 8990 section 2.8.10.
type Synch struct {
	SessionID uint32
	Objective Objective
}

// Flooded is an objective of M_FLOOD with its locator; the zero Locator stands for
// the empty array, "no locator".
type Flooded struct {
	Objective Objective
	Locator   Locator
}

// Flood is M_FLOOD, RFC 8990 section 2.8.11. One that is sent has an objective at
// least; a received one may have none, see the package comment.
//
// An initiator is an IPv4 or an IPv6 address without zone: a zone is not sent. An
// IPv4-mapped IPv6 address is sent in its 16 bytes, because the initiator of a
// received message has to be repeated exactly as it came (section 2.8.5).
type Flood struct {
	SessionID  uint32
	Initiator  netip.Addr
	TTL        uint32 // milliseconds
	Objectives []Flooded
	LeftOut    int // how many objectives were left out, see the package comment
}

// Invalid is M_INVALID, RFC 8990 section 2.8.12.
type Invalid struct {
	SessionID uint32
	Info      []byte // one CBOR item, nil if there is none
}

// Type returns TypeNoop.
func (*Noop) Type() Type { return TypeNoop }

// Type returns TypeDiscovery.
func (*Discovery) Type() Type { return TypeDiscovery }

// Type returns TypeResponse.
func (*Response) Type() Type { return TypeResponse }

// Type returns TypeReqNeg.
func (*ReqNeg) Type() Type { return TypeReqNeg }

// Type returns TypeReqSyn.
func (*ReqSyn) Type() Type { return TypeReqSyn }

// Type returns TypeNegotiate.
func (*Negotiate) Type() Type { return TypeNegotiate }

// Type returns TypeEnd.
func (*End) Type() Type { return TypeEnd }

// Type returns TypeWait.
func (*Wait) Type() Type { return TypeWait }

// Type returns TypeSynch.
func (*Synch) Type() Type { return TypeSynch }

// Type returns TypeFlood.
func (*Flood) Type() Type { return TypeFlood }

// Type returns TypeInvalid.
func (*Invalid) Type() Type { return TypeInvalid }

// SessionID returns the session ID of a message, 0 for M_NOOP, which has none.
func SessionID(m Message) uint32 {
	switch m := m.(type) {
	case *Discovery:
		return m.SessionID
	case *Response:
		return m.SessionID
	case *ReqNeg:
		return m.SessionID
	case *ReqSyn:
		return m.SessionID
	case *Negotiate:
		return m.SessionID
	case *End:
		return m.SessionID
	case *Wait:
		return m.SessionID
	case *Synch:
		return m.SessionID
	case *Flood:
		return m.SessionID
	case *Invalid:
		return m.SessionID
	}
	return 0
}

func (*Noop) message()      {}
func (*Discovery) message() {}
func (*Response) message()  {}
func (*ReqNeg) message()    {}
func (*ReqSyn) message()    {}
func (*Negotiate) message() {}
func (*End) message()       {}
func (*Wait) message()      {}
func (*Synch) message()     {}
func (*Flood) message()     {}
func (*Invalid) message()   {}
