package acp_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// on is a Layer2 plane limited to some links.
func on(names ...string) *acp.Layer2 { return &acp.Layer2{Links: names} }

// names lists the links in use by name.
func names(e acp.Endpoint) []string {
	var s []string
	for _, l := range e.Links() {
		s = append(s, l.Name)
	}
	return s
}

// use waits until exactly these links are in use.
func use(t *testing.T, e acp.Endpoint, want ...string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("links %v, want %v", e.Links(), want)
		}
	}()
	netbed.Eventually(t, patience, "the right links are in use", func() bool {
		got := names(e)
		if len(got) != len(want) {
			return false
		}
		for _, w := range want {
			if _, ok := link(e, w); !ok {
				return false
			}
		}
		return true
	})
}

// link finds a link in use by name.
func link(e acp.Endpoint, name string) (acp.Link, bool) {
	for _, l := range e.Links() {
		if l.Name == name {
			return l, true
		}
	}
	return acp.Link{}, false
}

// must returns a link in use.
func must(t *testing.T, e acp.Endpoint, name string) acp.Link {
	t.Helper()
	l, ok := link(e, name)
	require.True(t, ok, "%s is not in use: %v", name, e.Links())
	return l
}

// reach sends from one endpoint until the other hears it, since a link may not
// carry what is sent in its first moments.
func reach(t *testing.T, from acp.Endpoint, name string, to member, within time.Duration) acp.Origin {
	t.Helper()
	start := time.Now()
	msg := nonce()
	for time.Since(start) < within {
		if l, ok := link(from, name); ok {
			_ = from.Send(l.Index, []byte(msg)) // it may be gone again
		}
		retry := time.After(20 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case r := <-to.Heard:
				if r.Msg == msg {
					return r.From
				}
			case <-retry:
				waiting = false
			}
		}
	}
	require.Fail(t, "not heard", "within %v by %s", within, name)
	return acp.Origin{}
}

func TestLayer2Conformance(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	t.Run("OneLinkEach", func(t *testing.T) { testPlane(t, on("va0"), on("va1")) })
	t.Run("AllLinks", func(t *testing.T) { testPlane(t, on(), on()) })
	t.Run("WithoutEvents", func(t *testing.T) { longtest.Need(t); testPlane(t, acp.WithoutEvents(*on("va0")), on("va1")) })
	t.Run("Insecure", func(t *testing.T) { longtest.Need(t); testPlane(t, memory.Insecure{Plane: on("va0")}, on("va1")) })
	t.Run("QUADS", func(t *testing.T) { testPlane(t, onQUADS(on("va0")), onQUADS(on("va1"))) })
}

// onQUADS is a QUADS plane over another.
func onQUADS(under acp.Plane) acp.Plane {
	return &quads.Plane{Key: []byte("QUADS key of 32 bytes, for tests"), Under: under}
}

func TestLayer2Status(t *testing.T) {
	s := on().Status()
	assert.True(t, s.Secure)
	assert.Contains(t, s.Reason, "assumed")
	assert.Contains(t, s.Reason, "without a check")
}

func TestLayer2CopiesItsConfig(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	p := on("va1", "va0")
	e := open(t, p)
	assert.Equal(t, []string{"va1", "va0"}, p.Links)
	p.Links[0], p.Links[1] = "x", "y"
	netbed.Down(t, "va1")
	use(t, e)
	netbed.Up(t, "va1")
	use(t, e, "va0", "va1")
}

func TestLayer2LinksAreWellFormed(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	e, err := on().Open()
	require.NoError(t, err)
	defer e.Close()
	use(t, e, "va0", "va1", "vb0", "vb1")
	for i, l := range e.Links() {
		assert.Equal(t, netbed.Index(t, l.Name), l.Index)
		assert.Equal(t, netbed.LinkLocal(t, l.Name), l.Addr)
		if i > 0 {
			assert.Greater(t, l.Index, e.Links()[i-1].Index)
		}
	}
	assert.Equal(t, acp.MaxMulticast, e.MaxMulticast())
	assert.NotZero(t, e.Port())
}

// TestLayer2Addr: unique local before global, what lasts before what does not,
// and a change is told.
func TestLayer2Addr(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	e := open(t, on("va0"))
	is := func(want string) {
		t.Helper()
		w := netip.Addr{}
		if want != "" {
			w = netip.MustParseAddr(want)
		}
		netbed.Eventually(t, patience, "the address is "+want, func() bool { return e.Addr() == w })
	}
	is("")
	forgetChange(e)
	netbed.AddAddr(t, "vb0", "2001:db8::1/64") // not on a link of GRASP, but reached
	is("2001:db8::1")
	awaitChange(t, e)
	netbed.IP(t, "addr", "add", "fd00::1/64", "dev", "va0", "nodad", "preferred_lft", "0")
	netbed.AddAddr(t, "vb1", "fd00:1::1/64")
	is("fd00:1::1")
	netbed.AddAddr(t, "lo", "2001:db8::99/128") // where RFC 8994 puts it
	is("2001:db8::99")
	netbed.AddAddr(t, "va0", "2001:db8:1::1/64") // on a link of GRASP
	is("2001:db8:1::1")
	netbed.IP(t, "addr", "del", "2001:db8:1::1/64", "dev", "va0")
	is("2001:db8::99")
	netbed.IP(t, "addr", "del", "2001:db8::99/128", "dev", "lo")
	is("fd00:1::1")
	netbed.Down(t, "vb1") // and the other end has no carrier
	is("fd00::1")         // deprecated, but better than none
}

