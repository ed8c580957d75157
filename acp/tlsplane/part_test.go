package tlsplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/wire"
)

func smallKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// proverOf is a plane whose certificate is for a key.
func proverOf(t testing.TB, d *domain.Domain, key crypto.Signer) *Plane {
	t.Helper()
	cert, err := d.IssueFor(key, "member.example", time.Hour)
	require.NoError(t, err)
	p := &Plane{Credentials: Static{Member: cert, Anchors: d.Roots()}}
	require.True(t, p.Status().Secure)
	return p
}

// listener is who hears announcements of an address.
type listener struct {
	*testing.T
	*endpoint
	from acp.Origin
}

// newListener returns one that trusts the anchors of a plane.
func newListener(t *testing.T, like *Plane, from string) *listener {
	t.Helper()
	p := &Plane{Credentials: like.Credentials}
	require.True(t, p.Status().Secure)
	e := &endpoint{plane: p, assembly: newAssembly()}
	return &listener{t, e, acp.Origin{Link: 3, Addr: netip.AddrPortFrom(netip.MustParseAddr(from).WithZone("3"), acp.Port)}}
}

// hear takes an announcement, and returns the proof that it has or finishes.
func (l *listener) hear(raw []byte) (claim proof, there bool) {
	l.Helper()
	a, ok := parseAnnouncement(raw, l.from)
	require.True(l, ok)
	return l.claimOf(a, time.Now())
}

// proves reports whether a proof is one.
func (l *listener) proves(claim proof, to netip.AddrPort) bool {
	l.Helper()
	identity, _, err := l.plane.check(claim, to, time.Now())
	return err == nil && identity == "member.example"
}

// announcements returns those of a member.
func announcements(t *testing.T, p *Plane, to netip.AddrPort) [][]byte {
	t.Helper()
	own := p.look()
	plain, err := prove(own.cert, to, time.Now())
	require.NoError(t, err)
	values, err := own.anchor.offer(plain, to, time.Minute, acp.MaxMulticast)
	require.NoError(t, err)
	var all [][]byte
	for _, v := range values {
		raw, err := announcement(to, time.Minute, v...)
		require.NoError(t, err)
		all = append(all, raw)
	}
	return all
}

// Whatever keys a domain has, and up to two CAs between the anchor and the members: the
// proof fits a few packets of 1232 bytes, which are valid floods.
func TestProofsFit(t *testing.T) {
	keys := map[string]crypto.Signer{"P-256": smallKey(t), "RSA-2048": TestingKey(t, "rsa2048"), "RSA-4096": TestingKey(t, "rsa4096")}
	for _, c := range []struct {
		ca, leaf string
		cas      int
		want     int // packets, at most
	}{
		{"P-256", "P-256", 0, 1}, {"P-256", "P-256", 1, 2}, {"P-256", "P-256", 2, 2},
		{"RSA-2048", "P-256", 0, 1}, {"RSA-2048", "P-256", 1, 2}, {"RSA-2048", "P-256", 2, 3},
		{"RSA-2048", "RSA-2048", 0, 2}, {"RSA-2048", "RSA-2048", 1, 3}, {"RSA-2048", "RSA-2048", 2, 4},
		{"RSA-4096", "P-256", 2, 5}, {"RSA-4096", "RSA-4096", 0, 2}, {"RSA-4096", "RSA-4096", 1, 4}, {"RSA-4096", "RSA-4096", 2, 5},
	} {
		t.Run(fmt.Sprintf("%s under %s and %d", c.leaf, c.ca, c.cas), func(t *testing.T) {
			p := proverOf(t, Hierarchy(t, keys[c.ca], c.cas), keys[c.leaf])
			l := newListener(t, p, "fe80::ffff:ffff:ffff:ffff")
			to := netip.AddrPortFrom(l.from.Addr.Addr().WithZone(""), 65535)
			all := announcements(t, p, to)
			assert.LessOrEqual(t, len(all), c.want)
			bytes := 0
			for i, raw := range all {
				bytes += len(raw)
				assert.LessOrEqual(t, len(raw), acp.MaxMulticast)
				m, err := wire.Parse(raw, wire.Limits{})
				require.NoError(t, err)
				require.IsType(t, (*wire.Flood)(nil), m)
				assert.Equal(t, announcedBy, m.(*wire.Flood).Objectives[0].Objective.Name)
				assert.NotContains(t, string(raw), "example")
				assert.NotContains(t, string(raw), "testers")
				claim, there := l.hear(raw)
				require.Equal(t, i == len(all)-1, there)
				assert.Equal(t, there, l.proves(claim, to))
			}
			t.Logf("%d packets, %d bytes", len(all), bytes)
		})
	}
	t.Run("too large", func(t *testing.T) {
		own := proverOf(t, Hierarchy(t, keys["P-256"], 0), keys["P-256"]).look()
		to := netip.MustParseAddrPort("[fe80::1]:1")
		_, err := own.anchor.offer(make([]byte, maxParts*(acp.MaxMulticast-partOverhead)), to, time.Minute, acp.MaxMulticast)
		require.NoError(t, err)
		_, err = own.anchor.offer(make([]byte, maxParts*(acp.MaxMulticast-partOverhead)+1), to, time.Minute, acp.MaxMulticast)
		require.Error(t, err)
		_, err = own.anchor.offer(make([]byte, 1000), to, time.Minute, partOverhead)
		require.Error(t, err)
	})
}

