package adversary

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
)

// siege is two instances on a link with a hostile node, in memory.
type siege struct {
	accounts       []*accountant // of the server and the client
	server, client *grasp.ASA
	h              *hostile
}

// besiege runs a test with a hostile node, in a bubble.
func besiege(t *testing.T, test func(t *testing.T, s *siege)) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{})
		s := &siege{}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		start := func(name string) *grasp.ASA {
			account := newAccountant()
			g := bed.InstanceWith(t, n.NewNode(name, l), func(c *grasp.Config) {
				c.Trace = account.note
				c.IdlePerPeer = 4096 // fewer than come
				c.MaxWaits, c.MaxWait = hostileWaits, time.Hour
			})
			a := bed.NewASA(t, g, name)
			for _, o := range []grasp.Objective{bed.Stressed, bed.Neg(bait, nil), bed.Syn("value", nil)} {
				require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
			}
			require.NoError(t, a.ListenSynchronize(bed.Syn("value", make([]byte, 1900))))
			all.Go(func() { takeBait(ctx, a) })
			all.Go(func() { askAround(ctx, a) })
			s.accounts = append(s.accounts, account)
			return a
		}
		s.server, s.client = start("server"), start("client")
		ep, err := n.NewNode("hostile", l).Open()
		require.NoError(t, err)
		all.Go(func() { serveAll(ctx, s.server, bed.Stressed) })
		all.Go(func() { serveAll(ctx, s.client, bed.Stressed) })
		port := func(a *grasp.ASA) netip.AddrPort {
			return netip.AddrPortFrom(a.Instance().Snapshot().Address, a.Instance().Snapshot().Port)
		}
		s.h = newHostile(t.Context(), ep, port(s.server), port(s.client))
		s.h.abort, s.h.reset = func(c net.Conn) { _ = c.Close() }, grasp.ReasonMalformed // a network in memory resets only what is unread
		all.Go(s.h.listen)
		time.Sleep(time.Second) // something is to be heard

		t.Cleanup(func() {
			time.Sleep(2 * time.Minute)
			cancel()
			require.NoError(t, ep.Close())
			all.Wait()
			for _, a := range []*grasp.ASA{s.server, s.client} {
				now := a.Instance().Snapshot()
				require.Zero(t, now.Streams)
				require.Empty(t, now.Sessions)
			}
		})
		test(t, s)
	})
}

// serveAll answers requests as the stress tests do, each in a goroutine of its
// own: who does not go on keeps nobody waiting.
func serveAll(ctx context.Context, a *grasp.ASA, o grasp.Objective) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		s, asked, err := a.ListenNegotiate(ctx, o)
		if grasp.Code(err) == grasp.ErrIDClash {
			continue
		} else if err != nil {
			return
		}
		all.Go(func() {
			_ = bed.Respond(ctx, s, asked)
			_ = s.Close()
		})
	}
}

// settled waits until each victim has an account of the hostile node that adds
// up, and returns them.
func (s *siege) settled(t *testing.T) []account {
	time.Sleep(2 * time.Minute)
	var out []account
	for i, a := range s.accounts {
		out = append(out, a.about(s.h.ep.Addr(), s.h.ep.Links()[0].Addr))
		// The counters say the same as the trace.
		now := []*grasp.ASA{s.server, s.client}[i].Instance().Snapshot()
		counted := make(account)
		for what, n := range now.Received {
			counted["received "+what] = int(n)
		}
		for what, n := range now.Dropped {
			counted["dropped "+what.String()] = int(n)
		}
		if n := now.Sent["M_RESPONSE"]; n > 0 {
			counted[answered] = int(n)
		}
		require.Equal(t, counted, a.all)
	}
	return out
}

// Each attack by itself: what it sent is received or dropped for the reason
// that fits, one by one, and no negotiation fails meanwhile.
func TestHostilePeerOneByOne(t *testing.T) {
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			besiege(t, func(t *testing.T, s *siege) {
				before := s.settled(t)
				at := bed.At(s.server.Instance())
				var over atomic.Bool
				var honest sync.WaitGroup
				honest.Go(func() {
					for i := int64(0); i < 20 || !over.Load(); i++ {
						if err := bed.InitiateTo(t.Context(), s.client, at, i); err != nil {
							t.Errorf("negotiation %d: %v", i, err)
							return
						}
						time.Sleep(time.Second)
					}
				})
				attack.do(s.h)
				over.Store(true)
				honest.Wait()
				after := s.settled(t)
				for i, want := range s.h.want {
					want.add(before[i])
					if attack.alike {
						want.alike()
						after[i].alike()
					}
					require.Equal(t, want, after[i], "victim %d", i)
				}
				require.NotZero(t, s.h.want[0].total(), "it did something")
			})
		})
	}
}

// All at once, again and again, while honest negotiations go on: none fails,
// what was sent is accounted for, and memory stays bounded.
func TestHostilePeerAllAtOnce(t *testing.T) {
	besiege(t, func(t *testing.T, s *siege) {
		before := s.settled(t)
		at := bed.At(s.server.Instance())
		rounds := 3
		if !longtest.On() {
			rounds = 1
		}
		var attacking sync.WaitGroup
		var over atomic.Bool
		for _, a := range attacks {
			attacking.Go(func() {
				for range rounds {
					a.do(s.h)
				}
			})
		}
		var honest sync.WaitGroup
		var done atomic.Int64
		for k := range int64(8) {
			honest.Go(func() {
				for i := k; !over.Load(); i += 8 {
					if err := bed.InitiateTo(t.Context(), s.client, at, i); err != nil {
						t.Errorf("negotiation %d: %v", i, err)
						return
					}
					done.Add(1)
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		attacking.Wait()
		over.Store(true)
		honest.Wait()
		require.Positive(t, done.Load())
		after := s.settled(t)
		for i, want := range s.h.want {
			want.add(before[i])
			want.alike()
			after[i].alike()
			require.Equal(t, want, after[i], "victim %d", i)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%d negotiations while %d messages and connections were received or dropped by each; then %d KiB of heap", done.Load(), s.h.want[0].total(), m.HeapAlloc>>10)
	})
}
