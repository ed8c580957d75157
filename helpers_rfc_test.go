package grasp

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

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// The tests that walk the RFCs put an instance beside peers that are driven by
// hand: nodes whose endpoints the test uses itself, so that it decides every
// byte that is sent and sees every byte that comes. Messages are written as
// arrays and compared in CBOR's diagnostic notation, so that they look like
// the RFC's.

// arr is an array as the grammar of RFC 8990 writes it.
type arr = []any

// soon is how long something that needs no timer may take in a bubble, where
// time passes only when nothing else is left to do.
const soon = time.Millisecond

// ever is longer than any timer of GRASP.
const ever = 2 * time.Hour

// bed is an instance under test on links in memory. Each link has a peer that
// the test drives by hand.
type bed struct {
	*testing.T
	net   *memory.Network
	links []*memory.Link
	node  *memory.Node
	g     *Instance
	asa   *ASA
	peer  *rawPeer // on the first link
	far   *rawPeer // on the second link, if there is one
	log   *eventLog

	nodes map[*Instance]*memory.Node // of other instances
}

// inBed runs a test in virtual time, with an instance on one link.
func inBed(t *testing.T, test func(b *bed)) {
	t.Helper()
	inBedOf(t, 1, Config{}, test)
}

// inBedOf is inBed with any number of links and with settings.
func inBedOf(t *testing.T, links int, cfg Config, test func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{T: t, net: memory.NewNetwork(1), log: &eventLog{}}
		for range links {
			b.links = append(b.links, b.net.NewLink(memory.LinkConfig{}))
		}
		b.node = b.net.NewNode("under test", b.links...)
		if cfg.Plane == nil {
			cfg.Plane = b.node
		}
		cfg.Trace = b.log.add
		g, err := New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		b.g, b.asa = g, newASA(t, g, "ASA under test")
		b.peer = b.newPeer("peer", b.links[0])
		if links > 1 {
			b.far = b.newPeer("far", b.links[1])
		}
		test(b)
	})
}

// eventLog keeps what an instance tells its trace.
type eventLog struct {
	mu     sync.Mutex // guards all following fields
	events []Event
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Raw = slices.Clone(e.Raw)
	l.events = append(l.events, e)
}

// dropped returns what was dropped for a reason.
func (l *eventLog) dropped(reason Reason) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Event
	for _, e := range l.events {
		if e.Kind == Dropped && e.Reason == reason {
			out = append(out, e)
		}
	}
	return out
}

// wantDrop checks that something was dropped for a reason, that often since
// the instance began.
func (b *bed) wantDrop(reason Reason, times int) {
	b.Helper()
	synctest.Wait()
	require.Len(b, b.log.dropped(reason), times, "dropped as %v", reason)
	require.EqualValues(b, times, b.g.Snapshot().Dropped[reason.String()], "counter of %v", reason)
}

// at is where the instance takes streams: its address and port.
func (b *bed) at() netip.AddrPort { return netip.AddrPortFrom(b.node.Addr(), b.g.ep.Port()) }

// index is what the instance calls a link.
func (b *bed) index(l *memory.Link) int { return linkOf(b.node, l).Index }

// rawPeer is a node that the test drives by hand.
type rawPeer struct {
	t    testing.TB
	node *memory.Node
	link *memory.Link // the first one it is on
	ep   acp.Endpoint

	accepted chan *acp.Stream
	mu       sync.Mutex // guards all following fields
	heard    []packet
}

// packet is a multicast or another message that a peer got.
type packet struct {
	raw  []byte
	from netip.AddrPort
	link int
	at   time.Time
}

func (b *bed) newPeer(name string, links ...*memory.Link) *rawPeer {
	b.Helper()
	p := &rawPeer{t: b, node: b.net.NewNode(name, links...), link: links[0], accepted: make(chan *acp.Stream, 1024)}
	ep, err := p.node.Open()
	require.NoError(b, err)
	p.ep = ep
	var done sync.WaitGroup
	done.Go(p.receive)
	done.Go(p.accept)
	b.Cleanup(func() {
		require.NoError(b, ep.Close())
		done.Wait()
	})
	return p
}

