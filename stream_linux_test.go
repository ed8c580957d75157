package grasp

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// What a connection breaks of before it asks for anything is not lost, though
// the system tells of it once.
func TestStreamResetBeforeItAsks(t *testing.T) {
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
	s := &stream{Stream: &acp.Stream{Conn: far}}
	s.setLimits(wire.Limits{Bytes: wire.DefaultBytes})
	require.Eventually(t, func() bool { return s.arrived() == nil && s.failed != nil }, 10*time.Second, time.Millisecond)
	_, err = s.message(t.Context(), time.Now().Add(10*time.Second))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Equal(t, ReasonBroken, reasonOf(err))
}
