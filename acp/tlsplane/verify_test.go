package tlsplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
)

// forced is a plane's identity for a peer that is not a member: a TLS node with
// a certificate of its own choice, and no scruples.
func forced(cert *tls.Certificate, version uint16, protos ...string) *tls.Config {
	cfg := &tls.Config{
		InsecureSkipVerify: true, NextProtos: protos,
		MinVersion: version, MaxVersion: version, ClientAuth: tls.RequestClientCert,
	}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return cfg
}

// Whoever is no member is refused: as one who dials, a stream or a neighbour, and
// as one who is dialed.
func TestX02NoMember(t *testing.T) {
	for name, c := range map[string]struct {
		reason tlsplane.Reason
		cert   func(b *bed) *tls.Certificate
	}{
		"expired": {tlsplane.ReasonExpired, func(b *bed) *tls.Certificate {
			cert, err := b.domain.Issue("eve", -time.Second)
			require.NoError(b, err)
			return &cert
		}},
		"not yet valid": {tlsplane.ReasonNotYetValid, func(b *bed) *tls.Certificate {
			cert := issue(b, b.domain, "eve", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })
			return &cert
		}},
		"foreign": {tlsplane.ReasonForeign, func(b *bed) *tls.Certificate {
			cert := issue(b, newDomain(b, "testers"), "eve") // of another domain with the same name
			return &cert
		}},
		"revoked": {tlsplane.ReasonRevoked, func(b *bed) *tls.Certificate {
			cert := issue(b, b.domain, "mallory")
			return &cert
		}},
		"for servers only": {tlsplane.ReasonUsage, func(b *bed) *tls.Certificate {
			cert := issue(b, b.domain, "eve", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] })
			return &cert
		}},
		"for clients only": {tlsplane.ReasonUsage, func(b *bed) *tls.Certificate {
			cert := issue(b, b.domain, "eve", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })
			return &cert
		}},
		"for anything": {tlsplane.ReasonUsage, func(b *bed) *tls.Certificate {
			cert := issue(b, b.domain, "eve", func(c *x509.Certificate) { c.ExtKeyUsage = nil })
			return &cert
		}},
		"a CA": {tlsplane.ReasonUsage, func(b *bed) *tls.Certificate {
			cert := issue(b, b.domain, "eve", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
			return &cert
		}},
		"an IP address for a name": {tlsplane.ReasonNoName, func(b *bed) *tls.Certificate {
			cert := issue(b, b.domain, "192.0.2.1", func(c *x509.Certificate) {
				c.DNSNames, c.IPAddresses = nil, []net.IP{net.ParseIP("192.0.2.1")}
			})
			return &cert
		}},
		"no certificate": {tlsplane.ReasonProtocol, func(*bed) *tls.Certificate { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				cert := c.cert(b)
				victim := b.join("victim")
				victim.set(func(c *credentials) { c.revoked["mallory"] = true })
				raw := endpointOf(t, b.network.NewNode("eve", b.link))
				eve := &node{host: nil, member: member{Endpoint: raw}}

				var refused uint64
				for _, proto := range []string{"grasp", "grasp-multicast"} {
					s, err := raw.Dial(t.Context(), addrOf(victim, eve))
					require.NoError(t, err)
					conn := tls.Client(s.Conn, forced(cert, tls.VersionTLS13, proto))
					err = conn.Handshake()
					if err == nil {
						_, err = conn.Read(make([]byte, 1))
					}
					require.Error(t, err)
					refused++
					time.Sleep(time.Second)
					assert.Equal(t, refused, victim.Stats().Refused[c.reason], "%v: %v", err, victim.Stats())
					_ = conn.Close()
				}
				if cert != nil { // a server cannot do without
					eve.serve(t, forced(cert, tls.VersionTLS13, "grasp", "grasp-multicast"))
					_, err := victim.Dial(t.Context(), addrOf(eve, victim))
					var why *tlsplane.RefusedError
					require.ErrorAs(t, err, &why)
					assert.Equal(t, c.reason, why.Reason)

					// Announced, it is tried as a neighbour, again and again, but not often.
					before := victim.Stats().Refused[c.reason]
					announce(t, eve)
					time.Sleep(150 * time.Second)
					tried := victim.Stats().Refused[c.reason] - before
					assert.GreaterOrEqual(t, tried, uint64(3))
					assert.LessOrEqual(t, tried, uint64(8))
				}
				assert.Empty(t, identities(victim.Plane))
				assert.Zero(t, victim.Stats().Handshakes)
				assert.Empty(t, heardBy(victim))
			})
		})
	}
}

