package acp_test

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestLayer2SharedPort: of several endpoints the first has TCP port 7017, and
// another takes it over; it does not matter to them if a program has it.
func TestLayer2SharedPort(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	foreign, err := net.Listen("tcp", ":7017")
	require.NoError(t, err)
	to := netip.AddrPortFrom(netbed.LinkLocal(t, "va1").WithZone("va0"), acp.Port).String()
	// takes dials until the endpoint, which looks at once, accepts.
	takes := func(e acp.Endpoint, c <-chan *acp.Stream) {
		t.Helper()
		netbed.Eventually(t, patience, "the port is taken over", func() bool {
			acp.Poke(e)
			s, err := net.Dial("tcp", to)
			if err != nil {
				return false
			}
			defer s.Close()
			select {
			case taken := <-c:
				return assert.NoError(t, taken.Close())
			case <-time.After(patience):
				return assert.Fail(t, "not accepted")
			}
		})
	}
	first := open(t, on("va1"))
	byFirst := accept(t, first)
	require.NoError(t, foreign.Close())
	takes(first, byFirst)

	second := open(t, on("va1"))
	bySecond := accept(t, second)
	acp.Poke(second)
	takes(first, byFirst)
	require.NoError(t, first.Close())
	takes(second, bySecond)
	require.NoError(t, second.Close())
	_, err = net.Dial("tcp", to)
	assert.ErrorIs(t, err, unix.ECONNREFUSED)
}

// TestLayer2ConnectedToItself: TCP lets a connection be its own peer if it gets
// the port that it is for. That is as good as refused.
func TestLayer2ConnectedToItself(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "fd00::1/64")
	netbed.AddAddr(t, "va0", "192.0.2.1/24")
	e := open(t, &acp.Layer2{Links: []string{"va0"}, IPv4: true})
	const port = 61_000 // which all get that want any
	netbed.Sysctl(t, "net/ipv4/ip_local_port_range", "61000 61000")
	for _, addr := range []netip.Addr{e.Links()[0].Addr, e.Addr(), netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")} {
		_, err := e.Dial(t.Context(), netip.AddrPortFrom(addr, port))
		assert.ErrorIs(t, err, unix.ECONNREFUSED, addr)
	}
}

// TestLayer2BothPorts: of many streams to both ports at once none is lost or
// stays behind, however many goroutines accept.
func TestLayer2BothPorts(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	for _, accepters := range []int{1, 4} {
		e := open(t, on("va1"))
		var c []<-chan *acp.Stream
		for range accepters {
			c = append(c, accept(t, e))
		}
		const each = 200
		ports := [2]uint16{e.Port(), acp.Port}
		var dialing sync.WaitGroup
		for i := range 2 * each {
			dialing.Go(func() {
				to := netip.AddrPortFrom(netbed.LinkLocal(t, "va1").WithZone("va0"), ports[i%2])
				s, err := net.DialTimeout("tcp", to.String(), patience)
				if assert.NoError(t, err) {
					assert.NoError(t, s.Close())
				}
			})
		}
		var taken [2]int
		end := time.After(patience)
		for i := 0; taken != [2]int{each, each}; i++ {
			select {
			case s := <-c[i%accepters]:
				taken[slices.Index(ports[:], uint16(s.LocalAddr().(*net.TCPAddr).Port))]++
				assert.NoError(t, s.Close())
			case <-end:
				require.Fail(t, "not accepted", "taken: %v", taken)
			case <-time.After(time.Millisecond): // another of the accepters, then
			}
		}
		dialing.Wait()
		require.NoError(t, e.Close())
	}
}

// TestTrap20SharedPort: the ports of UDP and TCP are one, found among ports
// that are mostly taken; if all are, Open fails and leaves nothing behind.
func TestTrap20SharedPort(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	leaked := takePorts(t, on(), "udp6")
	for range 10 {
		e, err := on().Open()
		require.NoError(t, err)
		assert.Equal(t, uint16(40009), e.Port())
		require.NoError(t, e.Close())
	}
	assert.False(t, leaked(patience))
	last, err := net.ListenUDP("udp6", &net.UDPAddr{Port: 40009})
	require.NoError(t, err)
	_, err = on().Open()
	assert.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, last.Close())
	assert.False(t, leaked(patience))
}

// takePorts leaves one port for programs to choose, 40009: the others are taken for UDP
// over a version of IP, until the test ends. It returns what leaks does, after the plane
// has been open once.
func takePorts(t *testing.T, plane acp.Plane, network string) (leaked func(within time.Duration) bool) {
	t.Helper()
	warm, err := plane.Open()
	require.NoError(t, err)
	require.NoError(t, warm.Close())
	netbed.Sysctl(t, "net/ipv4/ip_local_port_range", "40000 40009")
	for port := 40000; port < 40009; port++ {
		c, err := net.ListenUDP(network, &net.UDPAddr{Port: port})
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
	}
	return leaks(t)
}
