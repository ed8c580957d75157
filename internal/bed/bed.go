// Package bed puts an instance beside peers that a test drives by hand: nodes
// whose endpoints the test uses itself, so that it decides every byte that is
// sent and sees every byte that comes. Messages are written as arrays and
// compared in CBOR's diagnostic notation, so that they look like the RFC's.
//
// Most of it is for a bubble of package synctest, in virtual time.
package bed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
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

// Arr is an array as the grammar of RFC 8990 writes it.
type Arr = []any

// Soon is how long something that needs no timer may take in a bubble, where
// time passes only when nothing else is left to do.
const Soon = time.Millisecond

// Ever is longer than any timer of GRASP.
const Ever = 2 * time.Hour

// Bed is an instance under test on links in memory. Each link has a peer that
// the test drives by hand.
type Bed struct {
	*testing.T
	Net    *memory.Network
	Links  []*memory.Link
	Node   *memory.Node
	G      *grasp.Instance
	ASA    *grasp.ASA
	Peer   *Peer // on the first link
	Far    *Peer // on the second link, if there is one
	Events *EventLog

	Nodes map[*grasp.Instance]*memory.Node // of other instances
}

// In runs a test in virtual time, with an instance on one link.
func In(t *testing.T, test func(b *Bed)) {
	t.Helper()
	InLinks(t, 1, grasp.Config{}, test)
}

// InLinks is inBed with any number of links and with settings.
func InLinks(t *testing.T, links int, cfg grasp.Config, test func(b *Bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &Bed{T: t, Net: memory.NewNetwork(1), Events: &EventLog{}}
		for range links {
			b.Links = append(b.Links, b.Net.NewLink(memory.LinkConfig{}))
		}
		b.Node = b.Net.NewNode("under test", b.Links...)
		if cfg.Plane == nil {
			cfg.Plane = b.Node
		}
		cfg.Trace = b.Events.Add
		g, err := grasp.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		b.G, b.ASA = g, NewASA(t, g, "ASA under test")
		b.Peer = b.NewPeer("peer", b.Links[0])
		if links > 1 {
			b.Far = b.NewPeer("far", b.Links[1])
		}
		test(b)
	})
}

// EventLog keeps what an instance tells its trace.
type EventLog struct {
	Mu     sync.Mutex // guards all following fields
	Events []grasp.Event
}

func (l *EventLog) Add(e grasp.Event) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	e.Raw = slices.Clone(e.Raw)
	l.Events = append(l.Events, e)
}

// Dropped returns what was dropped for a reason.
func (l *EventLog) Dropped(reason grasp.Reason) []grasp.Event {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	var out []grasp.Event
	for _, e := range l.Events {
		if e.Kind == grasp.Dropped && e.Reason == reason {
			out = append(out, e)
		}
	}
	return out
}

// WantDrop checks that something was dropped for a reason, that often since
// the instance began.
func (b *Bed) WantDrop(reason grasp.Reason, times int) {
	b.Helper()
	synctest.Wait()
	require.Len(b, b.Events.Dropped(reason), times, "dropped as %v", reason)
	require.EqualValues(b, times, b.G.Snapshot().Dropped[reason], "counter of %v", reason)
}

// At is where the instance takes streams: its address and port.
func (b *Bed) At() netip.AddrPort { return netip.AddrPortFrom(b.Node.Addr(), b.G.Snapshot().Port) }

// Index is what the instance calls a link.
func (b *Bed) Index(l *memory.Link) int { return LinkOf(b.Node, l).Index }

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

// Register registers objectives of the ASA under test.
func (b *Bed) Register(objs ...grasp.Objective) {
	b.Helper()
	for _, o := range objs {
		require.NoError(b, b.ASA.RegisterObj(o, grasp.RegisterOptions{}))
	}
}

// Answer is what a call returned, and when.
type Answer struct {
	S     *grasp.Session
	O     grasp.Objective
	Found []grasp.Locator
	Err   error
	At    time.Time
}

// Pending is a call under way.
type Pending struct {
	b  *Bed
	Ch chan Answer
}

// Call starts a call in the background and waits until it blocks or is done.
func (b *Bed) Call(f func() Answer) Pending {
	p := Pending{b, make(chan Answer, 1)}
	go func() {
		a := f()
		a.At = time.Now()
		p.Ch <- a
	}()
	synctest.Wait()
	return p
}

// Done returns what the call returned, which it has to do without a timer.
func (p Pending) Done() Answer {
	p.b.Helper()
	return p.Within(0)
}

// Within returns what the call returns within a time.
func (p Pending) Within(d time.Duration) Answer {
	p.b.Helper()
	select {
	case a := <-p.Ch:
		return a
	case <-time.After(d + Soon):
		require.Fail(p.b, "the call does not return", "within %v", d)
		return Answer{}
	}
}

// Ok is done for a call that must not fail.
func (p Pending) Ok() Answer {
	p.b.Helper()
	a := p.Done()
	require.NoError(p.b, a.Err)
	return a
}

