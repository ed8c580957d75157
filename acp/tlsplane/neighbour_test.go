package tlsplane_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/longtest"
)

// Each pair keeps one connection, who ever dialed, and what is sent before or
// while it comes about arrives. T-06: from then on a link that loses all
// datagrams loses nothing.
func TestT06X05OneConnectionForEachPair(t *testing.T) {
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				b.link.SetJitter(time.Duration(seed%4) * time.Millisecond)
				var nodes []*node
				sent := make(map[string]bool)
				for i := range 6 {
					nodes = append(nodes, b.join(fmt.Sprint("n", i)))
					sent[nodes[i].send(t)] = true
				}
				time.Sleep(time.Second)
				for _, n := range nodes {
					sent[n.send(t)] = true
				}
				time.Sleep(time.Minute)
				b.link.SetLoss(1)
				for _, n := range nodes {
					sent[n.send(t)] = true
				}
				time.Sleep(time.Second)
				for _, n := range nodes {
					assert.Len(t, identities(n.Plane), 5)
					heard := make(map[string]bool)
					for _, msg := range heardBy(n) {
						heard[msg] = true
					}
					assert.Equal(t, sent, heard)
					assert.Zero(t, n.Stats().Slow)
				}
				// At most two were dialed for each pair, and both ends count.
				var handshakes uint64
				for _, n := range nodes {
					handshakes += n.Stats().Handshakes
				}
				assert.LessOrEqual(t, handshakes, uint64(4*15))
				assert.Empty(t, nodes[0].Stats().Refused)
			})
		})
	}
}

// Neighbours come back, on whatever side the connection broke.
func TestNeighboursComeBack(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(b *bed, one, two *node) *node
		within  time.Duration
	}{
		"the link goes down": {func(b *bed, _, two *node) *node {
			b.link.Down()
			settle()
			assert.Empty(b, two.Stats().Neighbours)
			b.link.Up()
			return two
		}, time.Second},
		"they are cut off": {func(b *bed, one, two *node) *node {
			b.link.Cut(one.host, two.host)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			assert.Empty(b, one.Stats().Neighbours)
			assert.Empty(b, two.Stats().Neighbours)
			b.link.Mend(one.host, two.host)
			return two
		}, 2 * time.Minute},
		"one gets another address": {func(b *bed, one, two *node) *node {
			one.host.RenumberLink(b.link)
			return two
		}, time.Second},
		"a node dies and another comes": {func(b *bed, _, two *node) *node {
			two.host.Kill()
			settle()
			return b.join("three")
		}, time.Second},
		"a node closes and comes again": {func(b *bed, _, two *node) *node {
			require.NoError(b, two.Close())
			settle()
			again, err := two.Plane.Open()
			require.NoError(b, err)
			two.member = member{Endpoint: again, Heard: receive(b.T, again)}
			return two
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				one, two := b.join("one"), b.join("two")
				settle()
				require.Len(t, identities(one.Plane), 1)
				two = c.breakIt(b, one, two)
				time.Sleep(c.within)
				hear(t, two.Heard, one.send(t))
				hear(t, one.Heard, two.send(t))
				synctest.Wait()
				assert.Len(t, identities(one.Plane), 1)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				assert.Len(t, identities(one.Plane), 1)
			})
		})
	}
}

// Connections live on for as long as there is nothing to say.
func TestKeepAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		settle()
		since := one.Stats().Neighbours[0].Since
		time.Sleep(50 * time.Minute)
		assert.Equal(t, since, one.Stats().Neighbours[0].Since)
		hear(t, two.Heard, one.send(t))
		assert.EqualValues(t, 1, one.Stats().Sent, "keep-alives are no multicasts")
	})
}

// A neighbour who does not take what it is sent misses it, and nobody else does.
func TestSlowNeighbour(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, quick := b.join("one"), b.join("quick")
		stuck := endpointOf(t, func() acp.Plane {
			p, _ := newPlane(t, b.domain, "stuck", b.network.NewNode("stuck", b.link))
			return p
		}())
		settle()
		require.Len(t, identities(one.Plane), 2)
		const count = 3000
		index := one.Links()[0].Index
		for i := range count {
			msg := fmt.Sprint(i, strings.Repeat("x", 1000))
			require.NoError(t, one.Send(index, []byte(msg)))
			synctest.Wait()
			if i%10 == 0 {
				time.Sleep(5 * time.Millisecond) // the delay of the link
			}
		}
		settle()
		assert.Len(t, heardBy(quick), count)
		assert.Len(t, heardBy(one), count)
		slow := one.Stats().Slow
		assert.Greater(t, slow, uint64(1000))
		for _, n := range one.Stats().Neighbours {
			if n.Identity == "stuck" {
				assert.Equal(t, slow, n.Slow)
			} else {
				assert.Zero(t, n.Slow)
			}
		}
		// It is given up, and comes back with its queue empty.
		_, _, err := stuck.Receive(make([]byte, 2000))
		require.NoError(t, err)
	})
}

