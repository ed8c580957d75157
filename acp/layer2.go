package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv6"
)

// Layer2 is the plane for networks whose link layer is protected by other
// means, such as MACsec, WPA3 or locked rooms: GRASP runs over the sockets of
// the operating system, in clear. Its Status is Secure because it trusts that
// protection, which it cannot check.
//
// It uses IPv6 multicast (RFC 8990 section 2.6), so a link is in use only
// while it has a usable IPv6 link-local address. Streams go over TCP, also to
// and from IPv4 addresses where the system allows that.
//
// The zero value is ready for use. Fields must not be changed after Open.
type Layer2 struct {
	// Links holds the names of the interfaces to use. A name need not exist
	// yet. Empty means every interface that is up, capable of multicast and
	// not a loopback.
	//
	// A loopback interface is used only if it is named here. Linux has no
	// route for multicast on it by default, so that Send fails with
	// ENETUNREACH until there is one:
	//
	//	ip -6 route add local ff02::13/128 dev lo
	Links []string
}

// layer2Reason is what Layer2 says of itself.
const layer2Reason = "layer 2 is assumed, without a check, to be protected by other means"

// Status implements [Plane]. It is always secure, by assumption.
func (l *Layer2) Status() Status {
	return Status{Secure: true, Reason: layer2Reason}
}

// Open implements [Plane]: it opens the sockets of one instance and joins the
// group on every link there is. Links that come, go or change later are
// noticed within about a second.
//
// It fails if the system has no IPv6 at all, but not if there is no link.
func (l *Layer2) Open() (Endpoint, error) {
	e, err := openLayer2(l.Links, hostSystem())
	if err != nil {
		return nil, err
	}
	return e, nil
}

// system is what Layer2 needs of the operating system; tests replace parts.
type system struct {
	listenTCP   func(port uint16) (*net.TCPListener, error)
	listenUDP   func(port uint16) (*net.UDPConn, error)
	listenGroup func() (*net.UDPConn, error)
	interfaces  func() ([]netif, error)
}

func hostSystem() system {
	return system{
		listenTCP:   listenTCP,
		listenUDP:   listenUDP,
		listenGroup: listenGroup,
		interfaces:  interfaces,
	}
}

// portTries bounds the search for a port that is free for both TCP and UDP.
const portTries = 64

// readBuffer is how many bytes of datagrams may wait for Receive.
const readBuffer = 1 << 20

// openLayer2 acquires everything, then starts the endpoint's goroutine, and
// releases everything on failure.
func openLayer2(names []string, sys system) (_ *layer2Endpoint, err error) {
	var closers []interface{ Close() error }
	defer func() {
		if err == nil {
			return
		}
		for _, c := range closers {
			_ = c.Close()
		}
	}()

	recv, err := sys.listenGroup()
	if err != nil {
		return nil, fmt.Errorf("acp: layer 2: receive multicast on port %d: %w", Port, explain(err))
	}
	closers = append(closers, recv)

	streams, send, err := sys.listenPair()
	if err != nil {
		return nil, fmt.Errorf("acp: layer 2: %w", explain(err))
	}
	closers = append(closers, streams, send)

	e := &layer2Endpoint{
		sys:     sys,
		names:   slices.Clone(names),
		recv:    recv,
		group:   ipv6.NewPacketConn(recv),
		send:    send,
		streams: streams,
		port:    portOf(send.LocalAddr()),
		changed: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		members: make(map[int]*member),
	}
	if e.rawSend, err = send.SyscallConn(); err != nil {
		return nil, fmt.Errorf("acp: layer 2: sender: %w", err)
	}
	if err = setSender(send); err != nil {
		return nil, fmt.Errorf("acp: layer 2: sender: %w", err)
	}
	// Every socket on the port queues what any socket joined, by any link. The
	// system may grant less.
	_ = recv.SetReadBuffer(readBuffer)
	// Windows has no packet information (golang/go#77598): origin makes do
	// with the zone of the source there.
	e.packetInfo = e.group.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true) == nil
	if !e.packetInfo && needPacketInfo {
		return nil, errors.New("acp: layer 2: receiver: the system tells no interface with a packet")
	}

	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.state.Store(&layer2State{})
	next := e.refresh()
	e.drainChanged()
	e.done.Go(func() { e.watch(next) })
	return e, nil
}

// listenPair opens a TCP listener and a UDP socket on one port (RFC 8990
// section 2.8.4: the port on which responses are awaited is the one the
// multicast came from). The system picks a port for TCP, of which more are
// taken; if UDP cannot have it too, another is tried. Listeners in vain are
// held until the end, or the system would pick the same few ports again.
func (s *system) listenPair() (*net.TCPListener, *net.UDPConn, error) {
	var vain []*net.TCPListener
	defer func() {
		for _, l := range vain {
			_ = l.Close()
		}
	}()
	for {
		tcp, err := s.listenTCP(0)
		if err != nil {
			return nil, nil, fmt.Errorf("listen for streams, after %d ports that UDP cannot have: %w", len(vain), err)
		}
		port := portOf(tcp.Addr())
		udp, err := s.listenUDP(port)
		if err == nil {
			return tcp, udp, nil
		}
		vain = append(vain, tcp)
		if len(vain) == portTries || !isInUse(err) {
			return nil, nil, fmt.Errorf("sender on port %d, try %d: %w", port, len(vain), err)
		}
	}
}

// listenTCP listens on IPv6 and, where the system allows it, on IPv4 too.
// Multipath TCP is off: it has no use for link-local addresses, and the
// transport of RFC 8990 is plain TCP.
func listenTCP(port uint16) (*net.TCPListener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listenUDP opens the socket that multicasts are sent from.
func listenUDP(port uint16) (*net.UDPConn, error) {
	return net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6unspecified, Port: int(port)})
}

// listenGroup opens the socket that hears multicasts, on a port shared with
// every other process of the host.
func listenGroup() (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: controlShared}
	c, err := lc.ListenPacket(context.Background(), "udp6", "[::]:"+strconv.Itoa(Port))
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// setSender makes other processes of this host hear what is sent. The hop
// limit is 1, as everybody's: the scope of the group keeps packets on the
// link already, and this keeps them there if a router is wrong about that.
func setSender(c *net.UDPConn) error {
	p := ipv6.NewPacketConn(c)
	if err := p.SetMulticastLoopback(true); err != nil {
		return fmt.Errorf("multicast loopback: %w", err)
	}
	if err := p.SetMulticastHopLimit(1); err != nil {
		return fmt.Errorf("multicast hop limit: %w", err)
	}
	return nil
}

// explain adds what an operator can do about a system without IPv6.
func explain(err error) error {
	if errors.Is(err, syscall.EAFNOSUPPORT) {
		return fmt.Errorf("the system has no IPv6, which link-local multicast needs: %w", err)
	}
	return err
}

func portOf(a net.Addr) uint16 {
	switch a := a.(type) {
	case *net.UDPAddr:
		return uint16(a.Port)
	case *net.TCPAddr:
		return uint16(a.Port)
	}
	return 0
}
