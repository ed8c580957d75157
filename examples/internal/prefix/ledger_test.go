package prefix

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

var (
	network = netip.MustParsePrefix("2001:db8::/32")
	peerA   = netip.MustParseAddr("fd00::a")
	peerB   = netip.MustParseAddr("fd00::b")
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// newOrigin returns a ledger with the network in its pool.
func newOrigin(t *testing.T, j Journal) *Ledger {
	t.Helper()
	l, err := NewLedger(nil, j)
	require.NoError(t, err)
	require.NoError(t, l.Own(network))
	return l
}

func offer(t *testing.T, l *Ledger, length int, to netip.Addr) *Offer {
	t.Helper()
	o, err := l.Offer(prefixpool.IPv6, length, 96, to)
	require.NoError(t, err)
	return o
}

func TestOfferAndGive(t *testing.T) {
	l := newOrigin(t, nil)
	o := offer(t, l, 33, peerA)
	assert.Equal(t, pfx("2001:db8::/33"), o.Prefix)
	assert.Equal(t, []netip.Prefix{pfx("2001:db8:8000::/33")}, l.Holdings().Free)
	require.NoError(t, l.Withdraw(o))
	assert.Equal(t, []netip.Prefix{network}, l.Holdings().Free)
	assert.ErrorIs(t, l.Give(o, true), ErrWithdrawn)

	o = offer(t, l, 33, peerA)
	require.NoError(t, l.Give(o, true))
	require.NoError(t, l.Withdraw(o), "it was given: nothing to withdraw")
	assert.Equal(t, []netip.Prefix{pfx("2001:db8:8000::/33")}, l.Holdings().Free)
	o = offer(t, l, 32, peerB) // what is left
	assert.Equal(t, pfx("2001:db8:8000::/33"), o.Prefix)
	_, err := l.Offer(prefixpool.IPv6, 64, 96, peerB)
	assert.ErrorIs(t, err, ErrNothing)
}

// What a giver answers when a taker asks whether a prefix is its own.
func TestIsYours(t *testing.T) {
	l := newOrigin(t, nil)
	isYours := func(p netip.Prefix, peer netip.Addr) bool {
		t.Helper()
		yours, err := l.IsYours(p, peer)
		require.NoError(t, err)
		return yours
	}
	given := offer(t, l, 64, peerA)
	require.NoError(t, l.Give(given, true))
	assert.True(t, isYours(given.Prefix, peerA))
	assert.True(t, isYours(given.Prefix, peerA), "as often as it asks")
	assert.False(t, isYours(given.Prefix, peerB))

	// An offer that is out is withdrawn by the question.
	o := offer(t, l, 64, peerA)
	assert.False(t, isYours(o.Prefix, peerB))
	assert.False(t, isYours(o.Prefix, peerA))
	assert.ErrorIs(t, l.Give(o, true), ErrWithdrawn)
	assert.True(t, isYours(given.Prefix, peerA), "offers that came to nothing change nothing")

	// What has come back is not the peer's any more.
	require.NoError(t, l.Got(given.Prefix, peerB))
	assert.False(t, isYours(given.Prefix, peerA))
	assert.Equal(t, []netip.Prefix{network}, l.Holdings().Free)
}

// A prefix in doubt is nobody's until the peer confirms something.
func TestDoubt(t *testing.T) {
	l := newOrigin(t, nil)
	lost, others := offer(t, l, 64, peerA), offer(t, l, 64, peerB)
	l.Doubt(lost)
	l.Doubt(others)
	assert.ErrorIs(t, l.Give(lost, true), ErrWithdrawn, "its session is over")

	plain := offer(t, l, 64, peerA)
	require.NoError(t, l.Give(plain, false))
	assert.Len(t, l.Holdings().InDoubt, 2, "it may have accepted the other one likewise")
	require.NoError(t, l.Give(offer(t, l, 64, peerA), true))
	assert.Equal(t, others.Prefix, l.Holdings().InDoubt[0].Prefix)
	assert.Len(t, l.Holdings().InDoubt, 1)
	back, err := l.Expire(0)
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{others.Prefix}, back)
	assert.Empty(t, l.Holdings().InDoubt)
}

func TestClaim(t *testing.T) {
	l, err := NewLedger(nil, nil)
	require.NoError(t, err)
	require.NoError(t, l.Claim(network, peerA))
	require.NoError(t, l.Claim(network, peerA), "again")
	assert.ErrorIs(t, l.Claim(network, peerB), ErrHeld)
	assert.ErrorIs(t, l.Claim(pfx("2001:db8::/64"), peerA), ErrHeld)
	assert.Zero(t, l.Count(prefixpool.IPv6, 64), "it may not be used yet")
	require.NoError(t, l.Drop(network))
	require.NoError(t, l.Claim(network, peerB))
	require.NoError(t, l.Got(network, peerB))
	assert.Empty(t, l.Claims())
	for _, overlapping := range []string{"2001:db8::/32", "2001:db8::/48", "2000::/8"} {
		assert.ErrorIs(t, l.Claim(pfx(overlapping), peerA), ErrHeld)
	}
	p, err := l.Delegate(prefixpool.IPv6, 64, "")
	require.NoError(t, err)
	assert.ErrorIs(t, l.Claim(p, peerA), ErrHeld, "delegated is held, too")
	require.NoError(t, l.Release(p))
	assert.Error(t, l.Release(p))
	assert.Equal(t, []netip.Prefix{network}, l.Holdings().Free)
	_, err = l.Delegate(prefixpool.IPv4, 24, "")
	assert.ErrorIs(t, err, ErrNothing)
}

