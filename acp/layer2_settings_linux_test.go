package acp_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

func addrs(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// is waits until the addresses for a link are as they should be.
func is(t *testing.T, e acp.Endpoint, link int, want ...string) {
	t.Helper()
	var got []netip.Addr
	defer func() {
		if t.Failed() {
			t.Logf("got %v, want %v", got, want)
		}
	}()
	netbed.Eventually(t, patience, "the addresses are as they should be", func() bool {
		got = acp.Addrs(e, link)
		return assert.ObjectsAreEqual(addrs(want...), got)
	})
}

// TestLayer2Addrs: of the link asked on, of other links, of the loopback, of
// other interfaces; the link-local one if the link has no other; four at most;
// none that is deprecated, tentative or temporary if there is another.
func TestLayer2Addrs(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	for _, pair := range [][2]string{{"va0", "va1"}, {"vb0", "vb1"}, {"vc0", "vc1"}} {
		netbed.VethPair(t, pair[0], pair[1])
	}
	e := open(t, on("va0", "vb0"))
	use(t, e, "va0", "vb0")
	a, b := must(t, e, "va0"), must(t, e, "vb0")
	is(t, e, a.Index, a.Addr.String())
	is(t, e, 0)
	netbed.AddAddr(t, "vc0", "fd00:c::1/64")
	is(t, e, a.Index, a.Addr.String(), "fd00:c::1")
	is(t, e, 0, "fd00:c::1")
	netbed.AddAddr(t, "lo", "fd00:f::1/128")
	is(t, e, a.Index, a.Addr.String(), "fd00:f::1", "fd00:c::1")
	netbed.AddAddr(t, "vb0", "2001:db8:b::1/64")
	is(t, e, a.Index, a.Addr.String(), "2001:db8:b::1", "fd00:f::1", "fd00:c::1")
	is(t, e, b.Index, "2001:db8:b::1", "fd00:f::1", "fd00:c::1")
	netbed.IP(t, "addr", "add", "fd00:b::dead/64", "dev", "vb0", "nodad", "preferred_lft", "0")
	netbed.AddAddr(t, "va0", "2001:db8:a::1/64")
	netbed.AddAddr(t, "va0", "fd00:a::1/64")
	is(t, e, a.Index, "fd00:a::1", "2001:db8:a::1", "2001:db8:b::1", "fd00:f::1")
	is(t, e, b.Index, "2001:db8:b::1", "fd00:a::1", "2001:db8:a::1", "fd00:f::1")
	assert.Equal(t, netip.MustParseAddr("fd00:a::1"), e.Addr())
}

// TestLayer2PinnedAddr: the one that the user chose, and no other.
func TestLayer2PinnedAddr(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "fd00:a::1/64")
	e := open(t, &acp.Layer2{Links: []string{"va0"}, Addr: netip.MustParsePrefix("2001:db8:1::/48")})
	use(t, e, "va0")
	l := must(t, e, "va0")
	is(t, e, l.Index, l.Addr.String())
	is(t, e, 0)
	_, err := acp.Interfaces(e)
	assert.ErrorContains(t, err, "no interface has an address in Addr, which is 2001:db8:1::/48")
	netbed.AddAddr(t, "lo", "2001:db8:1:2::1/128")
	is(t, e, l.Index, "2001:db8:1:2::1")
	is(t, e, 0, "2001:db8:1:2::1")
	_, err = acp.Interfaces(e)
	assert.NoError(t, err)
	for _, wrong := range []string{"fe80::1/128", "::1/128", "ff02::13/128"} {
		_, err := (&acp.Layer2{Addr: netip.MustParsePrefix(wrong)}).Open()
		assert.ErrorContains(t, err, wrong)
	}
}

// TestLayer2FixedPort: the port is the same after a restart; who comes second
// is told.
func TestLayer2FixedPort(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	plane := &acp.Layer2{Port: 7777, IPv4: true}
	for range 2 {
		e, err := plane.Open()
		require.NoError(t, err)
		assert.EqualValues(t, 7777, e.Port())
		_, err = plane.Open()
		assert.ErrorIs(t, err, unix.EADDRINUSE)
		assert.ErrorContains(t, err, "7777")
		s, err := e.Dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:7777"))
		require.NoError(t, err)
		accepted, err := e.Accept()
		require.NoError(t, err)
		require.NoError(t, accepted.Close()) // whose side waits, then, for the network to forget
		require.NoError(t, s.Close())
		require.NoError(t, e.Close())
	}
	_, err := (&acp.Layer2{Port: acp.Port}).Open()
	assert.ErrorContains(t, err, "7017")
}

