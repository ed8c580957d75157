package tlsplane_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
)

// dialTLS dials as somebody who need not follow the rules.
func dialTLS(t *testing.T, from acp.Endpoint, to netip.AddrPort, cfg *tls.Config) *tls.Conn {
	t.Helper()
	s, err := from.Dial(t.Context(), to)
	require.NoError(t, err)
	c := tls.Client(s.Conn, cfg)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.Handshake())
	return c
}

// Garbage on the port is refused, with a bounded delay.
func TestGarbage(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim := b.join("victim")
		raw := endpointOf(t, b.network.NewNode("eve", b.link))
		eve := &node{member: member{Endpoint: raw}}
		noise := make([]byte, 1<<15)
		_, _ = rand.Read(noise)
		for _, garbage := range []string{
			"GET / HTTP/1.1\r\n\r\n", "\x84\x03\x01", string(noise), strings.Repeat("\x16\x03\x01\x40\x00", 1000),
			"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x15\x03\x01\x00\x02\x02\x28", "\x17",
		} {
			s, err := raw.Dial(t.Context(), addrOf(victim, eve))
			require.NoError(t, err)
			_, _ = s.Write([]byte(garbage))
			start := time.Now()
			_, err = s.Read(make([]byte, 100))
			for err == nil {
				_, err = s.Read(make([]byte, 100))
			}
			assert.Less(t, time.Since(start), 12*time.Second)
			require.NoError(t, s.Close())
		}
		settle()
		refused := victim.Stats().Refused
		assert.EqualValues(t, 7, refused[tlsplane.ReasonProtocol]+refused[tlsplane.ReasonTimeout]+refused[tlsplane.ReasonPeer], "%v", refused)
		assert.Zero(t, victim.Stats().Handshakes)
		b.join("friend")
		settle()
		assert.Len(t, identities(victim.Plane), 1)
	})
}

// What a member says as a neighbour that makes no sense ends its connection, and
// nothing else.
func TestNonsenseFromMember(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim, friend := b.join("victim"), b.join("friend")
		settle()
		raw, insider, cert := b.insider("insider")
		id := make([]byte, 16)
		item := func(v any) string {
			b, err := cbor.Marshal(v)
			require.NoError(t, err)
			return string(b)
		}
		hello := item([]any{id, 4242})
		for what, said := range map[string]string{
			"no hello":            "\xff",
			"a long hello":        "\x5b\x00\x00\x00\x00\x7f\xff\xff\xff",
			"a deep hello":        strings.Repeat("\x81", 100),
			"no array":            item("hello"),
			"a short ID":          item([]any{id[:15], 4242}),
			"no port":             item([]any{id, 0}),
			"a port too large":    item([]any{id, 65536}),
			"one thing too many":  item([]any{id, 4242, 1}),
			"text":                hello + item("text"),
			"a multicast too big": hello + item(make([]byte, tlsplane.MaxMulticast+1)),
			"an endless one":      hello + "\x5f",
			"malformed":           hello + item([]byte("fine")) + "\xfc",
		} {
			conn := dialTLS(t, raw, addrOf(victim, insider), forced(&cert, tls.VersionTLS13, "grasp-multicast"))
			_, err := conn.Write([]byte(said))
			require.NoError(t, err)
			start := time.Now()
			for err == nil {
				_, err = conn.Read(make([]byte, 100))
			}
			assert.Less(t, time.Since(start), 31*time.Second, what)
			synctest.Wait()
			assert.Equal(t, []string{"friend"}, identities(victim.Plane), what)
		}
		assert.Equal(t, []string{"fine"}, heardBy(victim))
		hear(t, victim.Heard, friend.send(t))

		// Its own ID shown to a node is no neighbour either.
		conn := dialTLS(t, raw, addrOf(victim, insider), forced(&cert, tls.VersionTLS13, "grasp-multicast"))
		buf := make([]byte, 100)
		n, err := conn.Read(buf)
		require.NoError(t, err)
		_, err = conn.Write(buf[:n])
		require.NoError(t, err)
		for err == nil {
			_, err = conn.Read(buf)
		}
		synctest.Wait()
		assert.Equal(t, []string{"friend"}, identities(victim.Plane))
	})
}

// An insider cannot take the place of another neighbour by its ID.
func TestNobodyTakesThePlaceOfAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim, friend := b.join("victim"), b.join("friend")
		settle()
		raw, insider, cert := b.insider("insider")
		// The ID of the friend, which it tells anybody.
		conn := dialTLS(t, raw, addrOf(friend, insider), forced(&cert, tls.VersionTLS13, "grasp-multicast"))
		buf := make([]byte, 100)
		n, err := conn.Read(buf)
		require.NoError(t, err)
		conn = dialTLS(t, raw, addrOf(victim, insider), forced(&cert, tls.VersionTLS13, "grasp-multicast"))
		_, err = conn.Write(buf[:n])
		require.NoError(t, err)
		settle()
		assert.ElementsMatch(t, []string{"friend", "insider"}, identities(victim.Plane))
		hear(t, friend.Heard, victim.send(t))
	})
}

// Half-open handshakes are bounded: the oldest give way, and an honest peer gets
// through them.
func TestHalfOpenFlood(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim := b.join("victim", func(p *tlsplane.Plane) { p.MaxHandshakes = 64 })
		friend := b.join("friend")
		settle()
		raw := endpointOf(t, b.network.NewNode("eve", b.link))
		eve := &node{member: member{Endpoint: raw}}
		closed := make(chan struct{}, 1000)
		for range 1000 {
			s, err := raw.Dial(t.Context(), addrOf(victim, eve))
			require.NoError(t, err)
			go func() {
				defer s.Close()
				_, _ = s.Read(make([]byte, 1)) // until it is closed
				closed <- struct{}{}
			}()
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		assert.Len(t, closed, 1000-16, "a quarter for one source")
		dialed, accepted := dial(t, friend, victim)
		say(t, dialed, accepted, "through")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Len(t, closed, 1000, "the others after their time")
		assert.EqualValues(t, 984, victim.Stats().Refused[tlsplane.ReasonDisplaced])
		assert.EqualValues(t, 16, victim.Stats().Refused[tlsplane.ReasonTimeout])
	})
}

// Those from many sources are bounded in all.
func TestHalfOpenFloodFromMany(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim := b.join("victim", func(p *tlsplane.Plane) { p.MaxHandshakes = 16 })
		friend := b.join("friend")
		settle()
		closed := make(chan struct{}, 100)
		for range 20 {
			raw := endpointOf(t, b.network.NewNode("eve", b.link))
			eve := &node{member: member{Endpoint: raw}}
			for range 5 {
				s, err := raw.Dial(t.Context(), addrOf(victim, eve))
				require.NoError(t, err)
				go func() {
					defer s.Close()
					_, _ = s.Read(make([]byte, 1))
					closed <- struct{}{}
				}()
			}
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		assert.Len(t, closed, 100-16)
		dialed, accepted := dial(t, friend, victim)
		say(t, dialed, accepted, "through")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		assert.Len(t, closed, 100)
	})
}

// A handshake may be of a bounded length, or those under way would take any
// amount of memory: package crypto/tls would take certificates of 256 KiB.
func TestLongHandshake(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim := b.join("victim")
		raw := endpointOf(t, b.network.NewNode("insider", b.link))
		insider := &node{member: member{Endpoint: raw}}
		for size, want := range map[int]bool{16 << 10: true, 40 << 10: false} {
			cert := issue(t, b.domain, "insider", func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 999, 1}, Value: make([]byte, size)})
			})
			before := victim.Stats()
			conn := dialTLS(t, raw, addrOf(victim, insider), forced(&cert, tls.VersionTLS13, "grasp"))
			time.Sleep(12 * time.Second)
			synctest.Wait()
			after := victim.Stats()
			assert.Equal(t, want, after.Handshakes > before.Handshakes, "%d bytes", size)
			assert.Equal(t, !want, after.Refused[tlsplane.ReasonProtocol] > before.Refused[tlsplane.ReasonProtocol], "%d bytes: %v", size, after.Refused)
			_ = conn.Close()
		}
	})
}
