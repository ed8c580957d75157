package memory_test

import (
	"fmt"
	"net"
	"runtime"
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

// index returns what a node calls a link.
func index(t *testing.T, h *memory.Node, l *memory.Link) int {
	t.Helper()
	link, ok := h.Link(l)
	require.True(t, ok)
	return link.Index
}

// all returns the messages received so far, in a bubble.
func all(c <-chan received) []string {
	synctest.Wait()
	var msgs []string
	for len(c) > 0 {
		msgs = append(msgs, (<-c).Msg)
	}
	return msgs
}

// changed reports whether the endpoint was told of a change.
func changed(e acp.Endpoint) bool {
	select {
	case <-e.Changed():
		return true
	default:
		return false
	}
}

func TestNetworkConformance(t *testing.T) {
	for _, cfg := range []memory.LinkConfig{{}, {Delay: 2 * time.Millisecond, Jitter: time.Millisecond}} {
		t.Run(fmt.Sprint("delay ", cfg.Delay), func(t *testing.T) {
			_, a, b := pair(cfg)
			before := runtime.NumGoroutine()
			testPlane(t, a, b)
			for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; {
				require.True(t, time.Now().Before(deadline), "goroutines left")
				time.Sleep(time.Millisecond)
			}
		})
	}
}

func TestNetworkConformanceOfOneNode(t *testing.T) {
	_, a, _ := pair(memory.LinkConfig{})
	testPlane(t, a, a)
}

func TestNetworkConformanceInBubble(t *testing.T) {
	for _, test := range planeTests {
		t.Run(test.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := pair(memory.LinkConfig{Delay: time.Second})
				test.Run(t, a, b)
			})
		})
	}
}

func TestNodeIsSecure(t *testing.T) {
	_, a, _ := pair(memory.LinkConfig{})
	assert.True(t, a.Status().Secure)
	assert.NotEmpty(t, a.Status().Reason)
}

func TestChangesAreTold(t *testing.T) {
	l, a, b := pair(memory.LinkConfig{})
	e, far := endpointOf(t, a), endpointOf(t, b)
	require.False(t, changed(e))

	addr, link := e.Addr(), e.Links()[0]
	for _, c := range []struct {
		name  string
		do    func()
		check func() bool
	}{
		{"down", l.Down, func() bool { return len(e.Links()) == 0 }},
		{"up", l.Up, func() bool { return e.Links()[0] == link }},
		{"renumber", func() { a.Renumber() }, func() bool { return e.Addr() == a.Addr() && e.Addr() != addr }},
		{"renumber link", func() { a.RenumberLink(l) }, func() bool {
			now := e.Links()[0]
			return now.Index == link.Index && now.Addr != link.Addr
		}},
		{"detach", func() { a.Detach(l) }, func() bool { return len(e.Links()) == 0 }},
		{"attach", func() { a.Attach(l) }, func() bool { return e.Links()[0].Index != link.Index }},
		{"status", func() { a.SetStatus(acp.Status{}) }, func() bool { return !a.Status().Secure }},
		{"many", func() { l.Down(); l.Up(); a.Renumber() }, func() bool { return true }},
	} {
		c.do()
		assert.True(t, changed(e), c.name)
		assert.True(t, c.check(), c.name)
		assert.False(t, changed(e), "%s: one for any number of changes", c.name)
	}
	assert.True(t, changed(far), "down and up concern all on the link")
	l.Up()
	assert.False(t, changed(far), "it is up")
}

func TestMulticastStaysOnItsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l1, l2 := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		a, b, c := n.NewNode("a", l1), n.NewNode("b", l1, l2), n.NewNode("c", l2)
		e := endpointOf(t, a)
		heardB, heardC := receive(t, endpointOf(t, b)), receive(t, endpointOf(t, c))
		require.NoError(t, e.Send(index(t, a, l1), []byte("hello")))
		assert.Equal(t, []string{"hello"}, all(heardB))
		assert.Empty(t, all(heardC))
		assert.ErrorIs(t, e.Send(index(t, b, l1), nil), syscall.ENODEV, "an index is of no use on other nodes")
	})
}

func TestTwoLinksAreTwoCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l1, l2 := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		a, b := n.NewNode("a", l1, l2), n.NewNode("b", l1, l2)
		e := endpointOf(t, a)
		c := receive(t, endpointOf(t, b))
		for _, l := range e.Links() {
			require.NoError(t, e.Send(l.Index, []byte("hello")))
		}
		synctest.Wait()
		first, second := <-c, <-c
		assert.NotEqual(t, first.From.Link, second.From.Link)
		assert.NotEqual(t, first.From.Addr.Addr().WithZone(""), second.From.Addr.Addr().WithZone(""))
		assert.Empty(t, all(c))
	})
}

func TestTwoInterfacesOnOneLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		second := a.Attach(l)
		c, far := receive(t, endpointOf(t, a)), receive(t, endpointOf(t, b))
		require.NoError(t, endpointOf(t, a).Send(second.Index, []byte("hello")))
		assert.Len(t, all(c), 2)
		assert.Len(t, all(far), 1)
	})
}

func TestAttachedAgainIsNew(t *testing.T) {
	l, a, _ := pair(memory.LinkConfig{})
	seen := make(map[int]bool)
	addrs := make(map[string]bool)
	for range 100 {
		link, ok := a.Link(l)
		require.True(t, ok)
		seen[link.Index] = true
		addrs[link.Addr.WithZone("").String()] = true
		a.Detach(l)
		a.Attach(l)
	}
	assert.Len(t, seen, 100)
	assert.Len(t, addrs, 100)
}

func TestAddressesOfNodes(t *testing.T) {
	_, a, b := pair(memory.LinkConfig{})
	e := endpointOf(t, a)
	assert.ErrorIs(t, a.SetAddr(b.Addr()), syscall.EADDRINUSE)
	assert.ErrorIs(t, a.SetAddr(acp.Group6()), syscall.EADDRNOTAVAIL)
	assert.True(t, e.Addr().IsPrivate(), "a unique local address: %v", e.Addr())
	require.NoError(t, a.SetAddr(e.Addr().Next()))
	require.NoError(t, a.SetAddr(a.Addr()))
	assert.Equal(t, a.Addr(), e.Addr())
	assert.NotEqual(t, a.Addr(), a.Renumber())
}

func TestKilledNodeCanBeRevived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		e, err := a.Open()
		require.NoError(t, err)
		c := receive(t, endpointOf(t, b))
		a.Kill()
		a.Kill()
		_, err = e.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Empty(t, e.Links())
		assert.NoError(t, e.Close())

		link := a.Attach(l)
		again := endpointOf(t, a)
		require.NoError(t, again.Send(link.Index, []byte("hello")))
		assert.Equal(t, []string{"hello"}, all(c))
	})
}

// A thousand nodes in a graph of degree 4 pass on what they have not seen: the
// message crosses each link at most twice, in virtual time.
func TestThousandNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		n := memory.NewNetwork(1)
		nodes := make([]*memory.Node, size)
		for i := range nodes {
			nodes[i] = n.NewNode(fmt.Sprint("node", i))
		}
		var links []*memory.Link
		for i := range nodes {
			for _, j := range []int{(i + 1) % size, (i*37 + 11) % size} {
				l := n.NewLink(memory.LinkConfig{Delay: 10 * time.Millisecond})
				nodes[i].Attach(l)
				nodes[j].Attach(l)
				links = append(links, l)
			}
		}

		var wg sync.WaitGroup
		ends := make([]acp.Endpoint, size)
		reached := make(chan time.Time, size)
		for i, h := range nodes {
			e, err := h.Open()
			require.NoError(t, err)
			ends[i] = e
			wg.Go(func() {
				buf := make([]byte, 64)
				for seen := false; ; {
					_, from, err := e.Receive(buf)
					if err != nil {
						return
					}
					if seen {
						continue
					}
					seen = true
					reached <- time.Now()
					for _, l := range e.Links() {
						if l.Index != from.Link {
							_ = e.Send(l.Index, buf[:1])
						}
					}
				}
			})
		}
		start := time.Now()
		require.NoError(t, ends[0].Send(ends[0].Links()[0].Index, []byte{1}))
		var last time.Time
		for range size {
			last = <-reached
		}
		assert.Less(t, last.Sub(start), time.Second)
		time.Sleep(time.Second)
		var sent uint64
		for _, l := range links {
			s := l.Stats()
			sent += s.Sent
			assert.LessOrEqual(t, s.Sent, uint64(2))
			assert.Zero(t, s.Dropped)
		}
		t.Logf("%d packets on %d links, last after %v", sent, len(links), last.Sub(start))
		for _, e := range ends {
			require.NoError(t, e.Close())
		}
		wg.Wait()
	})
}

// A hundred thousand packets with a delay, a hundred nodes each hearing a
// thousand, in virtual time.
func TestHundredThousandPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{Delay: time.Millisecond, Jitter: time.Millisecond})
		var wg sync.WaitGroup
		var ends []acp.Endpoint
		for range 100 {
			e := endpointOf(t, n.NewNode("", l))
			ends = append(ends, e)
			wg.Go(func() {
				buf := make([]byte, 64)
				for range 1000 {
					if _, _, err := e.Receive(buf); !assert.NoError(t, err) {
						return
					}
				}
			})
		}
		for _, e := range ends {
			link := e.Links()[0].Index
			wg.Go(func() {
				for range 10 {
					assert.NoError(t, e.Send(link, []byte("hello")))
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 100_000, l.Stats().Delivered)
	})
}
