package tlsplane_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
)

// within is longer than it takes to look at all credentials again.
const within = 6 * time.Second

const day = 24 * time.Hour

// asker is a member with an instance, on the link of a bed.
type asker struct {
	*credentials
	plane *tlsplane.Plane
	host  *memory.Node
	asa   *grasp.ASA
}

// asker starts a member whose certificate is valid for a time.
func (b *bed) asker(name string, valid time.Duration, edits ...func(*asker)) *asker {
	b.Helper()
	a := &asker{host: b.network.NewNode(name, b.link)}
	a.plane, a.credentials = newPlane(b, b.domain, name, a.host)
	a.renew(b, valid)
	for _, edit := range edits {
		edit(a)
	}
	g, err := grasp.New(grasp.Config{Plane: a.plane, Dialogue: grasp.Dialogue{Silent: true}})
	require.NoError(b, err)
	b.Cleanup(func() { _ = g.Close() })
	a.asa, err = g.RegisterASA(name)
	require.NoError(b, err)
	return a
}

// renew gives a member another certificate.
func (a *asker) renew(b *bed, valid time.Duration) {
	b.Helper()
	cert, err := b.domain.Issue(a.cert.Leaf.Subject.CommonName, valid)
	require.NoError(b, err)
	a.set(func(c *credentials) { c.cert = cert })
}

// offers has an instance negotiate an objective with its own name. Each request is
// answered with a counter-offer, and the error by which the negotiation ends is
// told.
func (a *asker) offers(t *testing.T, name string) <-chan error {
	t.Helper()
	o := objective(name)
	require.NoError(t, a.asa.RegisterObj(o, grasp.RegisterOptions{}))
	ended := make(chan error, 100)
	go func() {
		for t.Context().Err() == nil {
			s, got, err := a.asa.ListenNegotiate(t.Context(), o)
			if err != nil {
				select { // the plane is not secure
				case <-time.After(time.Second):
				case <-t.Context().Done():
				}
				continue
			}
			go func() {
				_, _, err := s.NegotiateStep(t.Context(), got, day)
				ended <- err
			}()
		}
	}()
	return ended
}

func objective(name string) grasp.Objective {
	return grasp.Objective{Name: name, Neg: true, LoopCount: 6, Value: 1}
}

// ask begins to negotiate what somebody offers.
func (a *asker) ask(t *testing.T, name string) (*grasp.Session, error) {
	t.Helper()
	_ = a.asa.RegisterObj(objective(name), grasp.RegisterOptions{}) // once is enough
	s, _, err := a.asa.ReqNegotiate(t.Context(), objective(name), nil, 5*time.Second)
	return s, err
}

// A member that is revoked, or whose certificate expires, in the middle of a
// session: the session ends with the next look at the credentials, not before and
// not later, and the member finds nobody any longer, until it may.
func TestMemberLeavesInSession(t *testing.T) {
	for name, c := range map[string]struct {
		reason      tlsplane.Reason
		leave, back func(b *bed, one, two *asker)
	}{
		"revoked": {
			tlsplane.ReasonRevoked,
			func(_ *bed, one, _ *asker) { one.set(func(c *credentials) { c.revoked["two"] = true }) },
			func(_ *bed, one, _ *asker) { one.set(func(c *credentials) { c.revoked["two"] = false }) },
		},
		"expired": {
			tlsplane.ReasonExpired,
			func(_ *bed, _, two *asker) { time.Sleep(time.Until(two.cert.Leaf.NotAfter)) },
			func(b *bed, _, two *asker) { two.renew(b, time.Hour) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				one, two, three := b.asker("one", day), b.asker("two", time.Hour), b.asker("three", day)
				settle()
				ended := two.offers(t, "two's")
				three.offers(t, "three's")
				settle()
				s, err := one.ask(t, "two's")
				require.NoError(t, err)
				other, err := one.ask(t, "three's")
				require.NoError(t, err)

				c.leave(b, one, two)
				time.Sleep(within)
				require.Error(t, <-ended)
				_, _, err = s.NegotiateStep(t.Context(), objective("two's"), time.Minute)
				var refused *tlsplane.RefusedError
				require.ErrorAs(t, err, &refused)
				assert.Equal(t, c.reason, refused.Reason)
				assert.NotContains(t, identities(one.plane), "two", "nor is it a neighbour")
				_, err = one.ask(t, "two's")
				require.Error(t, err)
				require.NoError(t, other.EndNegotiate(true, ""), "the others stay")

				c.back(b, one, two)
				time.Sleep(2 * time.Minute)
				again, err := one.ask(t, "two's")
				require.NoError(t, err)
				require.NoError(t, again.EndNegotiate(true, ""))
			})
		})
	}
}

