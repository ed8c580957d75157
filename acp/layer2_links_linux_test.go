package acp_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// The tests here are named after the traps that are known of real links.

// TestTrap01DuplicateAddressDetection: an address that is tentative is listed
// but of no use. The link is in use soon after, not before.
func TestTrap01DuplicateAddressDetection(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.DAD(t, true)
	netbed.VethPair(t, "va0", "va1")
	e, far := join(t, on("va0")), join(t, on("va1"))
	ended := make(map[string]time.Time)
	for start := time.Now(); len(ended) < 2 || len(e.Links()) == 0 || len(far.Links()) == 0; {
		require.Less(t, time.Since(start), patience)
		for _, m := range []struct {
			acp.Endpoint
			name string
		}{{e, "va0"}, {far, "va1"}} {
			inUse := len(m.Links()) > 0 // before asking whether it may be
			out := netbed.IP(t, "-6", "addr", "show", "dev", m.name)
			over := strings.Contains(out, "fe80") && !strings.Contains(out, "tentative")
			if over && ended[m.name].IsZero() {
				ended[m.name] = time.Now()
			}
			if inUse {
				require.True(t, over, "%s is in use: %s", m.name, out)
			} else if over {
				require.Less(t, time.Since(ended[m.name]), patience)
			}
		}
	}
	reach(t, e, "va0", far, patience)

	// On the other side somebody has the address already.
	netbed.VethPair(t, "vb0", "vb1")
	netbed.Sysctl(t, "net/ipv6/conf/vb1/addr_gen_mode", "1")
	netbed.IP(t, "-6", "addr", "flush", "dev", "vb1")
	netbed.AddAddr(t, "vb0", "fe80::1/64")
	failed, err := on("vb1").Open()
	require.NoError(t, err)
	defer failed.Close()
	netbed.IP(t, "addr", "add", "fe80::1/64", "dev", "vb1")
	netbed.Eventually(t, patience, "the detection has failed", func() bool {
		assert.Empty(t, failed.Links())
		return strings.Contains(netbed.IP(t, "-6", "addr", "show", "dev", "vb1"), "dadfailed")
	})
	assert.Never(t, func() bool { return len(failed.Links()) > 0 }, 1500*time.Millisecond, 50*time.Millisecond)
	netbed.AddAddr(t, "vb1", "fe80::2/64")
	use(t, failed, "vb1")
	assert.Equal(t, "fe80::2", failed.Links()[0].Addr.WithZone("").String())
}

// TestTrap02ErrorsConcernOneLink: a link that fails has errors of its own, is
// not in use soon after, and comes back.
func TestTrap02ErrorsConcernOneLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	e, far := join(t, on("va0", "vb0")), join(t, on("va1"))
	other := join(t, on("vb1"))
	use(t, e, "va0", "vb0")
	va0 := must(t, e, "va0").Index
	fail := func(what string, off, back func(), want ...error) {
		t.Helper()
		off()
		start := time.Now()
		err := e.Send(va0, []byte("x"))
		if err != nil { // a link without a carrier takes all
			assert.True(t, isOneOf(err, append(want, syscall.ENODEV)...), "%s: %v", what, err)
			assert.NotErrorIs(t, err, net.ErrClosed, what)
			assert.ErrorContains(t, err, strconv.Itoa(va0), what)
		}
		reach(t, e, "vb0", other, patience)
		use(t, e, "vb0")
		assert.Less(t, time.Since(start), patience, what)
		assert.ErrorIs(t, e.Send(va0, []byte("x")), syscall.ENODEV, what)
		back()
		reach(t, e, "va0", far, patience)
		reach(t, e, "vb0", other, patience)
		use(t, far, "va1")
	}
	fail("down", func() { netbed.Down(t, "va0") }, func() { netbed.Up(t, "va0") },
		syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EINVAL)
	fail("no carrier", func() { netbed.Down(t, "va1") }, func() { netbed.Up(t, "va1") }, syscall.ENETUNREACH)
	fail("no IPv6", func() { netbed.Sysctl(t, "net/ipv6/conf/va0/disable_ipv6", "1") },
		func() { netbed.Sysctl(t, "net/ipv6/conf/va0/disable_ipv6", "0") },
		syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EINVAL)
	// The kernel forgets all memberships on a link too narrow for IPv6.
	fail("narrow", func() { netbed.IP(t, "link", "set", "va0", "mtu", "1000") },
		func() { netbed.IP(t, "link", "set", "va0", "mtu", "1500") },
		syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EINVAL, syscall.EMSGSIZE)
	reach(t, far, "va1", e, patience)
}