// serve has a node accept whatever comes, and do its part of the handshake.
func (n *node) serve(t *testing.T, cfg *tls.Config) {
	t.Helper()
	go func() {
		for {
			s, err := n.Accept()
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				_ = tls.Server(s.Conn, cfg).Handshake()
			}()
		}
	}()
}

// announce floods the node's address.
func announce(t *testing.T, n *node) {
	t.Helper()
	l := n.Links()[0]
	raw, err := tlsplane.Announcement(netip.AddrPortFrom(l.Addr.WithZone(""), n.Port()), time.Minute)
	require.NoError(t, err)
	require.NoError(t, n.Send(l.Index, raw))
}

// TLS 1.2 is refused, whoever wants it.
func TestX02Downgrade(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		cert := issue(t, b.domain, "eve") // a member even
		victim := b.join("victim")
		raw := endpointOf(t, b.network.NewNode("eve", b.link))
		eve := &node{member: member{Endpoint: raw}}

		s, err := raw.Dial(t.Context(), addrOf(victim, eve))
		require.NoError(t, err)
		conn := tls.Client(s.Conn, forced(&cert, tls.VersionTLS12, "grasp"))
		require.ErrorContains(t, conn.Handshake(), "protocol version")
		time.Sleep(time.Second)
		assert.EqualValues(t, 1, victim.Stats().Refused[tlsplane.ReasonProtocol])

		eve.serve(t, forced(&cert, tls.VersionTLS12, "grasp", "grasp-multicast"))
		_, err = victim.Dial(t.Context(), addrOf(eve, victim))
		require.ErrorContains(t, err, "protocol version")
		assert.Zero(t, victim.Stats().Handshakes)

		// The same with TLS 1.3 is fine, and with no protocol, or another, is not.
		for _, protos := range [][]string{{"grasp"}, nil, {"h2"}} {
			s, err := raw.Dial(t.Context(), addrOf(victim, eve))
			require.NoError(t, err)
			conn := tls.Client(s.Conn, forced(&cert, tls.VersionTLS13, protos...))
			err = conn.Handshake()
			if protos == nil || protos[0] != "grasp" {
				if err == nil {
					_, err = conn.Read(make([]byte, 1))
				}
				require.Error(t, err, protos)
				continue
			}
			require.NoError(t, err)
			_, err = victim.Accept()
			require.NoError(t, err)
		}
		assert.EqualValues(t, 1, victim.Stats().Handshakes)
	})
}

// What a member said in a whole connection, said again by somebody who heard it,
// gets nobody in.
func TestX02Replay(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim := b.join("victim")
		raw := endpointOf(t, b.network.NewNode("member", b.link))
		honest := &node{member: member{Endpoint: raw}}
		cert := issue(t, b.domain, "member")

		s, err := raw.Dial(t.Context(), addrOf(victim, honest))
		require.NoError(t, err)
		tape := &recorder{Conn: s.Conn}
		conn := tls.Client(tape, forced(&cert, tls.VersionTLS13, "grasp"))
		require.NoError(t, conn.Handshake())
		accepted, err := victim.Accept()
		require.NoError(t, err)
		say(t, conn, accepted, "let me in")
		require.NoError(t, conn.Close())
		require.Greater(t, len(tape.said), 1000)

		s, err = raw.Dial(t.Context(), addrOf(victim, honest))
		require.NoError(t, err)
		_, err = s.Write(tape.said)
		require.NoError(t, err)
		got := make(chan *acp.Stream, 1)
		go func() {
			if s, err := victim.Accept(); err == nil {
				got <- s
			}
		}()
		time.Sleep(time.Minute)
		assert.Empty(t, got, "a stream was accepted")
		assert.EqualValues(t, 1, victim.Stats().Handshakes)
		assert.EqualValues(t, 1, victim.Stats().Refused[tlsplane.ReasonProtocol])
	})
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	said []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.said = append(r.said, b...)
	return r.Conn.Write(b)
}

func TestIdentity(t *testing.T) {
	uri, err := url.Parse("urn:example:briggs")
	require.NoError(t, err)
	for want, c := range map[string]x509.Certificate{
		"a.example":          {DNSNames: []string{"10.0.0.1", "a.example", "b.example"}},
		"urn:example:briggs": {URIs: []*url.URL{uri}, EmailAddresses: []string{"a@example.com"}},
		"a@example.com":      {DNSNames: []string{"two\nlines", strings.Repeat("x", 254)}, EmailAddresses: []string{"a@example.com"}},
		"":                   {DNSNames: []string{"::1"}, IPAddresses: []net.IP{net.IPv6loopback}},
	} {
		assert.Equal(t, want, tlsplane.IdentityOf(&c))
	}
}
