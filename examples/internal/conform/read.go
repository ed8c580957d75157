package conform

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// The judge reads CBOR (RFC 8949) by itself: libraries change what they read,
// such as by dropping tag 55799, and bytes are what it judges.

// The major types, and what the additional information can say.
const (
	majorUnsigned = 0
	majorNegative = 1
	majorBytes    = 2
	majorText     = 3
	majorArray    = 4
	majorMap      = 5
	majorTag      = 6
	majorOther    = 7

	indefinite = 31
	breakByte  = 0xff
)

// mostDepth bounds how deep items are nested that the judge reads.
const mostDepth = 1000

var (
	errShort = errors.New("the item ends too early")
	errItem  = errors.New("no well-formed CBOR item")
)

// head is the head of an item.
type head struct {
	major byte
	info  byte
	n     uint64 // the argument
	size  int    // of the head, in bytes
}

func readHead(b []byte) (h head, err error) {
	if len(b) == 0 {
		return h, errShort
	}
	h = head{major: b[0] >> 5, info: b[0] & 31, size: 1}
	switch {
	case h.info < 24:
		h.n = uint64(h.info)
	case h.info < 28:
		size := 1 << (h.info - 24)
		if len(b) < 1+size {
			return h, errShort
		}
		var full [8]byte
		copy(full[8-size:], b[1:1+size])
		h.n, h.size = binary.BigEndian.Uint64(full[:]), 1+size
	case h.info < indefinite, h.major < majorBytes, h.major == majorTag:
		return h, errItem
	}
	return h, nil
}

// span returns the length of the item that begins b.
func span(b []byte, depth int) (int, error) {
	h, err := readHead(b)
	switch {
	case err != nil:
		return 0, err
	case depth > mostDepth:
		return 0, errItem
	}
	at := h.size
	inner := func() error {
		n, err := span(b[at:], depth+1)
		at += n
		return err
	}
	switch h.major {
	case majorBytes, majorText:
		if h.info == indefinite {
			return spanOpen(b, depth, func(chunk head) bool { return chunk.major == h.major && chunk.info != indefinite }, 1)
		}
		if h.n > uint64(len(b)-at) {
			return 0, errShort
		}
		return at + int(h.n), nil
	case majorArray, majorMap:
		each := 1 + int(h.major-majorArray)
		if h.info == indefinite {
			return spanOpen(b, depth, func(head) bool { return true }, each)
		}
		for range h.n {
			for range each {
				if err := inner(); err != nil {
					return 0, err
				}
			}
		}
	case majorTag:
		err = inner()
	case majorOther:
		if h.info == indefinite || h.info == 24 && h.n < 32 {
			return 0, errItem
		}
	}
	return at, err
}

// spanOpen is span for an item of indefinite length, whose parts must be
// allowed and a multiple of each.
func spanOpen(b []byte, depth int, allowed func(head) bool, each int) (int, error) {
	at := 1
	for count := 0; ; count++ {
		if at < len(b) && b[at] == breakByte {
			if count%each != 0 {
				return 0, errItem
			}
			return at + 1, nil
		}
		h, err := readHead(b[at:])
		if err != nil {
			return 0, err
		}
		if !allowed(h) {
			return 0, errItem
		}
		n, err := span(b[at:], depth+1)
		if err != nil {
			return 0, err
		}
		at += n
	}
}

// whole reports whether b is one item.
func whole(b []byte) bool {
	n, err := span(b, 0)
	return err == nil && n == len(b)
}

// preferred reports whether an item is in preferred encoding, but for floats.
func preferred(b []byte) bool {
	h, err := readHead(b)
	if err != nil || h.info == indefinite {
		return false
	}
	shortest := 1
	for _, limit := range []struct {
		above uint64
		size  int
	}{{23, 2}, {1<<8 - 1, 3}, {1<<16 - 1, 5}, {1<<32 - 1, 9}} {
		if h.n > limit.above {
			shortest = limit.size
		}
	}
	if h.size != shortest && h.major != majorOther {
		return false
	}
	if h.major < majorArray || h.major == majorOther {
		return true
	}
	for _, part := range parts(b) {
		if !preferred(part) {
			return false
		}
	}
	return true
}

// parts returns the items in an array, a map or a tag, or the chunks of a
// string, of a well-formed item.
func parts(b []byte) []raw {
	h, err := readHead(b)
	if err != nil {
		return nil
	}
	var out []raw
	for at := h.size; at < len(b) && (b[at] != breakByte || h.info != indefinite); {
		n, err := span(b[at:], 0)
		if err != nil {
			return nil
		}
		out = append(out, raw(b[at:at+n:at+n]))
		at += n
	}
	return out
}

// number, text, octets and array read a well-formed item, if it is of that kind.
func number(b raw) (uint64, bool) {
	h, err := readHead(b)
	return h.n, err == nil && h.major == majorUnsigned
}

func text(b raw) (string, bool) {
	s, ok := str(b, majorText)
	return string(s), ok && utf8.Valid(s)
}

func octets(b raw) ([]byte, bool) { return str(b, majorBytes) }

func str(b raw, major byte) ([]byte, bool) {
	h, err := readHead(b)
	if err != nil || h.major != major {
		return nil, false
	}
	if h.info != indefinite {
		return b[h.size:], true
	}
	var out []byte
	for _, chunk := range parts(b) {
		s, _ := str(chunk, major)
		out = append(out, s...)
	}
	return out, true
}

func array(b raw) ([]raw, bool) {
	h, err := readHead(b)
	if err != nil || h.major != majorArray {
		return nil, false
	}
	return parts(b), true
}