func (p *rawPeer) receive() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := p.ep.Receive(buf)
		if err != nil {
			return
		}
		if link, ok := p.node.Link(p.link); ok && from.Addr == netip.AddrPortFrom(link.Addr, p.ep.Port()) {
			continue // its own
		}
		p.mu.Lock()
		p.heard = append(p.heard, packet{slices.Clone(buf[:n]), from.Addr, from.Link, time.Now()})
		p.mu.Unlock()
	}
}

func (p *rawPeer) accept() {
	for {
		c, err := p.ep.Accept()
		if err != nil {
			return
		}
		p.accepted <- c
	}
}

// addr is the peer's address as it is sent in an initiator or a locator.
func (p *rawPeer) addr() []byte { return p.node.Addr().AsSlice() }

// locator is where the peer takes streams.
func (p *rawPeer) locator() *Locator {
	l := NewLocator(netip.AddrPortFrom(p.node.Addr(), p.ep.Port()))
	return &l
}

// option is the peer's locator as it is sent.
func (p *rawPeer) option() arr { return arr{103, p.addr(), 6, p.ep.Port()} }

// multicast sends a message on the peer's link.
func (p *rawPeer) multicast(m any) {
	p.t.Helper()
	p.multicastOn(p.link, m)
}

func (p *rawPeer) multicastOn(on *memory.Link, m any) {
	p.t.Helper()
	require.NoError(p.t, p.ep.Send(linkOf(p.node, on).Index, encoded(p.t, m)))
	synctest.Wait()
}

// all returns the multicasts heard from others since the last call.
func (p *rawPeer) all() []packet {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	heard := p.heard
	p.heard = nil
	return heard
}

// only returns the one multicast heard since the last call.
func (p *rawPeer) only() packet {
	p.t.Helper()
	heard := p.all()
	require.Len(p.t, heard, 1, "multicasts: %v", heard)
	return heard[0]
}

// none checks that no multicast was heard since the last call.
func (p *rawPeer) none() {
	p.t.Helper()
	require.Empty(p.t, p.all(), "multicasts")
}

// dial opens a stream to an address, link-local ones with the peer's zone.
func (p *rawPeer) dial(to netip.AddrPort) *rawStream {
	p.t.Helper()
	c, err := p.ep.Dial(context.Background(), to)
	require.NoError(p.t, err)
	return p.stream(c)
}

// dialed returns the stream that the instance opens to the peer at once.
func (p *rawPeer) dialed() *rawStream {
	p.t.Helper()
	select {
	case c := <-p.accepted:
		return p.stream(c)
	case <-time.After(soon):
		require.Fail(p.t, "nobody connects")
		return nil
	}
}

// notDialed checks that nobody connects.
func (p *rawPeer) notDialed() {
	p.t.Helper()
	synctest.Wait()
	require.Empty(p.t, p.accepted, "connections")
}

func (p *rawPeer) stream(c *acp.Stream) *rawStream {
	p.t.Cleanup(func() { _ = c.Close() })
	return &rawStream{t: p.t, Stream: c}
}

// rawStream is a connection that the test drives by hand.
type rawStream struct {
	t testing.TB
	*acp.Stream
	buf []byte
}

// send writes messages with one write.
func (s *rawStream) send(messages ...any) {
	s.t.Helper()
	var raw []byte
	for _, m := range messages {
		raw = append(raw, encoded(s.t, m)...)
	}
	_, err := s.Write(raw)
	require.NoError(s.t, err)
	synctest.Wait()
}

// next returns the next message, within a time.
func (s *rawStream) next(within time.Duration) (packet, error) {
	require.NoError(s.t, s.SetReadDeadline(time.Now().Add(within)))
	for {
		if n, err := wire.Scan(s.buf, wire.Limits{Bytes: 1 << 20}); len(s.buf) > 0 && err == nil {
			p := packet{raw: s.buf[:n], from: s.Peer, link: s.Link, at: time.Now()}
			s.buf = s.buf[n:]
			return p, nil
		}
		chunk := make([]byte, 1<<16)
		n, err := s.Read(chunk)
		if err != nil {
			return packet{}, err
		}
		s.buf = append(s.buf, chunk[:n]...)
	}
}

