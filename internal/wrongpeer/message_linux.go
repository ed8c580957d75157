package wrongpeer

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// list is an array to be encoded.
type list = []any

// encode encodes a message.
func encode(items ...any) []byte {
	b, err := cbor.Marshal(items)
	if err != nil {
		panic(err) // what it is made of can be encoded
	}
	return b
}

func item(v any) []byte { return encode(v)[1:] }

// parts returns the items of an array.
func parts(b []byte) []cbor.RawMessage {
	if len(b) == 0 || b[0]>>5 != 4 {
		return nil
	}
	size := 1
	if info := b[0] & 31; info >= 24 && info < 28 {
		size += 1 << (info - 24)
	}
	var out []cbor.RawMessage
	rest := b[min(size, len(b)):]
	for d := cbor.NewDecoder(bytes.NewReader(rest)); ; {
		from := d.NumBytesRead()
		if d.Skip() != nil {
			return out
		}
		out = append(out, cbor.RawMessage(rest[from:d.NumBytesRead()]))
	}
}

func number(b []byte) (n uint64, ok bool) {
	return n, len(b) > 0 && b[0]>>5 == 0 && cbor.Unmarshal(b, &n) == nil
}

// octets returns a string of bytes or text.
func octets(b []byte) (s []byte, ok bool) {
	if len(b) == 0 || b[0]>>5 != 2 && b[0]>>5 != 3 {
		return nil, false
	}
	size := 1
	switch info := b[0] & 31; {
	case info == 31:
		chunks := b[1 : len(b)-1]
		for len(chunks) > 0 {
			d := cbor.NewDecoder(bytes.NewReader(chunks))
			if d.Skip() != nil {
				return nil, false
			}
			chunk, _ := octets(chunks[:d.NumBytesRead()])
			s, chunks = append(s, chunk...), chunks[d.NumBytesRead():]
		}
		return s, true
	case info >= 24:
		size += 1 << (info - 24)
	}
	return b[size:], true
}

// objective is an objective that came.
type objective struct {
	name        string
	flags, loop uint64
	value       []byte
}

// message is a message that came.
type message struct {
	raw       []byte
	items     []cbor.RawMessage
	kind      uint64
	initiator []byte
	objective objective
}

func (m message) at(i int) []byte {
	if i < len(m.items) {
		return m.items[i]
	}
	return nil
}

func (m message) id() uint64 {
	n, _ := number(m.at(1))
	return n
}

// lengths are how many items the messages have that can have no more.
var lengths = map[uint64]int{0: 1, 1: 4, 3: 3, 4: 3, 5: 3, 6: 3, 7: 3, 8: 3}

// depth says how deep an item is nested, if only in arrays of one.
func depth(b []byte) int { return bytes.Count(b, []byte{0x81}) }

// parse reads a message. It is false if it is none.
func (p *Peer) parse(b []byte) (m message, ok bool) {
	m.raw = b
	if depth(b) > 500 {
		p.die(FlawDiesOfDepth)
	}
	mode, _ := cbor.DecOptions{MaxNestedLevels: 500, UTF8: cbor.UTF8DecodeInvalid}.DecMode()
	if mode.Wellformed(b) != nil {
		return m, false
	}
	m.items = parts(b)
	m.kind, ok = number(m.at(0))
	switch {
	case !ok, b[0] == 0x9f && p.is(FlawDefiniteOnly), b[1] >= 0x18 && b[1] < 0x1c && m.kind < 24 && p.is(FlawShortestOnly):
		return m, false
	case m.kind == 0:
		return m, true
	}
	if id, ok := number(m.at(1)); !p.is(FlawSessionIDAny) && (!ok || id>>32 != 0) {
		return m, false
	}
	if n := lengths[m.kind]; n != 0 && (len(m.items) < n || len(m.items) > n && p.is(FlawStrictLength)) {
		return m, false
	}
	switch m.kind {
	case 1:
		return m, p.initiator(&m) && p.objective(&m, m.at(3))
	case 2, 9:
		return m, len(m.items) > 4 && p.initiator(&m)
	case 3, 4, 5:
		return m, p.objective(&m, m.at(2))
	}
	return m, true
}

// initiator reads the initiator of a message.
func (p *Peer) initiator(m *message) (ok bool) {
	b := m.at(2)
	if m.initiator, ok = octets(b); !ok || b[0]>>5 != 2 {
		return false
	}
	switch n := len(m.initiator); {
	case p.is(FlawDefiniteOnly) && b[0] == 0x5f, p.is(FlawInitiator16Only) && n != 16:
		return false
	default:
		return n == 4 || n == 16 || p.is(FlawInitiatorAny)
	}
}

// objective reads an objective of a message.
func (p *Peer) objective(m *message, b []byte) bool {
	items := parts(b)
	if n := len(items); n < 3 || n > 4 {
		if !p.is(FlawShapeAny) || n < 2 {
			return false
		}
		items = append(items, item(1))
	}
	name, ok := octets(items[0])
	flags, ok2 := number(items[1])
	loop, ok3 := number(items[2])
	if p.is(FlawLoopAny) {
		loop, ok3 = min(loop, 1), true
	}
	if !ok || !ok2 || !ok3 || loop > 255 || items[0][0]>>5 != 3 || !utf8.Valid(name) && !p.is(FlawNamePrefix) {
		return false
	}
	m.objective = objective{name: string(name), flags: flags, loop: loop}
	if len(items) == 4 {
		m.objective.value = items[3]
	}
	null := bytes.Equal(m.objective.value, []byte{0xf6})
	switch {
	case p.is(FlawDefiniteOnly) && items[0][0] == 0x7f,
		p.is(FlawDemandsValue) && m.objective.value == nil,
		p.is(FlawDemandsNull) && m.objective.value != nil && !null && m.kind != 3 && m.kind != 5,
		p.is(FlawDemandsKnownFlags) && flags > 15,
		p.is(FlawDemandsDiscFlag) && flags&1 == 0:
		return false
	}
	return true
}

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }
