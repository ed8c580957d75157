package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv6"
)

// layer2Endpoint is what one instance has of a [Layer2] plane.
type layer2Endpoint struct {
	sys   system
	names []string // links to use; empty: all

	recv       *net.UDPConn // port 7017, shared
	group      *ipv6.PacketConn
	packetInfo bool // datagrams come with their destination and interface
	send       *net.UDPConn
	rawSend    syscall.RawConn
	streams    *net.TCPListener
	port       uint16

	state   atomic.Pointer[layer2State]
	changed chan struct{} // holds one: something changed
	wake    chan struct{} // holds one: look at the interfaces again
	drops   atomic.Uint64 // datagrams that were not for us

	members map[int]*member // by interface index; refresh only

	ctx       context.Context // ended by Close
	cancel    context.CancelFunc
	closeOnce sync.Once
	closeErr  error
	done      sync.WaitGroup
}

// layer2State is what is known of the links. It is never changed once it is
// published.
type layer2State struct {
	links   []Link
	byIndex map[int]*linkState
	names   map[string]int // of all interfaces
	addr    netip.Addr
}

// linkState is a link in use.
type linkState struct {
	Link
	zone     string // Index in decimal
	loopback bool
	oob      []byte // control message that picks this link and its address
}

// Port implements [Endpoint].
func (e *layer2Endpoint) Port() uint16 { return e.port }

// Links implements [Endpoint].
func (e *layer2Endpoint) Links() []Link { return e.state.Load().links }

// Addr implements [Endpoint].
func (e *layer2Endpoint) Addr() netip.Addr { return e.state.Load().addr }

// Changed implements [Endpoint].
func (e *layer2Endpoint) Changed() <-chan struct{} { return e.changed }

// MaxMulticast implements [Endpoint].
func (e *layer2Endpoint) MaxMulticast() int { return MaxMulticast }

// Send implements [Endpoint]. The interface and the source address go with
// the packet, never with the socket, so that concurrent calls cannot cross.
func (e *layer2Endpoint) Send(link int, msg []byte) error {
	if e.ctx.Err() != nil {
		return fmt.Errorf("acp: send on link %d: %w", link, net.ErrClosed)
	}
	if len(msg) > MaxMulticast {
		return fmt.Errorf("acp: send %d bytes on link %d, which takes %d: %w", len(msg), link, MaxMulticast, syscall.EMSGSIZE)
	}
	l := e.state.Load().byIndex[link]
	if l == nil {
		return fmt.Errorf("acp: send on link %d, which is not in use: %w", link, syscall.ENODEV)
	}
	if err := e.sendOn(l, msg); err != nil {
		if e.ctx.Err() != nil {
			return fmt.Errorf("acp: send on %s (link %d): %w", l.Name, link, net.ErrClosed)
		}
		e.poke() // the link may have changed
		return fmt.Errorf("acp: send on %s (link %d): %w", l.Name, link, err)
	}
	return nil
}

// oobPool holds buffers for the control messages of Receive.
var oobPool = sync.Pool{New: func() any { return new([oobSize]byte) }}

// Receive implements [Endpoint]. Datagrams that did not go to the group, did
// not come by a link in use, or have a source beyond the link are dropped:
// the port is shared, hears groups that other sockets joined, and may be sent
// to by anybody.
func (e *layer2Endpoint) Receive(buf []byte) (int, Origin, error) {
	oob := oobPool.Get().(*[oobSize]byte)
	defer oobPool.Put(oob)
	for {
		n, oobn, _, src, err := e.recv.ReadMsgUDPAddrPort(buf, oob[:])
		if err != nil && !isTruncated(err) {
			return 0, Origin{}, fmt.Errorf("acp: receive multicast: %w", err)
		}
		from, ok := e.origin(src, oob[:oobn])
		if ok {
			return n, from, nil
		}
		e.drops.Add(1)
	}
}