// TestLayer2Accept: peers from elsewhere are dropped, and neighbours are not.
func TestLayer2Accept(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	far := netbed.NewNode(t, "far")
	netbed.VethPair(t, "va0", "va1")
	far.MoveLink(t, "va1")
	for i, where := range []string{"va0", "va1"} {
		n := []*netbed.Node{nil, far}[i]
		n.AddAddr(t, where, []string{"fd00:a::1/64", "fd00:a::2/64"}[i])
		n.AddAddr(t, where, []string{"2001:db8::1/64", "2001:db8::2/64"}[i])
	}
	e := join(t, &acp.Layer2{Links: []string{"va0"}, Accept: []netip.Prefix{netip.MustParsePrefix("fd00:a::/64")}})
	peer := join(t, in(t, far, on("va1")))
	at := reach(t, e, "va0", peer, patience).Addr // neighbours
	taken, foreign := make(chan netip.Addr, 10), make(chan netip.Addr, 10)
	go func() {
		for {
			s, err := e.Accept()
			switch {
			case errors.Is(err, acp.ErrForeign):
				foreign <- s.Peer.Addr()
			case err != nil:
				return
			default:
				taken <- s.Peer.Addr()
			}
			_ = s.Close()
		}
	}()
	for _, test := range []struct {
		to    netip.AddrPort
		taken bool
	}{
		{at, true},
		{netip.AddrPortFrom(netip.MustParseAddr("fd00:a::1"), e.Port()), true},
		{netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), e.Port()), false},
		{netip.MustParseAddrPort("[2001:db8::1]:7017"), false},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s, err := peer.Dial(ctx, test.to)
		cancel()
		require.NoError(t, err, test.to)
		_ = s.SetReadDeadline(time.Now().Add(patience))
		_, err = s.Read(make([]byte, 1)) // it is closed in either case
		require.Error(t, err)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		_ = s.Close()
		outcome := foreign
		if test.taken {
			outcome = taken
		}
		select {
		case <-outcome:
		case <-time.After(patience):
			assert.Fail(t, "taken, or not told of", test.to)
		}
	}
	assert.Empty(t, taken)
	assert.Empty(t, foreign)
	s, err := e.Dial(t.Context(), netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), e.Port()))
	require.NoError(t, err, "this node itself")
	_ = s.Close()
	<-taken
}

// TestLayer2Interfaces: each interface is a link or has a reason, a change of
// which is told.
func TestLayer2Interfaces(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	netbed.VethPair(t, "vc0", "vc1")
	netbed.Bridge(t, "br0", "vb0")
	netbed.IP(t, "link", "set", "vc1", "multicast", "off")
	all, named := open(t, on()), open(t, on("va0", "vb0", "vc1", "none", "lo"))
	state := func(e acp.Endpoint, name string) acp.LinkState {
		ifs, err := acp.Interfaces(e)
		assert.NoError(t, err)
		for _, i := range ifs {
			if i.Name == name {
				return i.State
			}
		}
		return "not listed"
	}
	shows := func(e acp.Endpoint, name string, want acp.LinkState) {
		t.Helper()
		netbed.Eventually(t, patience, name+" is "+string(want), func() bool { return state(e, name) == want })
	}
	shows(all, "lo", acp.LinkLoopback)
	shows(all, "va0", acp.LinkInUse)
	shows(all, "br0", acp.LinkInUse)
	shows(all, "vb0", acp.LinkBridgePort)
	shows(all, "vc1", acp.LinkNoGroups)
	shows(named, "lo", acp.LinkInUse)
	shows(named, "va0", acp.LinkInUse)
	shows(named, "va1", acp.LinkUnnamed)
	shows(named, "vb0", acp.LinkInUse)
	shows(named, "vc1", acp.LinkInUse)
	shows(named, "none", acp.LinkMissing)
	shows(named, "br0", acp.LinkUnnamed)

	forgetChange(all)
	netbed.Down(t, "va1")
	shows(all, "va1", acp.LinkDown)
	shows(all, "va0", acp.LinkNoCarrier)
	awaitChange(t, all)
	netbed.Up(t, "va1")
	shows(all, "va0", acp.LinkInUse)
	netbed.IP(t, "-6", "addr", "flush", "dev", "va0")
	shows(all, "va0", acp.LinkNoAddress)
	netbed.IP(t, "link", "add", "none", "type", "veth", "peer", "name", "nonex")
	shows(named, "none", acp.LinkDown)
}

// TestLayer2DeprecatedLinkLocal: a link's address that is deprecated gives way
// to one that is not (N12).
func TestLayer2DeprecatedLinkLocal(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	e := open(t, on("va0"))
	use(t, e, "va0")
	before := must(t, e, "va0").Addr
	netbed.IP(t, "addr", "replace", before.WithZone("").String()+"/64", "dev", "va0", "nodad", "preferred_lft", "0")
	netbed.AddAddr(t, "va0", "fe80::1/64")
	netbed.Eventually(t, patience, "the preferred address is the link's", func() bool {
		l, ok := link(e, "va0")
		return ok && l.Addr.WithZone("") == netip.MustParseAddr("fe80::1")
	})
	netbed.IP(t, "addr", "del", "fe80::1/64", "dev", "va0")
	netbed.Eventually(t, patience, "a deprecated one is better than none", func() bool {
		l, ok := link(e, "va0")
		return ok && l.Addr == before
	})
}
