package value

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// The major types of CBOR (RFC 8949 section 3.1), and what else has a meaning here.
const (
	majorUnsigned = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple

	tagText     = 0 // a time as text
	tagEpoch    = 1 // a time as a number of seconds
	tagPositive = 2 // a large number
	tagNegative = 3 // a large negative number
	tagEncoded  = 24

	indefinite = 31 // of a length that a break ends
	float16    = 25
	float32bit = 26
	float64bit = 27
	undefined  = 0xf7
	breakByte  = 0xff
)

// same reports whether two well-formed items mean the same. They may differ in the
// lengths of heads and floats, in the order of maps, in the type that holds a number
// or a time, and in the payload of NaN.
func same(a, b []byte) bool {
	return bytes.Equal(a, b) || bytes.Equal(canonical(a), canonical(b))
}

// canonical returns an item in a form that all items of the same meaning have.
func canonical(raw []byte) []byte {
	r := reader{raw}
	return r.item(nil)
}

// reader reads an item that is well-formed.
type reader struct{ b []byte }

// head reads the head of an item.
func (r *reader) head() (major byte, info byte, arg uint64) {
	major, info = r.b[0]>>5, r.b[0]&31
	r.b = r.b[1:]
	if info < 24 {
		return major, info, uint64(info)
	}
	if info == indefinite {
		return major, info, 0
	}
	size := 1 << (info - 24)
	for _, b := range r.b[:size] {
		arg = arg<<8 | uint64(b)
	}
	r.b = r.b[size:]
	return major, info, arg
}

// more reports whether another item follows in an item that has left more items, or
// an indefinite length. It reads the break.
func (r *reader) more(info byte, left *uint64) bool {
	if info == indefinite {
		if r.b[0] == breakByte {
			r.b = r.b[1:]
			return false
		}
		return true
	}
	*left--
	return *left != math.MaxUint64
}

// item reads an item and appends its canonical form.
func (r *reader) item(dst []byte) []byte {
	whole := r.b
	major, info, arg := r.head()
	switch major {
	case majorBytes, majorText:
		s := r.chunks(info, arg)
		return append(appendHead(dst, major, uint64(len(s))), s...)
	case majorArray:
		n := uint64(0)
		var all []byte
		for r.more(info, &arg) {
			all = r.item(all)
			n++
		}
		return append(appendHead(dst, major, n), all...)
	case majorMap:
		var pairs []string
		for r.more(info, &arg) {
			pairs = append(pairs, string(r.item(r.item(nil))))
		}
		slices.Sort(pairs)
		return append(appendHead(dst, major, uint64(len(pairs))), strings.Join(pairs, "")...)
	case majorTag:
		start := r.b
		content := r.item(nil)
		return appendTagged(dst, arg, start[:len(start)-len(r.b)], content, whole[:len(whole)-len(r.b)])
	case majorSimple:
		if info >= float16 && info <= float64bit {
			return appendFloat(dst, toFloat(info, arg))
		}
	}
	return appendHead(dst, major, arg)
}

// chunks reads the content of a string.
func (r *reader) chunks(info byte, arg uint64) []byte {
	if info != indefinite {
		s := r.b[:arg]
		r.b = r.b[arg:]
		return s
	}
	var all []byte
	for r.more(info, &arg) {
		_, info, arg := r.head()
		all = append(all, r.chunks(info, arg)...)
	}
	return all
}

// appendTagged appends the canonical form of a tag around content, whose form is
// canonical.
func appendTagged(dst []byte, tag uint64, raw, content, whole []byte) []byte {
	switch tag {
	case tagPositive, tagNegative:
		if raw[0]>>5 != majorBytes {
			break
		}
		digits := content[headBytes:]
		if number := new(big.Int).SetBytes(digits); number.IsUint64() {
			return appendHead(dst, byte(tag-tagPositive), number.Uint64())
		}
		digits = bytes.TrimLeft(digits, "\x00")
		content = append(appendHead(nil, majorBytes, uint64(len(digits))), digits...)
	case tagText, tagEpoch:
		if when, ok := timeOf(tag, raw); ok {
			dst = append(dst, "time"...)
			dst = binary.BigEndian.AppendUint64(dst, uint64(when.Unix()))
			return binary.BigEndian.AppendUint32(dst, uint32(when.Nanosecond()))
		}
		return append(dst, whole...)
	}
	return append(appendHead(dst, majorTag, tag), content...)
}

// timeOf returns the time that a tag stands for, if Go's type holds it.
func timeOf(tag uint64, content []byte) (time.Time, bool) {
	if tag == tagText {
		var text string
		if cbor.Unmarshal(content, &text) != nil {
			return time.Time{}, false
		}
		when, err := time.Parse(time.RFC3339Nano, text)
		_, part, _ := strings.Cut(text, ".")
		digits := len(part) - len(strings.TrimLeft(part, "0123456789"))
		return when, err == nil && digits <= len("999999999")
	}
	var seconds float64
	if major := content[0] >> 5; major == majorUnsigned || major == majorNegative {
		var whole int64
		err := cbor.Unmarshal(content, &whole)
		return time.Unix(whole, 0), err == nil
	}
	if cbor.Unmarshal(content, &seconds) != nil || math.Abs(seconds) > 1<<53 || math.IsNaN(seconds) {
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

func toFloat(info byte, arg uint64) float64 {
	switch info {
	case float16:
		var f float64
		_ = cbor.Unmarshal([]byte{majorSimple<<5 | float16, byte(arg >> 8), byte(arg)}, &f)
		return f
	case float32bit:
		return float64(math.Float32frombits(uint32(arg)))
	}
	return math.Float64frombits(arg)
}

func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) {
		f = math.NaN()
	}
	return binary.BigEndian.AppendUint64(append(dst, majorSimple<<5|float64bit), math.Float64bits(f))
}

const headBytes = 9

// appendHead appends a head, always of the same length, headBytes.
func appendHead(dst []byte, major byte, arg uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, major<<5), arg)
}
