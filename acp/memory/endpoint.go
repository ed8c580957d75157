package memory

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-grasp/grasp/acp"
)

const (
	queueLen   = 512  // datagrams that an endpoint keeps until they are received
	backlogLen = 4096 // streams that an endpoint keeps until they are accepted
)

// endpoint is the Endpoint of a Node. It has no goroutine.
type endpoint struct {
	node *Node
	port uint16
	done chan struct{} // closed with the endpoint
	// changed has room for one value.
	changed chan struct{}

	// Guarded by Network.mu.
	closed  bool
	heard   fifo[heard]
	hear    sync.Cond
	backlog fifo[*acp.Stream]
	accept  sync.Cond
}

// heard is a datagram and the interface it came by.
type heard struct {
	by      *attachment
	m       *packet
	unicast bool
}

func (e *endpoint) Port() uint16             { return e.port }
func (e *endpoint) Addr() netip.Addr         { return e.node.Addr() }
func (e *endpoint) Changed() <-chan struct{} { return e.changed }
func (e *endpoint) MaxMulticast() int        { return acp.MaxMulticast }

// OnLink implements [acp.OnLinker]: a node is on a link with those that it shares one
// with, whatever their addresses are.
func (e *endpoint) OnLink(addr netip.Addr) bool {
	n := e.node.n
	n.mu.Lock()
	defer n.mu.Unlock()
	other := n.byAddr[addr]
	if other == nil {
		return false
	}
	for _, a := range other.attachments {
		for _, b := range e.node.attachments {
			if a.link == b.link {
				return true
			}
		}
	}
	return false
}

func (e *endpoint) Links() []acp.Link {
	e.node.n.mu.Lock()
	defer e.node.n.mu.Unlock()
	return e.node.links
}

// Send fails with EMSGSIZE if the message is too large, ENODEV if the node is
// not on the link, and ENETUNREACH if the link is down.
func (e *endpoint) Send(link int, msg []byte) error {
	if err := e.send(link, msg); err != nil {
		return fmt.Errorf("acp: send on link %d: %w", link, err)
	}
	return nil
}

func (e *endpoint) send(link int, msg []byte) error {
	if len(msg) > acp.MaxMulticast {
		return syscall.EMSGSIZE
	}
	data := bytes.Clone(msg)
	taps, p, err := e.tapped(link, data)
	if err != nil {
		return err
	}
	for _, tap := range taps {
		(*tap)(p)
	}
	return e.transmit(link, data)
}

// tapped returns the taps of a link, and what they get.
func (e *endpoint) tapped(link int, data []byte) ([]*func(Packet), Packet, error) {
	e.node.n.mu.Lock()
	defer e.node.n.mu.Unlock()
	from, err := e.senderLocked(link)
	if err != nil || len(from.link.taps) == 0 {
		return nil, Packet{}, err
	}
	return from.link.taps, Packet{
		Time:   time.Now(),
		Link:   from.link,
		From:   e.node,
		Source: netip.AddrPortFrom(from.addr, e.port),
		Data:   data,
	}, nil
}

func (e *endpoint) transmit(link int, data []byte) error {
	e.node.n.mu.Lock()
	defer e.node.n.mu.Unlock()
	from, err := e.senderLocked(link)
	if err != nil {
		return err
	}
	from.link.transmitLocked(from, &packet{src: netip.AddrPortFrom(from.addr, e.port), data: data})
	return nil
}

// SendTo sends to a node on a link of this one. It fails with EMSGSIZE if the
// message is too large, EINVAL for a link-local address without the index of a
// link as its zone, ENODEV if the node is not on that link, ENETUNREACH if the
// link is down, and EHOSTUNREACH for an address that is not link-local.
// Datagrams are delayed and lost like multicasts, and not counted with them.
func (e *endpoint) SendTo(to netip.AddrPort, msg []byte) error {
	if err := e.sendTo(to, msg); err != nil {
		return fmt.Errorf("acp: send to %v: %w", to, err)
	}
	return nil
}

func (e *endpoint) sendTo(to netip.AddrPort, msg []byte) error {
	n := e.node.n
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case e.closed:
		return net.ErrClosed
	case len(msg) > acp.MaxMulticast:
		return syscall.EMSGSIZE
	case !to.Addr().IsLinkLocalUnicast():
		return syscall.EHOSTUNREACH
	}
	index, err := strconv.Atoi(to.Addr().Zone())
	if err != nil {
		return syscall.EINVAL
	}
	from, err := e.senderLocked(index)
	if err != nil {
		return err
	}
	if far := from.link.byAddr[to.Addr().WithZone("")]; far != nil && to.Port() == acp.Port {
		m := &packet{src: netip.AddrPortFrom(from.addr, e.port), data: bytes.Clone(msg)}
		from.link.carryLocked(from, far, m)
	}
	return nil
}

