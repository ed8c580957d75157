package acp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/netbed"
)

// newAddr is an address as a netlink dump has it, cut at every length by
// TestLayer2ParseAddrs.
var newAddr = []byte{
	84, 0, 0, 0, unix.RTM_NEWADDR, 0, 2, 0, 1, 0, 0, 0, 9, 9, 0, 0, // nlmsghdr
	unix.AF_INET6, 64, unix.IFA_F_TENTATIVE | unix.IFA_F_TEMPORARY, unix.RT_SCOPE_LINK, 7, 0, 0, 0, // ifaddrmsg
	20, 0, unix.IFA_ADDRESS, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // the peer's
	20, 0, unix.IFA_LOCAL, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // ours
	20, 0, unix.IFA_CACHEINFO, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4,
}

func TestLayer2ParseAddrs(t *testing.T) {
	ifi := &netif{index: 7}
	require.NoError(t, parseAddrs(newAddr, map[int]*netif{7: ifi}))
	assert.Equal(t, []netifAddr{{
		ip:    netip.MustParseAddr("fe80::2"),
		flags: addrTentative | addrTemporary,
		stamp: 0x03030303,
	}}, ifi.addrs)

	require.NoError(t, parseAddrs(newAddr, map[int]*netif{}), "an interface that is not known")
	for n := range newAddr {
		ifi := &netif{index: 7}
		_ = parseAddrs(newAddr[:n], map[int]*netif{7: ifi})
		assert.Empty(t, ifi.addrs, "cut at %d", n)
	}
}

// When descriptors run out, as when peers open many connections, there is no snapshot, and
// the last one stands: one without the addresses would end all links.
func TestLayer2SnapshotWithoutDescriptors(t *testing.T) {
	for _, short := range []syscall.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		for _, lacking := range []uint16{unix.RTM_GETLINK, unix.RTM_GETADDR} {
			ifs, err := snapshot([]string{"lo"}, func(typ uint16) ([]byte, error) {
				if typ == lacking {
					return nil, os.NewSyscallError("socket", short)
				}
				return netlinkDump(typ)
			})
			require.ErrorIs(t, err, short)
			require.Nil(t, ifs)
		}
	}
	ifs, err := snapshot([]string{"lo"}, func(uint16) ([]byte, error) { return nil, os.NewSyscallError("socket", unix.EPERM) })
	require.ErrorIs(t, err, unix.EPERM)
	require.NotEmpty(t, ifs, "what is forbidden for good is done without")
}

func FuzzLayer2ParseAddrs(f *testing.F) {
	f.Add(newAddr)
	f.Fuzz(func(t *testing.T, b []byte) {
		ifi := &netif{index: 7}
		_ = parseAddrs(b, map[int]*netif{7: ifi})
		for _, a := range ifi.addrs {
			if !a.ip.IsValid() {
				t.Error("an address that is none")
			}
		}
	})
}

// TestLayer2ParseAddr4: the network is that of the far end, if there is one,
// and the flag of a second address is not that of a temporary one.
func TestLayer2ParseAddr4(t *testing.T) {
	ifi := &netif{index: 7}
	require.NoError(t, parseAddrs([]byte{
		40, 0, 0, 0, unix.RTM_NEWADDR, 0, 2, 0, 1, 0, 0, 0, 9, 9, 0, 0,
		unix.AF_INET, 24, unix.IFA_F_SECONDARY, unix.RT_SCOPE_UNIVERSE, 7, 0, 0, 0,
		8, 0, unix.IFA_ADDRESS, 0, 192, 0, 2, 99,
		8, 0, unix.IFA_LOCAL, 0, 10, 0, 0, 1,
	}, map[int]*netif{7: ifi}))
	assert.Equal(t, []netifAddr{{
		ip:     netip.MustParseAddr("10.0.0.1"),
		onLink: netip.MustParsePrefix("192.0.2.0/24"),
	}}, ifi.addrs)
}

// TestLayer2AgreesWithPackageNet: the machine's own addresses, read by hand,
// are those that package net reads. It only looks.
func TestLayer2AgreesWithPackageNet(t *testing.T) {
	ifs, err := interfaces(nil)
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
			want = append(want, netip.MustParsePrefix(a.String()).Addr())
		}
		for _, a := range ifi.addrs {
			got = append(got, a.ip)
		}
		assert.ElementsMatch(t, want, got)
	}
}

// TestTrap13NetlinkOverrun: what the kernel could not queue is an error that
// means to look again, and the subscription goes on.
func TestTrap13NetlinkOverrun(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	events, err := subscribe(true)
	require.NoError(t, err)
	defer events.Close()
	conn, err := events.(netlinkEvents).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	}))
	require.NoError(t, err)
	netbed.VethPair(t, "va0", "va1") // many more messages than fit
	netbed.AddAddr(t, "va0", "fd00::1/64")
	overrun := false
	for !overrun {
		if err := events.Receive(); err != nil {
			require.ErrorIs(t, err, unix.ENOBUFS)
			overrun = true
		}
	}
	drained := make(chan error, 100)
	go func() {
		for {
			err := events.Receive()
			drained <- err
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
		}
	}()
	netbed.IP(t, "addr", "add", "192.0.2.1/24", "dev", "va0")
	require.NoError(t, <-drained, "it goes on")

	// Close ends a Receive under way.
	require.NoError(t, events.Close())
	netbed.Eventually(t, 30*time.Second, "Receive ends", func() bool { return errors.Is(<-drained, os.ErrClosed) })
	assert.ErrorIs(t, events.Receive(), os.ErrClosed)
}

