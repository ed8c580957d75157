package tlsplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
)

// settle is more than it takes neighbours to connect, in a bubble.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// A member who is revoked, or whose certificate expires, is expelled at once:
// as a neighbour, and from its streams, those too that outlived their endpoint.
func TestX02MemberLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		reason tlsplane.Reason
		leave  func(one, two *node)
	}{
		"revoked": {tlsplane.ReasonRevoked, func(one, two *node) {
			one.set(func(c *credentials) { c.revoked["two"] = true })
		}},
		"expired": {tlsplane.ReasonExpired, func(_, two *node) {
			time.Sleep(time.Until(two.cert.Leaf.NotAfter))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				one, two, three := b.join("one"), b.join("two"), b.join("three")
				cert, err := b.domain.Issue("one", 24*time.Hour)
				require.NoError(t, err)
				one.set(func(c *credentials) { c.cert = cert })
				three.set(func(c *credentials) { c.cert = cert })
				settle()
				dialed, accepted := dial(t, one, two)
				orphan, _ := dial(t, one, two)
				other, back := dial(t, one, three)
				require.Len(t, identities(one.Plane), 2)
				require.NoError(t, two.Close())

				c.leave(one, two)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				for _, s := range []*acp.Stream{dialed, orphan} {
					_, err := s.Read(make([]byte, 1))
					var refused *tlsplane.RefusedError
					require.ErrorAs(t, err, &refused)
					assert.Equal(t, c.reason, refused.Reason)
					assert.Equal(t, "two", refused.Identity)
					_, err = s.Write([]byte("x"))
					assert.ErrorAs(t, err, &refused)
				}
				_, err = accepted.Read(make([]byte, 1))
				assert.Error(t, err)
				assert.EqualValues(t, 2, one.Stats().Expelled[c.reason])
				say(t, other, back, "we stay")
				assert.NotContains(t, identities(one.Plane), "two")
			})
		})
	}
}

// The neighbour connection of one who is revoked ends, and it does not come back
// until it may.
func TestX02RevokedNeighbour(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		settle()
		msg := two.send(t)
		hear(t, one.Heard, msg)
		assert.Equal(t, []string{msg}, heardBy(two), "its own")

		one.set(func(c *credentials) { c.revoked["two"] = true })
		time.Sleep(6 * time.Second)
		synctest.Wait()
		assert.Empty(t, identities(one.Plane))
		assert.Empty(t, identities(two.Plane))
		assert.EqualValues(t, 1, one.Stats().Expelled[tlsplane.ReasonRevoked])
		two.send(t)
		one.send(t)
		time.Sleep(10 * time.Minute)
		assert.Len(t, heardBy(two), 1, "its own")
		assert.Len(t, heardBy(one), 1, "its own")
		assert.Positive(t, one.Stats().Refused[tlsplane.ReasonRevoked])
		assert.Less(t, one.Stats().Refused[tlsplane.ReasonRevoked], uint64(60), "two dials, and is refused, less and less")
		met, ok := acp.NeighbourhoodOf(one.Endpoint)
		assert.True(t, ok)
		assert.Empty(t, met.Neighbours)
		assert.Equal(t, one.Stats().Refused[tlsplane.ReasonRevoked]+1, met.Refused[string(tlsplane.ReasonRevoked)], "expelled once")
		last := met.Refusals[len(met.Refusals)-1]
		assert.Equal(t, "two", last.Identity)
		assert.Equal(t, string(tlsplane.ReasonRevoked), last.Reason)
		assert.Equal(t, two.Links()[0].Addr.WithZone(""), last.Peer.Addr().WithZone(""))
		assert.LessOrEqual(t, len(met.Refusals), 16)

		one.set(func(c *credentials) { c.revoked["two"] = false })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"two"}, identities(one.Plane))
		met, _ = acp.NeighbourhoodOf(one.Endpoint)
		assert.Equal(t, one.Stats().Neighbours, met.Neighbours)
	})
}

// Certificates and anchors are replaced while all goes on.
func TestRotation(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		settle()
		dialed, accepted := dial(t, one, two)
		since := one.Stats().Neighbours[0].Since

		// New certificates, of the same domain and under other names.
		one.set(func(c *credentials) { c.cert = issue(t, b.domain, "one-b") })
		two.set(func(c *credentials) { c.cert = issue(t, b.domain, "two-b") })
		time.Sleep(time.Minute)
		say(t, dialed, accepted, "still the same")
		assert.Equal(t, "two", dialed.Identity)
		assert.Equal(t, since, one.Stats().Neighbours[0].Since)
		newer, back := dial(t, one, two)
		assert.Equal(t, "two-b", newer.Identity)
		assert.Equal(t, "one-b", back.Identity)

		// A new anchor: first trusted, then used, then the only one.
		next := newDomain(t, "the next testers")
		both := b.domain.Roots()
		next.AddTo(both)
		for _, n := range []*node{one, two} {
			n.set(func(c *credentials) { c.roots = both })
		}
		one.set(func(c *credentials) { c.cert = issue(t, next, "one-c") })
		two.set(func(c *credentials) { c.cert = issue(t, next, "two-c") })
		time.Sleep(time.Minute)
		say(t, dialed, accepted, "still the same")
		newest, _ := dial(t, one, two)
		assert.Equal(t, "two-c", newest.Identity)
		for _, n := range []*node{one, two} {
			n.set(func(c *credentials) { c.roots = next.Roots() })
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		_, err := dialed.Read(make([]byte, 1))
		var refused *tlsplane.RefusedError
		require.ErrorAs(t, err, &refused, "the old anchor is gone, and so are its members")
		assert.Equal(t, tlsplane.ReasonForeign, refused.Reason)
		assert.Equal(t, []string{"two-c"}, identities(one.Plane))
		msg := one.send(t)
		hear(t, two.Heard, msg)
	})
}

