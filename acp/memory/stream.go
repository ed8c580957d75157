package memory

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// streamWindow is how many bytes can be on their way to a reader before the
// writer has to wait.
const streamWindow = 64 << 10

// idleBuffer is how much room a stream keeps that has nothing to read.
const idleBuffer = 4 << 10

// conn is one end of a stream on a Network, with the semantics of TCP.
//
// What one end writes is in its flight until it arrives at the other end,
// where it is ready to be read. The end of the stream travels like data.
type conn struct {
	n             *Network
	way           way
	port          uint16 // taken from the node, 0 if it is the listener's
	peer          *conn
	local, remote *net.TCPAddr

	// Guarded by n.mu.
	wake    sync.Cond // for any change of the following
	closed  bool
	read    connDeadline
	write   connDeadline
	writing bool // a Write is going on: the next one waits

	ready bytes.Buffer // arrived and not read
	end   error        // what follows ready: nil for nothing yet, io.EOF, or ECONNRESET

	unread int // bytes written, and not read by the peer
	flight fifo[segment]
	sent   uint64    // segments
	due    time.Time // when the last segment arrives
}

// segment is what was written at once, or the end of the stream.
type segment struct {
	number uint64
	data   []byte
	end    error
}

// newConnsLocked returns the ends of a new stream on a way, for the node that
// dials and for the one that accepts.
func newConnsLocked(w way, srcPort, dstPort uint16) (dialed, accepted *acp.Stream) {
	d := &conn{n: w.from.n, way: w, port: srcPort}
	a := &conn{n: w.from.n, way: w.back(), peer: d}
	d.peer = a
	return d.startLocked(srcPort, dstPort), a.startLocked(dstPort, srcPort)
}

func (c *conn) startLocked(srcPort, dstPort uint16) *acp.Stream {
	c.wake.L = &c.n.mu
	c.way.from.conns[c] = struct{}{}

	addr, link := c.way.peer()
	peer := netip.AddrPortFrom(addr, dstPort)
	src := c.way.src
	if c.way.near != nil {
		src = src.WithZone(c.way.near.zone)
	}
	c.local = net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, srcPort))
	c.remote = net.TCPAddrFromAddrPort(peer)
	return &acp.Stream{Conn: c, Peer: peer, Link: link}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Read waits for data. When all that the peer wrote before it closed is read,
// the error is io.EOF; ECONNRESET if the peer was killed, did not accept the
// stream, or had not read everything.
func (c *conn) Read(b []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.opError("read", net.ErrClosed)
		case c.read.expired:
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case c.ready.Len() > 0:
			return c.takeLocked(b), nil
		case c.end == io.EOF: // as it is, by the contract of io.Reader
			return 0, io.EOF
		case c.end != nil:
			return 0, c.opError("read", c.end)
		}
		c.wake.Wait()
	}
}

// ReadNow reads what there is, for package nowait.
func (c *conn) ReadNow(b []byte) int {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed || c.read.expired {
		return 0
	}
	return c.takeLocked(b)
}

func (c *conn) takeLocked(b []byte) int {
	k, _ := c.ready.Read(b) // fails only if empty
	if c.ready.Len() == 0 && c.ready.Cap() > idleBuffer {
		c.ready = bytes.Buffer{}
	}
	c.peer.unread -= k
	c.peer.wake.Broadcast()
	return k
}

// Write waits while the peer has 64 KiB to read. The error is EPIPE once the
// peer has closed, as far as this end can know, and ECONNRESET after a reset.
// Concurrent writes do not mix.
func (c *conn) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for c.writing {
		if err := c.writeErrLocked(); err != nil {
			return 0, c.opError("write", err)
		}
		c.wake.Wait()
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.wake.Broadcast()
	}()

	done := 0
	for {
		if err := c.writeErrLocked(); err != nil {
			return done, c.opError("write", err)
		}
		if k := min(len(b)-done, streamWindow-c.unread); k > 0 {
			c.unread += k
			c.sendLocked(segment{data: b[done : done+k]})
			done += k
		}
		if done == len(b) {
			return done, nil
		}
		c.wake.Wait()
	}
}

