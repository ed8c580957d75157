package memory_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// Routes are those that a simpler algorithm finds, on random networks with
// shared links, cuts, and links that are down.
func TestRoutesAgainstADumbTwin(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			const size, far = 12, time.Hour
			r := rand.New(rand.NewPCG(seed, 0))
			n := memory.NewNetwork(seed)
			nodes := make([]*memory.Node, size)
			ends := make([]acp.Endpoint, size)
			var dist [size][size]time.Duration
			for i := range nodes {
				nodes[i] = n.NewNode(fmt.Sprint(i))
				ends[i] = endpointOf(t, nodes[i])
				for j := range dist[i] {
					if i != j {
						dist[i][j] = far
					}
				}
			}
			for range 8 {
				delay := time.Duration(r.IntN(5)) * time.Second
				l := n.NewLink(memory.LinkConfig{Delay: delay})
				members := r.Perm(size)[:2+r.IntN(3)]
				down := r.IntN(6) == 0
				if down {
					l.Down()
				}
				for _, i := range members {
					nodes[i].Attach(l)
				}
				for x, i := range members {
					for _, j := range members[:x] {
						switch {
						case down:
						case r.IntN(3) == 0:
							l.Cut(nodes[i], nodes[j])
						default:
							d := min(dist[i][j], delay)
							dist[i][j], dist[j][i] = d, d
						}
					}
				}
			}
			for k := range size {
				for i := range size {
					for j := range size {
						dist[i][j] = min(dist[i][j], dist[i][k]+dist[k][j])
					}
				}
			}
			for i, e := range ends {
				for j, h := range nodes {
					start := time.Now()
					_, err := e.Dial(t.Context(), netip.AddrPortFrom(h.Addr(), 1))
					if dist[i][j] < far {
						require.ErrorIs(t, err, syscall.ECONNREFUSED, "seed %d, %d to %d", seed, i, j)
						require.Equal(t, 2*dist[i][j], time.Since(start), "seed %d, %d to %d", seed, i, j)
						continue
					}
					require.NotErrorIs(t, err, syscall.ECONNREFUSED, "seed %d, %d to %d", seed, i, j)
					require.Zero(t, time.Since(start))
				}
			}
		})
	}
}

// Everything happens at once: nothing races, nothing hangs, and in the end all
// is as it was.
func TestChaos(t *testing.T) {
	n := memory.NewNetwork(1)
	links := []*memory.Link{
		n.NewLink(memory.LinkConfig{}),
		n.NewLink(memory.LinkConfig{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.2}),
	}
	nodes := make([]*memory.Node, 6)
	for i := range nodes {
		nodes[i] = n.NewNode(fmt.Sprint(i), links...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	repeat := func(pause time.Duration, f func()) {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
				time.Sleep(pause)
			}
		})
	}
	use := func(s *acp.Stream) {
		_ = s.SetDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = s.Write(make([]byte, 1+rand.IntN(100<<10)))
		_, _ = s.Read(make([]byte, 100<<10))
		_ = s.Close()
	}
	for _, h := range nodes {
		repeat(10*time.Millisecond, func() {
			e, err := h.Open()
			if !assert.NoError(t, err) {
				return
			}
			var users sync.WaitGroup
			defer users.Wait()
			time.AfterFunc(50*time.Millisecond, func() { _ = e.Close() })
			users.Go(func() {
				for {
					s, err := e.Accept()
					if err != nil {
						return
					}
					users.Go(func() { use(s) })
				}
			})
			for {
				for _, l := range e.Links() {
					_ = e.Send(l.Index, []byte("hello"))
				}
				_, from, err := e.Receive(make([]byte, 10))
				if err != nil {
					return
				}
				to := from.Addr
				if rand.IntN(2) == 0 {
					to = netip.AddrPortFrom(nodes[rand.IntN(len(nodes))].Addr(), to.Port())
				}
				if s, err := e.Dial(ctx, to); err == nil {
					users.Go(func() { use(s) })
				}
			}
		})
	}
	node := func() *memory.Node { return nodes[rand.IntN(len(nodes))] }
	for _, l := range links {
		remove := l.Tap(func(memory.Packet) { l.Stats() })
		defer remove()
		repeat(3*time.Millisecond, func() { l.Down(); l.Up() })
		repeat(3*time.Millisecond, func() {
			a, b := node(), node()
			l.Cut(a, b)
			l.Mend(a, b)
		})
		repeat(5*time.Millisecond, func() {
			l.SetDelay(time.Duration(rand.IntN(3)) * time.Millisecond)
			l.SetJitter(time.Duration(rand.IntN(3)) * time.Millisecond)
			l.SetLoss(rand.Float64())
		})
	}
	repeat(7*time.Millisecond, func() { node().Renumber() })
	repeat(7*time.Millisecond, func() { node().RenumberLink(links[0]) })
	repeat(7*time.Millisecond, func() { node().SetStatus(acp.Status{}) })
	repeat(20*time.Millisecond, func() {
		h := node()
		h.Kill()
		for _, l := range links {
			h.Attach(l)
		}
	})
	within(t, "chaos", wg.Wait)

	for _, l := range links {
		l.Up()
		l.SetDelay(0)
		l.SetJitter(0)
		l.SetLoss(0)
	}
	for _, h := range nodes {
		h.Detach(links[0])
		h.Detach(links[1])
		h.Attach(links[0])
	}
	testOriginCanBeDialed(t, nodes[0], nodes[1])
}

func TestNames(t *testing.T) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	h := n.NewNode("a", l)
	assert.Equal(t, "link1", l.Name())
	assert.Equal(t, "link1 a a", fmt.Sprint(l, " ", h, " ", h.Name()))
	_, ok := h.Link(n.NewLink(memory.LinkConfig{Name: "other"}))
	assert.False(t, ok)
}
