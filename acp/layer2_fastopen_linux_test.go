package acp_test

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// fastPair returns two endpoints with TCP Fast Open, and where the second is reached
// by the first.
func fastPair(t *testing.T) (client acp.Requester, server acp.Endpoint, at netip.AddrPort) {
	t.Helper()
	netbed.VethPair(t, "va0", "va1")
	netbed.LinkLocal(t, "va0")
	addr := netbed.LinkLocal(t, "va1")
	open := func(link string) acp.Endpoint {
		e, err := (&acp.Layer2{Links: []string{link}, FastOpen: true}).Open()
		require.NoError(t, err)
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	server = open("va1")
	at = netip.AddrPortFrom(addr.WithZone(strconv.Itoa(netbed.Index(t, "va0"))), server.Port())
	return open("va0").(acp.Requester), server, at
}

// request sends a message with the opening of a stream, has it answered, and returns
// the accepted stream.
func request(t *testing.T, client acp.Requester, server acp.Endpoint, at netip.AddrPort, msg []byte) *acp.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	accepted := make(chan *acp.Stream, 1)
	go func() {
		s, _ := server.Accept()
		accepted <- s
	}()
	near, err := client.DialWith(ctx, at, msg)
	require.NoError(t, err)
	far := <-accepted
	require.NotNil(t, far)
	got := make([]byte, len(msg))
	_, err = io.ReadFull(far, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(msg, got))
	_, err = far.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, far.Close())
	answer, err := io.ReadAll(near)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))
	require.NoError(t, near.Close())
	return far
}

// RFC 7413: the first connection gets a cookie, and the next ones carry the message
// with their opening, as much of it as there is room for.
func TestFastOpen(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	client, server, at := fastPair(t)
	require.False(t, request(t, client, server, at, []byte("unknown")).Early)
	require.True(t, request(t, client, server, at, []byte("known")).Early)
	require.True(t, request(t, client, server, at, bytes.Repeat([]byte("long"), 50_000)).Early)

	s := make(chan *acp.Stream, 1)
	go func() {
		far, _ := server.Accept()
		s <- far
	}()
	near, err := client.(acp.Endpoint).Dial(t.Context(), at)
	require.NoError(t, err)
	defer near.Close()
	require.False(t, (<-s).Early, "an ordinary connection is one")

	nobody := netip.AddrPortFrom(at.Addr(), 9)
	_, err = client.DialWith(t.Context(), nobody, []byte("known"))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// Where a system has it off, connections are opened as ever, and the operator is told.
func TestFastOpenRefused(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	client, server, at := fastPair(t)
	_, err := acp.Interfaces(server)
	require.NoError(t, err)
	request(t, client, server, at, []byte("first"))
	require.True(t, request(t, client, server, at, []byte("second")).Early)
	for _, bits := range []string{"1", "2", "0"} {
		netbed.Sysctl(t, "net/ipv4/tcp_fastopen", bits)
		require.False(t, request(t, client, server, at, []byte("as ever")).Early, bits)

		e, err := (&acp.Layer2{FastOpen: true}).Open()
		require.NoError(t, err)
		_, err = acp.Interfaces(e)
		require.ErrorContains(t, err, "net.ipv4.tcp_fastopen is "+bits)
		require.NoError(t, e.Close())
	}
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	require.True(t, request(t, client, server, at, []byte("again")).Early)
}

// An endpoint without it does not open streams with messages.
func TestFastOpenIsOff(t *testing.T) {
	e, err := (&acp.Layer2{Links: []string{"nolink0"}}).Open()
	require.NoError(t, err)
	defer e.Close()
	_, ok := e.(acp.Requester)
	require.False(t, ok)
	_, err = acp.Interfaces(e)
	if err != nil {
		require.False(t, strings.Contains(err.Error(), "FastOpen"))
	}
}