// read returns the message that comes at once.
func (s *rawStream) read() packet {
	s.t.Helper()
	p, err := s.next(soon)
	require.NoError(s.t, err)
	return p
}

// closed checks that the other end closes at once, without a further word.
func (s *rawStream) closed() {
	s.t.Helper()
	p, err := s.next(soon)
	require.ErrorIs(s.t, err, io.EOF, "%v", p)
	require.Empty(s.t, s.buf)
}

// silent checks that the other end neither says anything nor closes in a time.
func (s *rawStream) silent(during time.Duration) {
	s.t.Helper()
	p, err := s.next(during)
	require.ErrorIs(s.t, err, os.ErrDeadlineExceeded, "%v", p)
}

// encoded returns a message as it is sent: bytes as they are, an array encoded.
func encoded(t testing.TB, m any) []byte {
	t.Helper()
	if raw, ok := m.([]byte); ok {
		return raw
	}
	raw, err := cbor.Marshal(m)
	require.NoError(t, err)
	return raw
}

// String returns the message in diagnostic notation.
func (p packet) String() string {
	text, err := cbor.Diagnose(p.raw)
	if err != nil {
		return fmt.Sprintf("%x: %v", p.raw, err)
	}
	return text
}

// is checks the message: a format with %d for the session ID, which is the
// second item of every message.
func (p packet) is(t testing.TB, want string) {
	t.Helper()
	require.Equal(t, fmt.Sprintf(want, p.id(t)), p.String())
}

// items returns the items of the message.
func (p packet) items(t testing.TB) arr {
	t.Helper()
	var items arr
	require.NoError(t, cbor.Unmarshal(p.raw, &items), "%v", p)
	return items
}

// id returns the session ID of the message.
func (p packet) id(t testing.TB) uint32 {
	t.Helper()
	return uint32(p.items(t)[1].(uint64))
}

// peerA is an address of nobody.
var peerA = netip.MustParseAddr("fd00::a")

// hx writes a byte string as diagnostic notation does.
func hx(b []byte) string { return fmt.Sprintf("h'%x'", b) }

