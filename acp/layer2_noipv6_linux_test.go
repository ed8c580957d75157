package acp_test

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/netbed"
)

// refuseIPv6 has this process and its children find no IPv6 in the kernel:
// socket fails with EAFNOSUPPORT, by a filter of system calls. There is no way
// back.
func refuseIPv6(t *testing.T) {
	t.Helper()
	ld := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ret := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	skipUnless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	family := uint32(16) // the low half of the first argument in seccomp_data
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		family += 4
	}
	filter := []unix.SockFilter{
		ld(0), // the system call
		skipUnless(unix.SYS_SOCKET, 3),
		ld(family),
		skipUnless(unix.AF_INET6, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)),
		ret(unix.SECCOMP_RET_ALLOW),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP { // with cgo
		require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	}
	_, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno == unix.ENOSYS || errno == unix.EINVAL {
		t.Skip("this kernel does not filter system calls")
	}
	require.Zero(t, errno)
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
