package netbed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Refusal is a system call that a kernel does not have or forbids.
type Refusal struct {
	Call  uint32
	Args  map[int]uint32 // values of some of its arguments, of which 32 bits count
	Bits  map[int]uint32 // bits, of which one at least is set in an argument
	Errno syscall.Errno  // what it fails with
}

// NoFamily refuses sockets of a family, such as unix.AF_NETLINK.
func NoFamily(family uint32, errno syscall.Errno) Refusal {
	return Refusal{Call: unix.SYS_SOCKET, Args: map[int]uint32{0: family}, Errno: errno}
}

// NoNetlinkBind refuses to bind a netlink socket, as Android does.
func NoNetlinkBind(errno syscall.Errno) Refusal {
	return Refusal{Call: unix.SYS_BIND, Args: map[int]uint32{2: unix.SizeofSockaddrNetlink}, Errno: errno}
}

// NoOption refuses to set an option of a socket.
func NoOption(level, option uint32, errno syscall.Errno) Refusal {
	return Refusal{Call: unix.SYS_SETSOCKOPT, Args: map[int]uint32{1: level, 2: option}, Errno: errno}
}

// noNamespaces refuses to make network namespaces, as container engines do.
func noNamespaces() []Refusal {
	const flags = unix.CLONE_NEWNET | unix.CLONE_NEWUSER
	return []Refusal{
		{Call: unix.SYS_CLONE, Bits: map[int]uint32{0: flags}, Errno: unix.EPERM},
		{Call: unix.SYS_UNSHARE, Bits: map[int]uint32{0: flags}, Errno: unix.EPERM},
		{Call: unix.SYS_CLONE3, Errno: unix.ENOSYS}, // whose flags are in memory
	}
}

// NoFile refuses to open files, as on systems without /proc.
func NoFile(errno syscall.Errno) Refusal { return Refusal{Call: unix.SYS_OPENAT, Errno: errno} }

// errNoFilter says that this kernel does not filter system calls.
var errNoFilter = errors.New("this kernel does not filter system calls")

// Refuse makes system calls fail in this process and in those that it starts. It
// cannot be undone.
func Refuse(t testing.TB, all ...Refusal) {
	t.Helper()
	err := RefuseHere(all...)
	if errors.Is(err, errNoFilter) {
		t.Skip("netbed: " + err.Error())
	}
	if err != nil {
		t.Fatalf("netbed: %v", err)
	}
}

// RefuseHere is Refuse where there is no test.
func RefuseHere(all ...Refusal) error {
	filter := program(all)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP { // with cgo
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no new privileges: %w", err)
		}
	}
	_, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	switch errno {
	case 0:
		return nil
	case unix.ENOSYS, unix.EINVAL:
		return fmt.Errorf("%w: %w", errNoFilter, errno)
	}
	return fmt.Errorf("filter system calls: %w", errno)
}

// program is the filter: for each refusal, a chain of comparisons of which the
// first that fails leads to the next refusal.
func program(all []Refusal) []unix.SockFilter {
	const load, jump, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	low := uint32(0) // where the low half of an argument is
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		low = 4
	}
	var filter []unix.SockFilter
	for _, r := range all {
		left := uint8(1 + 2*(len(r.Args)+len(r.Bits))) // instructions after the comparison
		filter = append(filter,
			unix.SockFilter{Code: load, K: 0}, // the system call
			unix.SockFilter{Code: jump | unix.BPF_JEQ, K: r.Call, Jf: left})
		for test, args := range map[uint16]map[int]uint32{unix.BPF_JEQ: r.Args, unix.BPF_JSET: r.Bits} {
			for arg, value := range args {
				left -= 2
				filter = append(filter,
					unix.SockFilter{Code: load, K: 16 + 8*uint32(arg) + low},
					unix.SockFilter{Code: jump | test, K: value, Jf: left})
			}
		}
		filter = append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(r.Errno)})
	}
	return append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}
