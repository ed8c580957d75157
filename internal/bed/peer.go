package bed

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// Peer is a node that the test drives by hand.
type Peer struct {
	t        testing.TB
	Node     *memory.Node
	Link     *memory.Link // the first one it is on
	Endpoint acp.Endpoint

	accepted chan *acp.Stream
	mu       sync.Mutex // guards all following fields
	heard    []Packet
}

// Packet is a multicast or another message that a peer got.
type Packet struct {
	Raw  []byte
	From netip.AddrPort
	Link int
	At   time.Time
}

func (b *Bed) NewPeer(name string, links ...*memory.Link) *Peer {
	b.Helper()
	p := &Peer{t: b, Node: b.Net.NewNode(name, links...), Link: links[0], accepted: make(chan *acp.Stream, 1024)}
	ep, err := p.Node.Open()
	require.NoError(b, err)
	p.Endpoint = ep
	var done sync.WaitGroup
	done.Go(p.receive)
	done.Go(p.accept)
	b.Cleanup(func() {
		require.NoError(b, ep.Close())
		done.Wait()
	})
	return p
}

func (p *Peer) receive() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := p.Endpoint.Receive(buf)
		if err != nil {
			return
		}
		if link, ok := p.Node.Link(p.Link); ok && from.Addr == netip.AddrPortFrom(link.Addr, p.Endpoint.Port()) {
			continue // its own
		}
		p.mu.Lock()
		p.heard = append(p.heard, Packet{slices.Clone(buf[:n]), from.Addr, from.Link, time.Now()})
		p.mu.Unlock()
	}
}

func (p *Peer) accept() {
	for {
		c, err := p.Endpoint.Accept()
		if err != nil {
			return
		}
		p.accepted <- c
	}
}

// Addr is the peer's address as it is sent in an initiator or a locator.
func (p *Peer) Addr() []byte { return p.Node.Addr().AsSlice() }

// Locator is where the peer takes streams.
func (p *Peer) Locator() *grasp.Locator {
	l := grasp.NewLocator(netip.AddrPortFrom(p.Node.Addr(), p.Endpoint.Port()))
	return &l
}

// Option is the peer's locator as it is sent.
func (p *Peer) Option() Arr { return Arr{103, p.Addr(), 6, p.Endpoint.Port()} }

// Multicast sends a message on the peer's link.
func (p *Peer) Multicast(m any) {
	p.t.Helper()
	p.multicastOn(p.Link, m)
}

func (p *Peer) multicastOn(on *memory.Link, m any) {
	p.t.Helper()
	require.NoError(p.t, p.Endpoint.Send(LinkOf(p.Node, on).Index, Encoded(p.t, m)))
	synctest.Wait()
}

// All returns the multicasts heard from others since the last call.
func (p *Peer) All() []Packet {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	heard := p.heard
	p.heard = nil
	return heard
}

// Only returns the one multicast heard since the last call.
func (p *Peer) Only() Packet {
	p.t.Helper()
	heard := p.All()
	require.Len(p.t, heard, 1, "multicasts: %v", heard)
	return heard[0]
}

// None checks that no multicast was heard since the last call.
func (p *Peer) None() {
	p.t.Helper()
	require.Empty(p.t, p.All(), "multicasts")
}

// Dial opens a stream to an address, link-local ones with the peer's zone.
func (p *Peer) Dial(to netip.AddrPort) *Stream {
	p.t.Helper()
	c, err := p.Endpoint.Dial(context.Background(), to)
	require.NoError(p.t, err)
	return p.stream(c)
}

// Dialed returns the stream that the instance opens to the peer at once.
func (p *Peer) Dialed() *Stream {
	p.t.Helper()
	select {
	case c := <-p.accepted:
		return p.stream(c)
	case <-time.After(Soon):
		require.Fail(p.t, "nobody connects")
		return nil
	}
}

// NotDialed checks that nobody connects.
func (p *Peer) NotDialed() {
	p.t.Helper()
	synctest.Wait()
	require.Empty(p.t, p.accepted, "connections")
}

