package conformance

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/wire"
)

// authority notes what it is asked, and refuses some of it.
type authority struct {
	refuse func(grasp.Request) error

	mu    sync.Mutex // guards all following fields
	asked []grasp.Request
}

func (a *authority) authorize(_ context.Context, r grasp.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r)
	if a.refuse != nil {
		return a.refuse(r)
	}
	return nil
}

// wants returns what was asked for so far.
func (a *authority) wants() (wants []grasp.Want) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.asked {
		wants = append(wants, r.Want)
	}
	a.asked = nil
	return wants
}

// guarded runs a test with an instance that asks an authority, which negotiates
// and synchronizes, and a peer.
func guarded(t *testing.T, refuse func(grasp.Request) error, test func(b *bed.Bed, auth *authority, other *grasp.ASA)) {
	t.Helper()
	auth := &authority{refuse: refuse}
	bed.InLinks(t, 1, grasp.Config{Authorize: auth.authorize}, func(b *bed.Bed) {
		b.Register(bed.Neg("pool", 1), bed.Syn("value", 2))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("value", 2)))
		ctx, stop := context.WithCancel(b.Context())
		var serving sync.WaitGroup
		defer serving.Wait()
		defer stop()
		serving.Go(func() {
			_ = b.ASA.Serve(ctx, bed.Neg("pool", 1), func(_ context.Context, s *grasp.Session, _ grasp.Objective) error {
				return s.EndNegotiate(true, "")
			}, grasp.ServeOptions{})
		})
		other := b.Other("other")
		bed.Registered(b, bed.Neg("pool", 1), other)
		bed.Registered(b, bed.Syn("value", 2), other)
		synctest.Wait()
		test(b, auth, other)
	})
}

// ask asks an instance for everything, and returns the errors.
func ask(t *testing.T, other *grasp.ASA, at *grasp.Locator) (errs [4]error, found int) {
	t.Helper()
	dry := bed.Neg("pool", 1)
	dry.Dry = true
	_, _, errs[0] = other.ReqNegotiate(t.Context(), bed.Neg("pool", 1), at, time.Second)
	_, _, errs[1] = other.ReqNegotiate(t.Context(), dry, at, time.Second)
	_, errs[2] = other.Synchronize(t.Context(), bed.Syn("value", nil), at, time.Second)
	got, err := other.Discover(t.Context(), bed.Neg("pool", nil), time.Second, grasp.DiscoverOptions{Peer: at, Flush: true})
	errs[3] = err
	return errs, len(got)
}

func TestAuthorize(t *testing.T) {
	guarded(t, nil, func(b *bed.Bed, auth *authority, other *grasp.ASA) {
		errs, found := ask(b.T, other, bed.At(b.G))
		assert.NoError(b, errors.Join(errs[:]...))
		assert.Equal(b, 1, found)
		auth.mu.Lock()
		for _, r := range auth.asked {
			assert.Empty(b, r.Identity, "nobody proves it here")
			assert.NotZero(b, r.Peer.Port())
			assert.Contains(b, []string{"pool", "value"}, r.Objective.Name)
		}
		require.NotEmpty(b, auth.asked)
		assert.EqualValues(b, 1, auth.asked[0].Objective.Value)
		auth.mu.Unlock()
		assert.Equal(b, []grasp.Want{grasp.WantNegotiate, grasp.WantDryRun, grasp.WantSynchronize, grasp.WantDiscover}, auth.wants())
		b.WantDrop(grasp.ReasonUnauthorized, 0)

		// Multicasts are not asked about, nor ASAs of the same instance.
		got, err := other.Discover(b.Context(), bed.Neg("pool", nil), time.Second, grasp.DiscoverOptions{Flush: true})
		require.NoError(b, err)
		assert.Len(b, got, 1)
		local := bed.NewASA(b, b.G, "local")
		_, err = local.Synchronize(b.Context(), bed.Syn("value", nil), nil, time.Second)
		assert.NoError(b, err)
		assert.Empty(b, auth.wants())
	})
}

func TestAuthorizeRefuses(t *testing.T) {
	no := errors.New("not for you")
	guarded(t, func(grasp.Request) error { return no }, func(b *bed.Bed, auth *authority, other *grasp.ASA) {
		errs, found := ask(b.T, other, bed.At(b.G))
		for _, err := range errs[:3] {
			assert.Error(b, err)
		}
		assert.Zero(b, found)
		assert.Len(b, auth.wants(), 4)
		assert.EqualValues(b, 4, b.G.Snapshot().Dropped[grasp.ReasonUnauthorized])
		for _, e := range b.Dropped(grasp.ReasonUnauthorized) {
			assert.ErrorIs(b, e.Err, no)
			assert.NotEmpty(b, e.Objective)
		}
		assert.Empty(b, b.G.Snapshot().Sessions)
	})
}

// A dry run may be granted where the real thing is not; one objective and not
// another.
func TestAuthorizeTellsApart(t *testing.T) {
	refuse := func(r grasp.Request) error {
		if r.Want == grasp.WantNegotiate {
			return errors.New("dry runs only")
		}
		return nil
	}
	guarded(t, refuse, func(b *bed.Bed, auth *authority, other *grasp.ASA) {
		errs, found := ask(b.T, other, bed.At(b.G))
		assert.Error(b, errs[0])
		assert.NoError(b, errors.Join(errs[1:]...))
		assert.Equal(b, 1, found)
	})
}

