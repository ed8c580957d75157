package conform

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// The message types and options of RFC 8990 section 5.
const (
	mNoop      = 0
	mDiscovery = 1
	mResponse  = 2
	mReqNeg    = 3
	mReqSyn    = 4
	mNegotiate = 5
	mEnd       = 6
	mWait      = 7
	mSynch     = 8
	mFlood     = 9
	mInvalid   = 99

	oDivert  = 100
	oAccept  = 101
	oDecline = 102
	oIPv6    = 103
	oIPv4    = 104
	oFQDN    = 105
	oURI     = 106

	fDisc  = 1
	fNeg   = 2
	fSynch = 4
	fDry   = 8

	protoTCP = 6
)

// typeNames are for people.
var typeNames = map[int]string{
	mNoop: "M_NOOP", mDiscovery: "M_DISCOVERY", mResponse: "M_RESPONSE", mReqNeg: "M_REQ_NEG", mReqSyn: "M_REQ_SYN",
	mNegotiate: "M_NEGOTIATE", mEnd: "M_END", mWait: "M_WAIT", mSynch: "M_SYNCH", mFlood: "M_FLOOD", mInvalid: "M_INVALID",
}

// list is an array to be encoded.
type list = []any

// raw is an encoded item.
type raw = cbor.RawMessage

// encode returns the preferred encoding of an item, which is made of what the
// package makes it of: it cannot fail.
func encode(v any) raw {
	b, err := cbor.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("conform: %v: %v", v, err))
	}
	return b
}

// diagnose returns an item in diagnostic notation, or what is wrong with it.
func diagnose(b []byte) string {
	s, err := cbor.Diagnose(b)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return s
}

// message is a message that came.
type message struct {
	raw   raw
	kind  int // -1: it is no array that begins with a small unsigned integer
	items []raw
}

// parse takes a message apart. Whether it follows the grammar is for
// [message.grammar] to say.
func parse(b []byte) message {
	m := message{raw: bytes.Clone(b), kind: -1}
	if !whole(b) {
		return m
	}
	if m.items, _ = array(m.raw); len(m.items) == 0 {
		return m
	}
	if n, ok := number(m.items[0]); ok && n < 1<<16 {
		m.kind = int(n)
	}
	return m
}

// split cuts the first item off what came by a stream. It returns nil if there
// is no whole one yet.
func split(b []byte) (first, rest []byte, err error) {
	n, err := span(b, 0)
	switch {
	case errors.Is(err, errShort):
		return nil, b, nil
	case err != nil:
		return nil, b, err
	}
	return b[:n:n], b[n:], nil
}

func (m message) String() string {
	if name := typeNames[m.kind]; name != "" {
		return name
	}
	return fmt.Sprintf("a message of type %d", m.kind)
}

// at returns an item of the message, nil if there is none.
func (m message) at(i int) raw {
	if i < len(m.items) {
		return m.items[i]
	}
	return nil
}

// sid is the session ID.
func (m message) sid() (uint32, bool) {
	n, ok := number(m.at(1))
	return uint32(n), ok && n>>32 == 0
}

// objective is an objective that came.
type objective struct {
	name        string
	flags, loop uint64
	value       raw // nil: none
}

// asObjective reads an objective.
func asObjective(b raw) (o objective, err error) {
	items, ok := array(b)
	if !ok || len(items) < 3 || len(items) > 4 {
		return o, errors.New("an objective is an array of three or four items")
	}
	if o.name, ok = text(items[0]); !ok {
		return o, errors.New("the name of an objective is text")
	}
	if o.flags, ok = number(items[1]); !ok {
		return o, errors.New("the flags of an objective are an unsigned integer")
	}
	if o.loop, ok = number(items[2]); !ok || o.loop > 255 {
		return o, errors.New("the loop count of an objective is from 0 to 255")
	}
	if len(items) == 4 {
		o.value = items[3]
	}
	return o, nil
}

// option reads an option: its type and what follows.
func option(b raw) (kind uint64, rest []raw, ok bool) {
	items, ok := array(b)
	if !ok || len(items) == 0 {
		return 0, nil, false
	}
	kind, ok = number(items[0])
	return kind, items[1:], ok
}