// The clock of a node is set, back and forth. What it says decides who is valid and
// whose announcement is of now, and nothing else: no timer stops for as long as the
// clock is behind.
func TestClockIsSet(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		var wrong atomic.Int64
		clock := func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }
		one, two := b.asker("one", day, func(a *asker) { tlsplane.SetClock(a.plane, clock) }), b.asker("two", day)
		two.offers(t, "two's")
		settle()
		s, err := one.ask(t, "two's")
		require.NoError(t, err)
		since := one.plane.Stats().Neighbours[0].Since

		// While certificates are valid nobody notices.
		for _, by := range []time.Duration{-30 * time.Minute, 20 * time.Hour, -time.Minute, 0} {
			wrong.Store(int64(by))
			time.Sleep(10 * time.Minute)
			assert.Equal(t, since, one.plane.Stats().Neighbours[0].Since, "%v", by)
			_, err := one.ask(t, "two's")
			require.NoError(t, err, "%v", by)
		}
		_, _, err = s.NegotiateStep(t.Context(), objective("two's"), time.Second)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "the peer says nothing, but its session went on")

		// Announcements that seem old or of the future prove nothing, but are heard.
		wrong.Store(int64(-30 * time.Minute))
		three := b.join("three")
		settle()
		assert.Contains(t, identities(one.plane), "three")
		assert.Positive(t, one.plane.Stats().Disproved)
		hear(t, three.Heard, three.send(t))

		// Where the own certificate is not valid, the node is not secure, until the
		// clock is right.
		for by, why := range map[time.Duration]string{-30 * 24 * time.Hour: "valid from", 30 * 24 * time.Hour: "expired"} {
			wrong.Store(int64(by))
			time.Sleep(within)
			assert.Contains(t, one.plane.Status().Reason, why)
			_, err := one.ask(t, "two's")
			assert.Equal(t, grasp.ErrNoSecurity, grasp.Code(err), "%v: %v", by, err)
			assert.Empty(t, identities(one.plane))
			wrong.Store(0)
			time.Sleep(within + 2*time.Minute)
			_, err = one.ask(t, "two's")
			require.NoError(t, err)
		}

		// An anchor that is no longer valid counts as well.
		one.renew(b, 20*365*day)
		wrong.Store(int64(11 * 365 * day))
		time.Sleep(within)
		assert.Contains(t, one.plane.Status().Reason, "expired")
	})
	// The clock is set back right before the certificate expires: that puts off the
	// next look for five seconds at most.
	inBubble(t, func(t *testing.T, b *bed) {
		var wrong atomic.Int64
		wrong.Store(int64(time.Hour))
		clock := func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }
		one := b.asker("one", time.Hour+time.Minute+2*time.Second, func(a *asker) { tlsplane.SetClock(a.plane, clock) })
		time.Sleep(time.Minute + time.Second) // the last look was a second ago
		require.True(t, one.plane.Status().Secure)
		wrong.Store(0)
		one.set(func(c *credentials) { c.roots = newDomain(t, "others").Roots() })
		time.Sleep(within)
		assert.False(t, one.plane.Status().Secure, "%v", one.plane.Status())
	})
}

// What is lost in one direction only: who is not heard is given up by those who do
// not hear it, and gives them up as well, so that both know. When the link is whole
// again, so are they.
func TestLossInOneDirection(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two, three := b.asker("one", day), b.asker("two", day), b.asker("three", day)
		two.offers(t, "two's")
		three.offers(t, "three's")
		settle()
		_, err := one.ask(t, "two's")
		require.NoError(t, err)
		for range 2 {
			b.link.CutOneWay(two.host, one.host)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			assert.Equal(t, []string{"three"}, identities(one.plane))
			assert.Equal(t, []string{"three"}, identities(two.plane))
			_, err = one.ask(t, "two's")
			require.Error(t, err)
			s, err := one.ask(t, "three's")
			require.NoError(t, err, "who is heard by all")
			require.NoError(t, s.EndNegotiate(true, ""))

			b.link.Mend(one.host, two.host)
			time.Sleep(2 * time.Minute)
			s, err = one.ask(t, "two's")
			require.NoError(t, err)
			require.NoError(t, s.EndNegotiate(true, ""))
		}
	})
}