// awaitChange waits for a change to be told.
func awaitChange(t *testing.T, e acp.Endpoint) {
	t.Helper()
	select {
	case <-e.Changed():
	case <-time.After(patience):
		require.Fail(t, "no change was told")
	}
}

// forgetChange forgets a change.
func forgetChange(e acp.Endpoint) {
	select {
	case <-e.Changed():
	default:
	}
}

// TestLayer2OtherAddresses: streams go over whatever address reaches the node,
// with the families kept apart.
func TestLayer2OtherAddresses(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "fd00::1/64")
	netbed.IP(t, "addr", "add", "192.0.2.1/24", "dev", "va0")
	netbed.IP(t, "addr", "add", "169.254.7.7/16", "dev", "va0")
	a, b := open(t, on("va0")), open(t, on("va1"))
	for _, addr := range []string{"fd00::1", "192.0.2.1", "::ffff:192.0.2.1", "169.254.7.7", "127.0.0.1", "::1"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(addr), a.Port())
		s, err := b.Dial(t.Context(), to)
		require.NoError(t, err, addr)
		in, err := a.Accept()
		require.NoError(t, err, addr)
		assert.Equal(t, to.Addr().Unmap(), s.Peer.Addr(), addr)
		assert.Equal(t, to.Addr().Unmap(), in.Peer.Addr(), addr) // the host's own
		assert.Zero(t, s.Link, addr)
		assert.Zero(t, in.Link, addr)
		say(t, s, in, "hello")
		require.NoError(t, s.Close())
		require.NoError(t, in.Close())
	}
	for _, addr := range []string{"fe80::1", "fe80::1%va0", "fe80::1%0", "fe80::1%-1"} {
		_, err := b.Dial(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(addr), a.Port()))
		assert.ErrorContains(t, err, "link-local", addr)
	}
	_, err := b.Dial(t.Context(), netip.AddrPort{})
	assert.Error(t, err)
}

// TestLayer2DialOwnAddress: a node reaches itself by its link-local address.
func TestLayer2DialOwnAddress(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	e := open(t, on("va0"))
	l := must(t, e, "va0")
	s, err := e.Dial(t.Context(), netip.AddrPortFrom(l.Addr, e.Port()))
	require.NoError(t, err)
	defer s.Close()
	in, err := e.Accept()
	require.NoError(t, err)
	defer in.Close()
	assert.Equal(t, l.Addr, in.Peer.Addr())
	assert.Equal(t, l.Index, in.Link)
	assert.Equal(t, l.Index, s.Link)
}

// TestLayer2CloseEndsDial: Close cancels a dial that nobody answers.
func TestLayer2CloseEndsDial(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	e := open(t, on("va0"))
	zone := must(t, e, "va0").Addr.Zone()
	netbed.Sysctl(t, "net/ipv6/neigh/va0/mcast_solicit", "1000") // seconds until the kernel gives up
	nobody := netip.AddrPortFrom(netip.MustParseAddr("fe80::dead").WithZone(zone), 7017)

	ctx, cancel := context.WithCancelCause(t.Context())
	cause := os.ErrProcessDone // whatever
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	_, err := e.Dial(ctx, nobody)
	assert.ErrorIs(t, err, cause)

	done := make(chan error)
	go func() {
		_, err := e.Dial(t.Context(), nobody)
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err, "somebody answered")
	case <-time.After(50 * time.Millisecond):
	}
	start := time.Now()
	require.NoError(t, e.Close())
	assert.ErrorIs(t, <-done, net.ErrClosed)
	assert.Less(t, time.Since(start), patience)
	assert.Empty(t, e.Links())
}

// resources counts what a test could leave behind.
func resources(t *testing.T) (fds, goroutines int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries), runtime.NumGoroutine()
}

// leaks returns a check that waits until there are no more file descriptors
// and goroutines than now.
func leaks(t *testing.T) func(within time.Duration) bool {
	t.Helper()
	fds, goroutines := resources(t)
	return func(within time.Duration) bool {
		deadline := time.Now().Add(within)
		for {
			f, g := resources(t)
			if f <= fds && g <= goroutines {
				return false
			}
			if time.Now().After(deadline) {
				t.Logf("file descriptors: %d, were %d; goroutines: %d, were %d", f, fds, g, goroutines)
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func TestLayer2LeavesNothingBehind(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	warm, err := on().Open() // the poller has descriptors of its own
	require.NoError(t, err)
	require.NoError(t, warm.Close())

	leaked := leaks(t)
	e, err := on().Open()
	require.NoError(t, err)
	assert.True(t, leaked(0), "the control does not see an open endpoint")
	require.NoError(t, e.Close())
	assert.False(t, leaked(patience))
	for range 20 {
		e, err := on().Open()
		require.NoError(t, err)
		start := time.Now()
		require.NoError(t, e.Close())
		assert.Less(t, time.Since(start), patience)
	}
	assert.False(t, leaked(patience))
}
