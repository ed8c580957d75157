package wire

import (
	"fmt"
	"unicode/utf8"
)

// The limits that hold where Limits has a zero.
const (
	// DefaultBytes is GRASP_DEF_MAX_SIZE, RFC 8990 section 2.6.
	DefaultBytes = 2048
	// DefaultDepth is how deep arrays, maps, tags and strings of indefinite length
	// may nest, counted from the message itself.
	DefaultDepth = 32
	// DefaultElements is how many items a message may have. The message itself, the
	// items in its values and the pieces of its strings count.
	DefaultElements = 2048
)

// Limits bounds what is accepted. Fields of zero or less stand for the defaults.
type Limits struct {
	Bytes    int // length of the message
	Depth    int // nesting of the whole message
	Elements int // items in the whole message
}

// unlimited is more than any message has, and small enough for sums in an int of 32
// bits.
const unlimited = 1 << 28

var noLimits = Limits{Bytes: unlimited, Depth: unlimited, Elements: unlimited}

func (l Limits) withDefaults() Limits {
	set := func(v, def int) int {
		if v <= 0 {
			return def
		}
		return min(v, unlimited)
	}
	return Limits{
		Bytes:    set(l.Bytes, DefaultBytes),
		Depth:    set(l.Depth, DefaultDepth),
		Elements: set(l.Elements, DefaultElements),
	}
}

// Scan returns the length of the first CBOR item in b, which may be followed by
// anything. It tells messages in a stream apart: RFC 8990 section 2.5.3 has no
// framing but CBOR's own. If b has only a part of the item, the error is ErrTruncated
// and n, which is more than the length of b, is the least length of the item: there is
// no need to scan again before that much has come. The error is ErrTooLong,
// ErrTooDeep, ErrTooMany or ErrMalformed as soon as that is clear, even if the rest is
// missing: nobody needs to wait for an item that declares more than is allowed.
func Scan(b []byte, lim Limits) (n int, err error) {
	return scan(b, lim.withDefaults())
}

// WellFormed returns an error unless item is exactly one CBOR item, well-formed,
// within the limits, and with text that is UTF-8. It does not look at the meaning: a
// map may have equal keys, and any tag or simple value may occur.
func WellFormed(item []byte, lim Limits) error {
	return wellFormed(item, lim.withDefaults())
}

func wellFormed(item []byte, lim Limits) error {
	n, err := scan(item, lim)
	if err != nil {
		return err
	}
	if n < len(item) {
		if len(item) > lim.Bytes {
			return &fault{class: ErrTooLong, what: fmt.Sprintf("%d bytes, the limit being %d,", len(item), lim.Bytes), at: lim.Bytes}
		}
		return &fault{class: ErrMalformed, what: fmt.Sprintf("%d bytes after the item", len(item)-n), at: n}
	}
	return nil
}

// frame is an item that holds others.
type frame struct {
	left int32 // items still to come if counted, else -1
	kind frameKind
}

type frameKind uint8

const (
	counted   frameKind = iota // array, map or tag that says how many items it has
	openArray                  // those that end with a break
	openMap
	openEntry // openMap, of which the value for a key is to come
	openBytes
	openText
)

