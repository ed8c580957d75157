package grasp

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// held returns the memory that this process holds on to.
func held() int {
	for range 3 { // what a finalizer or a pool kept goes with the next ones
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// An instance that has nothing to do any more holds no more than before it had: neither of
// what expired, nor of sessions that ended, nor of messages that were relayed.
func TestMemoryGoesBack(t *testing.T) {
	many := longtest.Scaled(10_000)
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		near, far := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		unlimited := Limits{RelayRate: 1 << 20}
		here, err := New(Config{Plane: n.NewNode("here", near, far), Limits: unlimited})
		require.NoError(t, err)
		defer here.Close()
		there, err := New(Config{Plane: n.NewNode("there", near), Limits: unlimited})
		require.NoError(t, err)
		defer there.Close()
		asa, other := newASA(t, here, "here"), newASA(t, there, "there")
		o := Objective{Name: "EX1", Neg: true, LoopCount: DefaultLoopCount}
		require.NoError(t, asa.RegisterObj(o, RegisterOptions{Discoverable: true}))
		require.NoError(t, other.RegisterObj(o, RegisterOptions{}))
		go func() {
			for {
				s, _, err := asa.ListenNegotiate(t.Context(), o)
				if err != nil {
					return
				}
				_ = s.EndNegotiate(true, "")
			}
		}()
		synctest.Wait() // it listens
		peers, err := other.Discover(t.Context(), o, 0, DiscoverOptions{First: true})
		require.NoError(t, err)
		require.NotEmpty(t, peers)
		peer := &peers[0]
		negotiate := func(times int) {
			var all sync.WaitGroup
			for range min(times, 50) {
				all.Go(func() {
					for range (times + 49) / 50 {
						_, _, err := other.ReqNegotiate(t.Context(), o, peer, 0)
						assert.NoError(t, err)
					}
				})
			}
			all.Wait()
		}
		flood := func(times int, life time.Duration) {
			for i := range times {
				f := Objective{Name: fmt.Sprint("flooded", i), Synch: true, LoopCount: DefaultLoopCount, Value: i}
				require.NoError(t, other.RegisterObj(f, RegisterOptions{}))
				require.NoError(t, other.Flood(life, TaggedObjective{Objective: f}))
				require.NoError(t, other.DeregisterObj(f))
				synctest.Wait()
			}
		}
		negotiate(50)
		flood(10, time.Second)
		time.Sleep(5 * time.Minute)
		idle := held()

		flood(1000, time.Minute)
		t.Logf("%d KiB idle; at two instances %.1f KiB for 1,000 floods", idle>>10, float64(held()-idle)/1024)
		time.Sleep(5 * time.Minute)
		t.Logf("%.1f KiB are left of it", float64(held()-idle)/1024)

		flood(many, time.Minute)
		negotiate(many)
		t.Logf("%.1f KiB with %d floods cached, after %d sessions", float64(held()-idle)/1024, many, many)
		time.Sleep(10 * time.Minute)
		left := held() - idle
		t.Logf("%.1f KiB are left of it", float64(left)/1024)
		require.Less(t, left, 1<<20)
	})
}

// requester is a plane that opens streams with messages.
type requester struct{ acp.Plane }

type requesterEndpoint struct{ acp.Endpoint }

func (p requester) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return requesterEndpoint{ep}, err
}

// DialWith implements acp.Requester.
func (e requesterEndpoint) DialWith(ctx context.Context, to netip.AddrPort, msg []byte) (*acp.Stream, error) {
	s, err := e.Dial(ctx, to)
	if err == nil {
		_, err = s.Write(msg)
	}
	return s, err
}

// That holds for the requests that came, and the peers that were connected to, which an
// instance remembers on a plane that opens streams with messages.
func TestRequestsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{})
		here, err := New(Config{Plane: requester{n.NewNode("here", l)}})
		require.NoError(t, err)
		defer here.Close()
		there, err := New(Config{Plane: requester{n.NewNode("there", l)}})
		require.NoError(t, err)
		defer there.Close()
		o := Objective{Name: "EX1", Synch: true, LoopCount: DefaultLoopCount, Value: 1}
		asa, other := newASA(t, here, "here"), newASA(t, there, "there")
		require.NoError(t, asa.RegisterObj(o, RegisterOptions{}))
		require.NoError(t, asa.ListenSynchronize(o))
		_, err = other.Synchronize(t.Context(), o, nil, 0)
		require.NoError(t, err)
		remembered := func(g *Instance) int {
			g.came.mu.Lock()
			defer g.came.mu.Unlock()
			g.recent.mu.Lock()
			defer g.recent.mu.Unlock()
			return g.came.all.Len() + g.recent.all.Len()
		}
		require.Equal(t, 2, remembered(here), "the request, and who looked for the objective")
		require.Equal(t, 1, remembered(there), "who answered")
		time.Sleep(repeatTime)
		require.NotZero(t, remembered(here), "a copy may still come")
		time.Sleep(repeatTime + 2*forgetTime)
		synctest.Wait()
		for _, g := range []*Instance{here, there} {
			require.Zero(t, remembered(g))
			require.False(t, g.forgets.waits.Load())
		}
	})
}

// So are the addresses and the peers that were of no use.
func TestDoubtsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		g := newInstance(t, n.NewNode("here", n.NewLink(memory.LinkConfig{})))
		asa := newASA(t, g, "asker")
		o := Objective{Name: "EX1", Synch: true, LoopCount: DefaultLoopCount}
		nobody := cache.Locator{
			Wire: wire.Locator{Kind: wire.LocatorIPv6, Addr: netip.MustParseAddr("fd00::dead"), Protocol: TCP, Port: 4000},
			Link: 1, Expire: time.Now().Add(time.Hour),
		}
		g.cacheLocators(o.Name, []cache.Locator{nobody})
		_, err := asa.Synchronize(t.Context(), o, nil, time.Second)
		require.Error(t, err)
		left := func() int {
			g.doubts.mu.Lock()
			defer g.doubts.mu.Unlock()
			return g.doubts.all.Len() + g.doubts.peers.Len()
		}
		require.Equal(t, 2, left())
		time.Sleep(2*doubtTime + 2*forgetTime)
		synctest.Wait()
		require.Zero(t, left())
		require.False(t, g.forgets.waits.Load())
	})
}

// As many requests as 1,000 a second for two minutes are remembered for as long as a copy
// of one can come, and each is told from the others.
func TestManyRequestsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, seconds = 1000, int(repeatTime / time.Second)
		key := func(i int) session.Key {
			return session.Key{ID: uint32(i), Initiator: netip.MustParseAddr("fd00::1")}
		}
		memory := newRequestMemory()
		for second := range 2 * seconds {
			for i := range perSecond {
				require.False(t, memory.add(key(perSecond*second+i)))
			}
			time.Sleep(time.Second)
			if second >= seconds {
				require.True(t, memory.add(key(perSecond*(second-seconds+1))), "it came less than two minutes ago")
			}
		}
	})
}
