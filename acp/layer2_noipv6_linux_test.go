package acp_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/netbed"
)

// refuseIPv6 has this process and its children find no IPv6 in the kernel. There
// is no way back.
func refuseIPv6(t *testing.T) {
	t.Helper()
	netbed.Refuse(t, netbed.NoFamily(unix.AF_INET6, unix.EAFNOSUPPORT))
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
		t.Skip("this machine opens sockets by another system call")
	}
	require.ErrorIs(t, err, unix.EAFNOSUPPORT)
}

// TestTrap12KernelWithoutIPv6: IPv4 alone will do, if it may.
func TestTrap12KernelWithoutIPv6(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a, b := pair4(t)
	veth4(t, "va0", "10.0.0.1/24", "va1", "10.0.0.2/24")
	refuseIPv6(t)
	_, err := on().Open()
	assert.ErrorIs(t, err, unix.EAFNOSUPPORT)
	assert.ErrorContains(t, err, "the system has no IPv6")

	testPlane(t, in(t, a, on4()), in(t, b, on4()))
	e, far := join(t, on4("va0")), join(t, on4("va1"))
	from := reach(t, e, "va0", far, patience)
	assert.Equal(t, netip.MustParseAddr("10.0.0.1"), from.Addr.Addr())
	netbed.Down(t, "va0")
	use(t, e)
	netbed.Up(t, "va0")
	reach(t, far, "va1", e, patience)
	_, err = e.Dial(t.Context(), netip.MustParseAddrPort("[fe80::1%2]:7017"))
	assert.ErrorIs(t, err, unix.EAFNOSUPPORT)
}
