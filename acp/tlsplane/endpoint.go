package tlsplane

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/share"
)

// queueLen is how many multicasts an endpoint keeps until they are received.
const queueLen = 512

// endpoint is what one instance has of a [Plane]. Every endpoint is a node of
// its own to all others, those of the same plane included: it has its own
// announcements, neighbours and port.
type endpoint struct {
	plane *Plane
	under acp.Endpoint
	id    nodeID
	log   *slog.Logger
	gate  *gate

	answers  atomic.Bool    // whether to announce this node because another one has come
	changed  chan struct{}  // holds one
	wake     chan struct{}  // holds one: tend has something to do
	heard    chan multicast // for Receive
	accepted chan accepted  // for Accept

	ctx       context.Context // ended by Close
	cancel    context.CancelFunc
	closeOnce sync.Once
	closeErr  error
	done      sync.WaitGroup

	mu       sync.Mutex // guards all following fields, and the links
	inUse    []acp.Link // not changed but replaced
	links    map[int]*link
	former   map[string][]*candidate // neighbours on links that are gone, by name
	dials    *dials
	assembly *assembly
}

// nodeID tells the endpoints of one member apart.
type nodeID [16]byte

// multicast is one that was received.
type multicast struct {
	msg  []byte
	from acp.Origin
}

// accepted is what Accept returns.
type accepted struct {
	stream *acp.Stream
	err    error
}

// newEndpoint starts an endpoint on top of another.
func newEndpoint(p *Plane, under acp.Endpoint) *endpoint {
	e := &endpoint{
		plane: p, under: under, log: p.log(), gate: newGate(p.maxHandshakes()),
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		heard: make(chan multicast, queueLen), accepted: make(chan accepted),
		links: make(map[int]*link), former: make(map[string][]*candidate), dials: newDials(),
		assembly: newAssembly(),
	}
	_, _ = rand.Read(e.id[:]) // never fails
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.followLinks()
	e.done.Go(e.tend)
	e.done.Go(e.listen)
	e.done.Go(e.welcome)
	return e
}

// Under implements [acp.Overlay].
func (e *endpoint) Under() acp.Endpoint { return e.under }

// Port implements [acp.Endpoint]. Neighbours and streams share it.
func (e *endpoint) Port() uint16 { return e.under.Port() }

// Links implements [acp.Endpoint].
func (e *endpoint) Links() []acp.Link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inUse
}

// Addr implements [acp.Endpoint].
func (e *endpoint) Addr() netip.Addr { return e.under.Addr() }

// Changed implements [acp.Endpoint].
func (e *endpoint) Changed() <-chan struct{} { return e.changed }

// MaxMulticast implements [acp.Endpoint].
func (e *endpoint) MaxMulticast() int { return MaxMulticast }

// Send implements [acp.Endpoint]: it queues a copy for every neighbour on the
// link. One whose queue is full misses it.
func (e *endpoint) Send(index int, msg []byte) error {
	if e.ctx.Err() != nil {
		return fmt.Errorf("tlsplane: send on link %d: %w", index, net.ErrClosed)
	}
	if len(msg) > MaxMulticast {
		return fmt.Errorf("tlsplane: send %d bytes on link %d, which takes %d: %w", len(msg), index, MaxMulticast, syscall.EMSGSIZE)
	}
	frame := appendFrame(msg)
	l, to := e.queue(index, frame)
	if l.Index == 0 {
		return fmt.Errorf("tlsplane: send on link %d, which is not in use: %w", index, syscall.ENODEV)
	}
	for _, n := range to {
		n.nudge()
	}
	own := multicast{
		msg:  frame[len(frame)-len(msg):],
		from: acp.Origin{Link: index, Addr: netip.AddrPortFrom(l.Addr, e.Port())},
	}
	select {
	case e.heard <- own:
	default:
		e.plane.counters.unheard.Add(1)
	}
	return nil
}

// SendTo implements [acp.DatagramSender]: there are no datagrams, because TLS does
// not protect them. The error wraps [errors.ErrUnsupported].
func (e *endpoint) SendTo(to netip.AddrPort, _ []byte) error {
	if e.ctx.Err() != nil {
		return fmt.Errorf("tlsplane: send to %v: %w", to, net.ErrClosed)
	}
	return fmt.Errorf("tlsplane: send a datagram to %v, which TLS does not protect: %w", to, errors.ErrUnsupported)
}

// Receive implements [acp.Endpoint].
func (e *endpoint) Receive(buf []byte) (int, acp.Origin, error) {
	if e.ctx.Err() == nil {
		select {
		case m := <-e.heard:
			return copy(buf, m.msg), m.from, nil
		case <-e.ctx.Done():
		}
	}
	return 0, acp.Origin{}, fmt.Errorf("tlsplane: receive: %w", net.ErrClosed)
}