// senderLocked returns the interface to send by.
func (e *endpoint) senderLocked(link int) (*attachment, error) {
	if e.closed {
		return nil, net.ErrClosed
	}
	a := e.node.attachmentLocked(link)
	if a == nil {
		return nil, syscall.ENODEV
	}
	if a.link.down {
		return nil, syscall.ENETUNREACH
	}
	return a, nil
}

// hearLocked queues a datagram for Receive. It returns false if there is no
// room.
func (e *endpoint) hearLocked(h heard) bool {
	if e.heard.len() == queueLen {
		return false
	}
	e.heard.push(h)
	e.hear.Signal()
	return true
}

func (e *endpoint) Receive(buf []byte) (int, acp.Origin, error) {
	h, err := e.receive()
	if err != nil {
		return 0, acp.Origin{}, fmt.Errorf("acp: receive: %w", err)
	}
	src := netip.AddrPortFrom(h.m.src.Addr().WithZone(h.by.zone), h.m.src.Port())
	return copy(buf, h.m.data), acp.Origin{Link: h.by.index, Addr: src, Unicast: h.unicast}, nil
}

func (e *endpoint) receive() (heard, error) {
	e.node.n.mu.Lock()
	defer e.node.n.mu.Unlock()
	for {
		if e.closed {
			return heard{}, net.ErrClosed
		}
		if e.heard.len() > 0 {
			return e.heard.pop(), nil
		}
		e.hear.Wait()
	}
}

func (e *endpoint) Accept() (*acp.Stream, error) {
	e.node.n.mu.Lock()
	defer e.node.n.mu.Unlock()
	for {
		if e.closed {
			return nil, fmt.Errorf("acp: accept: %w", net.ErrClosed)
		}
		if e.backlog.len() > 0 {
			return e.backlog.pop(), nil
		}
		e.accept.Wait()
	}
}

// Dial takes a round trip, unless it fails at once: with EINVAL for a
// link-local address without the index of a link as its zone, ENODEV if the
// node is not on that link, ENETUNREACH if the link is down or the node has no
// link, EHOSTUNREACH if there is no path to the address or nobody has it, and
// EADDRNOTAVAIL if the node is out of ports. ECONNREFUSED takes a round trip,
// too: nobody listens on the port, or too many streams wait to be accepted.
// When ctx is done the error wraps its cause.
func (e *endpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	s, err := e.dial(ctx, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return s, nil
}

func (e *endpoint) dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	delay, err := e.reach(to.Addr())
	if err != nil {
		return nil, err
	}
	if err := e.sleep(ctx, delay); err != nil {
		return nil, err
	}
	s, err := e.connect(to)
	if serr := e.sleep(ctx, delay); serr != nil {
		if s != nil {
			_ = s.Close() // never fails
		}
		return nil, serr
	}
	return s, err
}

// reach returns how far it is to an address.
func (e *endpoint) reach(to netip.Addr) (time.Duration, error) {
	e.node.n.mu.Lock()
	defer e.node.n.mu.Unlock()
	_, delay, err := e.wayLocked(to)
	return delay, err
}

func (e *endpoint) wayLocked(to netip.Addr) (way, time.Duration, error) {
	if e.closed {
		return way{}, 0, net.ErrClosed
	}
	w, err := e.node.wayLocked(to)
	if err != nil {
		return way{}, 0, err
	}
	delay, ok := w.delayLocked()
	if ok {
		_, ok = w.back().delayLocked()
	}
	if !ok {
		return way{}, 0, syscall.EHOSTUNREACH
	}
	return w, delay, nil
}

// sleep waits until d has passed or there is no use in waiting on.
func (e *endpoint) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.done:
		return net.ErrClosed
	}
}

// connect is the arrival of a stream at the listener.
func (e *endpoint) connect(to netip.AddrPort) (*acp.Stream, error) {
	n := e.node.n
	n.mu.Lock()
	defer n.mu.Unlock()
	w, _, err := e.wayLocked(to.Addr())
	if err != nil {
		return nil, err
	}
	listener := w.to.ports[to.Port()]
	if listener == nil || listener.backlog.len() == backlogLen {
		return nil, syscall.ECONNREFUSED
	}
	port, err := e.node.takePortLocked(nil)
	if err != nil {
		return nil, err
	}
	mine, theirs := newConnsLocked(w, port, to.Port())
	listener.backlog.push(theirs)
	listener.accept.Signal()
	return mine, nil
}

// Close resets the streams that nobody accepted. It never fails.
func (e *endpoint) Close() error {
	e.node.n.mu.Lock()
	defer e.node.n.mu.Unlock()
	if !e.closed {
		e.closeLocked()
	}
	return nil
}

func (e *endpoint) closeLocked() {
	e.closed = true
	close(e.done)
	e.heard = fifo[heard]{}
	e.hear.Broadcast()
	e.accept.Broadcast()
	for e.backlog.len() > 0 {
		e.backlog.pop().Conn.(*conn).abortLocked()
	}
	h := e.node
	delete(h.ports, e.port)
	h.endpoints = slices.DeleteFunc(h.endpoints, func(o *endpoint) bool { return o == e })
	h.shareLocked()
}
