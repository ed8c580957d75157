package wire

import (
	"fmt"
	"math"
)

// AppendRelayed appends to dst the form in which a relay passes on msg, a whole
// M_DISCOVERY or M_FLOOD that Parse accepts. It decrements the loop count of the
// objective, and writes that in its shortest encoding. All other bytes stay the same:
// unusual encodings, unknown flags and surplus items, too. In an M_FLOOD it is the
// loop count of the first objective, even if Parse leaves that one out (RFC 8990
// section 2.5.6.2). If the loop count is or would become 0, the error, an *Error, is
// ErrLoopExhausted, and dst is returned as it was. msg must not overlap the capacity
// of dst.
func AppendRelayed(dst, msg []byte) ([]byte, error) {
	at, end, count, err := findLoopCount(msg)
	if err != nil {
		return dst, unreadable(msg, err)
	}
	// RFC 8990 sections 2.5.4.4 and 2.5.6.2: a message is not relayed if the
	// decremented loop count is zero.
	if count <= 1 {
		return dst, unreadable(msg, fmt.Errorf("%w: it is %d", ErrLoopExhausted, count))
	}
	dst = append(dst, msg[:at]...)
	dst = appendHead(dst, majorUint, count-1)
	return append(dst, msg[end:]...), nil
}

// findLoopCount returns the loop count that a relay decrements; it is msg[at:end].
func findLoopCount(msg []byte) (at, end int, count uint64, err error) {
	if err := wellFormed(msg, noLimits); err != nil {
		return 0, 0, 0, err
	}
	r := reader{b: msg}
	a := r.open("message")
	t := r.uint(&a, "message type", math.MaxUint64)
	r.session(&a)
	r.initiator(&a)
	switch {
	case r.err != nil:
	case t == uint64(TypeDiscovery):
	case t == uint64(TypeFlood):
		r.uint32(&a, "ttl")
		if !r.toFlooded(&a) {
			r.fail(r.i, "no objective")
		}
		a = r.open("objective with locator")
	default:
		r.fail(0, "a message of this type is not relayed")
	}
	if r.err == nil && r.toObjective(&a) {
		at, count = r.loopCount()
		end = r.i
	}
	return at, end, count, r.err
}

// loopCount reads the objective that is the next item as far as its loop count, and
// returns where that begins. Unlike objectiveHead, it allocates nothing.
func (r *reader) loopCount() (at int, count uint64) {
	o := r.open("objective")
	if r.need(&o, "name of the objective") {
		r.str("name of the objective", majorText, "text")
	}
	r.uint(&o, "flags", math.MaxUint64)
	at = r.i
	return at, r.uint(&o, "loop count", math.MaxUint8)
}