// scan is Scan with all limits set. With an error other than ErrTruncated, n has no
// meaning. It allocates nothing unless it fails, or the nesting is both above
// DefaultDepth and allowed.
func scan(b []byte, lim Limits) (int, error) {
	var room [DefaultDepth]frame
	stack := room[:0]         // the frames around top
	top := frame{left: 1}     // a place for one item
	i, items, owed := 0, 0, 1 // owed: the bytes that must still come at least
	for {
		for top.left == 0 {
			if len(stack) == 0 {
				return i, nil
			}
			top = stack[len(stack)-1]
			stack = stack[:len(stack)-1]
		}
		if i == len(b) {
			return i + max(owed, 1), ErrTruncated
		}
		first := b[i]
		if first == breakByte {
			if top.kind == counted || top.kind == openEntry {
				return 0, scanFault(ErrMalformed, i, "unexpected break")
			}
			top = frame{}
			i++
			owed--
			continue
		}

		major, info := first>>5, first&infoMask
		switch top.kind {
		case counted:
			top.left--
			owed--
		case openMap:
			top.kind = openEntry
		case openEntry:
			top.kind = openMap
		case openBytes, openText:
			// RFC 8949 section 3.2.3: the pieces are definite-length strings of the
			// same major type.
			if info == infoOpen || (major == majorBytes) != (top.kind == openBytes) ||
				(major == majorText) != (top.kind == openText) {
				return 0, scanFault(ErrMalformed, i, "wrong piece of a string")
			}
		case openArray:
		}
		if items++; items > lim.Elements {
			return 0, scanFault(ErrTooMany, i, "more than %d", uint64(lim.Elements))
		}

		at, arg := i, uint64(info)
		if info >= 24 {
			if info > infoUint64 && (info < infoOpen || major < majorBytes || major > majorMap) {
				return 0, scanFault(ErrMalformed, i, "reserved first byte")
			}
			if info < infoOpen {
				h, n := readHead(b, i)
				if n == 0 {
					if i+1+1<<(info-24)+owed > lim.Bytes {
						return 0, scanFault(ErrTooLong, at, "more than %d bytes", uint64(lim.Bytes))
					}
					return i + 1 + 1<<(info-24) + owed, ErrTruncated
				}
				arg = h.arg
				i += n - 1
			}
		}
		i++

		var held int // items in this one
		kind := counted
		switch major {
		case majorBytes, majorText:
			if info == infoOpen {
				held, kind = -1, openBytes
				if major == majorText {
					kind = openText
				}
				break
			}
			if i+owed > lim.Bytes || arg > uint64(lim.Bytes-i-owed) {
				return 0, scanFault(ErrTooLong, at, "string of %d bytes, the limit for the whole being %d,", arg, uint64(lim.Bytes))
			}
			if arg > uint64(len(b)-i) {
				return i + int(arg) + owed, ErrTruncated
			}
			end := i + int(arg)
			if major == majorText && !utf8.Valid(b[i:end]) {
				return 0, scanFault(ErrMalformed, at, "text that is not UTF-8")
			}
			i = end
		case majorArray, majorMap:
			if info == infoOpen {
				held, kind = -1, openArray
				if major == majorMap {
					kind = openMap
				}
				break
			}
			if arg > uint64(lim.Bytes) {
				return 0, scanFault(ErrTooLong, at, "%d items in %d bytes", arg, uint64(lim.Bytes))
			}
			held = int(arg)
			if major == majorMap {
				held *= 2
			}
			if i+owed+held > lim.Bytes {
				return 0, scanFault(ErrTooLong, at, "%d items in %d bytes", uint64(held), uint64(lim.Bytes))
			}
			if held > lim.Elements-items {
				return 0, scanFault(ErrTooMany, at, "%d more than %d", uint64(held-(lim.Elements-items)), uint64(lim.Elements))
			}
		case majorTag:
			held = 1
		case majorSimple:
			// RFC 8949 section 3.3: simple values below 32 MUST NOT be in two bytes;
			// that is not well-formed.
			if info == infoUint8 && arg < 32 {
				return 0, scanFault(ErrMalformed, at, "simple value in the wrong form")
			}
		}
		if i+owed > lim.Bytes {
			return 0, scanFault(ErrTooLong, at, "more than %d bytes", uint64(lim.Bytes))
		}
		if major < majorArray && kind == counted || major == majorSimple {
			continue
		}
		if len(stack) >= lim.Depth {
			return 0, scanFault(ErrTooDeep, at, "more than %d levels", uint64(lim.Depth))
		}
		if kind == counted {
			owed += held
		} else {
			owed++ // the break
		}
		if i+owed > lim.Bytes {
			return 0, scanFault(ErrTooLong, at, "more than %d bytes", uint64(lim.Bytes))
		}
		stack = append(stack, top)
		top = frame{left: int32(held), kind: kind}
	}
}

// scanFault returns an error about numbers. It is a function of its own because scan
// would need far more stack with the formatting in it.
//
//go:noinline
func scanFault(class error, at int, format string, numbers ...uint64) error {
	args := make([]any, len(numbers))
	for i, n := range numbers {
		args[i] = n
	}
	return &fault{class: class, what: fmt.Sprintf(format, args...), at: at}
}
