package tlsplane_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// caller is a member with an instance on a real link.
type caller struct {
	plane acp.Plane
	asa   *grasp.ASA
}

// callers starts two of them, on Layer2 or with certificates, of which the second accepts
// what is offered.
func callers(t *testing.T, onTLS bool, links ...string) (one, two *caller) {
	t.Helper()
	d := newDomain(t, "testers")
	var all []*caller
	for _, link := range links {
		c := &caller{plane: &acp.Layer2{Links: []string{link}}}
		if onTLS {
			c.plane, _ = newPlane(t, d, link, c.plane)
		}
		g, err := grasp.New(grasp.Config{Plane: c.plane, Dialogue: grasp.Dialogue{Silent: true}})
		require.NoError(t, err)
		t.Cleanup(func() { _ = g.Close() })
		c.asa, err = g.RegisterASA(link)
		require.NoError(t, err)
		require.NoError(t, c.asa.RegisterObj(called, grasp.RegisterOptions{}))
		all = append(all, c)
	}
	go func() {
		for t.Context().Err() == nil {
			if s, _, err := all[1].asa.ListenNegotiate(t.Context(), called); err == nil {
				go func() { _ = s.EndNegotiate(true, "") }()
			}
		}
	}()
	return all[0], all[1]
}

// call negotiates with whoever is found.
func (c *caller) call(t *testing.T, timeout time.Duration) error {
	s, _, err := c.asa.ReqNegotiate(t.Context(), called, nil, timeout)
	if s != nil {
		_ = s.Close()
	}
	return err
}

func (c *caller) hasNeighbour() bool {
	return len(c.plane.(*tlsplane.Plane).Stats().Neighbours) > 0
}

// All that goes in one direction is lost, neighbour discovery included: calls fail and come
// back, and when nobody is the wiser none waits for ever. With -full it lasts until members
// give each other up, on both sides.
func TestLossInOneDirectionOnRealLinks(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	whole, lost := netbed.Trouble{}, netbed.Trouble{Lose: 1, Wholly: true}
	for name, onTLS := range map[string]bool{"layer2": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			a, b := "a-"+name, "b-"+name
			w := netbed.NewWire(t, 1, nil, a, nil, b, whole)
			one, two := callers(t, onTLS, a, b)
			works := func() bool { return one.call(t, patience) == nil }
			netbed.Eventually(t, 2*patience, "calls come through", works)
			for _, ways := range [][2]netbed.Trouble{{lost, whole}, {whole, lost}} {
				w.SetWays(ways[0], ways[1])
				require.Error(t, one.call(t, time.Second))
				if onTLS && *full {
					netbed.Eventually(t, 5*time.Minute, "they give each other up", func() bool { return !one.hasNeighbour() && !two.hasNeighbour() })
				}
				w.Set(whole)
				start := time.Now()
				netbed.Eventually(t, 4*time.Minute, "calls come through again", works)
				t.Logf("the first call after %.2f s", time.Since(start).Seconds())
			}
		})
	}
}

// A neighbour whose TCP takes a byte at a time keeps nobody waiting. What it misses is
// counted; with -full it is given up, and what is sent to it in a session fails in time.
// When its window is as large as others', it hears as well as others.
func TestWindowOfOneByteOnRealLinks(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv4/tcp_window_scaling", "0")
	netbed.VethPair(t, "victim", "p-victim")
	netbed.VethPair(t, "friend", "p-friend")
	w := netbed.NewWire(t, 1, nil, "sipper", nil, "p-sipper", netbed.Trouble{})
	netbed.Bridge(t, "bridge", "p-victim", "p-friend", "p-sipper")
	d := newDomain(t, "testers")
	planes, members := make(map[string]*tlsplane.Plane), make(map[string]member)
	for _, name := range []string{"victim", "friend", "sipper"} {
		planes[name], _ = newPlane(t, d, name, &acp.Layer2{Links: []string{name}})
		members[name] = join(t, planes[name])
	}
	victim := planes["victim"]
	has := func(name string) bool { return slices.Contains(identities(victim), name) }
	netbed.Eventually(t, 2*patience, "all are neighbours", func() bool { return has("friend") && has("sipper") })

	w.SetWays(netbed.Trouble{Window: 1}, netbed.Trouble{})
	slow := func(name string) (count uint64) {
		for _, n := range victim.Stats().Neighbours {
			if n.Identity == name {
				count += n.Slow
			}
		}
		return count
	}
	sendToFriend := func() {
		t.Helper()
		msg := make([]byte, tlsplane.MaxMulticast)
		copy(msg, nonce())
		require.NoError(t, members["victim"].Send(members["victim"].Links()[0].Index, msg))
		hear(t, members["friend"].Heard, string(msg))
		hear(t, members["victim"].Heard, string(msg))
	}
	netbed.Eventually(t, 2*patience, "the sipper misses something", func() bool {
		sendToFriend()
		return slow("sipper") > 0
	})
	assert.Zero(t, slow("friend"))
	if *full {
		netbed.Eventually(t, 5*time.Minute, "the sipper is given up", func() bool {
			sendToFriend()
			return !has("sipper")
		})
	}
	w.Set(netbed.Trouble{})
	var last atomic.Pointer[string] // that the sipper heard
	go func() {
		for m := range members["sipper"].Heard {
			last.Store(&m.Msg)
		}
	}()
	netbed.Eventually(t, 5*time.Minute, "the sipper hears again", func() bool {
		msg := nonce()
		require.NoError(t, members["victim"].Send(members["victim"].Links()[0].Index, []byte(msg)))
		hear(t, members["victim"].Heard, msg)
		hear(t, members["friend"].Heard, msg)
		for late := time.Now().Add(2 * time.Second); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
			if got := last.Load(); got != nil && *got == msg {
				return true
			}
		}
		return false
	})
	if *full {
		for name, onTLS := range map[string]bool{"layer2": false, "tls": true} {
			require.ErrorIs(t, sipped(t, onTLS, "a-"+name, "b-"+name), os.ErrDeadlineExceeded, name)
		}
	}
}

// sipped sends a lot in a session to a peer whose window shrinks to one byte, and returns
// how that ends.
func sipped(t *testing.T, onTLS bool, a, b string) error {
	t.Helper()
	w := netbed.NewWire(t, 1, nil, a, nil, b, netbed.Trouble{})
	one, two := callers(t, onTLS, a, b)
	netbed.Eventually(t, 2*patience, "calls come through", func() bool { return one.call(t, patience) == nil })
	o := grasp.Objective{Name: "large", Neg: true, LoopCount: 6, Value: 1}
	for _, c := range []*caller{one, two} {
		require.NoError(t, c.asa.RegisterObj(o, grasp.RegisterOptions{}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var stepping sync.WaitGroup
	defer stepping.Wait()
	defer cancel()
	accepted := make(chan *grasp.Session, 1)
	go func() {
		s, got, err := two.asa.ListenNegotiate(ctx, o)
		if err == nil {
			stepping.Go(func() { _, _, _ = s.NegotiateStep(ctx, got, 10*time.Minute) })
		}
		accepted <- s
	}()
	begun, _, err := one.asa.ReqNegotiate(ctx, o, nil, patience)
	require.NoError(t, err)
	defer begun.Close() // which never reads what comes
	w.SetWays(netbed.Trouble{Window: 1}, netbed.Trouble{})
	return (<-accepted).Send(make([]byte, 1<<19))
}
