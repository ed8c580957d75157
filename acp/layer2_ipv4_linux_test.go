package acp_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// on4 is a Layer2 plane that may run links over IPv4.
func on4(names ...string) *acp.Layer2 { return &acp.Layer2{Links: names, IPv4: true} }

// no6 switches IPv6 off in a node, but for interfaces that have it.
func no6(t *testing.T, n *netbed.Node) {
	t.Helper()
	for _, conf := range []string{"all", "default"} {
		n.Sysctl(t, "net/ipv6/conf/"+conf+"/disable_ipv6", "1")
	}
}

// allow4 has a host take what comes from itself by a veth pair, which IPv4
// takes for forged. To be called before there are links.
func allow4(t *testing.T) {
	t.Helper()
	netbed.Sysctl(t, "net/ipv4/conf/default/accept_local", "1")
	netbed.Sysctl(t, "net/ipv4/conf/default/rp_filter", "0")
}

// veth4 makes a pair of interfaces with IPv4 addresses and without IPv6.
func veth4(t *testing.T, a, prefixA, b, prefixB string) {
	t.Helper()
	allow4(t)
	netbed.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
	netbed.VethPair(t, a, b)
	netbed.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "0")
	netbed.AddAddr(t, a, prefixA)
	netbed.AddAddr(t, b, prefixB)
}

// pair4 makes two hosts on a link, without IPv6.
func pair4(t *testing.T) (a, b *netbed.Node) {
	t.Helper()
	a, b = netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
	no6(t, a)
	no6(t, b)
	netbed.Connect(t, a, b)
	a.AddAddr(t, "to-b", "10.0.0.1/24")
	b.AddAddr(t, "to-a", "10.0.0.2/24")
	return a, b
}

// in is a Layer2 plane in a node.
func in(t *testing.T, n *netbed.Node, l *acp.Layer2) acp.Plane {
	return acp.In(func(f func()) { n.Do(t, f) }, *l)
}

// TestLayer2ConformanceIPv4: two hosts without IPv6.
func TestLayer2ConformanceIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a, b := pair4(t)
	t.Run("OneLinkEach", func(t *testing.T) { testPlane(t, in(t, a, on4("to-b")), in(t, b, on4("to-a"))) })
	t.Run("AllLinks", func(t *testing.T) { testPlane(t, in(t, a, on4()), in(t, b, on4())) })
	t.Run("Off", func(t *testing.T) {
		e, err := in(t, a, on()).Open()
		require.NoError(t, err)
		defer e.Close()
		assert.Empty(t, e.Links())
		assert.False(t, e.Addr().IsValid())
	})
	t.Run("Well-formed", func(t *testing.T) {
		e, err := in(t, a, on4()).Open()
		require.NoError(t, err)
		defer e.Close()
		require.Len(t, e.Links(), 1, "at once, when IPv6 is known to be off")
		assert.Equal(t, "to-b", e.Links()[0].Name)
		assert.Equal(t, netip.MustParseAddr("10.0.0.1"), e.Links()[0].Addr)
		assert.Equal(t, netip.MustParseAddr("10.0.0.1"), e.Addr())
	})
}

// TestLayer2IPv4Datagram: what is sent to one node comes there alone, and what
// is broadcast does not pass for it.
func TestLayer2IPv4Datagram(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a, b := pair4(t)
	ea, eb := join(t, in(t, a, on4())), join(t, in(t, b, on4()))
	to := netip.MustParseAddrPort("10.0.0.2:7017")
	var c *net.UDPConn
	a.Do(t, func() { c, _ = net.ListenUDP("udp4", nil) }) // package net sets SO_BROADCAST
	require.NotNil(t, c)
	defer c.Close()
	for _, broadcast := range []string{"10.0.0.255:7017", "255.255.255.255:7017"} {
		_, err := c.WriteToUDPAddrPort([]byte("broadcast"), netip.MustParseAddrPort(broadcast))
		if err != nil {
			assert.ErrorIs(t, err, unix.ENETUNREACH, broadcast) // without a default route
		}
	}
	require.NoError(t, acp.SendTo(ea.Endpoint, to, []byte("alone")))
	select {
	case r := <-eb.Heard:
		assert.Equal(t, "alone", r.Msg)
		assert.Equal(t, acp.Origin{
			Link: eb.Links()[0].Index, Addr: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), ea.Port()), Unicast: true,
		}, r.From)
	case <-time.After(patience):
		require.Fail(t, "not heard")
	}
	assert.NotZero(t, acp.Drops(eb.Endpoint))
	assert.ErrorIs(t, acp.SendTo(ea.Endpoint, netip.MustParseAddrPort("10.0.1.2:7017"), []byte("x")), unix.EHOSTUNREACH)
	assert.ErrorIs(t, acp.SendTo(ea.Endpoint, netip.MustParseAddrPort("[fd00::1]:7017"), []byte("x")), unix.EHOSTUNREACH)
}

