package grasp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/framing"
	"github.com/go-grasp/grasp/internal/pace"
	"github.com/go-grasp/grasp/internal/share"
	"github.com/go-grasp/grasp/internal/wire"
)

// sendTimeout is how long a peer may take to read what it is sent.
const sendTimeout = 10 * time.Second

// stream is a connection on which messages are read by CBOR's own
// boundaries, whatever the segmentation (RFC 8990 section 2.5.3).
type stream struct {
	*acp.Stream
	reader  framing.Reader
	table   *streamTable
	local   bool   // both ends are this instance
	session uint32 // of a rapid answer
	memory  int    // that it takes while it is undecided
}

// setLimits sets the limits for what is read from now on.
func (s *stream) setLimits(lim wire.Limits) {
	s.reader.Limits = lim
	s.SetMaxMessage(lim.Bytes)
}

// next returns the next CBOR item of the stream, in a slice that is valid
// until the call after: see framing.Reader. The error is ErrCancelled if the
// context ended.
func (s *stream) next(ctx context.Context, deadline time.Time) ([]byte, error) {
	raw, err := s.reader.Next(ctx, deadline)
	if errors.Is(err, framing.ErrInterrupted) {
		err = &withCode{ErrCancelled, context.Cause(ctx)}
	}
	return raw, err
}

// raw returns the message read last.
func (s *stream) raw() []byte { return s.reader.Last() }

// message reads and parses the next message. M_NOOP is passed over (RFC 8990
// section 2.8.13).
func (s *stream) message(ctx context.Context, deadline time.Time) (wire.Message, error) {
	for {
		raw, err := s.next(ctx, deadline)
		if err != nil && raw != nil {
			_, err = wire.Parse(raw, s.reader.Limits) // whose it is, if that much can be read
		}
		if err != nil {
			return nil, err
		}
		m, err := wire.ParseScanned(raw)
		if err != nil {
			return nil, err
		}
		if m.Type() != wire.TypeNoop {
			return m, nil
		}
	}
}

// arrived returns the first message if it has come already and is valid. If
// not, message tells.
func (s *stream) arrived() wire.Message {
	raw, err := s.reader.Arrived()
	if err != nil {
		return nil
	}
	m, err := wire.ParseScanned(raw)
	if err != nil || m.Type() == wire.TypeNoop {
		s.reader.Unread()
		return nil
	}
	return m
}

// send writes a message, with one write: some peers take a segment for a
// message.
func (s *stream) send(msg []byte, timeout time.Duration) error {
	if err := s.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := s.Write(msg)
	return err
}

// close closes the connection. It may be called more than once.
func (s *stream) close() {
	s.table.remove(s)
	_ = s.Close()
}

// streamMemory is what a stream takes that waits, besides the message it waits
// for: its goroutine, and its places in tables.
const streamMemory = 5 << 10

// streamTable holds the open streams of an instance. Those that have not
// said what they want are bounded, in all, for each peer, and in bytes: the
// oldest of whoever has most gives way to a new one.
type streamTable struct {
	mostMemory int // of undecided ones
	each       int // that one takes, besides what the plane keeps

	mu        sync.Mutex                                   // guards all following fields
	open      map[*stream]*share.Elem[netip.Addr, *stream] // its place in undecided, or nil
	undecided *share.Shares[netip.Addr, *stream]
	memory    int // of undecided ones
	closed    bool
}

func newStreamTable(l Limits) *streamTable {
	return &streamTable{mostMemory: l.IdleMemory, each: streamMemory + l.MaxMessage, open: make(map[*stream]*share.Elem[netip.Addr, *stream]), undecided: share.New[netip.Addr, *stream](l.MaxIdle, l.IdlePerPeer)}
}

// add enters a stream. If that makes too many undecided ones, those that are no
// longer are returned, to be closed. It returns false if the table is closed.
func (t *streamTable) add(s *stream, undecided bool) (evicted []*stream, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	t.open[s] = nil
	if !undecided {
		return nil, true
	}
	s.memory = t.each + s.Memory()
	t.memory += s.memory
	elem, evict := t.undecided.Add(s.Peer.Addr(), s)
	t.open[s] = elem
	if evict != nil {
		evicted = append(evicted, t.evictLocked(evict))
	}
	for t.memory > t.mostMemory && t.undecided.Len() > 1 {
		evicted = append(evicted, t.evictLocked(t.undecided.OldestOfLargest()))
	}
	return evicted, true
}