// memoryJournal is a journal in memory, which fails when it is told to.
type memoryJournal struct {
	mu      sync.Mutex
	records []Record
	fail    error
	full    int
}

func (m *memoryJournal) Append(records []Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.records = append(m.records, records...)
	}
	return m.fail
}

func (m *memoryJournal) Full() bool { return m.full > 0 && len(m.records) >= m.full }

func (m *memoryJournal) Replace(records []Record) error {
	m.records = nil
	return m.Append(records)
}

// load returns the ledger that comes back from a journal.
func (m *memoryJournal) load(t *testing.T) *Ledger {
	t.Helper()
	l, err := NewLedger(m.records, m)
	require.NoError(t, err)
	return l
}

// requireSame requires that two ledgers hold the same, but for that offers of
// the second, which came back, are in doubt.
func requireSame(t *testing.T, want, got *Ledger) {
	t.Helper()
	a, b := want.Holdings(), got.Holdings()
	require.Equal(t, a.Free, b.Free)
	require.Equal(t, a.Delegated, b.Delegated)
	require.Equal(t, a.Uses, b.Uses)
	require.Equal(t, a.Claims, b.Claims)
	require.Equal(t, want.state.given, got.state.given)
	require.Equal(t, want.state.owned, got.state.owned)
	require.Empty(t, b.Offered)
	out := func(h Holdings) (all []string) {
		for _, o := range append(h.Offered, h.InDoubt...) {
			all = append(all, o.Prefix.String()+" "+o.Peer.String())
		}
		slices.Sort(all)
		return all
	}
	require.Equal(t, out(a), out(b))
}

// Whatever was done, the journal tells it, long or short.
func TestComesBack(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		j := &memoryJournal{full: int(seed) * 10}
		l := newOrigin(t, j)
		require.NoError(t, l.Own(network), "again")
		var offers []*Offer
		var delegated []netip.Prefix
		for range 300 {
			p := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x30, byte(rng.IntN(16))}), 16)
			peer := []netip.Addr{peerA, peerB}[rng.IntN(2)]
			switch rng.IntN(9) {
			case 0, 1:
				offers = append(offers, offer(t, l, 40+rng.IntN(20), peer))
			case 2:
				if q, err := l.Delegate(prefixpool.IPv6, 64, ""); err == nil {
					delegated = append(delegated, q)
				}
			case 3:
				if len(delegated) > 0 {
					require.NoError(t, l.Release(delegated[0]))
					delegated = delegated[1:]
				}
			case 4:
				_ = l.Claim(p, peer) // may be held already
			case 5:
				require.NoError(t, l.Drop(p))
			case 6:
				if from, ok := l.Claims()[p]; ok {
					require.NoError(t, l.Got(p, from))
				}
			case 7:
				_, err := l.IsYours(p, peer)
				require.NoError(t, err)
			default:
				if len(offers) == 0 {
					continue
				}
				o := offers[0]
				offers = offers[1:]
				switch rng.IntN(3) {
				case 0:
					require.NoError(t, l.Withdraw(o))
				case 1:
					l.Doubt(o)
				default:
					if err := l.Give(o, rng.IntN(2) == 0); err != nil {
						require.ErrorIs(t, err, ErrWithdrawn)
					}
				}
			}
		}
		requireSame(t, l, j.load(t))
		short := &memoryJournal{records: l.state.records()}
		requireSame(t, l, short.load(t))
		if j.full > 0 {
			require.Less(t, len(j.records), 300)
		}
	}
}

// Nothing is promised that the journal does not hold.
func TestJournalFails(t *testing.T) {
	broken := errors.New("disk full")
	j := &memoryJournal{}
	l := newOrigin(t, j)
	o := offer(t, l, 64, peerA)
	j.fail = broken
	assert.ErrorIs(t, l.Give(o, true), broken)
	j.fail = nil
	assert.ErrorIs(t, l.Claim(pfx("2001:db9::/32"), peerA), broken, "for ever")
	_, err := l.Offer(prefixpool.IPv6, 64, 64, peerA)
	assert.ErrorIs(t, err, broken)

	l = j.load(t)
	yours, err := l.IsYours(o.Prefix, peerA)
	require.NoError(t, err)
	assert.False(t, yours)
	assert.Equal(t, []netip.Prefix{network}, l.Holdings().Free)
}