// TestLayer2IPv6First: with the option on, links that have IPv6 are as they
// were.
func TestLayer2IPv6First(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	allow4(t)
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "10.0.0.1/24")
	netbed.AddAddr(t, "va1", "10.0.0.2/24")
	testPlane(t, on4("va0"), on4("va1"))
	e := join(t, on4("va0"))
	assert.True(t, must(t, e, "va0").Addr.Is6())
	assert.True(t, e.Addr().Is4(), "better than none")
	netbed.AddAddr(t, "va1", "fd00::1/64")
	netbed.Eventually(t, patience, "IPv6 is better", func() bool { return e.Addr().Is6() })

	// A multicast of IPv4 is not for a link that runs over IPv6.
	c, err := listenGroup4(t, "va0", unix.SO_REUSEADDR)
	require.NoError(t, err)
	send4(t, "IPv4", "va1", "10.0.0.2", acp.Group4())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err = c.Read(make([]byte, 10))
	require.NoError(t, err)
	far := open(t, on("va1"))
	require.NoError(t, far.Send(must(t, far, "va1").Index, []byte("IPv6")))
	select {
	case r := <-e.Heard:
		assert.Equal(t, "IPv6", r.Msg)
	case <-time.After(patience):
		require.Fail(t, "nothing heard")
	}
}

// TestLayer2Mixed: a host with a link of each kind.
func TestLayer2Mixed(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	veth4(t, "vb0", "10.0.0.1/24", "vb1", "10.0.0.2/24")
	e, far6, far4 := join(t, on4("va0", "vb0")), join(t, on4("va1")), join(t, on4("vb1"))
	use(t, e, "va0", "vb0")
	assert.True(t, must(t, e, "va0").Addr.Is6())
	vb0, vb1 := must(t, e, "vb0"), must(t, far4, "vb1")
	assert.Equal(t, netip.MustParseAddr("10.0.0.1"), vb0.Addr)

	// One port for both versions of IP, and for TCP.
	from6 := reach(t, e, "va0", far6, patience)
	assert.Equal(t, e.Port(), from6.Addr.Port())
	from4 := reach(t, e, "vb0", far4, patience)
	assert.Equal(t, acp.Origin{Link: vb1.Index, Addr: netip.AddrPortFrom(vb0.Addr, e.Port())}, from4)
	for far, from := range map[*member]acp.Origin{&far6: from6, &far4: from4} {
		s, err := far.Dial(t.Context(), from.Addr)
		require.NoError(t, err)
		in, err := e.Accept()
		require.NoError(t, err)
		assert.Equal(t, from.Link, s.Link)
		assert.Equal(t, from.Addr, s.Peer)
		assert.NotZero(t, in.Link)
		require.NoError(t, errors.Join(s.Close(), in.Close()))
	}
	reach(t, far6, "va1", e, patience)
	reach(t, far4, "vb1", e, patience)

	// Each message once, by both links, and nothing is lost between them.
	got := make(map[string]int)
	const each = 200
	for i := range each {
		n := strconv.Itoa(i)
		require.NoError(t, far6.Send(must(t, far6, "va1").Index, []byte("6 "+n)))
		require.NoError(t, far4.Send(vb1.Index, []byte("4 "+n)))
	}
	netbed.Eventually(t, patience, "all is heard", func() bool {
		for len(e.Heard) > 0 {
			got[(<-e.Heard).Msg]++
		}
		return len(got) >= 2*each
	})
	for msg, n := range got {
		assert.Equal(t, 1, n, msg)
	}
}

