package prefixpool

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func put(t testing.TB, pool *Pool, all ...string) {
	t.Helper()
	for _, s := range all {
		require.NoError(t, pool.Put(netip.MustParsePrefix(s)))
	}
}

// contents returns what is in a pool, as text.
func contents(pool *Pool) []string {
	var all []string
	for p := range pool.All() {
		all = append(all, p.String())
	}
	return all
}

func take(t testing.TB, pool *Pool, f Family, length int, want string) {
	t.Helper()
	p, ok := pool.Fit(f, length, length)
	require.True(t, ok)
	require.Equal(t, want, p.String())
	require.True(t, pool.Remove(p))
}

func TestSplitAndMerge(t *testing.T) {
	var pool Pool
	put(t, &pool, "2001:db8::/32", "10.0.0.0/8")
	take(t, &pool, IPv6, 34, "2001:db8::/34")
	assert.Equal(t, []string{"2001:db8:4000::/34", "2001:db8:8000::/33", "10.0.0.0/8"}, contents(&pool))
	// The smallest that is large enough is split, not the first.
	take(t, &pool, IPv6, 33, "2001:db8:8000::/33")
	take(t, &pool, IPv6, 35, "2001:db8:4000::/35")
	take(t, &pool, IPv4, 8, "10.0.0.0/8")
	assert.Equal(t, []string{"2001:db8:6000::/35"}, contents(&pool))
	put(t, &pool, "2001:db8:8000::/33", "2001:db8:4000::/35")
	assert.Equal(t, []string{"2001:db8:4000::/34", "2001:db8:8000::/33"}, contents(&pool))
	put(t, &pool, "2001:db8::/34")
	assert.Equal(t, []string{"2001:db8::/32"}, contents(&pool))
	assert.Equal(t, 1, pool.Len())
}

func TestLargest(t *testing.T) {
	var pool Pool
	put(t, &pool, "2001:db8:1::/48", "2001:db8:2::/47")
	for _, want := range []string{"2001:db8:2::/47", "2001:db8:1::/48", "invalid Prefix"} {
		p, ok := pool.Fit(IPv6, 40, 64)
		assert.Equal(t, want, p.String())
		assert.Equal(t, ok, pool.Remove(p))
	}
	put(t, &pool, "2001:db8::/65")
	_, ok := pool.Fit(IPv6, 40, 64)
	assert.False(t, ok, "longer than the longest that was allowed")
	_, ok = pool.Fit(IPv4, 0, 32)
	assert.False(t, ok)
}

func TestWrongPrefixes(t *testing.T) {
	var pool Pool
	put(t, &pool, "2001:db8::/48")
	for _, p := range []netip.Prefix{
		{},
		netip.PrefixFrom(netip.MustParseAddr("2001:db8::"), 129),
		netip.PrefixFrom(netip.MustParseAddr("2001:db8::1"), 64),
		netip.MustParsePrefix("::ffff:10.0.0.0/104"),
	} {
		assert.ErrorIs(t, pool.Put(p), ErrInvalid)
		assert.False(t, pool.Remove(p))
	}
	for _, s := range []string{"2001:db8::/48", "2001:db8::/32", "2001:db8:0:1::/64", "::/0"} {
		assert.ErrorIs(t, pool.Put(netip.MustParsePrefix(s)), ErrOverlap)
	}
	for _, length := range []int{-1, 129, math.MaxInt} {
		_, ok := pool.Fit(IPv6, length, length)
		assert.False(t, ok)
		_, ok = pool.Fit(IPv4, length, length)
		assert.False(t, ok)
	}
	assert.False(t, pool.Remove(netip.MustParsePrefix("2001:db8::/47")), "half of it is not there")
	assert.Equal(t, []string{"2001:db8::/48"}, contents(&pool))
}

// The whole space of either family, and single addresses at both ends.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		all, before, last string
		bits              int
	}{
		{"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 128},
		{"0.0.0.0/0", "255.255.255.254/32", "255.255.255.255/32", 32},
	} {
		var pool Pool
		put(t, &pool, c.all)
		f := FamilyOf(netip.MustParsePrefix(c.all))
		require.True(t, pool.Remove(netip.MustParsePrefix(c.last)))
		assert.Equal(t, c.bits, pool.Len())
		take(t, &pool, f, c.bits, c.before)
		take(t, &pool, f, 1, c.all[:len(c.all)-1]+"1")
		put(t, &pool, c.last, c.before, c.all[:len(c.all)-1]+"1")
		assert.Equal(t, []string{c.all}, contents(&pool))
	}
}

func TestCount(t *testing.T) {
	var pool Pool
	assert.Zero(t, pool.Count(IPv6, 64))
	put(t, &pool, "2001:db8::/48", "2001:db8:1::/52", "10.0.0.0/8")
	assert.EqualValues(t, 1<<16+1<<12, pool.Count(IPv6, 64))
	assert.EqualValues(t, 1, pool.Count(IPv6, 48))
	assert.Zero(t, pool.Count(IPv6, 47))
	assert.EqualValues(t, 1<<24, pool.Count(IPv4, 32))
	assert.EqualValues(t, uint64(math.MaxUint64), pool.Count(IPv6, 128))
	put(t, &pool, "4000::/2", "8000::/3", "c000::/3")
	assert.EqualValues(t, uint64(math.MaxUint64), pool.Count(IPv6, 65))
}

// twin is a pool of 256 addresses that knows of each whether it is there.
type twin [256]bool

// network is where a twin's addresses are, in each family.
var network = map[Family]netip.Prefix{
	IPv6: netip.MustParsePrefix("2001:db8::ab00/120"),
	IPv4: netip.MustParsePrefix("192.0.2.0/24"),
}

