package tlsplane

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/domain"
)

// For the tests of package tlsplane_test.
var (
	Announcement = announcement
	IdentityOf   = identityOf
)

// TestingKey returns the key in a file of testdata: they take long to make.
func TestingKey(t testing.TB, name string) crypto.Signer {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".key"))
	require.NoError(t, err)
	block, _ := pem.Decode(raw)
	require.NotNil(t, block)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(crypto.Signer)
}

// Hierarchy makes a domain whose anchor, and a number of CAs below it, have a key. It
// returns the last CA, or the domain if there are none.
func Hierarchy(t testing.TB, key crypto.Signer, cas int) *domain.Domain {
	t.Helper()
	d, err := domain.NewWithKey("testers of all that has to be of some length", key)
	require.NoError(t, err)
	for i := range cas {
		d, err = d.Below(fmt.Sprintf("certification authority of the testers, level %d", i), key)
		require.NoError(t, err)
	}
	return d
}

// Stranger makes what looks like proofs to those who know an anchor. The signature, which it
// makes once, is by a certificate that does not lead to the anchor.
type Stranger struct {
	key   *anchorKey
	proof []byte
}

func NewStranger(anchor *x509.Certificate, cert *tls.Certificate) (*Stranger, error) {
	key, err := newAnchorKey(anchor)
	if err != nil {
		return nil, err
	}
	plain, err := prove(cert, netip.MustParseAddrPort("[fe80::1]:1"), time.Now())
	return &Stranger{key, plain}, err
}

// Proof returns what an announcement says that has a proof.
func (s *Stranger) Proof() []any { return []any{s.key.seal(s.proof, nil)} }

// Part returns what an announcement of an address says that has the first of two parts.
func (s *Stranger) Part(of netip.AddrPort) []any {
	parts, err := s.key.cut(s.proof, of, partOverhead+len(s.proof)/2+1)
	if err != nil {
		panic(err) // it always fits
	}
	return []any{partMark, parts[0]}
}

// SetClock has a plane read the time of day from a clock.
func SetClock(p *Plane, clock func() time.Time) { p.clock = clock }

// Candidates counts those who were announced to an endpoint.
func Candidates(ep acp.Endpoint) int {
	e := ep.(*endpoint)
	e.mu.Lock()
	defer e.mu.Unlock()
	count := 0
	for _, l := range e.links {
		count += len(l.candidates.byAddr)
	}
	return count
}
