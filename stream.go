package grasp

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/framing"
	"github.com/go-grasp/grasp/internal/share"
	"github.com/go-grasp/grasp/internal/wire"
)

// sendTimeout is how long a peer may take to read what it is sent.
const sendTimeout = 10 * time.Second

// stream is a connection. Messages on it end where their CBOR item ends, whatever the
// segmentation (RFC 8990 section 2.5.3).
type stream struct {
	*acp.Stream
	reader  framing.Reader
	table   *streamTable
	local   bool         // both ends are this instance
	sent    bool         // the first message went with the opening
	holder  share.Holder // the peer, where things are shared out
	session uint32       // of a rapid answer
	memory  int          // that it takes while it is pending

	asking atomic.Pointer[context.CancelCauseFunc] // ends what is asked for its peer; see whileOpen
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

// arrived returns the first message if it has come already and is valid. Otherwise
// call message, which waits for it or returns the error.
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
	if end := s.asking.Load(); end != nil {
		(*end)(net.ErrClosed)
	}
	_ = s.Close()
}

// whileOpen returns a context that also ends when the stream is closed at this end: for
// functions outside that are called for its peer, one at a time. So there are no more of
// these than streams, whatever peers do.
func (s *stream) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	s.asking.Store(&end)
	if !s.table.has(s) {
		end(net.ErrClosed) // before close could do it
	}
	return ctx, func() {
		s.asking.Store(nil)
		end(nil)
	}
}

// streamMemory is what a stream takes that waits, besides the message it waits
// for: its goroutine, and its places in tables.
const streamMemory = 5 << 10

// streamTable holds the open streams of an instance. Streams that have not said yet
// what they want are pending. Their number is bounded, in all and for each peer, and so
// is their memory. When full, it evicts the oldest stream of the peer that has most.
type streamTable struct {
	mostMemory int // of pending ones
	each       int // that one takes, besides what the plane keeps

	mu      sync.Mutex                                     // guards all following fields
	open    map[*stream]*share.Elem[share.Holder, *stream] // its place in pending, or nil
	pending *share.Shares[share.Holder, *stream]
	memory  int // of pending ones
	closed  bool
}

func newStreamTable(l Limits) *streamTable {
	return &streamTable{
		mostMemory: l.IdleMemory, each: streamMemory + l.MaxMessage,
		open:    make(map[*stream]*share.Elem[share.Holder, *stream]),
		pending: share.New[share.Holder, *stream](l.MaxIdle, l.IdlePerPeer),
	}
}

// add enters a stream. It returns the pending ones that are evicted for it, to be
// closed, and false if the table is closed.
func (t *streamTable) add(s *stream, pending bool) (evicted []*stream, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	t.open[s] = nil
	if !pending {
		return nil, true
	}
	s.memory = t.each + s.Memory()
	t.memory += s.memory
	elem, evict := t.pending.Add(s.holder, s)
	t.open[s] = elem
	if evict != nil {
		evicted = append(evicted, t.evictLocked(evict))
	}
	for t.memory > t.mostMemory && t.pending.Len() > 1 {
		evicted = append(evicted, t.evictLocked(t.pending.OldestOfLargest()))
	}
	return evicted, true
}

// evict evicts the oldest pending stream of the peer that has most, and returns
// it, to be closed, or nil if there is none.
func (t *streamTable) evict() *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending.Len() == 0 {
		return nil
	}
	return t.evictLocked(t.pending.OldestOfLargest())
}

func (t *streamTable) evictLocked(elem *share.Elem[share.Holder, *stream]) *stream {
	s := elem.Value
	t.claimLocked(s)
	return s
}

// claim notes that a stream is no longer pending. It returns false if the stream was
// evicted before.
func (t *streamTable) claim(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[s] == nil {
		return false
	}
	t.claimLocked(s)
	return true
}

func (t *streamTable) claimLocked(s *stream) {
	t.pending.Remove(t.open[s])
	t.open[s] = nil
	t.memory -= s.memory
}

// isPending reports whether a stream is pending, and was not evicted.
func (t *streamTable) isPending(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[s] != nil
}

// has reports whether a stream is open.
func (t *streamTable) has(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.open[s]
	return ok
}

func (t *streamTable) remove(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[s] != nil {
		t.claimLocked(s)
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
	return len(t.open), t.pending.Len()
}

func (g *Instance) newStream(c *acp.Stream, local bool) *stream {
	s := &stream{
		Stream: c, reader: framing.Reader{Conn: c.Conn}, table: g.streams, local: local,
		holder: share.HolderOf(c.Identity, c.Peer.Addr(), acp.OnLink(g.ep, c.Peer.Addr())),
	}
	s.setLimits(g.limits)
	return s
}