// Who comes late gets what was sent a moment ago, but nothing older.
func TestLateNeighbour(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one")
		old := one.send(t)
		time.Sleep(4 * time.Second)
		var recent []string
		for range 70 {
			recent = append(recent, one.send(t))
		}
		time.Sleep(time.Second)
		two := b.join("two")
		settle()
		got := heardBy(two)
		assert.Equal(t, recent[6:], got)
		assert.NotContains(t, got, old)
	})
}

// The neighbours on a link are bounded, in all and for each identity.
func TestTooManyNeighbours(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one", func(p *tlsplane.Plane) { p.MaxNeighbours = 3 })
		for i := range 5 {
			b.join(fmt.Sprint("n", i))
		}
		settle()
		assert.Len(t, identities(one.Plane), 3)
		assert.Positive(t, one.Stats().Refused[tlsplane.ReasonTooMany])
		time.Sleep(time.Minute)
		assert.Len(t, identities(one.Plane), 3)
	})
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one")
		crowd, _ := newPlane(t, b.domain, "crowd", b.network.NewNode("crowd", b.link))
		for range 20 {
			endpointOf(t, crowd)
		}
		settle()
		assert.Len(t, identities(one.Plane), 16)
		assert.Positive(t, one.Stats().Refused[tlsplane.ReasonTooMany])
		b.join("two")
		settle()
		assert.Contains(t, identities(one.Plane), "two")
	})
}

// Announcements can be forged. What they cause is bounded, and honest neighbours
// come nevertheless.
func TestForgedAnnouncements(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one", func(p *tlsplane.Plane) { p.MaxNeighbours = 8 })
		forger := endpointOf(t, b.network.NewNode("forger", b.link))
		l := forger.Links()[0]
		for port := range 1000 {
			raw, err := tlsplane.Announcement(netip.AddrPortFrom(l.Addr.WithZone(""), uint16(1+port)), time.Minute)
			require.NoError(t, err)
			require.NoError(t, forger.Send(l.Index, raw))
			synctest.Wait()
		}
		settle()
		two := b.join("two")
		settle()
		assert.Equal(t, []string{"two"}, identities(one.Plane))
		hear(t, two.Heard, one.send(t))
		assert.LessOrEqual(t, tlsplane.Candidates(one.Endpoint), 17)

		// After their time they are forgotten.
		time.Sleep(10 * time.Minute)
		assert.Equal(t, 1, tlsplane.Candidates(one.Endpoint))
	})
}

// Where more is forged than can be dialed, a member that comes and cannot prove that
// it is one is answered, and dials itself.
func TestNewcomerWithoutProof(t *testing.T) {
	for seed := range longtest.Scaled(3) {
		inBubble(t, func(t *testing.T, b *bed) {
			start := func(name string) *node {
				n := &node{host: b.network.NewNode(name, b.link)}
				n.Plane, n.credentials = newPlane(b, b.domain, name, n.host)
				n.cert = issue(t, b.domain, name, large)
				n.member = join(t, n.Plane)
				return n
			}
			one := start("one")
			host := b.network.NewNode("forger", b.link)
			forger := endpointOf(t, host)
			over := make(chan struct{})
			go func() {
				for {
					select {
					case <-over:
						close(over)
						return
					case <-time.After(50 * time.Millisecond):
					}
					host.RenumberLink(b.link)
					l := forger.Links()[0]
					raw, err := tlsplane.Announcement(netip.AddrPortFrom(l.Addr.WithZone(""), 1), time.Minute)
					if err != nil || forger.Send(l.Index, raw) != nil {
						return
					}
				}
			}()
			time.Sleep(40*time.Second + time.Duration(seed)*7*time.Millisecond)
			start("two")
			time.Sleep(3 * time.Second)
			synctest.Wait()
			assert.Equal(t, []string{"two"}, identities(one.Plane))
			over <- struct{}{}
			<-over
		})
	}
}

