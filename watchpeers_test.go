package grasp_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/grasptest"
)

// met returns a peer event as a text.
func met(e grasp.PeerEvent) string {
	if e.Err != nil {
		return grasp.Code(e.Err).Error()
	}
	text := fmt.Sprintf("%v %v", e.Change, e.Peer)
	if e.Reason != 0 {
		text += " " + e.Reason.String()
	}
	return text
}

var service = grasp.Objective{Name: "example.com:service", Neg: true}

// offering registers the service at a node for discovery, with a lifetime of a
// minute.
func offering(t *testing.T, n *grasptest.Node) *grasp.ASA {
	t.Helper()
	asa := n.ASA("server")
	require.NoError(t, asa.RegisterObj(service, grasp.RegisterOptions{Discoverable: true}))
	return asa
}

func peerOf(n *grasptest.Node) string {
	s := n.Snapshot()
	return fmt.Sprintf("[%v]:%d", s.Address, s.Port)
}

// Peers are found when they come, kept as long as they answer, and gone when
// they do not.
func TestWatchPeers(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		client := n.Node("client", link).ASA("client")
		one := n.Node("one", link)
		first := peerOf(one)
		asa := offering(t, one)
		ctx, stop := context.WithCancel(t.Context())
		w := watch(n, client.WatchPeers(ctx, service, grasp.WatchPeersOptions{}), met)
		assert.Equal(t, []string{"added " + first}, w.next())
		n.Advance(time.Hour)
		assert.Empty(t, w.next(), "it is still there")

		two := n.Node("two", link)
		second := peerOf(two)
		offering(t, two)
		n.Advance(time.Minute)
		assert.Equal(t, []string{"added " + second}, w.next())
		require.NoError(t, asa.Deregister())
		n.Advance(2 * time.Minute)
		assert.Equal(t, []string{"gone " + first + " expired"}, w.next())
		require.NoError(t, two.Close())
		n.Advance(2 * time.Minute)
		assert.Equal(t, []string{"gone " + second + " expired"}, w.next())

		offering(t, one)
		n.Advance(80 * time.Second) // asked once a minute by now
		assert.Equal(t, []string{"added " + first}, w.next())
		stop()
		assert.Equal(t, []string{"end"}, w.next())
	})
}

// A peer to which a call fails is gone at once; one that has another port, too.
func TestWatchPeersCalled(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		client := n.Node("client", link).ASA("client")
		grasptest.Objective(t, client, service)
		server := n.Node("server", link)
		first := peerOf(server)
		offering(t, server)
		w := watch(n, client.WatchPeers(t.Context(), service, grasp.WatchPeersOptions{}), met)
		assert.Equal(t, []string{"added " + first}, w.next())

		server.Host.Kill()
		_, _, err := client.ReqNegotiate(t.Context(), service, nil, time.Second)
		require.Error(t, err)
		assert.Equal(t, []string{"gone " + first + " unreachable"}, w.next())

		require.NoError(t, client.Deregister())
		assert.Equal(t, []string{"ASA not registered", "end"}, w.next())
	})
}

// What makes no sense ends at once.
func TestWatchPeersRefuses(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		asa := n.Node("lone").ASA("asa")
		both := grasp.Objective{Name: "x", Neg: true, Synch: true}
		w := watch(n, asa.WatchPeers(t.Context(), both, grasp.WatchPeersOptions{}), met)
		assert.Equal(t, []string{grasp.ErrNotBoth.Error(), "end"}, w.next())
		w = watch(n, asa.WatchPeers(t.Context(), service, grasp.WatchPeersOptions{Interval: -1}), met)
		assert.Equal(t, []string{grasp.ErrUnspec.Error(), "end"}, w.next())
		for name, code := range map[string]grasp.ErrorCode{"\xff": grasp.ErrUnspec, strings.Repeat("x", 2000): grasp.ErrTooLong} {
			w = watch(n, asa.WatchPeers(t.Context(), grasp.NewObjective(name), grasp.WatchPeersOptions{}), met)
			assert.Equal(t, []string{code.Error(), "end"}, w.next())
		}
	})
}