// A discovery by a datagram is asked about when it is sent to the node alone.
func TestAuthorizeDatagram(t *testing.T) {
	guarded(t, func(r grasp.Request) error { return errors.New("no") }, func(b *bed.Bed, auth *authority, _ *grasp.ASA) {
		ask := bed.Encoded(b, bed.Arr{1, 77, b.Peer.Addr(), bed.Arr{"pool", 3, 6, nil}})
		require.NoError(b, acp.SendTo(b.Peer.Endpoint, netip.AddrPortFrom(bed.LinkOf(b.Node, b.Links[0]).Addr.WithZone(bed.Zone(bed.LinkOf(b.Peer.Node, b.Links[0]).Index)), acp.Port), ask))
		time.Sleep(time.Second)
		assert.Equal(b, []grasp.Want{grasp.WantDiscover}, auth.wants())
		b.Peer.NotDialed()
		b.WantDrop(grasp.ReasonUnauthorized, 1)
	})
}

// Who is being decided about keeps nobody waiting, and a panic is a refusal.
func TestAuthorizeBlocksAndPanics(t *testing.T) {
	var first chan struct{} // made in the bubble
	var once sync.Once
	refuse := func(r grasp.Request) error {
		blocks := false
		once.Do(func() { blocks = true })
		if blocks {
			<-first
			panic("out of order")
		}
		return nil
	}
	auth := func(_ context.Context, r grasp.Request) error { return refuse(r) }
	bed.InLinks(t, 1, grasp.Config{Authorize: auth}, func(b *bed.Bed) {
		first = make(chan struct{})
		b.Register(bed.Syn("value", 2))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("value", 2)))
		one, two := b.Other("one"), b.Other("two")
		waits := make(chan error, 1)
		go func() {
			_, err := one.Synchronize(b.Context(), bed.Syn("value", nil), bed.At(b.G), time.Minute)
			waits <- err
		}()
		synctest.Wait()
		_, err := two.Synchronize(b.Context(), bed.Syn("value", nil), bed.At(b.G), time.Second)
		require.NoError(b, err)
		close(first)
		require.Error(b, <-waits)
		b.WantDrop(grasp.ReasonUnauthorized, 1)
	})
}

// On TLS the identity is that of the certificate: only *.noc.example may change
// what others may look at.
func TestAuthorizeByIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := domain.New("testers")
		require.NoError(t, err)
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		join := func(name string, with ...func(*grasp.Config)) *grasp.ASA {
			cert, err := d.Issue(name, time.Hour, func(*x509.Certificate) {})
			require.NoError(t, err)
			plane := &tlsplane.Plane{Underlay: n.NewNode(name, link), Credentials: tlsplane.Static{Member: cert, Anchors: d.Roots()}}
			a := bed.NewASA(t, bed.InstanceWith(t, plane, with...), name)
			require.NoError(t, a.RegisterObj(bed.Neg("pool", 1), grasp.RegisterOptions{}))
			return a
		}
		pool := join("pool.example", func(c *grasp.Config) {
			c.Authorize = func(_ context.Context, r grasp.Request) error {
				if r.Want == grasp.WantNegotiate && !strings.HasSuffix(r.Identity, ".noc.example") {
					return errors.New("only *.noc.example may")
				}
				return nil
			}
		})
		go func() {
			for {
				s, _, err := pool.ListenNegotiate(t.Context(), bed.Neg("pool", 1))
				if err != nil {
					return
				}
				_ = s.EndNegotiate(true, "")
			}
		}()
		synctest.Wait()
		for name, want := range map[string]bool{"ops.noc.example": true, "lab.example": false, "noc.example.evil": false} {
			_, _, err := join(name).ReqNegotiate(t.Context(), bed.Neg("pool", 1), nil, 5*time.Second)
			assert.Equal(t, want, err == nil, "%s: %v", name, err)
		}
	})
}

// What a peer may not ask for it does not get with a response to its discovery either.
func TestAuthorizeRapidSynchronization(t *testing.T) {
	no := func(_ context.Context, r grasp.Request) error {
		if r.Want == grasp.WantSynchronize {
			return errors.New("no")
		}
		return nil
	}
	for name, authorize := range map[string]func(context.Context, grasp.Request) error{"anybody": nil, "nobody": no} {
		t.Run(name, func(t *testing.T) {
			bed.InLinks(t, 1, grasp.Config{Authorize: authorize}, func(b *bed.Bed) {
				require.NoError(b, b.ASA.RegisterObj(bed.Syn("EX1", nil), grasp.RegisterOptions{Rapid: true}))
				require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", "secret")))
				p, ok := b.Peer.Discover(1, "EX1")
				require.True(b, ok)
				s := b.Peer.Dial(b.At())
				s.Send(bed.Arr{1, 2, b.Peer.Addr(), bed.Arr{"EX1", 5, 6, nil}})
				for _, p := range []bed.Packet{p, s.Next()} {
					m := bed.Message[*wire.Response](b, p)
					require.Len(b, m.Locators, 1)
					require.Equal(b, authorize == nil, m.Objective != nil, "%v", p)
				}
			})
		})
	}
}
