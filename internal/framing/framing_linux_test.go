package framing

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a connection breaks of before its first item has come is not lost,
// though the system tells of it once.
func TestResetBeforeTheFirstItem(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()
	require.NoError(t, near.(*net.TCPConn).SetLinger(0))
	require.NoError(t, near.Close())
	r := &Reader{Conn: far}
	require.Eventually(t, func() bool {
		_, err := r.Arrived()
		return err != nil && r.failed != nil
	}, 30*time.Second, time.Millisecond)
	_, err = r.Next(t.Context(), time.Now().Add(10*time.Second))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}