// Many goroutines at once; the race detector watches.
func TestConcurrently(t *testing.T) {
	j := &memoryJournal{full: 100}
	l := newOrigin(t, j)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			peer := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			for range 50 {
				o, err := l.Offer(prefixpool.IPv6, 64, 64, peer)
				if !assert.NoError(t, err) {
					return
				}
				assert.NoError(t, l.Give(o, true))
				yours, err := l.IsYours(o.Prefix, peer)
				assert.NoError(t, err)
				assert.True(t, yours)
				assert.NoError(t, l.Got(o.Prefix, peer))
			}
		})
	}
	all.Wait()
	assert.Equal(t, []netip.Prefix{network}, l.Holdings().Free)
	requireSame(t, l, j.load(t))
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	open := func() (*File, *Ledger) {
		t.Helper()
		f, records, err := OpenFile(path)
		require.NoError(t, err)
		l, err := NewLedger(records, f)
		require.NoError(t, err)
		return f, l
	}
	f, l := open()
	_, _, err := OpenFile(path)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, l.Own(network))
	require.NoError(t, l.Own(pfx("10.0.0.0/8")))
	require.NoError(t, l.Give(offer(t, l, 48, peerA), true))
	offer(t, l, 48, peerB)
	require.NoError(t, l.Claim(pfx("2001:db9::/48"), peerB))
	p, err := l.Delegate(prefixpool.IPv4, 24, "lan0")
	require.NoError(t, err)
	require.NoError(t, f.Close())

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, `pfxm 1
own 2001:db8::/32
own 10.0.0.0/8
offered 2001:db8::/48 fd00::a
gave 2001:db8::/48 fd00::a
offered 2001:db8:1::/48 fd00::b
claimed 2001:db9::/48 fd00::b
delegated 10.0.0.0/24 for lan0
`, string(text))

	before := l
	f, l = open()
	requireSame(t, before, l)

	// When it is long, it is made short, and goes on; what is left of an earlier try that
	// failed is in nobody's way.
	require.NoError(t, os.WriteFile(path+".new", []byte("pfxm 1\nown 2001:db8"), 0o600))
	f.full = 0
	require.NoError(t, l.Release(p))
	f.full = compact
	require.NoError(t, l.Drop(pfx("2001:db9::/48")))
	require.NoError(t, f.Close())
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(text), "pfxm 1\nowned 10.0.0.0/8\nowned 2001:db8::/32\n"), string(text))
	assert.True(t, strings.HasSuffix(string(text), "\ndropped 2001:db9::/48 fd00::b\n"), string(text))
	before = l
	f, l = open()
	requireSame(t, before, l)
	require.NoError(t, f.Close())

	// What was being written when the power failed was never told to anybody.
	for cut := range len("released 10.0.0.0/24") {
		require.NoError(t, os.WriteFile(path, append(slices.Clip(text), "released 10.0.0.0/24"[:cut]...), 0o600))
		f, l = open()
		requireSame(t, before, l)
		require.NoError(t, f.Close())
	}
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, files, 2, "the journal and its lock")
}

// A file of before there were versions is read, and made one of this version; one of a
// later version is left alone.
func TestFileVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	const old = "own 2001:db8::/32\ndelegated 2001:db8::/64\n"
	for name, c := range map[string]struct{ text, want string }{
		"none":          {"", "pfxm 1\n"},
		"torn":          {"pfx", "pfxm 1\n"},
		"old":           {old, "pfxm 1\n" + old},
		"old, torn":     {old + "released 2001", "pfxm 1\n" + old},
		"of this":       {"pfxm 1\n" + old, "pfxm 1\n" + old},
		"of this, torn": {"pfxm 1\n" + old + "rel", "pfxm 1\n" + old},
	} {
		require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
		f, records, err := OpenFile(path)
		require.NoError(t, err, name)
		l, err := NewLedger(records, f)
		require.NoError(t, err, name)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, c.want, string(text), name)
		require.NoError(t, l.Own(pfx("10.0.0.0/8")))
		require.NoError(t, f.Close())
		text, err = os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, c.want+"own 10.0.0.0/8\n", string(text), name)
	}
	for text, want := range map[string]string{
		"pfxm 2\nleased 2001:db8::/32 3600\n": "state:1: version \"2\" of the file is not known: a later pfxm wrote it",
		"pfxm \n":                             "not known",
		"own 2001:db8::/32\npfxm 1\n":         "state:2: ",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, _, err := OpenFile(path)
		assert.ErrorContains(t, err, want)
		left, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, text, string(left))
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for text, want := range map[string]string{
		"own\n":                                "state:1: not a record",
		"own 2001:db8::/32 fd00::1 x\n":        "state:1: not a record",
		"own 2001:db8::/32\nown x\n":           "state:2: netip.ParsePrefix",
		"gave 2001:db8::/32 here\n":            "state:1: ParseAddr",
		"own 2001:db8::/32\nlost 10.0.0.0/8\n": "unknown kind",
		"gave 2001:db8::/32 fd00::1\n":         "record 1, gave 2001:db8::/32 fd00::1: not there",
		"own 2001:db8::1/32\n":                 "not a prefix",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		f, records, err := OpenFile(path)
		if err == nil {
			_, err = NewLedger(records, f)
			require.NoError(t, f.Close())
		}
		assert.ErrorContains(t, err, want, text)
	}
}
