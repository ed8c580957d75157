// Package framing finds CBOR items in streams. GRASP has no framing but CBOR's
// own (RFC 8990 section 2.5.3): where an item ends, the next one begins,
// whatever the segmentation.
package framing

import (
	"errors"

	"github.com/go-grasp/grasp/internal/wire"
)

// buffer holds bytes of a stream until they are whole items. The zero value is
// ready to use.
type buffer struct {
	b     []byte
	taken int // bytes of b that the last item takes
	least int // bytes that the item under way has at least
}

// next returns the next item, in a slice that is valid until the next call. The
// error is wire.ErrTruncated if not all of the item is there yet. With another error
// of wire.Scan, next also returns what is there, and skips it.
func (b *buffer) next(lim wire.Limits) ([]byte, error) {
	if b.taken > 0 {
		b.b = append(b.b[:0], b.b[b.taken:]...)
		b.taken, b.least = 0, 0
	}
	if len(b.b) == 0 || len(b.b) < b.least {
		return nil, wire.ErrTruncated
	}
	n, err := wire.Scan(b.b, lim)
	switch {
	case err == nil:
		b.taken = n
		return b.b[:n], nil
	case errors.Is(err, wire.ErrTruncated):
		b.least = n
		return nil, err
	default:
		b.taken = len(b.b)
		return b.b, err
	}
}

// need returns how many bytes the next item, which is incomplete, has at least.
func (b *buffer) need() int { return max(b.least, 1) }

// last returns what next returned last.
func (b *buffer) last() []byte { return b.b[:b.taken] }

// unread has next return the last item once more.
func (b *buffer) unread() { b.taken, b.least = 0, 0 }

// len returns how many bytes there are of items that were not returned.
func (b *buffer) len() int { return len(b.b) - b.taken }

// extend makes the buffer n bytes longer and returns those, to be filled. If
// that needs more room, there will be room for size bytes at least.
func (b *buffer) extend(n, size int) []byte {
	was := len(b.b)
	if was+n > cap(b.b) {
		b.b = append(make([]byte, 0, max(was+n, size)), b.b...)
	}
	b.b = b.b[:was+n]
	return b.b[was:]
}

// shorten takes n bytes off the end again, which were not filled.
func (b *buffer) shorten(n int) { b.b = b.b[:len(b.b)-n] }

// free returns how many bytes there is room for.
func (b *buffer) free() int { return cap(b.b) - len(b.b) }
