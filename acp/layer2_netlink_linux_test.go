package acp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// newAddr is an address as a netlink dump has it, cut at every length by
// TestLayer2ParseAddrs.
var newAddr = []byte{
	64, 0, 0, 0, unix.RTM_NEWADDR, 0, 2, 0, 1, 0, 0, 0, 9, 9, 0, 0, // nlmsghdr
	unix.AF_INET6, 64, unix.IFA_F_TENTATIVE | unix.IFA_F_TEMPORARY, unix.RT_SCOPE_LINK, 7, 0, 0, 0, // ifaddrmsg
	20, 0, unix.IFA_ADDRESS, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // the peer's
	20, 0, unix.IFA_LOCAL, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // ours
}

func TestLayer2ParseAddrs(t *testing.T) {
	ifi := &netif{index: 7}
	require.NoError(t, parseAddrs(newAddr, map[int]*netif{7: ifi}))
	assert.Equal(t, []netifAddr{{netip.MustParseAddr("fe80::2"), addrTentative | addrTemporary}}, ifi.addrs)

	require.NoError(t, parseAddrs(newAddr, map[int]*netif{}), "an interface that is not known")
	for n := range newAddr {
		ifi := &netif{index: 7}
		_ = parseAddrs(newAddr[:n], map[int]*netif{7: ifi})
		assert.Empty(t, ifi.addrs, "cut at %d", n)
	}
}

func FuzzLayer2ParseAddrs(f *testing.F) {
	f.Add(newAddr)
	f.Fuzz(func(t *testing.T, b []byte) {
		ifi := &netif{index: 7}
		_ = parseAddrs(b, map[int]*netif{7: ifi})
		for _, a := range ifi.addrs {
			if !a.ip.Is6() {
				t.Errorf("%v is not IPv6", a.ip)
			}
		}
	})
}

// TestLayer2AgreesWithPackageNet: the machine's own addresses, read by hand,
// are those that package net reads. It only looks.
func TestLayer2AgreesWithPackageNet(t *testing.T) {
	ifs, err := interfaces()
	require.NoError(t, err)
	require.NotEmpty(t, ifs)
	for _, ifi := range ifs {
		same, err := net.InterfaceByName(ifi.name)
		require.NoError(t, err)
		assert.Equal(t, same.Index, ifi.index)
		addrs, err := same.Addrs()
		require.NoError(t, err)
		var want, got []netip.Addr
		for _, a := range addrs {
			if ip := netip.MustParsePrefix(a.String()).Addr(); ip.Is6() {
				want = append(want, ip)
			}
		}
		for _, a := range ifi.addrs {
			got = append(got, a.ip)
		}
		assert.ElementsMatch(t, want, got)
	}
}