func (c *conn) writeErrLocked() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.write.expired:
		return os.ErrDeadlineExceeded
	case c.end == io.EOF:
		return syscall.EPIPE
	default:
		return c.end
	}
}

// sendLocked sends a segment, whose data is the caller's.
func (c *conn) sendLocked(s segment) {
	delay, ok := c.way.delayLocked()
	if ok && delay == 0 && c.flight.len() == 0 {
		c.peer.arriveLocked(s)
		return
	}
	c.sent++
	s.number = c.sent
	s.data = bytes.Clone(s.data)
	c.flight.push(s)
	if !ok {
		c.n.stalled[c] = struct{}{}
		return
	}
	c.launchLocked(delay)
}

// launchLocked makes all segments in flight that have no time of arrival yet arrive
// after a delay.
func (c *conn) launchLocked(delay time.Duration) {
	if due := time.Now().Add(delay); due.After(c.due) {
		c.due = due
	}
	last := c.sent
	c.n.atLocked(c.due, func() { c.landLocked(last) })
}

// landLocked is the arrival of the segments up to the last. Without a path
// they wait for one.
func (c *conn) landLocked(last uint64) {
	if c.flight.len() == 0 {
		return
	}
	if _, ok := c.way.delayLocked(); !ok {
		c.n.stalled[c] = struct{}{}
		return
	}
	for c.flight.len() > 0 && c.flight.items[c.flight.head].number <= last {
		c.peer.arriveLocked(c.flight.pop())
	}
	c.forgetLocked()
}

// forgetLocked makes the node forget the stream when there is nothing left to
// do for it.
func (c *conn) forgetLocked() {
	if c.closed && c.flight.len() == 0 {
		delete(c.way.from.conns, c)
	}
}

func (c *conn) arriveLocked(s segment) {
	switch {
	case s.end != nil && c.end == nil:
		c.end = s.end
	case c.closed:
		c.peer.unread -= len(s.data)
		c.peer.wake.Broadcast()
	default:
		c.ready.Write(s.data)
	}
	c.wake.Broadcast()
}

// Close ends the stream. What was written still arrives. It does not wait and
// never fails.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return nil
	}
	end := io.EOF
	if c.ready.Len() > 0 {
		end = syscall.ECONNRESET
	}
	c.endLocked()
	if c.peer.closed {
		c.dropLocked()
		c.peer.dropLocked()
		return nil
	}
	c.sendLocked(segment{end: end})
	c.forgetLocked()
	return nil
}

// abortLocked ends the stream at both ends at once. What was closed before and
// is still in flight is lost.
func (c *conn) abortLocked() {
	if !c.closed {
		c.endLocked()
	}
	c.dropLocked()
	p := c.peer
	p.dropLocked()
	if p.end == nil {
		p.end = syscall.ECONNRESET
	}
	p.wake.Broadcast()
}

// endLocked ends this end of the stream and gives back what it holds.
func (c *conn) endLocked() {
	c.closed = true
	c.ready = bytes.Buffer{}
	c.read.stopLocked()
	c.write.stopLocked()
	c.wake.Broadcast()
	if c.port != 0 {
		delete(c.way.from.ports, c.port)
	}
}

// dropLocked drops what is in flight.
func (c *conn) dropLocked() {
	c.flight = fifo[segment]{}
	delete(c.n.stalled, c)
	c.forgetLocked()
}

func (c *conn) SetDeadline(t time.Time) error      { return c.setDeadlines(t, &c.read, &c.write) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadlines(t, &c.read) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *conn) setDeadlines(t time.Time, deadlines ...*connDeadline) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	for _, d := range deadlines {
		d.setLocked(c, t)
	}
	return nil
}

// connDeadline is the time at which reads or writes fail.
type connDeadline struct {
	expired bool
	timer   *time.Timer // nil if there is none
}

func (d *connDeadline) setLocked(c *conn, t time.Time) {
	d.stopLocked()
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.expired = true
		c.wake.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		c.n.mu.Lock()
		defer c.n.mu.Unlock()
		if d.timer == timer {
			d.expired = true
			c.wake.Broadcast()
		}
	})
	d.timer = timer
}

func (d *connDeadline) stopLocked() {
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = connDeadline{}
}
