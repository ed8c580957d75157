// Package prefixpool keeps sets of IP prefixes that split and merge: the free
// address space of a prefix manager.
package prefixpool

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"net/netip"
)

// Pool is a set of prefixes, of IPv6 and of IPv4, none of which overlap. Two
// that are the halves of a shorter one become that one, at once, so that a
// pool always consists of as few prefixes as can be. The zero value is empty.
//
// Every method takes a time that grows with the length of an address at most,
// however many prefixes there are, but for those that go through all of them.
// A Pool must not be used by several goroutines at once, nor copied.
type Pool struct {
	v6, v4 tree
}

// Errors of Put.
var (
	ErrInvalid = errors.New("not a prefix")
	ErrOverlap = errors.New("overlaps what is in the pool")
)

// Family is a version of IP.
type Family uint8

// The families.
const (
	IPv6 Family = 6
	IPv4 Family = 4
)

// FamilyOf returns the family of a prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// Bits returns the length of an address: 128 or 32.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// String returns "IPv6" or "IPv4".
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

func (pool *Pool) tree(f Family) *tree {
	if f == IPv4 {
		return &pool.v4
	}
	return &pool.v6
}

// Put adds a prefix. It fails with [ErrInvalid] for what is not one, has bits
// set beyond its length or is IPv4 in the form of IPv6, and with [ErrOverlap]
// if some of it is there already; then nothing is added.
func (pool *Pool) Put(p netip.Prefix) error {
	if !Valid(p) {
		return fmt.Errorf("%v: %w", p, ErrInvalid)
	}
	if !pool.tree(FamilyOf(p)).put(p) {
		return fmt.Errorf("%v: %w", p, ErrOverlap)
	}
	return nil
}

// Valid reports whether p is a prefix that Put takes: one without bits beyond its
// length, and not IPv4 in the form of IPv6.
func Valid(p netip.Prefix) bool {
	return p.IsValid() && !p.Addr().Is4In6() && p == p.Masked()
}

// Fit returns the prefix of a length that is to be taken next: a part of the
// smallest prefix of the pool that is large enough, of these the one with the
// lowest address. If all are smaller it returns the largest, if that is not
// longer than max; else false. [Pool.Remove] takes it out.
func (pool *Pool) Fit(f Family, length, max int) (netip.Prefix, bool) {
	if length < 0 || length > f.Bits() {
		return netip.Prefix{}, false
	}
	t := pool.tree(f)
	if from, ok := t.fit(length); ok {
		return netip.PrefixFrom(from.Addr(), length), true
	}
	largest, ok := t.shortest()
	if !ok || largest > max {
		return netip.Prefix{}, false
	}
	return t.fit(largest)
}

// Remove removes a prefix, splitting the one that contains it, and returns
// true if all of it was in the pool. Else it removes nothing.
func (pool *Pool) Remove(p netip.Prefix) bool {
	if !Valid(p) || !pool.Contains(p) {
		return false
	}
	pool.tree(FamilyOf(p)).remove(p)
	return true
}

// Contains reports whether all of a prefix is in the pool.
func (pool *Pool) Contains(p netip.Prefix) bool {
	n := pool.tree(FamilyOf(p)).find(p)
	return n != nil && n.isLeaf() && n.prefix.Bits() <= p.Bits()
}

// Overlaps reports whether some of a prefix is in the pool.
func (pool *Pool) Overlaps(p netip.Prefix) bool {
	return pool.tree(FamilyOf(p)).find(p) != nil
}

// Len returns of how many prefixes the pool consists.
func (pool *Pool) Len() int {
	sum := 0
	for l := range pool.v6.count {
		sum += pool.v6.count[l] + pool.v4.count[l]
	}
	return sum
}

// Count returns how many prefixes of a length could be taken, at most what a
// uint64 holds.
func (pool *Pool) Count(f Family, length int) uint64 {
	t := pool.tree(f)
	var sum uint64
	for l := range min(length, f.Bits()) + 1 {
		n := uint64(t.count[l])
		if n == 0 {
			continue
		}
		if length-l >= bits.LeadingZeros64(n) {
			return math.MaxUint64
		}
		var carry uint64
		if sum, carry = bits.Add64(sum, n<<(length-l), 0); carry != 0 {
			return math.MaxUint64
		}
	}
	return sum
}

// All goes through the prefixes by address, IPv6 first. The pool must not be
// changed meanwhile.
func (pool *Pool) All() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		_ = pool.v6.root.all(yield) && pool.v4.root.all(yield)
	}
}
