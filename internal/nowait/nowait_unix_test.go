//go:build unix

package nowait_test

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/nowait"
)

// tcp returns both ends of a connection.
func tcp(t *testing.T) (near, far net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	near, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// inMemory does so on a memory.Network.
func inMemory(t *testing.T) (near, far net.Conn) {
	a, b, err := memory.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a.Conn, b.Conn
}

func requireNothing(t *testing.T, c net.Conn, why string) {
	t.Helper()
	n, err := nowait.Read(c, make([]byte, 1))
	require.NoError(t, err, why)
	require.Zero(t, n, why)
}

// What has come is read in pieces, or by whoever reads then, and the end is left
// to them.
func TestRead(t *testing.T) {
	for name, ends := range map[string]func(*testing.T) (near, far net.Conn){"memory": inMemory, "TCP": tcp} {
		t.Run(name, func(t *testing.T) {
			near, far := ends(t)
			b := make([]byte, 4)
			requireNothing(t, far, "there is nothing")

			_, err := near.Write([]byte("request"))
			require.NoError(t, err)
			n := 0
			require.Eventually(t, func() bool {
				n, err = nowait.Read(far, b)
				return n > 0 || err != nil
			}, 30*time.Second, time.Millisecond)
			require.NoError(t, err)
			require.Equal(t, "requ", string(b[:n]))
			n, err = far.Read(b)
			require.NoError(t, err)
			require.Equal(t, "est", string(b[:n]))
			requireNothing(t, far, "there is no more")

			require.NoError(t, near.Close())
			_, err = far.Read(b)
			require.ErrorIs(t, err, io.EOF)
			requireNothing(t, far, "the stream has ended")
			_, err = far.Read(b)
			require.ErrorIs(t, err, io.EOF)

			require.NoError(t, far.Close())
			requireNothing(t, far, "the connection is closed")
		})
	}
}

// Of a connection of another kind it cannot be known, though there is something.
func TestReadOther(t *testing.T) {
	near, far := inMemory(t)
	_, err := near.Write([]byte("x"))
	require.NoError(t, err)
	requireNothing(t, struct{ net.Conn }{far}, "it cannot be known")
	n, err := far.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// An error of TCP is told of once.
func TestReadReset(t *testing.T) {
	near, far := tcp(t)
	require.NoError(t, near.(*net.TCPConn).SetLinger(0))
	require.NoError(t, near.Close())
	var err error
	require.Eventually(t, func() bool {
		_, err = nowait.Read(far, make([]byte, 1))
		return err != nil
	}, 30*time.Second, time.Millisecond)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}