// evict returns the oldest undecided stream of whoever has most of them, which is
// no longer one, to be closed, or nil if there is none.
func (t *streamTable) evict() *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.undecided.Len() == 0 {
		return nil
	}
	return t.evictLocked(t.undecided.OldestOfLargest())
}

func (t *streamTable) evictLocked(elem *share.Elem[netip.Addr, *stream]) *stream {
	s := elem.Value
	t.decideLocked(s)
	return s
}

// decide takes a stream out of the undecided. It returns false if it was not
// one of them, since it had to give way.
func (t *streamTable) decide(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[s] == nil {
		return false
	}
	t.decideLocked(s)
	return true
}

func (t *streamTable) decideLocked(s *stream) {
	t.undecided.Remove(t.open[s])
	t.open[s] = nil
	t.memory -= s.memory
}

// isUndecided says that a stream did not have to give way yet.
func (t *streamTable) isUndecided(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[s] != nil
}

func (t *streamTable) remove(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[s] != nil {
		t.decideLocked(s)
	}
	delete(t.open, s)
}

// close closes all streams and lets no further one in.
func (t *streamTable) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.closeAll()
}

// closeAll closes all streams.
func (t *streamTable) closeAll() {
	t.mu.Lock()
	var all []*stream
	for s := range t.open {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		s.close()
	}
}

// count returns how many streams are open, and how many of them have not said
// yet what they are for.
func (t *streamTable) count() (open, pending int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open), t.undecided.Len()
}

func (g *Instance) newStream(c *acp.Stream, local bool) *stream {
	s := &stream{Stream: c, reader: framing.Reader{Conn: c.Conn}, table: g.streams, local: local}
	s.setLimits(g.limits)
	return s
}

// dial connects to a peer; to this instance itself without the network.
func (g *Instance) dial(ctx context.Context, to netip.AddrPort) (*stream, error) {
	if g.isOwn(to) {
		return g.dialSelf(to)
	}
	c, err := g.ep.Dial(ctx, to)
	if isOutOfDescriptors(err) && g.giveWay() {
		c, err = g.ep.Dial(ctx, to)
	}
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, err
	}
	s := g.newStream(c, false)
	if _, ok := g.streams.add(s, false); !ok {
		s.close()
		return nil, errClosed
	}
	return s, nil
}

func (g *Instance) dialSelf(to netip.AddrPort) (*stream, error) {
	near, far, err := memory.Pipe()
	if err != nil {
		return nil, err
	}
	near.Peer, far.Peer = to, to
	s, served := g.newStream(near, true), g.newStream(far, true)
	if _, ok := g.streams.add(s, false); !ok {
		_ = near.Close()
		_ = far.Close()
		return nil, errClosed
	}
	if !g.spawn(func() { g.serve(served, nil) }) {
		s.close()
		_ = far.Close()
		return nil, errClosed
	}
	return s, nil
}

// acceptStreams takes the streams that peers open until the endpoint closes.
func (g *Instance) acceptStreams() {
	var pause pace.Backoff
	for {
		c, err := g.ep.Accept()
		if err != nil {
			if isOutOfDescriptors(err) && g.giveWay() {
				continue // the peer waits until it is accepted
			}
			if g.ctx.Err() != nil || !pause.Wait(g.ctx) {
				return
			}
			g.log.Warn("accepting a connection failed", "error", err)
			continue
		}
		pause.Reset()
		s := g.newStream(c, false)
		m := s.arrived()
		if _, ok := m.(*wire.ReqNeg); ok {
			g.serve(s, m) // somebody else answers it
		} else if !g.spawn(func() { g.serve(s, m) }) {
			_ = c.Close()
		}
	}
}