// prefix returns the prefix of the family with a first address and a length.
func prefix(f Family, first, length int) netip.Prefix {
	a := network[f].Addr().AsSlice()
	a[len(a)-1] = byte(first)
	addr, _ := netip.AddrFromSlice(a)
	return netip.PrefixFrom(addr, f.Bits()-8+length).Masked()
}

// span returns the addresses of a prefix of that length.
func (w *twin) span(first, length int) []bool {
	size := 256 >> length
	first = first / size * size
	return w[first : first+size]
}

func (w *twin) put(first, length int) bool {
	s := w.span(first, length)
	if slices.Contains(s, true) {
		return false
	}
	for i := range s {
		s[i] = true
	}
	return true
}

func (w *twin) remove(first, length int) bool {
	s := w.span(first, length)
	if slices.Contains(s, false) {
		return false
	}
	clear(s)
	return true
}

// prefixes returns the fewest that make up what is there.
func (w *twin) prefixes(first, length int) (all [][2]int) {
	switch s := w.span(first, length); {
	case !slices.Contains(s, true):
		return nil
	case !slices.Contains(s, false):
		return [][2]int{{first, length}}
	}
	return append(w.prefixes(first, length+1), w.prefixes(first+128>>length, length+1)...)
}

// take removes the first part of the smallest prefix that is large enough.
func (w *twin) take(length int) (first int, ok bool) {
	best := -1
	for _, p := range w.prefixes(0, 0) {
		if p[1] <= length && p[1] > best {
			first, best = p[0], p[1]
		}
	}
	return first, best >= 0 && w.remove(first, length)
}

// run does with a pool and its twin what the bytes say, and requires that
// they agree.
func run(t testing.TB, script []byte) {
	t.Helper()
	var pool Pool
	twins := map[Family]*twin{IPv6: {}, IPv4: {}}
	for len(script) >= 3 {
		what, first, length := script[0], int(script[1]), int(script[2])%9
		script = script[3:]
		f := []Family{IPv6, IPv4}[what>>7]
		w, p := twins[f], prefix(f, first, length)
		switch what % 4 {
		case 0:
			require.Equal(t, slices.Contains(w.span(first, length), true), pool.Overlaps(p))
			require.Equal(t, w.put(first, length), pool.Put(p) == nil)
		case 1:
			require.Equal(t, !slices.Contains(w.span(first, length), false), pool.Contains(p))
			require.Equal(t, w.remove(first, length), pool.Remove(p))
		default:
			// Case 3 makes do with less.
			max := length
			if what%4 == 3 {
				max = 8
			}
			got, gotOK := pool.Fit(f, f.Bits()-8+length, f.Bits()-8+max)
			want, ok := w.take(length)
			for ; !ok && length < max; want, ok = w.take(length) {
				length++
			}
			require.Equal(t, ok, gotOK)
			if ok {
				require.Equal(t, prefix(f, want, length), got)
				require.True(t, pool.Remove(got))
			}
		}
		agree(t, &pool, twins)
	}
}

func agree(t testing.TB, pool *Pool, twins map[Family]*twin) {
	t.Helper()
	var want []netip.Prefix
	for _, f := range []Family{IPv6, IPv4} {
		for _, p := range twins[f].prefixes(0, 0) {
			want = append(want, prefix(f, p[0], p[1]))
		}
		for length := range 9 {
			var sum uint64
			for _, p := range twins[f].prefixes(0, 0) {
				if p[1] <= length {
					sum += 1 << (length - p[1])
				}
			}
			require.Equal(t, sum, pool.Count(f, f.Bits()-8+length))
		}
	}
	require.Equal(t, want, slices.Collect(pool.All()))
	require.Equal(t, len(want), pool.Len())
}

// A pool is always what a list of all addresses is.
func TestAgainstTwin(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		script := make([]byte, 3*200)
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		run(t, script)
	}
}

func FuzzPool(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 0, 8, 1, 7, 8, 0, 7, 8, 128, 0, 1, 131, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) { run(t, script) })
}

// However a prefix is taken apart, and in whatever order it comes back, it is
// one again.
func TestComesTogether(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var pool Pool
	put(t, &pool, "2001:db8::/32", "10.0.0.0/8")
	var out []netip.Prefix
	for range 20_000 {
		f, length := IPv6, 40+rng.IntN(89)
		if rng.IntN(4) == 0 {
			f, length = IPv4, 18+rng.IntN(15)
		}
		if p, ok := pool.Fit(f, length, length); ok {
			require.True(t, pool.Remove(p))
			out = append(out, p)
		}
		if len(out) > 0 && rng.IntN(3) == 0 {
			i := rng.IntN(len(out))
			require.NoError(t, pool.Put(out[i]))
			out = slices.Delete(out, i, i+1)
		}
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for _, p := range out {
		require.NoError(t, pool.Put(p))
	}
	assert.Equal(t, []string{"2001:db8::/32", "10.0.0.0/8"}, contents(&pool))
}

func BenchmarkTakeAndPut(b *testing.B) {
	for _, scattered := range []int{0, 1_000, 100_000} {
		b.Run(fmt.Sprint(scattered, " prefixes"), func(b *testing.B) {
			var pool Pool
			put(b, &pool, "2001:db8::/32")
			// Every second /64, so that nothing merges.
			for i := range scattered {
				a := netip.MustParseAddr("2001:db9::").As16()
				a[5], a[6], a[7] = byte(i>>15), byte(i>>7), byte(i<<1)
				require.NoError(b, pool.Put(netip.PrefixFrom(netip.AddrFrom16(a), 64)))
			}
			b.ReportAllocs()
			for b.Loop() {
				p, _ := pool.Fit(IPv6, 63, 63)
				if !pool.Remove(p) || pool.Put(p) != nil {
					b.Fatal(p)
				}
			}
		})
	}
}