// The largest part there can be, with as many digests as there can be, fits.
func TestLargestPartFits(t *testing.T) {
	own := proverOf(t, Hierarchy(t, smallKey(t), 0), smallKey(t)).look()
	to := netip.MustParseAddrPort("[fe80::ffff:ffff:ffff:ffff]:65535")
	parts, err := own.anchor.cut(make([]byte, maxParts*(acp.MaxMulticast-partOverhead)), to, acp.MaxMulticast)
	require.NoError(t, err)
	require.Len(t, parts, maxParts)
	for _, p := range parts {
		raw, err := announcement(to, maxInterval, partMark, p)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(raw), acp.MaxMulticast)
		assert.Greater(t, len(raw), acp.MaxMulticast-40, "and nothing is wasted")
	}
}

// What can happen to parts on their way, by accident or on purpose.
func TestParts(t *testing.T) {
	key := TestingKey(t, "rsa4096")
	d := Hierarchy(t, key, 2)
	p := proverOf(t, d, key)
	to := netip.MustParseAddrPort("[fe80::1]:4711")
	all := announcements(t, p, to)
	require.Greater(t, len(all), 3)
	// proven reports whether what is heard, in this order, ends up as a proof.
	proven := func(l *listener, heard ...[]byte) bool {
		for _, raw := range heard {
			if claim, there := l.hear(raw); there {
				return l.proves(claim, to)
			}
		}
		return false
	}
	fresh := func(t *testing.T) *listener { return newListener(t, p, "fe80::1") }

	t.Run("lost", func(t *testing.T) {
		for i := range all {
			l := fresh(t)
			require.False(t, proven(l, slices.Delete(slices.Clone(all), i, i+1)...), "part %d", i)
			assert.True(t, proven(l, all[i]), "with the next announcement it comes again")
		}
	})
	t.Run("doubled", func(t *testing.T) {
		l := fresh(t)
		for _, raw := range all[:len(all)-1] {
			require.False(t, proven(l, raw, raw))
		}
		assert.True(t, proven(l, all[len(all)-1]))
		assert.Zero(t, l.assembly.shares.Len())
	})
	t.Run("reordered", func(t *testing.T) {
		back := slices.Clone(all)
		slices.Reverse(back)
		assert.True(t, proven(fresh(t), back...))
	})
	t.Run("of two proofs", func(t *testing.T) {
		other := announcements(t, p, to)
		var mixed [][]byte
		for i := range all[:len(all)-1] {
			mixed = append(mixed, all[i], other[i])
		}
		l := fresh(t)
		assert.False(t, proven(l, mixed...))
		assert.False(t, proven(l, mixed...))
		assert.True(t, proven(l, other[len(other)-1]))
		assert.True(t, proven(l, all[len(all)-1]))
	})
	t.Run("changed", func(t *testing.T) {
		a, _ := parseAnnouncement(all[0], fresh(t).from)
		l := fresh(t)
		for i := range a.part {
			changed := a
			changed.part = slices.Clone(a.part)
			changed.part[i] ^= 1
			_, ok := l.plane.anchors.openPart(changed.part, a.to)
			require.False(t, ok, "byte %d", i)
			_, ok = l.plane.anchors.openPart(a.part[:i], a.to)
			require.False(t, ok, "%d bytes", i)
		}
	})
	t.Run("replayed from elsewhere", func(t *testing.T) {
		for _, other := range []string{"[fe80::2]:4711", "[fe80::1]:4712"} {
			elsewhere := netip.MustParseAddrPort(other)
			l := newListener(t, p, elsewhere.Addr().String())
			for _, raw := range all {
				a, ok := parseAnnouncement(raw, fresh(t).from)
				require.True(t, ok)
				raw, err := announcement(elsewhere, time.Minute, partMark, a.part)
				require.NoError(t, err)
				_, there := l.hear(raw)
				require.False(t, there)
			}
			assert.Zero(t, l.assembly.shares.Len(), "%s", other)
			assert.Zero(t, l.plane.counters.parts.Load())
		}
	})
	t.Run("by somebody who does not know the anchor", func(t *testing.T) {
		strangers := Hierarchy(t, key, 2)
		another := Hierarchy(t, smallKey(t), 0)
		stranger := proverOf(t, strangers, key)
		_, err := newAnchorKey(another.Root())
		require.NoError(t, err)
		l := newListener(t, proverOf(t, another, smallKey(t)), "fe80::1")
		for _, raw := range announcements(t, stranger, to) {
			_, there := l.hear(raw)
			assert.False(t, there)
		}
		assert.Zero(t, l.assembly.shares.Len())
	})
	t.Run("by somebody who knows the anchor", func(t *testing.T) {
		// It reads the first part, and sends the others itself before the member does.
		l := fresh(t)
		a, _ := parseAnnouncement(all[0], l.from)
		first, ok := l.plane.anchors.openPart(a.part, a.to)
		require.True(t, ok)
		own := p.look()
		require.False(t, proven(l, all[0]))
		for i := range first.count() - 1 {
			forged := first
			forged.Number, forged.Piece = uint(i), []byte("nonsense")
			raw, err := cbor.Marshal(forged)
			require.NoError(t, err)
			raw, err = announcement(to, time.Minute, partMark, own.anchor.seal(raw, place(aboutPart, to)))
			require.NoError(t, err)
			_, there := l.hear(raw)
			require.False(t, there)
		}
		assert.True(t, proven(l, all...), "the member's parts are told from others")

		// It makes proofs of its own for the address, as many as it likes.
		for range 3 * unfinishedPerAddr {
			for _, raw := range announcements(t, p, to)[:2] {
				l.hear(raw)
			}
		}
		assert.Equal(t, unfinishedPerAddr, l.assembly.shares.Len())
		assert.True(t, proven(l, all...), "what comes at once is finished")
	})
}

