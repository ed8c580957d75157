package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The parts of the first byte of a CBOR item, RFC 8949 section 3.
const (
	majorUint   = 0
	majorNegint = 1
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7

	infoMask   = 0x1f
	infoUint8  = 24
	infoUint16 = 25
	infoUint32 = 26
	infoUint64 = 27
	infoOpen   = 31 // of indefinite length

	nullByte  = 0xf6
	breakByte = 0xff
)

// head is the head of a CBOR item.
type head struct {
	major byte
	info  byte
	arg   uint64 // 0 if open
}

// open reports that the item is of indefinite length, or is a break.
func (h head) open() bool { return h.info == infoOpen }

// readHead reads the head at b[i:] and returns its length, or 0 if the head is
// incomplete or reserved.
func readHead(b []byte, i int) (head, int) {
	if i >= len(b) {
		return head{}, 0
	}
	h := head{major: b[i] >> 5, info: b[i] & infoMask}
	rest := b[i+1:]
	switch {
	case h.info < infoUint8:
		h.arg = uint64(h.info)
		return h, 1
	case h.info == infoUint8 && len(rest) >= 1:
		h.arg = uint64(rest[0])
		return h, 2
	case h.info == infoUint16 && len(rest) >= 2:
		h.arg = uint64(binary.BigEndian.Uint16(rest))
		return h, 3
	case h.info == infoUint32 && len(rest) >= 4:
		h.arg = uint64(binary.BigEndian.Uint32(rest))
		return h, 5
	case h.info == infoUint64 && len(rest) >= 8:
		h.arg = binary.BigEndian.Uint64(rest)
		return h, 9
	case h.info == infoOpen:
		return h, 1
	default:
		return head{}, 0
	}
}

// reader reads items of bytes that scan has found well-formed. After the first error
// it reads nothing more, and its results must not be used.
type reader struct {
	b   []byte
	i   int
	err error
}

// array is an array being read.
type array struct {
	left int // items to come, -1 if a break ends the array
}

// fail records the first error, which is that of the item at b[at:].
func (r *reader) fail(at int, format string, args ...any) {
	if r.err == nil {
		r.err = &fault{class: ErrInvalid, what: fmt.Sprintf(format, args...), at: at}
	}
}

// head reads a head.
func (r *reader) head() head {
	h, n := readHead(r.b, r.i)
	if n == 0 && r.err == nil {
		r.err = &fault{class: ErrTruncated, what: "no item", at: r.i}
	}
	r.i += n
	return h
}

// open begins the array that is the next item.
func (r *reader) open(what string) array {
	at := r.i
	h := r.head()
	if r.err != nil {
		return array{}
	}
	if h.major != majorArray {
		r.fail(at, "%s is not an array", what)
		return array{}
	}
	if h.open() {
		return array{left: -1}
	}
	return array{left: int(min(h.arg, unlimited))}
}

// more reports whether a has another item, which is then the next one.
func (r *reader) more(a *array) bool {
	switch {
	case r.err != nil || a.left == 0:
		return false
	case a.left > 0:
		a.left--
		return true
	case r.i < len(r.b) && r.b[r.i] == breakByte:
		r.i++
		a.left = 0
		return false
	default:
		return true
	}
}

// need is more, but fails if there is no other item.
func (r *reader) need(a *array, what string) bool {
	if r.more(a) {
		return true
	}
	r.fail(r.i, "%s is missing", what)
	return false
}

// end fails if a has more items.
func (r *reader) end(a *array, what string) {
	if at := r.i; r.more(a) {
		r.fail(at, "%s has too many items", what)
	}
}

// uint reads an item of a, which must be an unsigned integer.
func (r *reader) uint(a *array, what string, limit uint64) uint64 {
	if !r.need(a, what) {
		return 0
	}
	at := r.i
	h := r.head()
	if h.major != majorUint || h.arg > limit {
		r.fail(at, "%s is not an unsigned integer up to %d", what, limit)
		return 0
	}
	return h.arg
}

// text reads an item of a, which must be text.
func (r *reader) text(a *array, what string) string {
	if !r.need(a, what) {
		return ""
	}
	return string(r.str(what, majorText, "text"))
}

// str reads a string of the given kind. The result may be a part of r.b.
func (r *reader) str(what string, major byte, kind string) []byte {
	at := r.i
	h := r.head()
	if h.major != major {
		r.fail(at, "%s is not a %s string", what, kind)
		return nil
	}
	if !h.open() {
		return r.take(h.arg)
	}
	var joined []byte
	for pieces := (array{left: -1}); r.more(&pieces); {
		joined = append(joined, r.take(r.head().arg)...)
	}
	return joined
}

// take returns the next n bytes.
func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)-r.i) {
		r.fail(r.i, "string is cut short")
		return nil
	}
	s := r.b[r.i : r.i+int(n)]
	r.i += int(n)
	return s
}

// addr reads an item of a, which must be a byte string as long as an address.
func (r *reader) addr(a *array, what string) netip.Addr {
	if !r.need(a, what) {
		return netip.Addr{}
	}
	at := r.i
	s := r.str(what, majorBytes, "byte")
	switch len(s) {
	case 4:
		return netip.AddrFrom4([4]byte(s))
	case 16:
		return netip.AddrFrom16([16]byte(s))
	default:
		r.fail(at, "%s has %d bytes, neither 4 nor 16,", what, len(s))
		return netip.Addr{}
	}
}

// raw reads one item, whatever it is, and returns its bytes, a part of r.b.
func (r *reader) raw() []byte {
	start := r.i
	for left := uint64(1); left > 0 && r.err == nil; left-- {
		h := r.head()
		switch {
		case h.open():
			// scan finds the break that belongs to this item.
			n, err := scan(r.b[start:], noLimits)
			if err != nil {
				r.err, n = err, 0
			}
			r.i = start + n
			return r.b[start:r.i]
		case h.major == majorBytes || h.major == majorText:
			r.take(h.arg)
		case h.major == majorArray:
			left += h.arg
		case h.major == majorMap:
			left += 2 * h.arg
		case h.major == majorTag:
			left++
		}
	}
	return r.b[start:r.i]
}

// item returns a reader of the next item alone, and skips that item.
func (r *reader) item() reader {
	start := r.i
	r.raw()
	return reader{b: r.b[:r.i], i: start, err: r.err}
}
