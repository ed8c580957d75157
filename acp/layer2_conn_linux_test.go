package acp

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ends returns both ends of a connection over the loopback interface.
func ends(t *testing.T) (near, far *fileConn) {
	t.Helper()
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	to := addrPortOf(tcp.Addr())
	l, err := newListener(tcp, false)
	require.NoError(t, err)
	defer l.Close()
	c, err := connect(t.Context(), to)
	require.NoError(t, err)
	f, err := l.accept()
	require.NoError(t, err)
	require.Equal(t, addrPortOf(c.LocalAddr()), f.peer)
	require.Equal(t, to, addrPortOf(f.conn.LocalAddr()))
	near, far = c.(*fileConn), f.conn.(*fileConn)
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// arrive waits until there is something to be read, which is left there.
func arrive(t *testing.T, c *fileConn) {
	t.Helper()
	require.Eventually(t, func() bool {
		n, _, _ := syscall.Recvfrom(c.fd, make([]byte, 1), syscall.MSG_PEEK)
		return n > 0
	}, 30*time.Second, time.Millisecond)
}

// A connection on which nothing has to wait is not registered with the poller.
func TestConnWithoutWaiting(t *testing.T) {
	near, far := ends(t)
	_, err := near.Write([]byte("request"))
	require.NoError(t, err)
	arrive(t, far)
	require.NoError(t, far.SetDeadline(time.Now().Add(time.Hour)))
	b := make([]byte, 4)
	require.Equal(t, 4, far.ReadNow(b))
	require.Equal(t, "requ", string(b))
	n, err := far.Read(b)
	require.NoError(t, err)
	require.Equal(t, "est", string(b[:n]))
	require.Zero(t, far.ReadNow(b), "there is no more")
	_, err = far.Write([]byte("answer"))
	require.NoError(t, err)
	require.Nil(t, far.file.Load())
	require.NoError(t, far.Close())
	all, err := io.ReadAll(near)
	require.NoError(t, err)
	require.Equal(t, "answer", string(all))
	requireClosed(t, far)
}

// requireClosed checks that every call fails as on a connection of package net.
func requireClosed(t *testing.T, c *fileConn) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = c.Write([]byte{1})
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, c.SetReadDeadline(time.Time{}), net.ErrClosed)
	require.ErrorIs(t, c.Close(), net.ErrClosed)
	require.Zero(t, c.ReadNow(make([]byte, 1)))
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "tcp", op.Net)
}

// What has to wait does, until its deadline, which may have been set before, or
// until the connection is closed.
func TestConnWaits(t *testing.T) {
	near, far := ends(t)
	require.NoError(t, far.SetReadDeadline(time.Unix(1, 0)))
	_, err := far.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NotNil(t, far.file.Load())

	require.NoError(t, far.SetReadDeadline(time.Time{}))
	read := make(chan error)
	go func() {
		_, err := far.Read(make([]byte, 1))
		read <- err
	}()
	_, err = near.Write([]byte{1})
	require.NoError(t, err)
	require.NoError(t, <-read)

	go func() {
		_, err := near.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, near.Close())
	require.ErrorIs(t, <-read, net.ErrClosed)
	requireClosed(t, near)
}

// A deadline ends a call that has begun to wait before it was set.
func TestConnInterrupted(t *testing.T) {
	near, _ := ends(t)
	read := make(chan error)
	go func() {
		_, err := near.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, near.SetReadDeadline(time.Unix(1, 0)))
	require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
}

// A long message is written whole, though the peer reads it later.
func TestConnWritesAll(t *testing.T) {
	near, far := ends(t)
	const size = 16 << 20
	written := make(chan error)
	go func() {
		_, err := near.Write(make([]byte, size))
		written <- err
	}()
	n, err := io.ReadFull(far, make([]byte, size))
	require.NoError(t, err)
	require.Equal(t, size, n)
	require.NoError(t, <-written)

	require.NoError(t, near.SetWriteDeadline(time.Unix(1, 0)))
	n, err = near.Write(make([]byte, size))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, n, size)
}

// One direction can be ended: the last words arrive, although not all was read, and what
// the peer says goes on.
func TestConnCloseWrite(t *testing.T) {
	for _, registered := range []bool{false, true} {
		near, far := ends(t)
		if registered {
			_, err := near.waiter()
			require.NoError(t, err)
		}
		_, err := far.Write([]byte("first"))
		require.NoError(t, err)
		_, err = near.Write([]byte("last"))
		require.NoError(t, err)
		require.NoError(t, near.CloseWrite())
		said, err := io.ReadAll(far)
		require.NoError(t, err)
		require.Equal(t, "last", string(said))
		_, err = near.Write([]byte("more"))
		require.ErrorIs(t, err, syscall.EPIPE)
		_, err = far.Write([]byte(" second"))
		require.NoError(t, err)
		require.NoError(t, far.Close())
		heard, err := io.ReadAll(near)
		require.NoError(t, err)
		require.Equal(t, "first second", string(heard))
		require.NoError(t, near.Close())
		require.ErrorIs(t, near.CloseWrite(), net.ErrClosed)
	}
}

// The system tells of a reset once. Read returns it, though ReadNow met it.
func TestConnReset(t *testing.T) {
	near, far := ends(t)
	require.NoError(t, syscall.SetsockoptLinger(near.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}))
	require.NoError(t, near.Close())
	require.Eventually(t, func() bool {
		return far.ReadNow(make([]byte, 1)) == 0 && far.failed != nil
	}, 30*time.Second, time.Millisecond)
	_, err := far.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// An accepted connection knows the link of its peer, whatever the link is called.
func TestAddrPortIn(t *testing.T) {
	for _, test := range []struct {
		sa   syscall.Sockaddr
		want string
	}{
		{&syscall.SockaddrInet4{Port: 1, Addr: [4]byte{192, 0, 2, 1}}, "192.0.2.1:1"},
		{&syscall.SockaddrInet6{Port: 2, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 1}}, "192.0.2.1:2"},
		{&syscall.SockaddrInet6{Port: 3, ZoneId: 7, Addr: [16]byte{0: 0xfe, 1: 0x80, 15: 1}}, "[fe80::1%7]:3"},
		{&syscall.SockaddrInet6{Port: 4, Addr: [16]byte{0: 0x20, 1: 1, 15: 1}}, "[2001::1]:4"},
	} {
		require.Equal(t, netip.MustParseAddrPort(test.want), addrPortIn(test.sa))
	}
}