// Parts that make no sense, by somebody who knows the anchor.
func TestPartsThatAreNone(t *testing.T) {
	own := proverOf(t, Hierarchy(t, smallKey(t), 0), smallKey(t)).look()
	var known anchors
	known.keys = map[anchorID]*anchorKey{own.anchor.id: own.anchor}
	to := netip.MustParseAddrPort("[fe80::1]:4711")
	good := part{Digests: append(digest([]byte("one")), digest([]byte("two"))...), Number: 1, Piece: []byte("two")}
	opens := func(v any) bool {
		raw, err := cbor.Marshal(v)
		require.NoError(t, err)
		_, ok := known.openPart(own.anchor.seal(raw, place(aboutPart, to)), to)
		return ok
	}
	require.True(t, opens(good))
	for what, change := range map[string]func(*part){
		"another number":     func(p *part) { p.Number = 0 },
		"too large a number": func(p *part) { p.Number = 2 },
		"a huge number":      func(p *part) { p.Number = math.MaxUint },
		"half a digest":      func(p *part) { p.Digests = p.Digests[:digestSize+1] },
		"no digests":         func(p *part) { p.Digests = nil },
		"too many digests": func(p *part) {
			p.Digests = append(make([]byte, maxParts*digestSize), p.Digests...)
			p.Number = maxParts + 1
		},
		"another piece": func(p *part) { p.Piece = []byte("three") },
		"no piece":      func(p *part) { p.Number, p.Piece, p.Digests = 0, nil, digest(nil) },
	} {
		p := good
		p.Digests = slices.Clone(good.Digests)
		change(&p)
		assert.False(t, opens(p), what)
	}
	assert.False(t, opens("a text"))
	assert.False(t, opens([]any{good.Digests, 1}))
	assert.False(t, opens([]any{good.Digests, -1, good.Piece}))
}