// Blocks checks that the call waits.
func (p Pending) Blocks() {
	p.b.Helper()
	synctest.Wait()
	require.Empty(p.b, p.Ch, "the call returned")
}

// Request starts ReqNegotiate, listen ListenNegotiate, step NegotiateStep,
// synchronize Synchronize and discover Discover.
func (b *Bed) Request(o grasp.Objective, peer *grasp.Locator, timeout time.Duration) Pending {
	return b.Call(func() Answer {
		s, o, err := b.ASA.ReqNegotiate(context.Background(), o, peer, timeout)
		return Answer{S: s, O: o, Err: err}
	})
}

func (b *Bed) Listen(o grasp.Objective) Pending {
	return b.Call(func() Answer {
		s, o, err := b.ASA.ListenNegotiate(context.Background(), o)
		return Answer{S: s, O: o, Err: err}
	})
}

func (b *Bed) Step(s *grasp.Session, o grasp.Objective, timeout time.Duration) Pending {
	return b.Call(func() Answer {
		s, o, err := s.NegotiateStep(context.Background(), o, timeout)
		return Answer{S: s, O: o, Err: err}
	})
}

func (b *Bed) Synchronize(o grasp.Objective, peer *grasp.Locator, timeout time.Duration) Pending {
	return b.Call(func() Answer {
		o, err := b.ASA.Synchronize(context.Background(), o, peer, timeout)
		return Answer{O: o, Err: err}
	})
}

func (b *Bed) Discover(o grasp.Objective, timeout time.Duration, opt grasp.DiscoverOptions) Pending {
	return b.Call(func() Answer {
		found, err := b.ASA.Discover(context.Background(), o, timeout, opt)
		return Answer{Found: found, Err: err}
	})
}

// Asked is a ReqNegotiate of the ASA under test that has reached the peer: the
// call, the peer's end of the stream and the request.
func (b *Bed) Asked(o grasp.Objective) (Pending, *Stream, Packet) {
	b.Helper()
	call := b.Request(o, b.Peer.Locator(), 0)
	s := b.Peer.Dialed()
	return call, s, s.Next()
}

// Served is a request of the peer that a listener of the ASA under test got.
func (b *Bed) Served(o grasp.Objective, id uint32, value any) (*grasp.Session, grasp.Objective, *Stream) {
	b.Helper()
	call := b.Listen(o)
	s := b.Peer.Dial(b.At())
	s.Send(Arr{3, id, Arr{o.Name, flagsOf(o), o.LoopCount, value}})
	a := call.Ok()
	return a.S, a.O, s
}

// discoverable checks whether the instance answers the peer's discovery of an
// objective, and returns the answer if it does.
func (p *Peer) Discover(id uint32, name string) (Packet, bool) {
	p.t.Helper()
	p.Multicast(Arr{1, id, p.Addr(), Arr{name, 1, 6, nil}})
	select {
	case c := <-p.accepted:
		s := p.stream(c)
		m := s.Next()
		s.Closed()
		return m, true
	default:
		return Packet{}, false
	}
}

// Respond answers a discovery that the peer heard, as a responder does.
func (p *Peer) Respond(to Packet, m any) {
	p.t.Helper()
	s := p.Dial(to.From)
	s.Send(m)
	require.NoError(p.t, s.Close())
	synctest.Wait()
}

// Learn has the instance discover an objective, and a peer respond with
// options, so that they are in the cache.
func (b *Bed) Learn(from *Peer, name string, ttl int, options ...any) {
	b.Helper()
	for _, p := range []*Peer{b.Peer, b.Far} {
		if p != nil {
			p.All()
		}
	}
	call := b.Discover(Syn(name, nil), time.Hour, grasp.DiscoverOptions{First: true, Flush: true})
	var m Packet
	for _, p := range []*Peer{b.Peer, b.Far} {
		if p == nil {
			continue
		}
		if heard := p.Only(); p == from {
			m = heard
		}
	}
	from.Respond(m, append(Arr{2, m.ID(b), m.Items(b)[2], ttl}, options...))
	require.NotEmpty(b, call.Ok().Found)
}

// LinkOf is what a node calls a link.
func LinkOf(n *memory.Node, l *memory.Link) acp.Link {
	link, ok := n.Link(l)
	if !ok {
		panic("the node is not on the link")
	}
	return link
}

// Zone is an index as a zone.
func Zone(index int) string { return strconv.Itoa(index) }

// IsCode checks that an error is, or wraps, a code and no other.
func IsCode(t testing.TB, err error, code grasp.ErrorCode) {
	t.Helper()
	require.ErrorIs(t, err, code)
	require.Equal(t, code, grasp.Code(err))
	require.False(t, errors.Is(err, grasp.ErrDeclined) && code != grasp.ErrDeclined)
}

// flagsOf are the flags of an objective as they are sent.
func flagsOf(o grasp.Objective) int {
	flags := 1
	for bit, set := range []bool{o.Neg, o.Synch, o.Dry} {
		if set {
			flags |= 2 << bit
		}
	}
	return flags
}