func isOneOf(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// TestTrap03InterfaceIsCreatedAgain: a new interface of the same name has no
// membership, whether it has a new index or the old one; down and up keeps it.
func TestTrap03InterfaceIsCreatedAgain(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	create := func(index string) {
		netbed.IP(t, "link", "add", "va0", "index", index, "type", "veth", "peer", "name", "va1")
		netbed.Up(t, "va0")
		netbed.Up(t, "va1")
	}
	create("77")
	e := join(t, on("va0"))
	use(t, e, "va0")
	for _, index := range []string{"88", "88", "77", "99"} {
		far := join(t, on("va1"))
		reach(t, far, "va1", e, patience)
		require.NoError(t, far.Close())
		netbed.Delete(t, "va0")
		create(index)
		start := time.Now()
		far = join(t, on("va1"))
		from := reach(t, far, "va1", e, patience)
		assert.Equal(t, index, strconv.Itoa(from.Link))
		assert.Equal(t, index, from.Addr.Addr().Zone())
		t.Logf("index %s: heard after %v", index, time.Since(start))

		netbed.Down(t, "va0")
		netbed.Up(t, "va0")
		reach(t, far, "va1", e, patience)
		reach(t, e, "va0", far, patience)
		require.NoError(t, far.Close())
	}
}

// TestTrap03InterfaceReturnsAtOnce: an interface that was gone and is back
// between two looks, with its old index, has no membership either.
func TestTrap03InterfaceReturnsAtOnce(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	create := "link add va0 index 77 type veth peer name va1\nlink set va0 up\nlink set va1 up\n"
	batch := t.TempDir() + "/batch"
	require.NoError(t, os.WriteFile(batch, []byte("link del va0\n"+create), 0o600))
	netbed.IP(t, strings.Fields("link add va0 index 77 type veth peer name va1")...)
	netbed.Up(t, "va0")
	netbed.Up(t, "va1")
	e := join(t, on("va0"))
	use(t, e, "va0")
	for range 3 {
		netbed.IP(t, "-batch", batch)
		far := join(t, on("va1"))
		reach(t, far, "va1", e, patience)
		require.NoError(t, far.Close())
	}
}

// TestTrap04ZoneNamesAreStale: package net remembers for a minute which index
// a name has. Indexes are dialed and compared, not names.
func TestTrap04ZoneNamesAreStale(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	a, b := join(t, on()), join(t, on())
	use(t, a, "va0", "va1", "vb0", "vb1")
	use(t, b, "va0", "va1", "vb0", "vb1")
	check := func() {
		t.Helper()
		for _, ends := range [][2]string{{"va0", "va1"}, {"vb0", "vb1"}} {
			near, far := must(t, b, ends[0]), must(t, a, ends[1])
			// First a peer that does not have package net look again.
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			require.NoError(t, unix.Connect(fd, &unix.SockaddrInet6{Addr: far.Addr.As16(), ZoneId: uint32(near.Index), Port: int(a.Port())}))
			first, err := a.Accept()
			require.NoError(t, err)
			assert.Equal(t, far.Index, first.Link)
			assert.Equal(t, near.Addr.WithZone(strconv.Itoa(far.Index)), first.Peer.Addr())
			require.NoError(t, errors.Join(unix.Close(fd), first.Close()))

			to := far.Addr.WithZone(strconv.Itoa(near.Index)) // as b sees it
			s, err := b.Dial(t.Context(), netip.AddrPortFrom(to, a.Port()))
			require.NoError(t, err)
			in, err := a.Accept()
			require.NoError(t, err)
			assert.Equal(t, near.Index, s.Link)
			assert.Equal(t, to, s.Peer.Addr())
			assert.Equal(t, far.Index, in.Link)
			assert.Equal(t, near.Addr.WithZone(strconv.Itoa(far.Index)), in.Peer.Addr())
			require.NoError(t, s.Close())
			require.NoError(t, in.Close())
		}
	}
	check() // and have package net remember

	// The same name, another index.
	netbed.Delete(t, "va0")
	netbed.VethPair(t, "va0", "va1")
	inUse := func() bool {
		for _, e := range []acp.Endpoint{a, b} {
			for _, name := range []string{"va0", "va1", "vb0", "vb1"} {
				if l, ok := link(e, name); !ok || l.Index != netbed.Index(t, name) {
					return false
				}
			}
		}
		return true
	}
	netbed.Eventually(t, patience, "links are in use under their indexes", inUse)
	check()

	// The same index, another name.
	for _, end := range []string{"0", "1"} {
		for _, rename := range [][2]string{{"va" + end, "vx" + end}, {"vb" + end, "va" + end}, {"vx" + end, "vb" + end}} {
			netbed.IP(t, "link", "set", rename[0], "down")
			netbed.IP(t, "link", "set", rename[0], "name", rename[1])
			netbed.IP(t, "link", "set", rename[1], "up")
		}
	}
	netbed.Eventually(t, patience, "links are in use under their indexes", inUse)
	check()
}

// TestTrap04NumberAsName: to package net the zone 5 is the interface named 5,
// if there is one. A dial must not go there: it goes to the link with that
// index.
func TestTrap04NumberAsName(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	index := strconv.Itoa(netbed.Index(t, "va0"))
	netbed.VethPair(t, index, "vb1")
	a, b := join(t, on()), join(t, on())
	use(t, a, "va0", "va1", index, "vb1")
	use(t, b, "va0", "va1", index, "vb1")
	reach(t, b, "va0", a, patience) // multicasts know better
	// The address that is sought on va0 is on the other link too.
	netbed.AddAddr(t, "va1", "fe80::77/64")
	netbed.AddAddr(t, "vb1", "fe80::77/64")
	to := netip.AddrPortFrom(netip.MustParseAddr("fe80::77%"+index), a.Port())
	s, err := b.Dial(t.Context(), to)
	require.NoError(t, err)
	defer s.Close()
	in, err := a.Accept()
	require.NoError(t, err)
	defer in.Close()
	assert.Equal(t, index, strconv.Itoa(s.Link))
	assert.Equal(t, netbed.Index(t, "va1"), in.Link)
}

// TestTrap12NoIPv6: no link is a state. When there is one, all works.
func TestTrap12NoIPv6(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	for _, conf := range []string{"all", "default"} {
		netbed.Sysctl(t, "net/ipv6/conf/"+conf+"/disable_ipv6", "1")
	}
	netbed.VethPair(t, "va0", "va1")
	e, err := on().Open()
	require.NoError(t, err)
	m := member{Endpoint: e, Heard: receive(t, e)}
	assert.Empty(t, e.Links())
	assert.False(t, e.Addr().IsValid())
	assert.NotZero(t, e.Port())
	assert.ErrorIs(t, e.Send(netbed.Index(t, "va0"), []byte("x")), syscall.ENODEV)
	for _, name := range []string{"va0", "va1"} {
		netbed.Sysctl(t, "net/ipv6/conf/"+name+"/disable_ipv6", "0")
	}
	awaitChange(t, e)
	reach(t, e, "va0", m, patience)
}

// TestTrap12NoLink: an instance that starts alone comes alive with its first
// link.
func TestTrap12NoLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	e, err := on().Open()
	require.NoError(t, err)
	m := member{Endpoint: e, Heard: receive(t, e)}
	assert.Empty(t, e.Links())
	netbed.VethPair(t, "va0", "va1")
	start := time.Now()
	awaitChange(t, e)
	reach(t, e, "va0", m, patience)
	assert.Less(t, time.Since(start), patience)
}