// serve does what a stream asks for with its first message, which it waits for
// if it is nil. It waits for nothing else if that is an M_REQ_NEG. Who does not
// ask within a bounded time is closed.
func (g *Instance) serve(s *stream, m wire.Message) {
	evicted, ok := g.streams.add(s, true)
	if !ok {
		_ = s.Close()
		return
	}
	for _, s := range evicted {
		g.displace(s)
	}
	if m == nil {
		if m = g.awaitFirst(s); m == nil {
			return
		}
	}
	if !g.streams.isUndecided(s) {
		s.close() // as it was about to be
		return
	}
	if !g.mayServe(m, s) {
		g.dropFrom(s, m, ReasonNoSecurity, nil)
		s.close()
		return
	}
	if response, ok := m.(*wire.Response); ok {
		g.handleResponse(response, s)
		s.close()
		return
	}
	g.trace(Received, m, s.raw(), s.Peer, s.Link)
	switch m := m.(type) {
	case *wire.ReqNeg:
		g.incoming(s, m)
	case *wire.ReqSyn:
		g.answerSynch(s, m)
	case *wire.Discovery:
		g.answerOnStream(s, m)
	case *wire.Negotiate, *wire.End, *wire.Wait, *wire.Synch:
		g.rapidAnswer(s, m)
	default:
		g.refuse(s, &wire.Error{Type: m.Type(), HasType: true, Err: errUnexpected})
	}
}

// awaitFirst waits for the first message of a stream. If none comes the stream
// is closed, and nil returned.
func (g *Instance) awaitFirst(s *stream) wire.Message {
	// Close closes the stream: that is what ends this, not a context.
	m, err := s.message(context.Background(), time.Now().Add(g.cfg.IdleTimeout))
	if err != nil {
		if g.streams.decide(s) {
			g.refuse(s, err)
		}
		s.close()
		return nil
	}
	return m
}

// isOutOfDescriptors says that the process, or the system, may open no more files.
func isOutOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// giveWay closes the oldest stream of whoever has most of those that have not
// said what they want. It returns false if there is none.
func (g *Instance) giveWay() bool {
	s := g.streams.evict()
	if s != nil {
		g.displace(s)
	}
	return s != nil
}

// displace closes a stream that has to give way to another.
func (g *Instance) displace(s *stream) {
	g.drop(Event{Reason: ReasonTooManyIdle, Peer: s.Peer})
	s.close()
}

// dropFrom counts and traces the message just read from a stream, which is
// dropped, with the cause if there is more to say.
func (g *Instance) dropFrom(s *stream, m wire.Message, reason Reason, cause error) {
	g.drop(eventOf(m, Event{Reason: reason, Peer: s.Peer, Link: s.Link, Raw: s.raw(), Err: cause}))
}

// dropUnsent does so with one that could not be sent.
func (g *Instance) dropUnsent(s *stream, m wire.Message, raw []byte, cause error) {
	g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Peer: s.Peer, Link: s.Link, Raw: raw, Err: cause}))
}

var errUnexpected = errors.New("not a message to begin with")

// refuse closes a stream whose message could not be read or made no sense.
func (g *Instance) refuse(s *stream, err error) {
	defer s.close()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return // a peer may close without asking anything
	}
	g.invalid(s, err)
}

// invalid counts a message that is not valid and tells the peer, if it could
// be read whose it was (RFC 8990 section 2.8.12: MAY; never about M_INVALID).
func (g *Instance) invalid(s *stream, err error) {
	e := Event{Reason: reasonOf(err), Peer: s.Peer, Link: s.Link, Raw: s.raw(), Err: err}
	var bad *wire.Error
	if !errors.As(err, &bad) {
		g.drop(e)
		return
	}
	e.Message, e.SessionID = bad.Type.String(), bad.SessionID
	g.drop(e)
	if !bad.HasSession || bad.HasType && bad.Type == wire.TypeInvalid || g.secure() != nil {
		return
	}
	info, _ := encodeValue(err.Error()) // text always encodes
	msg := &wire.Invalid{SessionID: bad.SessionID, Info: info}
	if raw, err := msg.Append(nil); err == nil && s.send(raw, sendTimeout) == nil {
		g.trace(Sent, msg, raw, s.Peer, s.Link)
	}
}