// What is not finished is bounded in number and time, and shared by address: whoever has
// one only, and sends its parts one after another, is not kept from it.
func TestAssemblyIsBounded(t *testing.T) {
	a := newAssembly()
	now := time.Unix(1000, 0)
	piece := func(i, k int) []byte { return fmt.Appendf(nil, "piece %d of %d", k, i) }
	partOf := func(i, k int) part {
		return part{Digests: append(digest(piece(i, 0)), digest(piece(i, 1))...), Number: uint(k), Piece: piece(i, k)}
	}
	gone := 0
	add := func(to netip.AddrPort, i, k int) []byte {
		whole, n := a.add(to, partOf(i, k), now)
		gone += n
		return whole
	}
	// One address with too many.
	for i := range 100 {
		require.Nil(t, add(at(1, 1+i), i, 0))
	}
	assert.Equal(t, unfinishedPerAddr, a.shares.Len())
	assert.Equal(t, 100-unfinishedPerAddr, gone)
	// Some addresses with as many as they may, and one that has one.
	require.Nil(t, add(at(2, 1), 1000, 0))
	for host := range 100 {
		for i := range 2 * unfinishedPerAddr {
			require.Nil(t, add(at(3+host, 1), i, 0))
		}
	}
	assert.Equal(t, maxUnfinished, a.shares.Len())
	assert.Len(t, a.byName, maxUnfinished)
	assert.NotNil(t, add(at(2, 1), 1000, 1), "it was not given up, because others had more")
	// Many addresses with one each.
	require.Nil(t, add(at(2, 1), 1001, 0))
	for host := range maxUnfinished / 2 {
		require.Nil(t, add(at(1000+host, 1), 0, 0))
	}
	assert.Equal(t, []byte("piece 0 of 1001piece 1 of 1001"), add(at(2, 1), 1001, 1))

	now = now.Add(unfinishedTime - time.Millisecond)
	assert.Zero(t, a.expire(now))
	now = now.Add(unfinishedTime / 10)
	assert.Equal(t, maxUnfinished-1, a.expire(now))
	assert.Zero(t, a.shares.Len())
	assert.Empty(t, a.byName)
}

