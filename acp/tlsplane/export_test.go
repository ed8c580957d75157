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

// Seal returns a proof for those who know an anchor, signed with a certificate
// that need not lead to it.
func Seal(anchor *x509.Certificate, cert *tls.Certificate, at netip.AddrPort, now time.Time) ([]byte, error) {
	key, err := newAnchorKey(anchor)
	if err != nil {
		return nil, err
	}
	plain, err := prove(cert, at, now)
	if err != nil {
		return nil, err
	}
	return key.seal(plain, nil), nil
}

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

// PartMark stands before a part of a proof.
const PartMark = partMark

// SealParts returns a proof that is cut into parts, for those who know an anchor.
func SealParts(anchor *x509.Certificate, cert *tls.Certificate, at netip.AddrPort, now time.Time) ([][]byte, error) {
	key, err := newAnchorKey(anchor)
	if err != nil {
		return nil, err
	}
	plain, err := prove(cert, at, now)
	if err != nil {
		return nil, err
	}
	return key.cut(plain, at, partOverhead+len(plain)/2+1)
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