// TestLayer2ChangesOver: a link takes to IPv4 when it has lost IPv6 for good,
// and back when it has it again, and is not used over IPv4 while the address
// of IPv6 is under way.
func TestLayer2ChangesOver(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	allow4(t)
	netbed.DAD(t, true)
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "10.0.0.1/24")
	netbed.AddAddr(t, "va1", "10.0.0.2/24")
	opened := func(name string) member {
		e, err := on4(name).Open()
		require.NoError(t, err)
		return member{Endpoint: e, Heard: receive(t, e)}
	}
	a, b := opened("va0"), opened("va1")
	runs := func(want6 bool) {
		t.Helper()
		for e, name := range map[acp.Endpoint]string{a.Endpoint: "va0", b.Endpoint: "va1"} {
			netbed.Eventually(t, patience, name+" changes over", func() bool {
				l, ok := link(e, name)
				return ok && l.Addr.Is6() == want6
			})
		}
		assert.Equal(t, want6, reach(t, a, "va0", b, patience).Addr.Addr().Is6())
		assert.Equal(t, want6, reach(t, b, "va1", a, patience).Addr.Addr().Is6())
	}
	// Neither was over IPv4 at first, in the time that detection takes.
	for _, m := range []member{a, b} {
		netbed.Eventually(t, patience, "it is in use", func() bool { return len(m.Links()) == 1 })
		assert.True(t, m.Links()[0].Addr.Is6())
	}
	runs(true)
	disable := func(value string) {
		for _, name := range []string{"va0", "va1"} {
			netbed.Sysctl(t, "net/ipv6/conf/"+name+"/disable_ipv6", value)
		}
	}
	disable("1")
	runs(false)
	disable("0")
	assert.Equal(t, []string{"va0"}, names(a), "IPv4 goes on in the meantime")
	runs(true)
	disable("1")
	runs(false)

	// IPv6 is on, but nobody gives an address.
	for _, name := range []string{"va0", "va1", "default"} {
		netbed.Sysctl(t, "net/ipv6/conf/"+name+"/addr_gen_mode", "1")
	}
	disable("0")
	netbed.Down(t, "va0")
	use(t, a)
	use(t, b)
	netbed.Up(t, "va0")
	runs(false)
	netbed.IP(t, "link", "set", "va0", "mtu", "1200") // too narrow for all
	use(t, a)
	netbed.IP(t, "link", "set", "va0", "mtu", "1280")
	use(t, a, "va0")
	// Another address, and none.
	netbed.IP(t, "addr", "del", "10.0.0.1/24", "dev", "va0")
	use(t, a)
	netbed.AddAddr(t, "va0", "169.254.1.1/16")
	use(t, a, "va0")
	netbed.AddAddr(t, "va0", "10.0.0.9/24")
	netbed.Eventually(t, patience, "the address is the better one", func() bool {
		l, ok := link(a, "va0")
		return ok && l.Addr == netip.MustParseAddr("10.0.0.9")
	})
	runs(false)
}

// TestLayer2IPv4KeepsItsAddress: which of several addresses is given out
// and sent from does not change without need.
func TestLayer2IPv4KeepsItsAddress(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	veth4(t, "va0", "10.0.0.5/24", "va1", "10.0.0.2/24")
	e, far := join(t, on4("va0")), join(t, on4("va1"))
	netbed.AddAddr(t, "va0", "10.0.7.1/24")
	netbed.AddAddr(t, "va1", "10.0.7.2/24")
	netbed.Eventually(t, patience, "the new network is heard", func() bool {
		send4(t, "new", "va1", "10.0.7.2", acp.Group4())
		select {
		case r := <-e.Heard:
			return r.Msg == "new"
		default:
			return false
		}
	})
	assert.Equal(t, "10.0.0.5", e.Links()[0].Addr.String())
	assert.Equal(t, "10.0.0.5", reach(t, e, "va0", far, patience).Addr.Addr().String())
	netbed.IP(t, "addr", "del", "10.0.0.5/24", "dev", "va0")
	netbed.Eventually(t, patience, "the other address", func() bool {
		return len(e.Links()) == 1 && e.Links()[0].Addr.String() == "10.0.7.1"
	})
	assert.Equal(t, "10.0.7.1", reach(t, e, "va0", far, patience).Addr.Addr().String())
}

// TestTrap20SharedPortIPv4: the port is free for UDP of both versions of IP.
func TestTrap20SharedPortIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	leaked := takePorts(t, on4(), "udp4")
	for range 10 {
		e, err := on4().Open()
		require.NoError(t, err)
		assert.Equal(t, uint16(40009), e.Port())
		for _, network := range []string{"udp6", "udp4"} {
			_, err := net.ListenUDP(network, &net.UDPAddr{Port: 40009})
			assert.ErrorIs(t, err, unix.EADDRINUSE, network)
		}
		require.NoError(t, e.Close())
	}
	assert.False(t, leaked(patience))
}