// origin says where a datagram came from, and whether it is for us.
func (e *layer2Endpoint) origin(src netip.AddrPort, oob []byte) (Origin, bool) {
	st := e.state.Load()
	var index int
	if dst, ifindex, ok := packetInfo(oob); ok {
		if dst != Group6 {
			return Origin{}, false
		}
		index = ifindex
	} else if !e.packetInfo {
		index = st.indexOf(src.Addr().Zone())
	}
	l := st.byIndex[index]
	if l == nil {
		return Origin{}, false
	}
	addr := src.Addr().WithZone("")
	switch {
	case isLinkLocal(addr):
		addr = addr.WithZone(l.zone)
	case l.loopback && addr == netip.IPv6Loopback():
	default:
		return Origin{}, false
	}
	return Origin{Link: index, Addr: netip.AddrPortFrom(addr, src.Port())}, true
}

// indexOf returns the index of the interface that a zone of package net names,
// 0 if there is none.
func (st *layer2State) indexOf(zone string) int {
	if zone == "" {
		return 0
	}
	if i, ok := st.names[zone]; ok {
		return i
	}
	if i, err := strconv.Atoi(zone); err == nil {
		return i
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return ifi.Index
	}
	return 0
}

// Accept implements [Endpoint].
func (e *layer2Endpoint) Accept() (*Stream, error) {
	conn, err := e.streams.AcceptTCP()
	if err != nil {
		return nil, fmt.Errorf("acp: accept: %w", err)
	}
	peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	s := &Stream{Conn: conn, Peer: unmapped(peer)}
	if isLinkLocal(s.Peer.Addr()) {
		// Not from the zone's name: package net remembers names for a
		// minute, in which they can move to another interface.
		s.Link = peerZone(conn)
		s.Peer = netip.AddrPortFrom(s.Peer.Addr().WithZone(zoneOf(s.Link)), s.Peer.Port())
	}
	return s, nil
}

// Dial implements [Endpoint].
func (e *layer2Endpoint) Dial(ctx context.Context, to netip.AddrPort) (*Stream, error) {
	to = unmapped(to)
	link := 0
	if isLinkLocal(to.Addr()) {
		var err error
		if link, err = strconv.Atoi(to.Addr().Zone()); err != nil || link <= 0 {
			return nil, fmt.Errorf("acp: dial %s: a link-local address needs the index of its link as its zone", to)
		}
		to = netip.AddrPortFrom(to.Addr().WithZone(zoneOf(link)), to.Port())
	}
	if e.ctx.Err() != nil {
		return nil, fmt.Errorf("acp: dial %s: %w", to, net.ErrClosed)
	}
	dialCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()

	var d net.Dialer
	conn, err := d.DialContext(dialCtx, "tcp", to.String())
	switch {
	case err == nil && e.ctx.Err() != nil:
		_ = conn.Close()
		fallthrough
	case e.ctx.Err() != nil:
		return nil, fmt.Errorf("acp: dial %s: %w", to, net.ErrClosed)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("acp: dial %s: %w", to, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("acp: dial: %w", err) // it names the peer
	}
	// An interface whose name is a number hides the link with that index
	// from package net.
	if link != 0 && peerZone(conn.(*net.TCPConn)) != link {
		_ = conn.Close()
		return nil, fmt.Errorf("acp: dial %s: an interface is named %q", to, to.Addr().Zone())
	}
	return &Stream{Conn: conn, Peer: to, Link: link}, nil
}

// Close implements [Endpoint]: it ends every call under way and waits for the
// endpoint's goroutine. It may be called more than once, and concurrently.
func (e *layer2Endpoint) Close() error {
	e.closeOnce.Do(func() {
		e.cancel()
		e.closeErr = errors.Join(e.recv.Close(), e.send.Close(), e.streams.Close())
		e.done.Wait()
		e.state.Store(&layer2State{})
	})
	return e.closeErr
}

// isLinkLocal is true for an IPv6 link-local address, and not for one of
// 169.254.0.0/16, which has no zone.
func isLinkLocal(a netip.Addr) bool {
	return a.Is6() && a.IsLinkLocalUnicast()
}

// unmapped turns an IPv4-mapped IPv6 address into an IPv4 one.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// zoneOf is the zone of a link: its index in decimal, nothing if unknown.
func zoneOf(index int) string {
	if index == 0 {
		return ""
	}
	return strconv.Itoa(index)
}