// A peer that comes with a link is found at once.
func TestWatchPeersLink(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		node := n.Node("client")
		server := n.Node("server", link)
		offering(t, server)
		w := watch(n, node.ASA("client").WatchPeers(t.Context(), service, grasp.WatchPeersOptions{}), met)
		n.Advance(10 * time.Minute)
		assert.Empty(t, w.next())
		node.Host.Attach(link)
		n.Advance(time.Second)
		assert.Equal(t, []string{"added " + peerOf(server)}, w.next())
		require.NoError(t, node.Close())
		assert.Equal(t, []string{"ASA not registered", "end"}, w.next())
	})
}

// What many watchers on one link cost: each asks once in the lifetime of
// what it knows, and never all together.
func TestWatchPeersCost(t *testing.T) {
	const watchers, minutes = 100, 10
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		offering(t, n.Node("server", link))
		var found atomic.Int64
		for i := range watchers {
			asa := n.Node(fmt.Sprint("client", i), link).ASA("client")
			go func() {
				for e := range asa.WatchPeers(t.Context(), service, grasp.WatchPeersOptions{}) {
					if e.Change == grasp.Added {
						found.Add(1)
					}
				}
			}()
		}
		n.Advance(10 * time.Second)
		assert.EqualValues(t, watchers, found.Load())
		n.Advance(5 * time.Minute) // the first questions were asked together
		before := link.Stats().Sent
		busiest, last := uint64(0), before
		for range minutes * 60 {
			time.Sleep(time.Second)
			sent := link.Stats().Sent
			busiest, last = max(busiest, sent-last), sent
		}
		asked := float64(last-before) / watchers / minutes
		t.Logf("%.2f questions per watcher and minute, at most %d in a second by %d watchers", asked, busiest, watchers)
		assert.InDelta(t, 1.36, asked, 0.2)
		assert.Less(t, busiest, uint64(watchers/4))
		assert.EqualValues(t, watchers, found.Load())
	})
}

// When the only peer is gone before its time, the network is asked again within a
// second or two, not when that peer would have expired.
func TestWatchPeersLooksForAnother(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		client := n.Node("client", link).ASA("client")
		grasptest.Objective(t, client, service)
		offer := func(name string) *grasptest.Node {
			node := n.Node(name, link)
			long := grasp.RegisterOptions{Discoverable: true, TTL: time.Hour}
			require.NoError(t, node.ASA("server").RegisterObj(service, long))
			return node
		}
		one := offer("one")
		w := watch(n, client.WatchPeers(t.Context(), service, grasp.WatchPeersOptions{}), met)
		assert.Equal(t, []string{"added " + peerOf(one)}, w.next())
		n.Advance(time.Minute)
		one.Host.Kill()
		_, _, err := client.ReqNegotiate(t.Context(), service, nil, time.Second)
		require.Error(t, err)
		assert.Equal(t, []string{"gone " + peerOf(one) + " unreachable"}, w.next())
		two := offer("two")
		n.Advance(3 * time.Second)
		assert.Equal(t, []string{"added " + peerOf(two)}, w.next())
	})
}

// The loop ends with the context, without an event: when the context ends before the
// loop, and when it ends within the loop, whatever there is to tell.
func TestWatchEndsWithTheContext(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b", "c")
		a, c := nodes[0].ASA("a"), nodes[2].ASA("c")
		grasptest.Objective(t, a, news)
		for i := range 3 {
			flooding(t, a, 0, i, &grasp.Locator{FQDN: fmt.Sprint(i, ".example"), Port: 1})
		}
		for _, node := range nodes[:2] {
			offering(t, node)
		}
		_, err := c.Discover(t.Context(), service, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)

		for _, first := range []bool{true, false} {
			ctx, stop := context.WithCancel(t.Context())
			want := 1
			if first {
				stop()
				want = 0
			}
			told, met := 0, 0
			for range c.WatchFloods(ctx, news) {
				told++
				stop()
			}
			assert.Equal(t, want, told, "floods")
			ctx, stop = context.WithCancel(t.Context())
			if first {
				stop()
			}
			for range c.WatchPeers(ctx, service, grasp.WatchPeersOptions{}) {
				met++
				stop()
			}
			assert.Equal(t, want, met, "peers")
			stop()
		}
	})
}
