package acp

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// isOption is true if a socket could not be opened because the system refused
// an option. Package net sets some that GRASP does not need.
func isOption(err error) bool {
	var call *os.SyscallError
	return errors.As(err, &call) && call.Syscall == "setsockopt"
}

// plainTCP is listenTCP without any option that may be refused.
func plainTCP(port uint16) (*net.TCPListener, error) {
	file, err := plainSocket("tcp", unix.SOCK_STREAM, port, func(fd int, network string) {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		sendAtOnce(fd)
		if network == "tcp6" {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		}
	})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := unix.Listen(int(file.Fd()), unix.SOMAXCONN); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// plainUDP opens a socket without any option that may be refused.
func plainUDP(network string, port uint16, shared bool) (*net.UDPConn, error) {
	file, err := plainSocket(network, unix.SOCK_DGRAM, port, func(fd int, network string) {
		if network == "udp6" {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		}
		if shared {
			share(fd, network)
		}
	})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// plainSocket opens a socket and binds it to a port. The network "tcp" is of
// IPv6, or of IPv4 where that is all there is.
func plainSocket(network string, typ int, port uint16, set func(fd int, network string)) (*os.File, error) {
	family := unix.AF_INET6
	if network == "udp4" {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if network == "tcp" {
		network = "tcp6"
		if errors.Is(err, unix.EAFNOSUPPORT) {
			family, network = unix.AF_INET, "tcp4"
			fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		}
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	set(fd, network)
	var at unix.Sockaddr = &unix.SockaddrInet6{Port: int(port)}
	if family == unix.AF_INET {
		at = &unix.SockaddrInet4{Port: int(port)}
	}
	if err := unix.Bind(fd, at); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), network), nil
}