// TestLayer2NetlinkGroups: each kind of change is an event.
func TestLayer2NetlinkGroups(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.LinkLocal(t, "va0")
	netbed.LinkLocal(t, "va1")
	six, err := subscribe(false)
	require.NoError(t, err)
	defer six.Close()
	both, err := subscribe(true)
	require.NoError(t, err)
	defer both.Close()
	const quiet = 50 * time.Millisecond
	// tells is true if there is an event within a time, and takes all there are.
	tells := func(events eventSource, within time.Duration) (told bool) {
		for {
			require.NoError(t, events.(netlinkEvents).SetReadDeadline(time.Now().Add(within)))
			if err := events.Receive(); err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				return told
			}
			told, within = true, quiet
		}
	}
	netbed.Eventually(t, 30*time.Second, "it is quiet", func() bool { return !tells(six, quiet) && !tells(both, quiet) })
	netbed.AddAddr(t, "va0", "fd00::1/64")
	assert.True(t, tells(six, netbed.Patience))
	assert.True(t, tells(both, netbed.Patience))
	netbed.IP(t, "addr", "add", "192.0.2.1/24", "dev", "va0")
	assert.False(t, tells(six, quiet))
	assert.True(t, tells(both, netbed.Patience))
	netbed.IP(t, "link", "set", "va0", "mtu", "1400")
	assert.True(t, tells(six, netbed.Patience))
	assert.True(t, tells(both, netbed.Patience))
}

// TestLayer2OriginIPv4: what goes to the group by a link that runs over IPv4,
// from a neighbour on it, is for us, and nothing else.
func TestLayer2OriginIPv4(t *testing.T) {
	six, four := &family{group: Group6(), packetInfo: true}, &family{group: Group4(), packetInfo: true}
	network := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.1/32")}
	e := new(layer2Endpoint)
	e.state.Store(&layer2State{byIndex: map[int]*linkState{
		5: {Link: Link{Index: 5}, zone: "5", family: four, onLink: network},
		6: {Link: Link{Index: 6}, zone: "6", family: six},
	}})
	for _, test := range []struct {
		f     *family
		index int
		dst   netip.Addr
		src   string
		ok    bool
	}{
		{four, 5, Group4(), "10.0.0.9:1", true},
		{four, 5, Group4(), "[::ffff:10.0.0.9]:1", true},
		{four, 5, Group4(), "10.0.1.9:1", false},
		{four, 5, netip.MustParseAddr("224.0.0.1"), "10.0.0.9:1", false},
		{four, 5, netip.MustParseAddr("10.0.0.1"), "10.0.0.9:1", true},
		{four, 5, netip.MustParseAddr("10.0.0.1"), "10.0.1.9:1", false},
		{four, 5, netip.MustParseAddr("10.0.0.255"), "10.0.0.9:1", false},
		{four, 5, netip.MustParseAddr("255.255.255.255"), "10.0.0.9:1", false},
		{four, 5, netip.MustParseAddr("10.0.1.1"), "10.0.0.9:1", false},
		{four, 6, netip.MustParseAddr("10.0.0.1"), "10.0.0.9:1", false},
		{four, 6, Group4(), "10.0.0.9:1", false},
		{four, 7, Group4(), "10.0.0.9:1", false},
		{four, 0, Group4(), "10.0.0.9:1", false},
		{six, 5, Group4(), "10.0.0.9:1", false},
		{six, 6, Group4(), "[fe80::1]:1", false},
	} {
		oob := (&ipv4.ControlMessage{IfIndex: test.index, Src: net.IPv4(10, 0, 0, 1)}).Marshal()
		dst := test.dst.As4()
		copy(oob[unix.CmsgLen(8):], dst[:]) // after the interface and our address there
		from, ok := e.origin(test.f, netip.MustParseAddrPort(test.src), oob)
		assert.Equal(t, test.ok, ok, "%v", test)
		if test.ok {
			assert.Equal(t, Origin{
				Link: 5, Addr: netip.MustParseAddrPort("10.0.0.9:1"), Unicast: test.dst != Group4(),
			}, from)
		}
	}
	// Links that run over IPv4 hear nothing of IPv6.
	oob := make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	copy(oob[unix.CmsgLen(0):], Group6().AsSlice())
	for index, want := range map[int]bool{5: false, 6: true} {
		binary.NativeEndian.PutUint32(oob[unix.CmsgLen(16):], uint32(index))
		_, ok := e.origin(six, netip.MustParseAddrPort("[fe80::1]:1"), oob)
		assert.Equal(t, want, ok)
	}
}
