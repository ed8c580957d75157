package acp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// connect opens a TCP connection, to a link-local address on the link that is
// its zone.
//
// It is not done by package net because that takes a zone for a name first,
// and asks the kernel for all interfaces before it takes one for an index;
// because it makes nine more system calls; and because it needs a context set
// up even where there is nothing to wait for: all that costs more than the
// rest of an exchange with a neighbour.
func connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	fd, sa, err := streamSocket(to)
	if err != nil {
		return nil, err
	}
	// Each call says how far the connection is: to a neighbour, the second one may find
	// it there.
	err = syscall.Connect(fd, sa)
	if isConnecting(err) {
		err = syscall.Connect(fd, sa)
	}
	c := newFileConn(fd, to)
	if err = c.connected(ctx, sa, err); err != nil {
		return nil, err
	}
	return c, nil
}

// streamSocket returns a socket for a connection to a peer, and where that leads.
func streamSocket(to netip.AddrPort) (fd int, sa syscall.Sockaddr, err error) {
	family, sa := sockaddrOf(to)
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	// The last segment of the handshake is sent with the first data, or after 200 ms.
	// So the peer wakes up once, and has something to read then.
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
	sendAtOnce(fd)
	return fd, sa, nil
}

// connected waits until the connection is there, if err says that it is under way. If
// that fails, or err is another error, it closes the connection and returns the error.
func (c *fileConn) connected(ctx context.Context, sa syscall.Sockaddr, err error) error {
	if isConnecting(err) {
		err = c.wait(ctx, sa)
	}
	if err != nil {
		_ = c.Close()
	}
	return os.NewSyscallError("connect", err)
}

// sockaddrOf returns an address as the kernel takes it.
func sockaddrOf(to netip.AddrPort) (family int, sa syscall.Sockaddr) {
	if to.Addr().Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	link, _ := strconv.Atoi(to.Addr().Zone())
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: uint32(link)}
}

// isConnecting reports whether a connection is not there yet.
func isConnecting(err error) bool {
	return err == syscall.EINPROGRESS || err == syscall.EALREADY || err == syscall.EINTR
}

// wait waits until the connection is there, or the end of the context.
func (c *fileConn) wait(ctx context.Context, sa syscall.Sockaddr) error {
	f, err := c.waiter()
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = c.SetWriteDeadline(time.Unix(1, 0))
	})
	var state error
	err = raw.Write(func(fd uintptr) bool {
		state = syscall.Connect(int(fd), sa)
		return !isConnecting(state)
	})
	if !stop() {
		<-interrupted
		return ctx.Err()
	}
	if err == nil {
		err = state
	}
	if err == syscall.EISCONN {
		err = nil
	}
	return err
}

// listener is a listener for streams.
//
// It does not accept by package net because that registers each connection with the
// poller, asks for the local address and sets an option, all before it is known whether
// there is anything to wait for; and because it knows zones by name only.
type listener struct {
	*os.File
	raw  syscall.RawConn
	fast bool // peers may send with the opening
}

// newListener takes over a listener of package net, also if it fails.
func newListener(l *net.TCPListener, fast bool) (*listener, error) {
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	if fast {
		_ = raw.Control(func(fd uintptr) { allowFastOpen(int(fd)) })
	}
	return &listener{f, raw, fast}, nil
}

// accept waits for a connection.
func (l *listener) accept() (incoming, error) {
	var (
		fd     int
		sa     syscall.Sockaddr
		failed error
	)
	err := l.raw.Read(func(listening uintptr) bool {
		for {
			fd, sa, failed = acceptNow(int(listening))
			if failed != syscall.EINTR && failed != syscall.ECONNABORTED {
				return failed != syscall.EAGAIN
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("accept4", failed)
	} else if !errors.Is(err, os.ErrDeadlineExceeded) {
		err = net.ErrClosed // waiting can fail for no other reason
	}
	if err != nil {
		return incoming{}, err
	}
	peer := addrPortIn(sa)
	return incoming{conn: newFileConn(fd, peer), peer: peer, early: l.fast && isEarly(fd)}, nil
}

// addrPortIn returns the address that the kernel gave.
func addrPortIn(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return unmapped(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).WithZone(zoneOf(int(sa.ZoneId))), uint16(sa.Port)))
	}
	return netip.AddrPort{}
}

// controlStreams prepares a listener for streams: what it accepts sends at once, as
// what package net accepts does.
func controlStreams(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { sendAtOnce(int(fd)) })
}

func sendAtOnce(fd int) { _ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) }
