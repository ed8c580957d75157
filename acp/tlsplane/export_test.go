package tlsplane

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/acp"
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
	return prove(cert, key, at, now)
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