func (p *Peer) stream(c *acp.Stream) *Stream {
	p.t.Cleanup(func() { _ = c.Close() })
	return &Stream{T: p.t, Stream: c}
}

// Stream is a connection that the test drives by hand.
type Stream struct {
	T testing.TB
	*acp.Stream
	Buf []byte
}

// Send writes messages with one write.
func (s *Stream) Send(messages ...any) {
	s.T.Helper()
	var raw []byte
	for _, m := range messages {
		raw = append(raw, Encoded(s.T, m)...)
	}
	_, err := s.Write(raw)
	require.NoError(s.T, err)
	synctest.Wait()
}

// NextWithin returns the next message, within a time.
func (s *Stream) NextWithin(within time.Duration) (Packet, error) {
	require.NoError(s.T, s.SetReadDeadline(time.Now().Add(within)))
	for {
		if n, err := wire.Scan(s.Buf, wire.Limits{Bytes: 1 << 20}); len(s.Buf) > 0 && err == nil {
			p := Packet{Raw: s.Buf[:n], From: s.Peer, Link: s.Link, At: time.Now()}
			s.Buf = s.Buf[n:]
			return p, nil
		}
		chunk := make([]byte, 1<<16)
		n, err := s.Read(chunk)
		if err != nil {
			return Packet{}, err
		}
		s.Buf = append(s.Buf, chunk[:n]...)
	}
}

// Next returns the message that comes at once.
func (s *Stream) Next() Packet {
	s.T.Helper()
	p, err := s.NextWithin(Soon)
	require.NoError(s.T, err)
	return p
}

// Closed checks that the other end closes at once, without a further word.
func (s *Stream) Closed() {
	s.T.Helper()
	p, err := s.NextWithin(Soon)
	require.ErrorIs(s.T, err, io.EOF, "%v", p)
	require.Empty(s.T, s.Buf)
}

// Silent checks that the other end neither says anything nor closes in a time.
func (s *Stream) Silent(during time.Duration) {
	s.T.Helper()
	p, err := s.NextWithin(during)
	require.ErrorIs(s.T, err, os.ErrDeadlineExceeded, "%v", p)
}

// Encoded returns a message as it is sent: bytes as they are, an array encoded.
func Encoded(t testing.TB, m any) []byte {
	t.Helper()
	if raw, ok := m.([]byte); ok {
		return raw
	}
	raw, err := cbor.Marshal(m)
	require.NoError(t, err)
	return raw
}

// String returns the message in diagnostic notation.
func (p Packet) String() string {
	text, err := cbor.Diagnose(p.Raw)
	if err != nil {
		return fmt.Sprintf("%x: %v", p.Raw, err)
	}
	return text
}

// Is checks the message: a format with %d for the session ID, which is the
// second item of every message.
func (p Packet) Is(t testing.TB, want string) {
	t.Helper()
	require.Equal(t, fmt.Sprintf(want, p.ID(t)), p.String())
}

// Items returns the items of the message.
func (p Packet) Items(t testing.TB) Arr {
	t.Helper()
	var items Arr
	require.NoError(t, cbor.Unmarshal(p.Raw, &items), "%v", p)
	return items
}

// ID returns the session ID of the message.
func (p Packet) ID(t testing.TB) uint32 {
	t.Helper()
	return uint32(p.Items(t)[1].(uint64))
}

// Hex writes a byte string as diagnostic notation does.
func Hex(b []byte) string { return fmt.Sprintf("h'%x'", b) }

// IP returns an address as it is sent.
func IP(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// Neg and syn are objectives for negotiation and for synchronization.
func Neg(name string, value any) grasp.Objective {
	return grasp.Objective{Name: name, Neg: true, LoopCount: grasp.DefaultLoopCount, Value: value}
}

func Syn(name string, value any) grasp.Objective {
	return grasp.Objective{Name: name, Synch: true, LoopCount: grasp.DefaultLoopCount, Value: value}
}