// A domain gets new trust anchors, a part of its members at a time, while all go on
// to speak with all: first all trust both anchors, then all get certificates of the
// new one, and then all forget the old one. No multicast is lost, no call fails.
func TestAnchorsRotateByHalves(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, b.join(fmt.Sprint("n", i)))
		}
		settle()
		next := newDomain(t, "the next testers")
		both := b.domain.Roots()
		next.AddTo(both)
		sent, heard := make(map[string]bool), make([]map[string]bool, len(nodes))
		for i := range heard {
			heard[i] = make(map[string]bool)
		}
		talk := func() {
			t.Helper()
			for range 60 { // a minute
				for _, n := range nodes {
					sent[n.send(t)] = true
				}
				time.Sleep(time.Second)
				for i, n := range nodes {
					for _, msg := range heardBy(n) {
						heard[i][msg] = true
					}
				}
			}
			for i, n := range nodes {
				assert.Len(t, identities(n.Plane), len(nodes)-1)
				assert.Equal(t, sent, heard[i], "of %d", len(sent))
				for _, to := range nodes {
					if to != n {
						dialed, accepted := dial(t, n, to)
						say(t, dialed, accepted, "all speak with all")
						_ = dialed.Close()
						_ = accepted.Close()
					}
				}
			}
		}
		talk()
		for _, step := range []func(n *node, c *credentials){
			func(_ *node, c *credentials) { c.roots = both },
			func(_ *node, c *credentials) { c.cert = issue(t, next, c.cert.Leaf.Subject.CommonName) },
			func(_ *node, c *credentials) { c.roots = next.Roots() },
		} {
			for _, half := range [][]*node{nodes[:2], nodes[2:]} {
				for _, n := range half {
					n.set(func(c *credentials) { step(n, c) })
				}
				talk()
			}
		}
		late := b.join("old") // with a certificate of the anchor that is gone
		time.Sleep(time.Minute)
		assert.Empty(t, identities(late.Plane))
	})
}

// A member that takes a byte a second keeps nobody waiting: as a neighbour it is
// given up, and what is sent to it in a session fails in time.
func TestWindowOfOneByte(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		victim, friend := b.join("victim"), b.join("friend")
		settle()
		raw, sipper, cert := b.insider("sipper")

		conn := dialTLS(t, raw, addrOf(victim, sipper), forced(&cert, tls.VersionTLS13, "grasp-multicast"))
		hello, err := cbor.Marshal([]any{make([]byte, 16), 4242})
		require.NoError(t, err)
		_, err = conn.Write(hello)
		require.NoError(t, err)
		var taking sync.WaitGroup
		taking.Go(func() {
			for {
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		taking.Go(func() { // it is not given up for being silent
			for {
				if _, err := conn.Write([]byte{0x81, 0}); err != nil { // M_NOOP
					return
				}
				time.Sleep(5 * time.Second)
			}
		})
		settle()
		require.Contains(t, identities(victim.Plane), "sipper")
		for start := time.Now(); slices.Contains(identities(victim.Plane), "sipper"); {
			require.Less(t, time.Since(start), 2*time.Minute)
			msg := make([]byte, tlsplane.MaxMulticast)
			copy(msg, nonce())
			require.NoError(t, victim.Send(victim.Links()[0].Index, msg))
			time.Sleep(100 * time.Millisecond)
			require.True(t, slices.Contains(heardBy(friend), string(msg)), "the others miss nothing")
			heardBy(victim)
		}
		_ = conn.Close()
		taking.Wait()
	})
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.asker("one", day), b.asker("two", day)
		o := objective("one's")
		require.NoError(t, one.asa.RegisterObj(o, grasp.RegisterOptions{}))
		over := make(chan error)
		go func() {
			s, got, err := one.asa.ListenNegotiate(t.Context(), o)
			if err == nil {
				go func() { _, _, _ = s.NegotiateStep(t.Context(), got, day) }()
				time.Sleep(time.Second)
				err = s.Send(make([]byte, 1<<19))
			}
			over <- err
		}()
		settle()
		_, err := two.ask(t, "one's") // who never reads what comes then
		require.NoError(t, err)
		start := time.Now()
		require.ErrorIs(t, <-over, os.ErrDeadlineExceeded)
		assert.InDelta(t, grasp.DefaultTimeout.Seconds(), time.Since(start).Seconds(), 2)
	})
}
