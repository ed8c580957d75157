package tlsplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/framing"
	"github.com/go-grasp/grasp/internal/wire"
)

// Times of a neighbour's connection.
const (
	keepAlive  = 10 * time.Second // something is sent at least that often
	silence    = 3 * keepAlive    // after which the neighbour is given up
	writeTime  = silence          // for a neighbour to take what is sent
	retireTime = 5 * time.Second  // for what is under way when another connection took over
	// steady is how long a connection has to last to count as a success, and
	// how long two that came about at the same time may take to find out.
	steady = 10 * time.Second
)

// neighbour is a connection to a neighbour. What goes over it, in both directions,
// are CBOR items (RFC 8990 section 2.5.3): first a hello, then byte strings that
// hold a multicast each, and M_NOOP when there is nothing else to say.
type neighbour struct {
	e      *endpoint
	conn   *conn
	in     *framing.Reader
	link   int
	key    peerKey
	addr   netip.AddrPort // where it sends from, and accepts streams
	dialed bool           // by this side
	since  time.Time

	wake     chan struct{}             // holds one: the writer has something to do
	drainEnd atomic.Pointer[time.Time] // when a retired one ends; nil: it is in use

	waiting [][]byte // guarded by e.mu
	slow    uint64   // guarded by e.mu: what did not fit
}

// hello is the first item that either side sends. Its port is the one that the sender
// listens on, which the port that it dialed from does not tell.
type hello struct {
	_    struct{} `cbor:",toarray"`
	ID   []byte
	Port uint16
}

// noop is M_NOOP (RFC 8990 section 2.8.13).
var noop, _ = (&wire.Noop{}).Append(nil)

// appendFrame returns a message as it is sent. In a byte string it can be
// anything: whether it makes sense is for the instance to judge, not for the
// framing.
func appendFrame(msg []byte) []byte {
	frame, err := cbor.Marshal(msg)
	if err != nil {
		panic(err) // byte strings always encode
	}
	return frame
}

// maxFrame is the longest item that is accepted.
const maxFrame = MaxMulticast + 3 // the head of a byte string

// meet exchanges hellos on a new connection and enters the neighbour, whose run
// has to be called then. On error the connection is closed.
func (e *endpoint) meet(c *conn, s *acp.Stream, dialed bool) (*neighbour, error) {
	n := &neighbour{
		e: e, conn: c, link: s.Link, dialed: dialed, since: time.Now(),
		wake: make(chan struct{}, 1),
	}
	n.in = &framing.Reader{Conn: n.stream(), Limits: wire.Limits{Bytes: maxFrame}, Size: 4 * maxFrame} // for many items at once
	err := n.exchange(s)
	if err == nil {
		err = e.enter(n)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("neighbour %q at %v: %w", c.identity, s.Peer, err)
	}
	return n, nil
}

// exchange exchanges hellos.
func (n *neighbour) exchange(s *acp.Stream) error {
	if n.link == 0 {
		return errNoLink
	}
	deadline := time.Now().Add(n.e.plane.handshakeTimeout())
	if err := n.conn.SetDeadline(deadline); err != nil {
		return err
	}
	mine, err := cbor.Marshal(hello{ID: n.e.id[:], Port: n.e.Port()})
	if err != nil {
		return err
	}
	if _, err := n.conn.Write(mine); err != nil {
		return err
	}
	item, err := n.in.Next(context.Background(), deadline)
	if err != nil {
		return err
	}
	var theirs hello
	err = cbor.Unmarshal(item, &theirs)
	switch {
	case err != nil:
		return fmt.Errorf("its hello: %w", err)
	case len(theirs.ID) != len(n.key.id) || theirs.Port == 0:
		return fmt.Errorf("its hello: an ID of %d bytes and port %d", len(theirs.ID), theirs.Port)
	}
	n.key = peerKey{n.conn.identity, nodeID(theirs.ID), s.Peer.Addr()}
	n.addr = netip.AddrPortFrom(s.Peer.Addr(), theirs.Port)
	if n.key.id == n.e.id {
		return errSelf
	}
	return n.conn.SetDeadline(time.Time{})
}

// outranks reports whether a connection to a neighbour stays in use when a newer one
// comes. If both sides dialed at the same time, the connection stays that the side with
// the greater ID dialed. Otherwise the newer one does: there must be a reason for it.
func (n *neighbour) outranks(newer *neighbour) bool {
	if n.dialed == newer.dialed || newer.since.Sub(n.since) > steady {
		return false
	}
	return n.dialed == (bytes.Compare(n.e.id[:], n.key.id[:]) > 0)
}

