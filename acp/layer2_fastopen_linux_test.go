package acp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/longtest"
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

// farPair is fastPair with a wire between the two. It opens as many clients as it takes
// on a busy machine, where an opening can come late and leave the peer in doubt.
func farPair(t *testing.T) (open func() acp.Requester, server acp.Endpoint, at netip.AddrPort, w *netbed.Wire) {
	t.Helper()
	far := netbed.NewNode(t, "far")
	far.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	w = netbed.NewWire(t, 1, nil, "va0", far, "va1", netbed.Trouble{})
	netbed.AddAddr(t, "va0", "fd01::1/64")
	far.AddAddr(t, "va1", "fd01::2/64")
	server, err := acp.In(func(f func()) { far.Do(t, f) }, acp.Layer2{Links: []string{"va1"}, FastOpen: true}).Open()
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	open = func() acp.Requester {
		near, err := (&acp.Layer2{Links: []string{"va0"}, FastOpen: true}).Open()
		require.NoError(t, err)
		t.Cleanup(func() { _ = near.Close() })
		return near.(acp.Requester)
	}
	return open, server, netip.AddrPortFrom(netip.MustParseAddr("fd01::2"), server.Port()), w
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
	require.ErrorIs(t, err, acp.ErrUndelivered)
}

// A peer that does not answer may have what went with the opening, if that was all of it.
func TestFastOpenUnanswered(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	client, server, at := fastPair(t)
	request(t, client, server, at, []byte("unknown"))
	require.True(t, request(t, client, server, at, []byte("known")).Early)
	netbed.IP(t, "addr", "del", at.Addr().WithZone("").String()+"/64", "dev", "va1")
	for _, c := range []struct {
		msg         []byte
		undelivered bool
	}{{[]byte("gone"), false}, {bytes.Repeat([]byte("gone"), 50_000), true}} {
		ctx, cancel := context.WithCancel(t.Context())
		before := netbed.Counter(t, "TcpActiveOpens")
		var waiting sync.WaitGroup
		waiting.Go(func() { // for the opening to be sent
			defer cancel()
			for end := time.Now().Add(patience); netbed.Counter(t, "TcpActiveOpens") == before && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
		})
		_, err := client.DialWith(ctx, at, c.msg)
		waiting.Wait()
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, c.undelivered, errors.Is(err, acp.ErrUndelivered), "%v", err)
	}
	_, err := client.DialWith(t.Context(), netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 9), []byte("no way"))
	require.ErrorIs(t, err, syscall.ENETUNREACH)
	require.ErrorIs(t, err, acp.ErrUndelivered)
}

// A path that loses what opens a connection with data costs a second once: the system
// repeats the opening without, and then the peer is connected to as ever.
func TestFastOpenIsLost(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	open, server, at, w := farPair(t)
	var client acp.Requester
	netbed.Eventually(t, netbed.Patience, "an opening carries data, soon enough to leave no doubt", func() bool {
		client = open()
		start := time.Now()
		return request(t, client, server, at, []byte("known")).Early && time.Since(start) < 400*time.Millisecond
	})
	w.Set(netbed.Trouble{NoEarly: true})
	before := w.Counts().Lost
	require.False(t, request(t, client, server, at, []byte("lost")).Early)
	require.Greater(t, w.Counts().Lost, before)
	before = w.Counts().Lost
	require.False(t, request(t, client, server, at, []byte("in doubt")).Early)
	require.Equal(t, before, w.Counts().Lost)
}

// A long way is no such path.
func TestFastOpenOverALongWay(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	open, server, at, w := farPair(t)
	request(t, open(), server, at, []byte("unknown"))
	w.Set(netbed.Trouble{Delay: 300 * time.Millisecond})
	netbed.Eventually(t, netbed.Patience, "three openings carry data, though each takes long", func() bool {
		client := open()
		for range 3 {
			if !request(t, client, server, at, []byte("known")).Early {
				return false // the machine was busy
			}
		}
		return true
	})
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