// Accept implements [acp.Endpoint]: the peer is a member, and the handshake is
// over.
func (e *endpoint) Accept() (*acp.Stream, error) {
	if e.ctx.Err() == nil {
		select {
		case a := <-e.accepted:
			return a.stream, a.err
		case <-e.ctx.Done():
		}
	}
	return nil, fmt.Errorf("tlsplane: accept: %w", net.ErrClosed)
}

// Dial implements [acp.Endpoint]. It returns when this side of the handshake is
// over: a peer that then refuses this node ends the stream.
func (e *endpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.ctx, func() { cancel(net.ErrClosed) })()
	if e.ctx.Err() != nil {
		return nil, fmt.Errorf("tlsplane: dial %v: %w", to, net.ErrClosed)
	}
	s, err := e.under.Dial(ctx, to)
	if err == nil {
		var c *conn
		if c, err = e.plane.secure(ctx, s, false, protoStream); err == nil {
			return c.stream(s), nil
		}
		if ctx.Err() == nil {
			e.plane.failed("a peer that was dialed", s.Peer, err)
		}
	}
	if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return nil, fmt.Errorf("tlsplane: dial %v: %w", to, err)
}

// stream returns the connection as what it is to others.
func (c *conn) stream(s *acp.Stream) *acp.Stream {
	return &acp.Stream{Conn: c, Peer: s.Peer, Link: s.Link, Identity: c.identity}
}

// welcome takes what peers dial, until the endpoint closes. When there are no
// more file descriptors, a handshake gives way; or the reader of Accept is told,
// and may end another stream.
func (e *endpoint) welcome() {
	for delay := time.Duration(0); ; {
		s, err := e.under.Accept()
		if err == nil {
			delay = 0
			e.done.Go(func() { e.greet(s) })
			continue
		}
		if errors.Is(err, acp.ErrForeign) { // without a pause, or outsiders could hold up the members
			select {
			case e.accepted <- accepted{stream: s, err: err}:
			case <-e.ctx.Done():
				return
			}
			continue
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			if e.gate.evict() {
				continue
			}
			select {
			case e.accepted <- accepted{err: err}:
			case <-e.ctx.Done():
				return
			}
		}
		delay = min(max(2*delay, time.Millisecond), time.Second)
		if !e.pause(delay) {
			return
		}
		e.log.Warn("accepting a connection failed", "error", err)
	}
}

// pause waits. It returns false if the endpoint was closed.
func (e *endpoint) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.ctx.Done():
		return false
	}
}

// errDisplaced is the cause of what the gate ends.
var errDisplaced = &RefusedError{Reason: ReasonDisplaced, Err: errors.New("too many handshakes")}

// greet serves a peer that dialed: a neighbour to the end, a stream until
// somebody accepts it.
func (e *endpoint) greet(s *acp.Stream) {
	ctx, cancel := context.WithCancelCause(e.ctx)
	defer cancel(nil)
	source := share.HolderOf("", s.Peer.Addr(), acp.OnLink(e.under, s.Peer.Addr())) // it has proven nothing yet
	guest := e.gate.enter(source, func() { cancel(errDisplaced) })
	defer e.gate.leave(guest)
	c, err := e.plane.secure(ctx, s, true, protoStream, protoNeighbour)
	if err != nil {
		if e.ctx.Err() == nil {
			e.plane.failed("a peer that dialed", s.Peer, err)
		}
		return
	}
	if c.ConnectionState().NegotiatedProtocol == protoNeighbour {
		// Who takes too long to say its name is still bounded by the gate.
		defer context.AfterFunc(ctx, c.abort)()
		if n, err := e.meet(c, s, false); err == nil {
			e.gate.leave(guest)
			n.run()
		} else if e.ctx.Err() == nil {
			e.plane.failed("a neighbour that dialed", s.Peer, err)
		}
		return
	}
	select {
	case e.accepted <- accepted{stream: c.stream(s)}:
	case <-ctx.Done():
		_ = c.Close()
		if e.ctx.Err() == nil {
			e.plane.failed("a peer that nobody accepts", s.Peer, context.Cause(ctx))
		}
	}
}

// tell has the reader of Changed look.
func (e *endpoint) tell() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Close implements [acp.Endpoint].
func (e *endpoint) Close() error {
	e.closeOnce.Do(func() {
		e.cancel()
		e.closeErr = e.under.Close()
		e.done.Wait()
		e.plane.closed(e)
	})
	return e.closeErr
}
