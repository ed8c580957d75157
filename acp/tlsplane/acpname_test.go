package tlsplane

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/domain"
)

// named puts an AcpNodeName in a certificate.
func named(t *testing.T, text string) func(*x509.Certificate) {
	t.Helper()
	value, err := asn1.MarshalWithParams(text, "ia5")
	require.NoError(t, err)
	other, err := asn1.MarshalWithParams(otherName{oidACPName, asn1.RawValue{FullBytes: mustExplicit(t, value)}}, "tag:0")
	require.NoError(t, err)
	names, err := asn1.Marshal([]asn1.RawValue{{FullBytes: other}})
	require.NoError(t, err)
	return func(c *x509.Certificate) {
		c.DNSNames = nil
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidAltName, Value: names})
	}
}

func mustExplicit(t *testing.T, der []byte) []byte {
	t.Helper()
	b, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der})
	require.NoError(t, err)
	return b
}

// The example of RFC 8994 section 6.2.2, and others.
func TestACPName(t *testing.T) {
	for text, want := range map[string]string{
		"fd89b714f3db00000200000064000000+area51.research@acp.example.com": "fd89:b714:f3db:0:200:0:6400:0",
		"fd89b714f3db00000200000064000000@acp.example.com":                 "fd89:b714:f3db:0:200:0:6400:0",
		"0@ACP.example.com":                                "invalid IP",
		"@acp.example.com":                                 "invalid IP",
		"+area51@acp.example.com":                          "invalid IP",
		"fd89@acp.example.com":                             "",
		"FD89b714f3db00000200000064000000@acp.example.com": "",
		"zd89b714f3db00000200000064000000@acp.example.com": "",
		"acp.example.com":                                  "",
		"0@":                                               "",
		"0@acp.example.com\n":                              "",
		"0@" + strings.Repeat("x", 300):                    "",
	} {
		n, err := parseACPName(text)
		if want == "" {
			assert.ErrorIs(t, err, errACPName, text)
			continue
		}
		require.NoError(t, err, text)
		assert.Equal(t, want, n.addr.String(), text)
		assert.Equal(t, "acp.example.com", n.domain, text)
	}
	n, err := parseACPName("fd89b714f3db00000200000064000000@acp.example.com")
	require.NoError(t, err)
	for addr, want := range map[string]bool{
		"fd89:b714:f3db:0:200:0:6400:0": true, "fd89:b714:f3db:0:200:0:6400:1": true, // the V bit
		"fd89:b714:f3db:0:200:0:6500:0": false, "fd89:b714:f3db::1": false,
		"fd00::1": true, "fe80::1%3": true, "2001:db8::1": true, "192.0.2.1": true, // none of the domain's
	} {
		assert.Equal(t, want, n.isAt(netip.MustParseAddr(addr)), addr)
	}
}

// Certificates with the name: who is of another domain is refused, who has none
// is not.
func TestACPNameInCertificates(t *testing.T) {
	d, err := domain.New("testers")
	require.NoError(t, err)
	issue := func(edit func(*x509.Certificate)) (*Plane, []*x509.Certificate) {
		cert, err := d.Issue("common", time.Hour, edit)
		require.NoError(t, err)
		p := &Plane{Credentials: Static{Member: cert, Anchors: d.Roots()}}
		require.True(t, p.Status().Secure, p.Status().Reason)
		return p, []*x509.Certificate{cert.Leaf}
	}
	const own = "fd89b714f3db00000200000064000000+area51.research@acp.example.com"
	p, chain := issue(named(t, own))
	assert.Equal(t, own, identityOf(chain[0]))
	for name, want := range map[string]Reason{
		"fd89b714f3db00000200000065000000@ACP.example.com": "",
		"0@acp.example.com":     "",
		"0@acp.example.net":     ReasonDomain,
		"0@sub.acp.example.com": ReasonDomain,
	} {
		_, peer := issue(named(t, name))
		who, err := p.verify(peer, d.Roots(), x509.ExtKeyUsageClientAuth)
		if want == "" {
			require.NoError(t, err, name)
			assert.Equal(t, name, who.identity)
			assert.NotNil(t, who.name)
			continue
		}
		assert.Equal(t, want, reasonOf(err), "%s: %v", name, err)
	}
	_, peer := issue(func(*x509.Certificate) {})
	_, err = p.verify(peer, d.Roots(), x509.ExtKeyUsageClientAuth)
	assert.NoError(t, err, "without a name")

	cert, err := d.Issue("common", time.Hour, named(t, "nonsense"))
	require.NoError(t, err)
	_, err = p.verify([]*x509.Certificate{cert.Leaf}, d.Roots(), x509.ExtKeyUsageClientAuth)
	assert.Equal(t, ReasonNoName, reasonOf(err))
	assert.ErrorIs(t, err, errACPName)
}
