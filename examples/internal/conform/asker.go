package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// asker has a UDP port to multicast from, and the TCP port of the same number
// to which responses come (RFC 8990 section 2.8.4).
type asker struct {
	link    *link
	udp     *net.UDPConn
	tcp     *net.TCPListener
	answers chan answer
	ended   sync.WaitGroup

	mu    sync.Mutex // guards all following fields
	conns map[net.Conn]bool
	over  bool
}

// answer is something that came to an asker: a message, or the end of the
// connection that it came by.
type answer struct {
	message
	from   netip.AddrPort
	udp    bool
	closed bool // it is the end of the connection
	junk   error
}

// newAsker binds the ports to an address of the link.
func (l *link) newAsker(addr netip.Addr) (*asker, error) {
	a := &asker{link: l, answers: make(chan answer, 256), conns: make(map[net.Conn]bool)}
	var err error
	for range 20 { // until a number is free for both, and the address of a new link is ready
		a.tcp, err = net.ListenTCP(l.tcp(), net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		at := netip.AddrPortFrom(addr, a.tcp.Addr().(*net.TCPAddr).AddrPort().Port())
		if a.udp, err = net.ListenUDP(l.udp(), net.UDPAddrFromAddrPort(at)); err == nil {
			if err := l.prepare(a.udp); err != nil {
				return nil, fmt.Errorf("link %v: %w", l, err)
			}
			l.claim(at.Port())
			a.ended.Go(a.accept)
			a.ended.Go(a.receive)
			return a, nil
		}
		_ = a.tcp.Close()
	}
	return nil, fmt.Errorf("link %v: %w", l, err)
}

func (a *asker) port() uint16 { return a.udp.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// close closes the ports and what came to them.
func (a *asker) close() {
	a.link.release(a.port())
	_ = a.tcp.Close()
	_ = a.udp.Close()
	a.mu.Lock()
	a.over = true
	for c := range a.conns {
		_ = c.Close()
	}
	a.mu.Unlock()
	a.ended.Wait()
}

// accept takes connections with responses.
func (a *asker) accept() {
	for {
		c, err := a.tcp.Accept()
		if err != nil {
			return
		}
		a.mu.Lock()
		if a.over || len(a.conns) >= 64 {
			_ = c.Close()
		} else {
			a.conns[c] = true
			a.ended.Go(func() { a.read(c) })
		}
		a.mu.Unlock()
	}
}

// read takes a connection's messages.
func (a *asker) read(c net.Conn) {
	defer func() {
		_ = c.Close()
		a.mu.Lock()
		delete(a.conns, c)
		a.mu.Unlock()
	}()
	s := stream{conn: c, cover: a.link.cover}
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	for {
		m, err := s.next(time.Time{})
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			a.put(answer{from: from, closed: true, junk: err})
			return
		}
		a.put(answer{message: m, from: from})
	}
}

// receive takes datagrams, such as answers to unicast.
func (a *asker) receive() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := a.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of what was sent before
		}
		if b, ok := a.link.cover.open(buf[:n]); ok {
			a.put(answer{message: parse(b), from: from, udp: true})
		}
	}
}

func (a *asker) put(x answer) {
	select {
	case a.answers <- x:
	default: // more than any check waits for
	}
}

// mostBytes is the longest that is read of an item.
const mostBytes = 1 << 16

// stream reads messages from a connection.
type stream struct {
	conn  net.Conn
	cover *cover
	buf   []byte
}

// errJunk is of a stream that is no sequence of CBOR items.
var errJunk = errors.New("what came is no CBOR")

// next returns the next message, io.EOF when the peer has closed the
// connection in one way or another, or os.ErrDeadlineExceeded.
func (s *stream) next(deadline time.Time) (message, error) {
	_ = s.conn.SetReadDeadline(deadline)
	for {
		if len(s.buf) > 0 {
			item, rest, err := s.cover.split(s.buf)
			if err != nil {
				return message{}, fmt.Errorf("%w: %x: %w", errJunk, s.buf, err)
			}
			if item != nil {
				s.buf = rest
				return parse(item), nil
			}
		}
		var chunk [4096]byte
		n, err := s.conn.Read(chunk[:])
		s.buf = append(s.buf, chunk[:n]...)
		if n > 0 && len(s.buf) <= mostBytes {
			continue
		}
		if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			return message{}, err
		}
		return message{}, io.EOF
	}
}

// dial connects to the target.
func (l *link) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	to = netip.AddrPortFrom(l.zoned(to.Addr()), to.Port())
	var d net.Dialer
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", to.String())
}
