package acp

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// fileConn is a TCP connection. The runtime's poller learns of it when a call has to
// wait for the first time. The connection of an exchange that needs no waiting, such as
// an accepted one whose request has come already, never costs that: a registration, its
// end, and the wake-ups of the poller between them.
//
// From then on it is a file to package os, which is the way to a file descriptor of
// one's own that goroutines can wait for.
type fileConn struct {
	to   netip.AddrPort
	file atomic.Pointer[os.File] // nil: nothing has had to wait yet

	mu              sync.Mutex // guards all following fields
	fd              int        // -1: it is the file's, or closed
	readBy, writeBy time.Time  // deadlines, until the file has them
	failed          error      // of ReadNow, for the next Read
}

func newFileConn(fd int, to netip.AddrPort) *fileConn { return &fileConn{fd: fd, to: to} }

// attempt makes a system call that does not wait. If it would have to, or a call had to
// before, attempt returns the file to wait with.
func (c *fileConn) attempt(call func(fd int) (int, error)) (n int, f *os.File, err error) {
	if f := c.file.Load(); f != nil {
		return 0, f, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.file.Load(); f != nil {
		return 0, f, nil
	}
	if c.fd < 0 {
		return 0, nil, net.ErrClosed
	}
	for {
		if n, err = call(c.fd); err != syscall.EINTR {
			break
		}
	}
	if err != syscall.EAGAIN {
		return max(n, 0), nil, err
	}
	return 0, c.registerLocked(), nil
}

// waiter returns the file.
func (c *fileConn) waiter() (*os.File, error) {
	_, f, err := c.attempt(func(int) (int, error) { return 0, syscall.EAGAIN })
	return f, err
}

func (c *fileConn) registerLocked() *os.File {
	f := os.NewFile(uintptr(c.fd), "tcp")
	c.fd = -1
	if !c.readBy.IsZero() {
		_ = f.SetReadDeadline(c.readBy)
	}
	if !c.writeBy.IsZero() {
		_ = f.SetWriteDeadline(c.writeBy)
	}
	c.file.Store(f)
	return f
}

// Read implements [net.Conn]. It returns what is there even after the deadline.
func (c *fileConn) Read(b []byte) (int, error) {
	n, f, err := c.attempt(func(fd int) (int, error) {
		if c.failed != nil {
			return 0, c.failed
		}
		return readNow(fd, b)
	})
	switch {
	case f != nil:
		n, err = f.Read(b)
	case err == nil && n == 0 && len(b) > 0:
		err = io.EOF
	}
	return n, c.explain("read", err)
}

// ReadNow implements the Reader of package nowait. It is for a connection on which
// nothing has had to wait.
func (c *fileConn) ReadNow(b []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0
	}
	n, err := readNow(c.fd, b)
	if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
		c.failed = err // which the system tells of once
	}
	return max(n, 0)
}

// Write implements [net.Conn].
func (c *fileConn) Write(b []byte) (int, error) {
	done := 0
	for {
		n, f, err := c.attempt(func(fd int) (int, error) { return writeNow(fd, b[done:]) })
		if f != nil {
			n, err = f.Write(b[done:])
		}
		if done += n; err != nil || done == len(b) {
			return done, c.explain("write", err)
		}
	}
}

// Close implements [net.Conn].
func (c *fileConn) Close() error {
	c.mu.Lock()
	fd := c.fd
	c.fd = -1
	c.mu.Unlock()
	switch f := c.file.Load(); {
	case f != nil:
		return c.explain("close", f.Close())
	case fd < 0:
		return c.explain("close", net.ErrClosed)
	}
	return c.explain("close", closeNow(fd))
}

// CloseWrite ends what is sent, as that of [net.TCPConn] does. What was sent still arrives,
// also if something that came is not read.
func (c *fileConn) CloseWrite() error {
	_, f, err := c.attempt(func(fd int) (int, error) { return 0, syscall.Shutdown(fd, syscall.SHUT_WR) })
	if f == nil {
		return c.explain("close", err)
	}
	raw, err := f.SyscallConn()
	if err == nil {
		if raw.Control(func(fd uintptr) { err = syscall.Shutdown(int(fd), syscall.SHUT_WR) }) != nil {
			err = net.ErrClosed // it can fail for no other reason
		}
	}
	return c.explain("close", err)
}

// explain turns an error of a file or a system call into one of a connection.
func (c *fileConn) explain(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		err = file.Err
	}
	if errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: c.RemoteAddr(), Err: err}
}

// SetDeadline implements [net.Conn].
func (c *fileConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *fileConn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(t, &c.readBy, (*os.File).SetReadDeadline)
}

// SetWriteDeadline implements [net.Conn].
func (c *fileConn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(t, &c.writeBy, (*os.File).SetWriteDeadline)
}

func (c *fileConn) setDeadline(t time.Time, kept *time.Time, set func(*os.File, time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.file.Load(); f != nil {
		return c.explain("set", set(f, t))
	}
	if c.fd < 0 {
		return c.explain("set", net.ErrClosed)
	}
	*kept = t
	return nil
}

// SyscallConn implements [syscall.Conn], for the options of a socket.
func (c *fileConn) SyscallConn() (syscall.RawConn, error) {
	f, err := c.waiter()
	if err != nil {
		return nil, c.explain("control", err)
	}
	return f.SyscallConn()
}

// RemoteAddr implements [net.Conn].
func (c *fileConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to) }

// LocalAddr implements [net.Conn].
func (c *fileConn) LocalAddr() net.Addr {
	local := &net.TCPAddr{}
	name := func(fd int) (int, error) {
		sa, _ := syscall.Getsockname(fd)
		switch sa := sa.(type) {
		case *syscall.SockaddrInet4:
			local.IP, local.Port = sa.Addr[:], sa.Port
		case *syscall.SockaddrInet6:
			local.IP, local.Port, local.Zone = sa.Addr[:], sa.Port, zoneOf(int(sa.ZoneId))
		}
		return 0, nil
	}
	if _, f, _ := c.attempt(name); f != nil {
		if raw, err := f.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _, _ = name(int(fd)) })
		}
	}
	return local
}
