package prefixpool

import (
	"math/bits"
	"net/netip"
)

// tree holds the prefixes of one family: a binary trie without the nodes that
// have one child only, so that there are fewer than twice as many as prefixes.
type tree struct {
	root  *node
	count [129]int // of the leaves, by length
}

// node is a prefix of the pool, if it is a leaf; else the shortest prefix that
// contains both its children, which are in different halves of it.
type node struct {
	prefix  netip.Prefix
	child   [2]*node // both or none
	lengths lengths  // of the leaves below, its own included
}

func (t *tree) leaf(p netip.Prefix) *node {
	t.count[p.Bits()]++
	n := &node{prefix: p}
	n.lengths.add(p.Bits())
	return n
}

func (n *node) isLeaf() bool { return n.child[0] == nil }

// put adds a prefix and returns true, or false if it overlaps what is there.
func (t *tree) put(p netip.Prefix) bool {
	if t.find(p) != nil {
		return false
	}
	t.root = t.insert(t.root, p)
	return true
}

// find returns the leaf that contains p, or the node below which are the
// leaves that p contains, or nil if p overlaps nothing.
func (t *tree) find(p netip.Prefix) *node {
	n := t.root
	for n != nil && n.prefix.Overlaps(p) {
		if n.isLeaf() || n.prefix.Bits() >= p.Bits() {
			return n
		}
		n = n.child[half(n.prefix, p)]
	}
	return nil
}

// insert adds a prefix that overlaps nothing and returns the new node.
func (t *tree) insert(n *node, p netip.Prefix) *node {
	if n == nil {
		return t.leaf(p)
	}
	if !n.prefix.Overlaps(p) {
		return t.join(common(n.prefix, p), n, t.leaf(p))
	}
	h := half(n.prefix, p)
	return t.join(n.prefix, n.child[1-h], t.insert(n.child[h], p))
}

// join returns the node for a prefix with these two below, one in each half.
func (t *tree) join(p netip.Prefix, a, b *node) *node {
	if a.isLeaf() && b.isLeaf() && a.prefix.Bits() == p.Bits()+1 && b.prefix.Bits() == p.Bits()+1 {
		t.count[p.Bits()+1] -= 2
		return t.leaf(p)
	}
	n := &node{prefix: p}
	n.child[half(p, a.prefix)], n.child[half(p, b.prefix)] = a, b
	n.lengths = a.lengths.or(b.lengths)
	return n
}

// remove removes a prefix that one of the leaves contains.
func (t *tree) remove(p netip.Prefix) { t.root = t.without(t.root, p) }

// without returns what is left of a node, nil for nothing.
func (t *tree) without(n *node, p netip.Prefix) *node {
	if !n.isLeaf() {
		h := half(n.prefix, p)
		left := t.without(n.child[h], p)
		if left == nil {
			return n.child[1-h]
		}
		return t.join(n.prefix, n.child[1-h], left)
	}
	t.count[n.prefix.Bits()]--
	var left *node
	for length := p.Bits(); length > n.prefix.Bits(); length-- {
		other := t.leaf(otherHalf(p.Addr(), length))
		if left == nil {
			left = other
		} else {
			left = t.join(netip.PrefixFrom(p.Addr(), length-1).Masked(), left, other)
		}
	}
	return left
}

// fit returns the smallest leaf that is not longer than a length, the one with
// the lowest address if there are several.
func (t *tree) fit(length int) (netip.Prefix, bool) {
	n := t.root
	if n == nil {
		return netip.Prefix{}, false
	}
	want, ok := n.lengths.last(length)
	if !ok {
		return netip.Prefix{}, false
	}
	for !n.isLeaf() {
		h := 0
		if !n.child[0].lengths.has(want) {
			h = 1
		}
		n = n.child[h]
	}
	return n.prefix, true
}

// shortest returns the length of the largest leaf.
func (t *tree) shortest() (int, bool) {
	for l, n := range t.count {
		if n > 0 {
			return l, true
		}
	}
	return 0, false
}

func (n *node) all(yield func(netip.Prefix) bool) bool {
	switch {
	case n == nil:
		return true
	case n.isLeaf():
		return yield(n.prefix)
	}
	return n.child[0].all(yield) && n.child[1].all(yield)
}

// half says in which half of a prefix a longer one is: 0 or 1.
func half(of, p netip.Prefix) int { return bit(p.Addr(), of.Bits()) }

// bit returns a bit of an address, 0 being the first.
func bit(a netip.Addr, i int) int {
	if a.Is4() {
		i += 96
	}
	b := a.As16()
	return int(b[i/8]>>(7-i%8)) & 1
}

// common returns the longest prefix that contains both.
func common(p, q netip.Prefix) netip.Prefix {
	a, b := p.Addr().As16(), q.Addr().As16()
	length := 0
	for length < 128 && a[length/8] == b[length/8] {
		length += 8
	}
	if length < 128 {
		length += bits.LeadingZeros8(a[length/8] ^ b[length/8])
	}
	if p.Addr().Is4() {
		length -= 96
	}
	return netip.PrefixFrom(p.Addr(), min(length, p.Bits(), q.Bits())).Masked()
}

// otherHalf returns the prefix that makes up a shorter one together with that
// of an address and a length.
func otherHalf(a netip.Addr, length int) netip.Prefix {
	i := length - 1
	if a.Is4() {
		i += 96
	}
	b := a.As16()
	b[i/8] ^= 0x80 >> (i % 8)
	other := netip.AddrFrom16(b)
	if a.Is4() {
		other = other.Unmap()
	}
	return netip.PrefixFrom(other, length).Masked()
}

// lengths is a set of lengths from 0 to 128.
type lengths [3]uint64

func (l *lengths) add(length int)     { l[length/64] |= 1 << (length % 64) }
func (l lengths) has(length int) bool { return l[length/64]>>(length%64)&1 != 0 }

func (l lengths) or(m lengths) lengths {
	return lengths{l[0] | m[0], l[1] | m[1], l[2] | m[2]}
}

// last returns the largest length in the set that is not above a limit.
func (l lengths) last(limit int) (int, bool) {
	for i := limit / 64; i >= 0; i-- {
		word := l[i]
		if i == limit/64 {
			word &= 1<<(limit%64)<<1 - 1
		}
		if word != 0 {
			return i*64 + bits.Len64(word) - 1, true
		}
	}
	return 0, false
}
