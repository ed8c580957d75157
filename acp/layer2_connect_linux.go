package acp

import (
	"context"
	"errors"
	"io"
	"io/fs"
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
	family, sa := sockaddrOf(to)
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The last segment of the handshake goes with the first of the data, or 200 ms
	// later: so the peer wakes up once, with something to read.
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
	// Each call says where matters stand; a neighbour may be connected by the second.
	err = syscall.Connect(fd, sa)
	if isConnecting(err) {
		err = syscall.Connect(fd, sa)
	}
	c := &fileConn{File: os.NewFile(uintptr(fd), "tcp"), to: to}
	if isConnecting(err) {
		err = c.wait(ctx, sa)
	}
	if err != nil {
		_ = c.Close()
		return nil, os.NewSyscallError("connect", err)
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	return c, nil
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

// fileConn is a TCP connection. It is a file to package os, which is the way
// to a file descriptor of one's own that goroutines can wait for.
type fileConn struct {
	*os.File
	to netip.AddrPort
}

// wait waits until the connection is there, or the end of the context.
func (c *fileConn) wait(ctx context.Context, sa syscall.Sockaddr) error {
	raw, err := c.SyscallConn()
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

// Read implements [net.Conn].
func (c *fileConn) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	if err != nil {
		err = c.explain(err)
	}
	return n, err
}

// Write implements [net.Conn].
func (c *fileConn) Write(b []byte) (int, error) {
	n, err := c.File.Write(b)
	if err != nil {
		err = c.explain(err)
	}
	return n, err
}

// explain turns an error of a file into one of a connection.
func (c *fileConn) explain(err error) error {
	if err == io.EOF {
		return err
	}
	op := "use"
	var file *fs.PathError
	if errors.As(err, &file) {
		op, err = file.Op, file.Err
	}
	if errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: c.RemoteAddr(), Err: err}
}

// RemoteAddr implements [net.Conn].
func (c *fileConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to) }

// LocalAddr implements [net.Conn].
func (c *fileConn) LocalAddr() net.Addr {
	raw, err := c.SyscallConn()
	if err != nil {
		return &net.TCPAddr{}
	}
	local := &net.TCPAddr{}
	_ = raw.Control(func(fd uintptr) {
		sa, _ := syscall.Getsockname(int(fd))
		switch sa := sa.(type) {
		case *syscall.SockaddrInet4:
			local.IP, local.Port = sa.Addr[:], sa.Port
		case *syscall.SockaddrInet6:
			local.IP, local.Port, local.Zone = sa.Addr[:], sa.Port, zoneOf(int(sa.ZoneId))
		}
	})
	return local
}
