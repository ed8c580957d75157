package memory_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

func TestDialErrors(t *testing.T) {
	n := memory.NewNetwork(1)
	l, apart := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
	down := n.NewLink(memory.LinkConfig{})
	down.Down()
	a, b := n.NewNode("a", l, down), n.NewNode("b", l, down)
	c, lone := n.NewNode("c", apart), n.NewNode("lone", down)
	e, alone, far := endpointOf(t, a), endpointOf(t, lone), endpointOf(t, b)

	for _, test := range []struct {
		name string
		from acp.Endpoint
		to   netip.Addr
		port uint16
		want error
	}{
		{"nobody listens", e, b.Addr(), far.Port() + 1, syscall.ECONNREFUSED},
		{"nobody listens at home", e, a.Addr(), 1, syscall.ECONNREFUSED},
		{"nobody's address", e, netip.MustParseAddr("2001:db8::1"), 1, syscall.EHOSTUNREACH},
		{"IPv4", e, netip.MustParseAddr("192.0.2.1"), 1, syscall.EHOSTUNREACH},
		{"no path", e, c.Addr(), 1, syscall.EHOSTUNREACH},
		{"no link", alone, b.Addr(), far.Port(), syscall.ENETUNREACH},
		{"link down", e, neighbour(t, a, b, down), far.Port(), syscall.ENETUNREACH},
		{"no neighbour", e, neighbour(t, a, b, l).Next(), far.Port(), syscall.EHOSTUNREACH},
		{"neighbour on another link", e, neighbour(t, a, b, down).WithZone(neighbour(t, a, b, l).Zone()), far.Port(), syscall.EHOSTUNREACH},
		{"no zone", e, neighbour(t, a, b, l).WithZone(""), far.Port(), syscall.EINVAL},
		{"name as zone", e, neighbour(t, a, b, l).WithZone("link1"), far.Port(), syscall.EINVAL},
		{"zone of another node", e, neighbour(t, b, b, l), far.Port(), syscall.ENODEV},
		{"no address", e, netip.Addr{}, far.Port(), syscall.EHOSTUNREACH},
	} {
		_, err := test.from.Dial(t.Context(), netip.AddrPortFrom(test.to, test.port))
		assert.ErrorIs(t, err, test.want, test.name)
		var operr *net.OpError
		assert.ErrorAs(t, err, &operr, test.name)
	}

	l.Cut(a, b)
	_, err := e.Dial(t.Context(), netip.AddrPortFrom(b.Addr(), far.Port()))
	assert.ErrorIs(t, err, syscall.EHOSTUNREACH, "cut")
}

func TestRefusalTakesARoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(memory.LinkConfig{Delay: time.Second})
		start := time.Now()
		_, err := endpointOf(t, a).Dial(t.Context(), netip.AddrPortFrom(b.Addr(), 1))
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestPathCutWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Second})
		time.AfterFunc(time.Second/2, l.Down)
		_, err := endpointOf(t, a).Dial(t.Context(), netip.AddrPortFrom(b.Addr(), endpointOf(t, b).Port()))
		assert.ErrorIs(t, err, syscall.ENETUNREACH)
	})
}

func TestDialGivesUp(t *testing.T) {
	reason := errors.New("changed my mind")
	for _, after := range []time.Duration{time.Second / 2, 3 * time.Second / 2} {
		for _, closing := range []bool{false, true} {
			t.Run(fmt.Sprint(after, closing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, a, b := pair(memory.LinkConfig{Delay: time.Second})
					from, to := endpointOf(t, a), endpointOf(t, b)
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					want := reason
					time.AfterFunc(after, func() {
						if closing {
							_ = from.Close()
						} else {
							cancel(reason)
						}
					})
					if closing {
						want = net.ErrClosed
					}
					start := time.Now()
					_, err := from.Dial(ctx, netip.AddrPortFrom(b.Addr(), to.Port()))
					assert.ErrorIs(t, err, want)
					assert.Equal(t, after, time.Since(start))

					if after > time.Second { // the listener has the stream already
						s, err := to.Accept()
						require.NoError(t, err)
						_, err = s.Read(make([]byte, 1))
						assert.Error(t, err)
						assert.NoError(t, s.Close())
					}
				})
			})
		}
	}
}

func TestOwnAddressesNeedNoLink(t *testing.T) {
	l, a, b := pair(memory.LinkConfig{Delay: time.Hour})
	l.Down()
	say := func(dialed, accepted *acp.Stream) { t.Helper(); say(t, dialed, accepted, "hello") }
	say(streamTo(t, a, a, neighbour(t, a, a, l)))
	a.Detach(l)
	say(stream(t, a, a))
	say(stream(t, b, b))
}

