package acptest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Patience is for what has to happen at once.
const Patience = netbed.Patience

// Open opens an endpoint and waits for its first link.
func Open(t *testing.T, p acp.Plane) acp.Endpoint {
	t.Helper()
	e, err := p.Open()
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	for deadline := time.Now().Add(Patience); len(e.Links()) == 0; {
		require.True(t, time.Now().Before(deadline), "no link")
		select {
		case <-e.Changed():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return e
}

// Received is a result of Receive.
type Received struct {
	Msg  string
	From acp.Origin
}

// EndpointOf opens an endpoint, whether it has links or not.
func EndpointOf(t *testing.T, p acp.Plane) acp.Endpoint {
	t.Helper()
	e, err := p.Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.Close()) })
	return e
}

// Pair returns a link in memory and two nodes on it, a and b.
func Pair(cfg memory.LinkConfig) (l *memory.Link, a, b *memory.Node) {
	n := memory.NewNetwork(1)
	l = n.NewLink(cfg)
	return l, n.NewNode("a", l), n.NewNode("b", l)
}

// Receive receives everything in the background, until the endpoint is closed.
func Receive(t *testing.T, e acp.Endpoint) <-chan Received {
	t.Helper()
	c := make(chan Received, 4096)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2*acp.MaxMulticast)
		for {
			n, from, err := e.Receive(buf)
			if err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
				return
			}
			select {
			case c <- Received{string(buf[:n]), from}:
			default:
				assert.Fail(t, "nobody takes what is received")
			}
		}
	})
	t.Cleanup(func() {
		_ = e.Close()
		wg.Wait()
	})
	return c
}

// Hear waits until a message is received, ignoring others.
func Hear(t *testing.T, c <-chan Received, msg string) acp.Origin {
	t.Helper()
	timeout := time.After(Patience)
	for {
		select {
		case r := <-c:
			if r.Msg == msg {
				return r.From
			}
		case <-timeout:
			require.Fail(t, "not heard", "%.40q", msg)
		}
	}
}

// Item returns a message with a text: a CBOR item, as planes expect.
func Item(text string) string {
	raw, err := cbor.Marshal(text)
	if err != nil {
		panic(err) // texts always encode
	}
	return string(raw)
}

// Nonce returns a message that nobody else sends.
func Nonce() string { return Item(fmt.Sprintf("test %016x", rand.Uint64())) }

// largest is nonce with the largest message that the endpoint takes.
func largest(t *testing.T, e acp.Endpoint) string {
	t.Helper()
	msg := Nonce()
	msg = Item(msg + strings.Repeat("x", e.MaxMulticast()-len(msg)-3)) // which take 3 bytes to say how many
	require.Len(t, msg, e.MaxMulticast())
	return msg
}

// Member is an endpoint that receives in the background.
type Member struct {
	acp.Endpoint
	Heard <-chan Received
}

// Join opens an endpoint that receives in the background.
func Join(t *testing.T, p acp.Plane) Member {
	t.Helper()
	e := Open(t, p)
	return Member{e, Receive(t, e)}
}

// meet has b hear from a, and returns the origin and the link's index at a.
func meet(t *testing.T, a acp.Endpoint, b Member) (from acp.Origin, link int) {
	t.Helper()
	byMsg := make(map[string]int)
	for _, l := range a.Links() {
		msg := Nonce()
		byMsg[msg] = l.Index
		require.NoError(t, a.Send(l.Index, []byte(msg)))
	}
	timeout := time.After(Patience)
	for {
		select {
		case r := <-b.Heard:
			if l, ok := byMsg[r.Msg]; ok {
				return r.From, l
			}
		case <-timeout:
			require.Fail(t, "not on the same link")
		}
	}
}

// connect has b dial a where a's multicasts come from.
func connect(t *testing.T, a acp.Endpoint, b Member) (dialed, accepted *acp.Stream) {
	t.Helper()
	from, _ := meet(t, a, b)
	return connectTo(t, from, a, b)
}

func connectTo(t *testing.T, from acp.Origin, a acp.Endpoint, b Member) (dialed, accepted *acp.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	dialed, err := b.Dial(ctx, from.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = dialed.Close() })
	accepted, err = a.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return dialed, accepted
}

// Say writes a message at one end of a stream and reads it at the other.
func Say(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	msg := Item(text)
	_, err := from.Write([]byte(msg))
	require.NoError(t, err)
	require.NoError(t, to.SetReadDeadline(time.Now().Add(Patience)))
	buf := make([]byte, len(msg))
	_, err = io.ReadFull(to, buf)
	require.NoError(t, err)
	require.Equal(t, msg, string(buf))
}

// Within fails if f takes too long.
func Within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(Patience):
		require.Fail(t, "takes too long", what)
	}
}

func linkIndexes(e acp.Endpoint) []int {
	var indexes []int
	for _, l := range e.Links() {
		indexes = append(indexes, l.Index)
	}
	return indexes
}