// run serves the connection until it ends. It is called by a goroutine that
// Close waits for.
func (n *neighbour) run() {
	defer context.AfterFunc(n.e.ctx, n.conn.abort)()
	if n.drainEnd.Load() == nil {
		n.tell("a neighbour came")
	}
	written := make(chan struct{})
	n.e.done.Go(func() {
		defer close(written)
		n.write()
	})
	err := n.read()
	was := n.e.leave(n)
	if !errors.Is(err, io.EOF) {
		n.conn.abort()
	}
	n.retire() // after EOF the peer still reads: it is to have what is queued
	<-written
	_ = n.conn.Close()
	if was {
		n.e.poke()
		n.tell("a neighbour went", "reason", err)
	}
}

// tell logs what became of the neighbour.
func (n *neighbour) tell(what string, why ...any) {
	n.e.plane.lines.do(func() {
		n.e.log.Info(what, append([]any{"neighbour", n.key.identity, "address", n.addr}, why...)...)
	})
}

// nudge tells the writer to look.
func (n *neighbour) nudge() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// retire has the connection end when what is queued has been sent, in retireTime at most.
// The neighbour is entered with another one, or not at all, so nothing more is queued for
// this one.
func (n *neighbour) retire() {
	end := time.Now().Add(retireTime)
	n.drainEnd.Store(&end)
	_ = n.conn.SetDeadline(end) // or it has ended
	n.nudge()
}

// stream returns the connection for the reader and the writer. While it is retired, none of
// their deadlines is later than its end.
func (n *neighbour) stream() net.Conn { return retiring{n.conn, &n.drainEnd} }

type retiring struct {
	*conn
	end *atomic.Pointer[time.Time]
}

// SetReadDeadline implements [net.Conn].
func (r retiring) SetReadDeadline(t time.Time) error { return r.within(t, r.conn.SetReadDeadline) }

// SetWriteDeadline implements [net.Conn].
func (r retiring) SetWriteDeadline(t time.Time) error { return r.within(t, r.conn.SetWriteDeadline) }

// within looks at the end after it has set the deadline, since retire does the reverse: so
// whichever comes second puts it right.
func (r retiring) within(t time.Time, set func(time.Time) error) error {
	if err := set(t); err != nil {
		return err
	}
	if end := r.end.Load(); end != nil && end.Before(t) {
		return set(*end)
	}
	return nil
}

// take returns all that waits to be sent.
func (n *neighbour) take() [][]byte {
	n.e.mu.Lock()
	defer n.e.mu.Unlock()
	waiting := n.waiting
	n.waiting = nil
	return waiting
}

// write sends what is queued, until the connection breaks or is retired.
func (n *neighbour) write() {
	idle := time.NewTimer(keepAlive)
	defer idle.Stop()
	n.nudge() // for what was queued before
	for {
		var err error
		select {
		case <-idle.C:
			err = n.put(noop)
		case <-n.wake:
			retired := n.drainEnd.Load() != nil // looked at first: nothing is queued after it
			frames := n.take()
			if len(frames) > 0 {
				err = n.put(bytes.Join(frames, nil)) // few records are cheaper than many
				n.e.plane.counters.sent.Add(uint64(len(frames)))
			}
			if retired && err == nil {
				_ = n.conn.CloseWrite() // the peer may have ended it
				return
			}
		}
		if err != nil {
			n.conn.abort()
			return
		}
		idle.Reset(keepAlive)
	}
}

func (n *neighbour) put(b []byte) error {
	if err := n.stream().SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := n.conn.Write(b)
	return err
}

var errUnexpected = errors.New("neither a byte string nor M_NOOP")

// read hands multicasts to Receive. It waits for that: a neighbour who sends more
// than is received has to wait in turn with all others.
func (n *neighbour) read() error {
	for {
		item, err := n.in.Next(context.Background(), time.Now().Add(silence))
		if err != nil {
			return err
		}
		if bytes.Equal(item, noop) {
			continue
		}
		var msg []byte
		if item[0]>>5 != 2 || cbor.Unmarshal(item, &msg) != nil {
			return errUnexpected
		}
		n.e.plane.counters.received.Add(1)
		select {
		case n.e.heard <- multicast{msg, acp.Origin{Link: n.link, Addr: n.addr}}:
		case <-n.e.ctx.Done():
			return net.ErrClosed
		}
	}
}