// the plane says whether it is secure, why not, and when that changes.
func TestX03Status(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		settle()
		<-one.Changed()
		status := func(n *node) acp.Status {
			t.Helper()
			select {
			case <-n.Changed():
			case <-time.After(6 * time.Second):
				require.Fail(t, "no change was told")
			}
			return n.Status()
		}
		for _, c := range []struct {
			reason string
			change func(*credentials)
		}{
			{"no certificate", func(c *credentials) { c.cert = tls.Certificate{} }},
			{"no trust anchors", func(c *credentials) { c.roots = nil }},
			{"no trust anchors", func(c *credentials) { c.roots = x509.NewCertPool() }},
			{"foreign", func(c *credentials) { c.roots = newDomain(t, "others").Roots() }},
			{"foreign", func(c *credentials) { c.cert = issue(t, newDomain(t, "others"), "one") }},
			{"one has left", func(c *credentials) { c.revoked["one"] = true }},
			{"valid from", func(c *credentials) {
				c.cert = issue(t, b.domain, "one", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(20 * time.Minute) })
			}},
			{"wrong usage", func(c *credentials) {
				c.cert = issue(t, b.domain, "one", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })
			}},
		} {
			good := credentials{cert: issue(t, b.domain, "one"), roots: b.domain.Roots()}
			one.set(c.change)
			st := status(one)
			assert.False(t, st.Secure, c.reason)
			assert.Contains(t, st.Reason, c.reason)
			_, err := one.Dial(t.Context(), addrOf(two, one))
			require.ErrorContains(t, err, c.reason)
			_, err = two.Dial(t.Context(), addrOf(one, two))
			require.Error(t, err)
			time.Sleep(6 * time.Second)
			synctest.Wait()
			assert.Empty(t, identities(one.Plane), "it is nobody's neighbour")
			assert.Empty(t, identities(two.Plane))

			one.set(func(c *credentials) { c.cert, c.roots, c.revoked["one"] = good.cert, good.roots, false })
			assert.True(t, status(one).Secure, "%v", one.Status())
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			assert.Equal(t, []string{"two"}, identities(one.Plane), c.reason)
		}

		// It expires, to the second.
		one.set(func(c *credentials) { c.cert, _ = b.domain.Issue("one", 90*time.Second) })
		assert.True(t, status(one).Secure, "another time is another reason")
		time.Sleep(85 * time.Second)
		assert.Contains(t, status(one).Reason, "expired") // the name did not change but the time did
		assert.False(t, one.Status().Secure)
	})
	none := &tlsplane.Plane{}
	assert.Equal(t, acp.Status{Reason: "TLS: this node's credentials: no credentials"}, none.Status())
	failing := &tlsplane.Plane{Credentials: broken{errors.New("the card was pulled")}}
	assert.ErrorContains(t, errors.New(failing.Status().Reason), "the card was pulled")
}

type broken struct{ err error }

func (b broken) Certificate() (*tls.Certificate, error) { return nil, b.err }
func (b broken) Roots() (*x509.CertPool, error)         { return nil, b.err }
func (b broken) Revoked([]*x509.Certificate) error      { return b.err }

// Members have shares by who they are, and not for each of their addresses.
func TestSharesByIdentity(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		host := b.network.NewNode("victim", b.link)
		p, _ := newPlane(t, b.domain, "victim", host)
		g, err := grasp.New(grasp.Config{Plane: p, Dialogue: grasp.Dialogue{Silent: true}, Limits: grasp.Limits{IdlePerPeer: 4}})
		require.NoError(t, err)
		defer g.Close()
		begin := func(identity string, streams int) {
			t.Helper()
			p, _ := newPlane(t, b.domain, identity, b.network.NewNode(identity, b.link))
			n := &node{member: join(t, p)}
			to := netip.AddrPortFrom(g.Snapshot().Links[0].Addr.WithZone(fmt.Sprint(n.Links()[0].Index)), g.Snapshot().Port)
			for range streams {
				s, err := n.Dial(t.Context(), to)
				require.NoError(t, err)
				t.Cleanup(func() { _ = s.Close() })
			}
			synctest.Wait()
		}
		for range 3 { // nodes with one certificate
			begin("many", 4)
		}
		settle()
		assert.Equal(t, 4, g.Snapshot().Pending)
		assert.EqualValues(t, 8, g.Snapshot().Dropped[grasp.ReasonTooManyIdle])
		begin("other", 3)
		settle()
		assert.Equal(t, 7, g.Snapshot().Pending)
	})
}

// A peer that does not read cannot hold up Close.
func TestCloseOfStuckStream(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		dialed, _ := dial(t, one, two)
		require.NoError(t, dialed.SetWriteDeadline(time.Now().Add(time.Second)))
		for err := error(nil); err == nil; {
			_, err = dialed.Write(make([]byte, 1<<10))
		}
		start := time.Now()
		require.NoError(t, dialed.Close())
		assert.LessOrEqual(t, time.Since(start), 250*time.Millisecond)
		_, err := dialed.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}
