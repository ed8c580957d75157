package target

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// Sizes of refused.
const (
	refusedBits = 1 << 20
	refusedTime = 4 * time.Second
)

// refused remembers addresses for as long as refusedTime, and twice as long at most, in a
// Bloom filter: in few bytes for many of them, so that it may take some for remembered that
// are not. The zero value remembers none.
type refused struct {
	seed     maphash.Seed
	now, old []uint64 // bits; nil: all are 0
	turned   time.Time
}

// places are the bits of an address.
func (r *refused) places(a netip.Addr) [2]uint64 {
	h := maphash.Comparable(r.seed, a)
	return [2]uint64{h % refusedBits, h >> 32 % refusedBits}
}

// turn forgets what is old.
func (r *refused) turn(now time.Time) {
	switch age := now.Sub(r.turned); {
	case age < refusedTime:
		return
	case age < 2*refusedTime:
		r.old, r.now = r.now, nil
	default:
		r.old, r.now = nil, nil
	}
	r.turned = now
}

func (r *refused) add(a netip.Addr, now time.Time) {
	r.turn(now)
	if r.now == nil {
		r.now = make([]uint64, refusedBits/64)
		if r.old == nil {
			r.seed = maphash.MakeSeed()
		}
	}
	for _, i := range r.places(a) {
		r.now[i/64] |= 1 << (i % 64)
	}
}

func (r *refused) has(a netip.Addr, now time.Time) bool {
	r.turn(now)
	isIn := func(bits []uint64) bool {
		if bits == nil {
			return false
		}
		for _, i := range r.places(a) {
			if bits[i/64]&(1<<(i%64)) == 0 {
				return false
			}
		}
		return true
	}
	return isIn(r.now) || isIn(r.old)
}
