package grasp

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/stretchr/testify/require"
)

// Each message leaves with one write: some peers take a segment for a message.
func TestStreamOneWriteForOneMessage(t *testing.T) {
	g := newInstance(t, memory.NewNetwork(1).NewNode("x"))
	near, far := net.Pipe() // each Read gets what one Write gave, at most
	defer near.Close()
	st := g.newStream(&acp.Stream{Conn: far, Peer: netip.MustParseAddrPort("[fd00::a]:1")}, false)
	raw, err := cbor.Marshal([]any{3, 1, []any{"EX1", 3, 6, strings.Repeat("x", 1900)}})
	require.NoError(t, err)
	go func() { _ = st.send(raw, time.Minute) }()
	buf := make([]byte, 4096)
	n, err := near.Read(buf)
	require.NoError(t, err)
	require.Equal(t, len(raw), n)
}

// A connection that a peer resets is broken.
func TestResetIsBroken(t *testing.T) {
	require.Equal(t, ReasonBroken, reasonOf(&net.OpError{Op: "read", Err: syscall.ECONNRESET}))
}
