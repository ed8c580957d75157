package acp

import (
	"encoding/binary"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls here do not wait for anybody, and the scheduler is not told of them. If
// it was idle before a request came, it would otherwise wake its monitor, which takes longer
// than the calls and is of no use: the monitor sees to calls that take long.

func readNow(fd int, b []byte) (int, error) {
	return callNow(unix.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
}

func writeNow(fd int, b []byte) (int, error) {
	return callNow(unix.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
}

func closeNow(fd int) error {
	_, err := callNow(unix.SYS_CLOSE, fd, nil, 0)
	return err
}

func callNow(call uintptr, fd int, b unsafe.Pointer, size uintptr) (int, error) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(b), size)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// hasSocketcall says that Linux before 4.3 has accept4 as a part of another call only, which
// package syscall makes.
const hasSocketcall = runtime.GOARCH == "386" || runtime.GOARCH == "s390x"

// acceptNow accepts a connection to a listener that does not block.
func acceptNow(fd int) (int, syscall.Sockaddr, error) {
	const flags = syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
	if hasSocketcall {
		return syscall.Accept4(fd, flags)
	}
	var peer unix.RawSockaddrInet6 // also has room for one of IPv4
	size := uint32(unsafe.Sizeof(peer))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&peer)), uintptr(unsafe.Pointer(&size)), flags, 0, 0)
	if errno != 0 {
		return -1, nil, errno
	}
	port := int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&peer.Port))[:]))
	if peer.Family == unix.AF_INET {
		return int(n), &syscall.SockaddrInet4{Port: port, Addr: (*unix.RawSockaddrInet4)(unsafe.Pointer(&peer)).Addr}, nil
	}
	return int(n), &syscall.SockaddrInet6{Port: port, ZoneId: peer.Scope_id, Addr: peer.Addr}, nil
}