// TestTrap14LinksComeAndGo: fifty times, and nothing is left behind; the last
// one works; Close at any moment is quick.
func TestTrap14LinksComeAndGo(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	alone, err := on().Open()
	require.NoError(t, err)
	e := member{Endpoint: alone, Heard: receive(t, alone)}
	look := func() {}
	flap := func() {
		netbed.IP(t, "link", "add", "va0", "type", "veth", "peer", "name", "va1")
		netbed.Up(t, "va0")
		netbed.Up(t, "va1")
		look()
		use(t, e, "va0", "va1")
		netbed.Delete(t, "va0")
		look()
		use(t, e)
	}
	flap()
	flap()
	look = func() { acp.Poke(alone) } // so as not to wait a second each time
	leaked := leaks(t)
	for range longtest.Scaled(48) {
		flap()
	}
	assert.False(t, leaked(patience))
	netbed.VethPair(t, "va0", "va1")
	reach(t, e, "va0", e, patience)
	groups, err := os.ReadFile("/proc/net/igmp6")
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(groups), "ff020000000000000000000000000013"), "%s", groups)

	for i := range longtest.Scaled(30) {
		e, err := on().Open()
		require.NoError(t, err)
		go func() { _ = e.Send(1, nil) }()
		time.Sleep(time.Duration(i) * 5 * time.Millisecond) // at any moment
		if i%2 == 0 {
			netbed.Down(t, "va0")
		} else {
			netbed.Up(t, "va0")
		}
		start := time.Now()
		require.NoError(t, e.Close())
		assert.Less(t, time.Since(start), patience)
	}
}