// A proof is announced for a while, so that a part that was lost comes again. A new one is
// made at once when there is another certificate, address or anchor.
func TestProofsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := TestingKey(t, "rsa4096")
		d := Hierarchy(t, key, 2)
		p := proverOf(t, d, key)
		network := memory.NewNetwork(1)
		under, err := network.NewNode("member", network.NewLink(memory.LinkConfig{})).Open()
		require.NoError(t, err)
		defer under.Close()
		a := &announcer{e: &endpoint{plane: p, under: under}, proofs: make(map[int]*announcedProof)}
		own := p.look()
		values := func() [][]any {
			v, err := a.values(own, 1, netip.MustParseAddrPort("[fe80::1]:1"), time.Now())
			require.NoError(t, err)
			return v
		}
		first := values()
		require.Greater(t, len(first), 3)
		time.Sleep(proofLife - time.Millisecond)
		assert.Equal(t, first, values())
		time.Sleep(time.Millisecond)
		second := values()
		assert.NotEqual(t, first, second)

		small, err := d.IssueFor(smallKey(t), "member.example", time.Hour)
		require.NoError(t, err)
		rotated := *own
		rotated.cert = &small
		own = &rotated
		third := values()
		assert.Less(t, len(third), len(second))
		claim := func() (c proof) {
			l := newListener(t, p, "fe80::1")
			for _, v := range values() {
				raw, err := announcement(netip.MustParseAddrPort("[fe80::1]:1"), time.Minute, v...)
				require.NoError(t, err)
				c, _ = l.hear(raw)
			}
			return c
		}
		assert.Equal(t, small.Certificate, claim().Chain)
		next, err := a.values(own, 1, netip.MustParseAddrPort("[fe80::2]:1"), time.Now())
		require.NoError(t, err)
		assert.NotEqual(t, third, next)
		rotated.anchor = newKey(t, Hierarchy(t, smallKey(t), 0))
		assert.NotEqual(t, next, values())
		rotated.anchor = nil
		_, err = a.values(own, 1, netip.MustParseAddrPort("[fe80::1]:1"), time.Now())
		assert.ErrorIs(t, err, errNoAnchor)
		rotated.anchor, rotated.cert = newKey(t, d), &tls.Certificate{}
		_, err = a.values(own, 1, netip.MustParseAddrPort("[fe80::1]:1"), time.Now())
		assert.Error(t, err)
	})
}

func newKey(t *testing.T, d *domain.Domain) *anchorKey {
	t.Helper()
	k, err := newAnchorKey(d.Root())
	require.NoError(t, err)
	return k
}

// Whatever is announced, by whomever: nothing panics, and nothing grows beyond its bounds.
func FuzzAnnouncement(f *testing.F) {
	to := netip.MustParseAddrPort("[fe80::1]:4711")
	key := TestingKey(f, "rsa2048")
	p := proverOf(f, Hierarchy(f, key, 1), key)
	own := p.look()
	plain, err := prove(own.cert, to, time.Now())
	require.NoError(f, err)
	values, err := own.anchor.offer(plain, to, time.Minute, acp.MaxMulticast)
	require.NoError(f, err)
	for _, v := range append(values, nil, []any{own.anchor.seal(plain, nil)}) {
		raw, err := announcement(to, time.Minute, v...)
		require.NoError(f, err)
		f.Add(raw)
	}
	e := &endpoint{plane: p, assembly: newAssembly()}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := parseAnnouncement(raw, acp.Origin{Link: 3, Addr: netip.AddrPortFrom(to.Addr().WithZone("3"), acp.Port)})
		if ok {
			e.claimOf(a, time.Now())
		}
	})
}

// The same for what somebody who knows the anchor encrypts.
func FuzzPart(f *testing.F) {
	to := netip.MustParseAddrPort("[fe80::1]:4711")
	own := proverOf(f, Hierarchy(f, smallKey(f), 0), smallKey(f)).look()
	known := anchors{keys: map[anchorID]*anchorKey{own.anchor.id: own.anchor}}
	for i, piece := range []string{"one", "two"} {
		raw, err := cbor.Marshal(part{Digests: append(digest([]byte("one")), digest([]byte("two"))...), Number: uint(i), Piece: []byte(piece)})
		require.NoError(f, err)
		f.Add(raw, raw)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a := newAssembly()
		for i, raw := range [][]byte{one, two, one} {
			p, ok := known.openPart(own.anchor.seal(raw, place(aboutPart, to)), to)
			if !ok {
				continue
			}
			whole, _ := a.add(to, p, time.Unix(int64(i), 0))
			assert.LessOrEqual(t, len(whole), maxParts*wire.DefaultBytes)
			assert.LessOrEqual(t, a.shares.Len(), 2)
		}
	})
}
