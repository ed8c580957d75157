package tlsplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/acptest"
	"github.com/go-grasp/grasp/internal/domain"
)

// What tests of planes have in common.
type member = acptest.Member

const patience = acptest.Patience

var (
	hear    = acptest.Hear
	join    = acptest.Join
	nonce   = acptest.Nonce
	receive = acptest.Receive
	say     = acptest.Say
)

// credentials are those of a member, for a test to change.
type credentials struct {
	mu      sync.Mutex // guards all following fields
	cert    tls.Certificate
	roots   *x509.CertPool
	revoked map[string]bool // by identity
}

func (c *credentials) Certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cert := c.cert
	return &cert, nil
}

func (c *credentials) Roots() (*x509.CertPool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roots, nil
}

func (c *credentials) Revoked(chain []*x509.Certificate) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := chain[0].Subject.CommonName; c.revoked[name] {
		return fmt.Errorf("%s has left", name)
	}
	return nil
}

// set changes credentials.
func (c *credentials) set(change func(*credentials)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// bed is a domain, and a link in memory.
type bed struct {
	*testing.T
	domain  *domain.Domain
	network *memory.Network
	link    *memory.Link
}

// newBed makes a bed, in a bubble or not.
func newBed(t *testing.T, cfg memory.LinkConfig) *bed {
	t.Helper()
	b := &bed{T: t, domain: newDomain(t, "testers"), network: memory.NewNetwork(1)}
	b.link = b.network.NewLink(cfg)
	return b
}

// inBubble runs a test in virtual time, on a link with a delay.
func inBubble(t *testing.T, f func(*testing.T, *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newBed(t, memory.LinkConfig{Delay: time.Millisecond})) })
}

func newDomain(t testing.TB, name string) *domain.Domain {
	t.Helper()
	d, err := domain.New(name)
	require.NoError(t, err)
	return d
}

// issue issues a certificate that is valid for an hour.
func issue(t testing.TB, d *domain.Domain, name string, edits ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	cert, err := d.Issue(name, time.Hour, edits...)
	require.NoError(t, err)
	return cert
}

// large makes a certificate one that does not fit the parts of a proof.
func large(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 999, 1}, Value: make([]byte, 9000)})
}

// newPlane makes the plane of a member, and credentials to change.
func newPlane(t testing.TB, d *domain.Domain, name string, under acp.Plane) (*tlsplane.Plane, *credentials) {
	t.Helper()
	c := &credentials{cert: issue(t, d, name), roots: d.Roots(), revoked: make(map[string]bool)}
	return &tlsplane.Plane{Underlay: under, Credentials: c}, c
}

// node is a member on the link of a bed.
type node struct {
	*tlsplane.Plane
	*credentials
	host *memory.Node
	member
}

// insider is a node with a certificate of the domain that does not run the plane: its
// endpoint on the link, what addrOf takes for it, and the certificate.
func (b *bed) insider(name string) (raw acp.Endpoint, n *node, cert tls.Certificate) {
	b.Helper()
	raw = endpointOf(b.T, b.network.NewNode(name, b.link))
	return raw, &node{member: member{Endpoint: raw}}, issue(b.T, b.domain, name)
}

// join adds a member to the bed that receives in the background.
func (b *bed) join(name string, edits ...func(*tlsplane.Plane)) *node {
	b.Helper()
	n := &node{host: b.network.NewNode(name, b.link)}
	n.Plane, n.credentials = newPlane(b, b.domain, name, n.host)
	for _, edit := range edits {
		edit(n.Plane)
	}
	n.member = join(b.T, n.Plane)
	return n
}

// identities returns who a plane's neighbours are.
func identities(p *tlsplane.Plane) []string {
	var names []string
	for _, n := range p.Stats().Neighbours {
		names = append(names, n.Identity)
	}
	return names
}

// send sends a new message on a node's only link, and returns it.
func (n *node) send(t *testing.T) string {
	t.Helper()
	msg := nonce()
	require.NoError(t, n.Send(n.Links()[0].Index, []byte(msg)))
	return msg
}

// heardBy returns all that was received so far, in a bubble.
func heardBy(n *node) []string {
	synctest.Wait()
	var msgs []string
	for len(n.Heard) > 0 {
		msgs = append(msgs, (<-n.Heard).Msg)
	}
	return msgs
}

// addrOf is where one node on the link is found by another.
func addrOf(to, from *node) netip.AddrPort {
	zone := fmt.Sprint(from.Links()[0].Index)
	return netip.AddrPortFrom(to.Links()[0].Addr.WithZone(zone), to.Port())
}

// dial dials from one node to another, and accepts there.
func dial(t *testing.T, from, to *node) (dialed, accepted *acp.Stream) {
	t.Helper()
	dialed, err := from.Dial(t.Context(), addrOf(to, from))
	require.NoError(t, err)
	t.Cleanup(func() { _ = dialed.Close() })
	accepted, err = to.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return dialed, accepted
}