func TestAddressesOfStreams(t *testing.T) {
	l, a, b := pair(memory.LinkConfig{})
	dialed, accepted := streamTo(t, a, b, neighbour(t, a, b, l))
	assert.Equal(t, index(t, a, l), dialed.Link)
	assert.Equal(t, index(t, b, l), accepted.Link)
	assert.Equal(t, neighbour(t, a, b, l), dialed.Peer.Addr())
	assert.Equal(t, neighbour(t, b, a, l), accepted.Peer.Addr())
	assert.Equal(t, neighbour(t, b, b, l).Zone(), accepted.LocalAddr().(*net.TCPAddr).Zone)
	assert.Equal(t, dialed.Peer.String(), dialed.RemoteAddr().String())

	dialed, accepted = stream(t, a, b)
	assert.Zero(t, dialed.Link)
	assert.Zero(t, accepted.Link)
	assert.Equal(t, b.Addr(), dialed.Peer.Addr())
	assert.Equal(t, a.Addr(), accepted.Peer.Addr())
	assert.Equal(t, accepted.Peer.String(), dialed.LocalAddr().String())
}

func TestStreamsAreRouted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A ring of ten, one second each; half way around is five seconds.
		n := memory.NewNetwork(1)
		nodes := make([]*memory.Node, 10)
		for i := range nodes {
			nodes[i] = n.NewNode(fmt.Sprint(i))
		}
		links := make([]*memory.Link, 10)
		for i := range links {
			links[i] = n.NewLink(memory.LinkConfig{Delay: time.Second})
			nodes[i].Attach(links[i])
			nodes[(i+1)%10].Attach(links[i])
		}
		took := func(f func()) time.Duration {
			start := time.Now()
			f()
			return time.Since(start)
		}
		var dialed, accepted *acp.Stream
		assert.Equal(t, 10*time.Second, took(func() { dialed, accepted = stream(t, nodes[0], nodes[5]) }))
		hello := func() { say(t, dialed, accepted, "hello") }
		assert.Equal(t, 5*time.Second, took(hello))
		links[1].SetDelay(4 * time.Second)
		assert.Equal(t, 5*time.Second, took(hello), "the other way around")
		links[9].Cut(nodes[9], nodes[0])
		assert.Equal(t, 8*time.Second, took(hello), "the only way")
		links[9].Mend(nodes[9], nodes[0])
		nodes[2].Kill()
		assert.Equal(t, 5*time.Second, took(hello))
		nodes[7].Kill()
		_, err := endpointOf(t, nodes[0]).Dial(t.Context(), netip.AddrPortFrom(nodes[5].Addr(), 1))
		assert.ErrorIs(t, err, syscall.EHOSTUNREACH)
	})
}

// A link on which not everybody hears everybody is crossed as far as it goes.
func TestRouteAroundACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{Delay: time.Second})
		a, b, c := n.NewNode("a", l), n.NewNode("b", l), n.NewNode("c", l)
		l.Cut(a, c)
		_ = b
		dialed, accepted := stream(t, a, c)
		start := time.Now()
		say(t, dialed, accepted, "by way of b")
		assert.Equal(t, 2*time.Second, time.Since(start))
		_, err := endpointOf(t, a).Dial(t.Context(), netip.AddrPortFrom(neighbour(t, a, c, l), 1))
		assert.ErrorIs(t, err, syscall.EHOSTUNREACH, "link-local is not routed")
	})
}

func TestBacklogIsBounded(t *testing.T) {
	_, a, b := pair(memory.LinkConfig{})
	from, to := endpointOf(t, a), endpointOf(t, b)
	addr := netip.AddrPortFrom(b.Addr(), to.Port())
	var streams []*acp.Stream
	for range 4096 {
		s, err := from.Dial(t.Context(), addr)
		require.NoError(t, err)
		streams = append(streams, s)
	}
	_, err := from.Dial(t.Context(), addr)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = to.Accept()
	require.NoError(t, err)
	s, err := from.Dial(t.Context(), addr)
	require.NoError(t, err)

	require.NoError(t, to.Close())
	_, err = s.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET, "nobody will accept it")
	for _, s := range append(streams, s) {
		require.NoError(t, s.Close())
	}
}

func TestPortsRunOut(t *testing.T) {
	_, a, b := pair(memory.LinkConfig{})
	from, to := endpointOf(t, a), endpointOf(t, b)
	addr := netip.AddrPortFrom(b.Addr(), to.Port())
	var last *acp.Stream
	for {
		s, err := from.Dial(t.Context(), addr)
		if err != nil {
			require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
			break
		}
		last = s
		_, err = to.Accept()
		require.NoError(t, err)
	}
	_, err := a.Open()
	assert.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	port := last.LocalAddr().(*net.TCPAddr).Port
	require.NoError(t, last.Close())
	s, err := from.Dial(t.Context(), addr)
	require.NoError(t, err)
	assert.Equal(t, port, s.LocalAddr().(*net.TCPAddr).Port, "used again")
}