// ip returns an address as it is sent.
func ip(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// neg and syn are objectives for negotiation and for synchronization.
func neg(name string, value any) Objective {
	return Objective{Name: name, Neg: true, LoopCount: DefaultLoopCount, Value: value}
}

func syn(name string, value any) Objective {
	return Objective{Name: name, Synch: true, LoopCount: DefaultLoopCount, Value: value}
}

// register registers objectives of the ASA under test.
func (b *bed) register(objs ...Objective) {
	b.Helper()
	for _, o := range objs {
		require.NoError(b, b.asa.RegisterObj(o, RegisterOptions{}))
	}
}

// answer is what a call returned, and when.
type answer struct {
	s     *Session
	o     Objective
	found []Locator
	err   error
	at    time.Time
}

// pending is a call under way.
type pending struct {
	b  *bed
	ch chan answer
}

// call starts a call in the background and waits until it blocks or is done.
func (b *bed) call(f func() answer) pending {
	p := pending{b, make(chan answer, 1)}
	go func() {
		a := f()
		a.at = time.Now()
		p.ch <- a
	}()
	synctest.Wait()
	return p
}

// done returns what the call returned, which it has to do without a timer.
func (p pending) done() answer {
	p.b.Helper()
	return p.within(0)
}

// within returns what the call returns within a time.
func (p pending) within(d time.Duration) answer {
	p.b.Helper()
	select {
	case a := <-p.ch:
		return a
	case <-time.After(d + soon):
		require.Fail(p.b, "the call does not return", "within %v", d)
		return answer{}
	}
}

// ok is done for a call that must not fail.
func (p pending) ok() answer {
	p.b.Helper()
	a := p.done()
	require.NoError(p.b, a.err)
	return a
}

// blocks checks that the call waits.
func (p pending) blocks() {
	p.b.Helper()
	synctest.Wait()
	require.Empty(p.b, p.ch, "the call returned")
}

// request starts ReqNegotiate, listen ListenNegotiate, step NegotiateStep,
// synchronize Synchronize and discover Discover.
func (b *bed) request(o Objective, peer *Locator, timeout time.Duration) pending {
	return b.call(func() answer {
		s, o, err := b.asa.ReqNegotiate(context.Background(), o, peer, timeout)
		return answer{s: s, o: o, err: err}
	})
}

func (b *bed) listen(o Objective) pending {
	return b.call(func() answer {
		s, o, err := b.asa.ListenNegotiate(context.Background(), o)
		return answer{s: s, o: o, err: err}
	})
}

func (b *bed) step(s *Session, o Objective, timeout time.Duration) pending {
	return b.call(func() answer {
		s, o, err := s.NegotiateStep(context.Background(), o, timeout)
		return answer{s: s, o: o, err: err}
	})
}

func (b *bed) synchronize(o Objective, peer *Locator, timeout time.Duration) pending {
	return b.call(func() answer {
		o, err := b.asa.Synchronize(context.Background(), o, peer, timeout)
		return answer{o: o, err: err}
	})
}

func (b *bed) discover(o Objective, timeout time.Duration, opt DiscoverOptions) pending {
	return b.call(func() answer {
		found, err := b.asa.Discover(context.Background(), o, timeout, opt)
		return answer{found: found, err: err}
	})
}

// asked is a ReqNegotiate of the ASA under test that has reached the peer: the
// call, the peer's end of the stream and the request.
func (b *bed) asked(o Objective) (pending, *rawStream, packet) {
	b.Helper()
	call := b.request(o, b.peer.locator(), 0)
	s := b.peer.dialed()
	return call, s, s.read()
}

// served is a request of the peer that a listener of the ASA under test got.
func (b *bed) served(o Objective, id uint32, value any) (*Session, Objective, *rawStream) {
	b.Helper()
	call := b.listen(o)
	s := b.peer.dial(b.at())
	s.send(arr{3, id, arr{o.Name, flagsOf(o), o.LoopCount, value}})
	a := call.ok()
	return a.s, a.o, s
}

// discoverable checks whether the instance answers the peer's discovery of an
// objective, and returns the answer if it does.
func (p *rawPeer) discover(id uint32, name string) (packet, bool) {
	p.t.Helper()
	p.multicast(arr{1, id, p.addr(), arr{name, 1, 6, nil}})
	select {
	case c := <-p.accepted:
		s := p.stream(c)
		m := s.read()
		s.closed()
		return m, true
	default:
		return packet{}, false
	}
}

// respond answers a discovery that the peer heard, as a responder does.
func (p *rawPeer) respond(to packet, m any) {
	p.t.Helper()
	s := p.dial(to.from)
	s.send(m)
	require.NoError(p.t, s.Close())
	synctest.Wait()
}

// learn has the instance discover an objective, and a peer respond with
// options, so that they are in the cache.
func (b *bed) learn(from *rawPeer, name string, ttl int, options ...any) {
	b.Helper()
	for _, p := range []*rawPeer{b.peer, b.far} {
		if p != nil {
			p.all()
		}
	}
	call := b.discover(syn(name, nil), time.Hour, DiscoverOptions{First: true, Flush: true})
	var m packet
	for _, p := range []*rawPeer{b.peer, b.far} {
		if p == nil {
			continue
		}
		if heard := p.only(); p == from {
			m = heard
		}
	}
	from.respond(m, append(arr{2, m.id(b), m.items(b)[2], ttl}, options...))
	require.NotEmpty(b, call.ok().found)
}

// linkOf is what a node calls a link.
func linkOf(n *memory.Node, l *memory.Link) acp.Link {
	link, ok := n.Link(l)
	if !ok {
		panic("the node is not on the link")
	}
	return link
}

// zone is an index as a zone.
func zone(index int) string { return strconv.Itoa(index) }

// isCode checks that an error is, or wraps, a code and no other.
func isCode(t testing.TB, err error, code ErrorCode) {
	t.Helper()
	require.ErrorIs(t, err, code)
	require.Equal(t, code, Code(err))
	require.False(t, errors.Is(err, ErrDeclined) && code != ErrDeclined)
}

// flagsOf are the flags of an objective as they are sent.
func flagsOf(o Objective) int {
	flags := 1
	for bit, set := range []bool{o.Neg, o.Synch, o.Dry} {
		if set {
			flags |= 2 << bit
		}
	}
	return flags
}
