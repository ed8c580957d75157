package acp_test

import (
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestLayer2Loopback: a loopback interface is used only if named, has ::1, and
// cannot send on Linux until it has a route.
func TestLayer2Loopback(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	all := join(t, on())
	use(t, all, "va0", "va1")

	e := join(t, on("lo", "va0"))
	use(t, e, "lo", "va0")
	lo := must(t, e, "lo")
	assert.Equal(t, netip.IPv6Loopback(), lo.Addr)
	assert.False(t, e.Addr().IsValid())

	err := e.Send(lo.Index, []byte("x"))
	assert.ErrorIs(t, err, syscall.ENETUNREACH)
	assert.ErrorContains(t, err, "lo (link "+strconv.Itoa(lo.Index)+")")
	msg := nonce()
	require.NoError(t, e.Send(must(t, e, "va0").Index, []byte(msg)))
	hear(t, all.Heard, msg)

	netbed.IP(t, "-6", "route", "add", "local", "ff02::13/128", "dev", "lo") // as documented
	reach(t, e, "va0", all, patience)
	from := reach(t, e, "lo", e, patience)
	assert.Equal(t, acp.Origin{Link: lo.Index, Addr: netip.AddrPortFrom(netip.IPv6Loopback(), e.Port())}, from)
	s, err := e.Dial(t.Context(), from.Addr)
	require.NoError(t, err)
	defer s.Close()
	in, err := e.Accept()
	require.NoError(t, err)
	defer in.Close()
	assert.Equal(t, netip.IPv6Loopback(), in.Peer.Addr())
}

// TestLayer2LoopbackIPv4: a loopback interface has 127.0.0.1 and needs no route, with
// IPv6 and without.
func TestLayer2LoopbackIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	t.Run("WithIPv6", onLoopbackIPv4)
	netbed.Sysctl(t, "net/ipv6/conf/lo/disable_ipv6", "1")
	t.Run("Without", onLoopbackIPv4)
}

func onLoopbackIPv4(t *testing.T) {
	a, b := join(t, on4("lo")), join(t, on4("lo"))
	from := reach(t, a, "lo", b, patience)
	assert.Equal(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), a.Port()), from.Addr)
	assert.False(t, a.Addr().IsValid())
	s, err := b.Dial(t.Context(), from.Addr)
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, from.Link, s.Link)
}

// Where there are no namespaces to be had, the contract is tried all the same.
func TestLayer2OnLoopbackWithoutNamespaces(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.Denied(t, "TestLayer2OnLoopback")
}
