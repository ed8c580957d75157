package tlsplane

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/domain"
)

// prover is a plane that has checked itself, and so knows its anchor.
func prover(t *testing.T, d *domain.Domain, name string) *Plane {
	t.Helper()
	cert, err := d.Issue(name, time.Hour)
	require.NoError(t, err)
	p := &Plane{Credentials: Static{Member: cert, Anchors: d.Roots()}}
	require.True(t, p.Status().Secure)
	return p
}

// sealedProof returns a proof for those who know an anchor.
func sealedProof(t *testing.T, cert *tls.Certificate, anchor *anchorKey, to netip.AddrPort, now time.Time) []byte {
	t.Helper()
	plain, err := prove(cert, to, now)
	require.NoError(t, err)
	return anchor.seal(plain, nil)
}

func TestProof(t *testing.T) {
	d, err := domain.New("testers")
	require.NoError(t, err)
	one, two := prover(t, d, "one.example"), prover(t, d, "two.example")
	to, now := netip.MustParseAddrPort("[fe80::1]:4711"), time.Now()
	own := one.look()
	sealed := sealedProof(t, own.cert, own.anchor, to, now)
	assert.NotContains(t, string(sealed), "one.example")
	assert.NotContains(t, string(sealed), "testers")

	claim, ok := two.anchors.open(sealed)
	require.True(t, ok)
	identity, at, err := two.check(claim, to, now)
	require.NoError(t, err)
	assert.Equal(t, "one.example", identity)
	assert.Equal(t, now.UnixMilli(), at.UnixMilli())

	t.Run("changed", func(t *testing.T) {
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			_, ok := two.anchors.open(changed)
			assert.False(t, ok, "byte %d", i)
			_, ok = two.anchors.open(sealed[:i])
			assert.False(t, ok, "%d bytes", i)
		}
	})
	t.Run("elsewhere", func(t *testing.T) {
		for _, other := range []string{"[fe80::2]:4711", "[fe80::1]:4712", "10.0.0.1:4711"} {
			_, _, err := two.check(claim, netip.MustParseAddrPort(other), now)
			assert.Error(t, err, other)
		}
	})
	t.Run("another time", func(t *testing.T) {
		for late, want := range map[time.Duration]bool{
			proofTime - time.Second: true, -proofTime + time.Second: true, proofTime + time.Second: false, -proofTime - time.Second: false,
		} {
			_, _, err := two.check(claim, to, now.Add(late))
			assert.Equal(t, want, err == nil, "%v: %v", late, err)
		}
		newer := claim
		newer.Time++
		_, _, err := two.check(newer, to, now)
		assert.Error(t, err, "the time is signed, too")
	})
	t.Run("by a stranger", func(t *testing.T) {
		strangers, err := domain.New("testers")
		require.NoError(t, err)
		stranger := prover(t, strangers, "one.example").look()
		sealed := sealedProof(t, stranger.cert, stranger.anchor, to, now)
		_, ok := two.anchors.open(sealed)
		assert.False(t, ok, "under an anchor that is not known")
		sealed = sealedProof(t, stranger.cert, own.anchor, to, now)
		claim, ok := two.anchors.open(sealed)
		require.True(t, ok, "under the anchor, which the stranger knows")
		_, _, err = two.check(claim, to, now)
		assert.Equal(t, ReasonForeign, reasonOf(err))

		// With the certificate of a member, and another's key.
		mixed := *own.cert
		mixed.PrivateKey = stranger.cert.PrivateKey
		sealed = sealedProof(t, &mixed, own.anchor, to, now)
		claim, ok = two.anchors.open(sealed)
		require.True(t, ok)
		_, _, err = two.check(claim, to, now)
		assert.Error(t, err)
	})
	t.Run("too many certificates", func(t *testing.T) {
		long := claim
		for range proofCerts {
			long.Chain = append(long.Chain, claim.Chain[0])
		}
		_, _, err := two.check(long, to, now)
		assert.ErrorIs(t, err, errNoChain)
		long.Chain = nil
		_, _, err = two.check(long, to, now)
		assert.ErrorIs(t, err, errNoChain)
	})
}

// Whatever kind of key a member has, it signs, or says that it does not.
func TestProofKeys(t *testing.T) {
	key := func(k crypto.Signer, err error) crypto.Signer {
		require.NoError(t, err)
		return k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		key  crypto.Signer
		want bool
	}{
		"P-256":   {key(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), true},
		"P-384":   {key(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), true},
		"P-521":   {key(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), false},
		"RSA":     {key(rsa.GenerateKey(rand.Reader, 2048)), true},
		"Ed25519": {ed, true},
	} {
		t.Run(name, func(t *testing.T) {
			template := &x509.Certificate{
				SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"own.example"},
				NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
			}
			der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
			require.NoError(t, err)
			leaf, err := x509.ParseCertificate(der)
			require.NoError(t, err)
			roots := x509.NewCertPool()
			roots.AddCert(leaf)
			p := &Plane{Credentials: Static{Member: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.key}, Anchors: roots}}
			own := p.look()
			require.True(t, own.Secure, own.Reason)
			to, now := netip.MustParseAddrPort("10.0.0.1:4711"), time.Now()
			plain, err := prove(own.cert, to, now)
			require.Equal(t, c.want, err == nil, "%v", err)
			if !c.want {
				return
			}
			claim, ok := p.anchors.open(own.anchor.seal(plain, nil))
			require.True(t, ok)
			identity, _, err := p.check(claim, to, now)
			require.NoError(t, err)
			assert.Equal(t, "own.example", identity)
		})
	}
}

// Keys of anchors are kept in a bounded number.
func TestAnchorsAreBounded(t *testing.T) {
	var a anchors
	for range 3 * maxAnchors {
		d, err := domain.New("testers")
		require.NoError(t, err)
		k, err := a.learn(d.Root())
		require.NoError(t, err)
		assert.Equal(t, k, a.find(k.id))
		assert.LessOrEqual(t, len(a.keys), maxAnchors)
		assert.LessOrEqual(t, len(a.seen), maxAnchors)
	}
}