// A node with two interfaces on a link is no neighbour of itself.
func TestTwoInterfacesOnOneLink(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		host := b.network.NewNode("double", b.link, b.link)
		p, _ := newPlane(t, b.domain, "double", host)
		double := join(t, p)
		one := b.join("one")
		settle()
		assert.Equal(t, []string{"one", "one"}, identities(p))
		assert.Equal(t, []string{"double", "double"}, identities(one.Plane))
		msg := nonce()
		require.NoError(t, double.Send(double.Links()[1].Index, []byte(msg)))
		from := hear(t, one.Heard, msg)
		assert.Equal(t, netip.AddrPortFrom(double.Links()[1].Addr.WithZone(fmt.Sprint(one.Links()[0].Index)), double.Port()), from.Addr)
	})
}

// A neighbour by a global address, from beyond the link, is none.
func TestNoNeighbourFromElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one")
		cert := issue(t, b.domain, "far")
		raw := endpointOf(t, b.network.NewNode("far", b.link))
		conn := dialTLS(t, raw, netip.AddrPortFrom(one.Addr(), one.Port()), forced(&cert, 0x304, "grasp-multicast"))
		_, err := conn.Read(make([]byte, 100))
		require.Error(t, err)
		settle()
		assert.Empty(t, one.Stats().Neighbours)
		assert.EqualValues(t, 1, one.Stats().Refused[tlsplane.ReasonProtocol])
	})
}

// After a flap neighbours need not be announced: they are dialed at once, by
// whoever had dialed before.
func TestFlapWithoutAnnouncements(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		settle()
		require.Len(t, identities(one.Plane), 1)
		b.link.SetLoss(1) // of datagrams
		for range 3 {
			b.link.Down()
			settle()
			require.Empty(t, identities(one.Plane))
			b.link.Up()
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, []string{"two"}, identities(one.Plane))
			hear(t, two.Heard, one.send(t))
		}
	})
}

// Announcements prove who made them, unless the certificates do not fit, be it in parts.
func TestAnnouncementsAreProven(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		settle()
		require.Len(t, identities(one.Plane), 1)
		assert.Positive(t, one.Stats().Proven+two.Stats().Proven)
		assert.Zero(t, one.Stats().Disproved)
	})
	// In parts, of which one in ten is lost.
	inBubble(t, func(t *testing.T, b *bed) {
		b.domain = tlsplane.Hierarchy(t, tlsplane.TestingKey(t, "rsa4096"), 2)
		b.link.SetLoss(0.1)
		one, two := b.join("one"), b.join("two")
		settle()
		assert.Equal(t, []string{"two"}, identities(one.Plane))
		time.Sleep(10 * time.Minute)
		assert.Positive(t, one.Stats().Proven)
		assert.Positive(t, two.Stats().Proven)
		assert.Positive(t, one.Stats().Parts)
		assert.Zero(t, one.Stats().Disproved)
		announced := one.Stats().Announced
		assert.Zero(t, announced%4, "four at a time, %d in all", announced)
		assert.LessOrEqual(t, announced, uint64(4*20), "each minute, and first more often")
	})
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one")
		proven := one.Stats().Proven
		two := &node{host: b.network.NewNode("two", b.link)}
		two.Plane, two.credentials = newPlane(b, b.domain, "two", two.host)
		two.cert = issue(t, b.domain, "two", large)
		two.member = join(t, two.Plane)
		settle()
		assert.Equal(t, []string{"two"}, identities(one.Plane))
		assert.Equal(t, proven, one.Stats().Proven)
		hear(t, one.Heard, two.send(t))
	})
}

// A full link never refuses a newcomer while a member has more than its share of
// the neighbours: that one's give way, and stay away.
func TestManyNeighboursOfFewMembers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one", func(p *tlsplane.Plane) { p.MaxNeighbours = 8 })
		for _, name := range []string{"a", "b"} {
			crowd, _ := newPlane(t, b.domain, name, b.network.NewNode(name, b.link))
			for range 4 {
				endpointOf(t, crowd)
			}
		}
		settle()
		require.Len(t, identities(one.Plane), 8)
		for i, name := range []string{"c", "d", "e"} {
			n := b.join(name)
			settle()
			count := make(map[string]int)
			for _, who := range identities(one.Plane) {
				count[who]++
			}
			assert.Equal(t, 1, count[name])
			assert.Equal(t, 8-i-1, count["a"]+count["b"])
			assert.InDelta(t, count["a"], count["b"], 1)
			hear(t, one.Heard, n.send(t))
			assert.EqualValues(t, i+1, one.Stats().Expelled[tlsplane.ReasonTooMany])
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Subset(t, identities(one.Plane), []string{"c", "d", "e"})
		assert.EqualValues(t, 3, one.Stats().Expelled[tlsplane.ReasonTooMany])
		assert.Less(t, one.Stats().Refused[tlsplane.ReasonTooMany], uint64(3*2*30), "they try again, less and less")
	})
}
