package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// system is what Layer2 needs of the operating system; tests replace parts.
// Networks are udp6 and udp4.
type system struct {
	listenTCP   func(port uint16) (*net.TCPListener, error)
	listenUDP   func(network string, port uint16) (*net.UDPConn, error)
	listenGroup func(network string) (*net.UDPConn, error)
	connect     func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	interfaces  func() ([]netif, error)
	subscribe   func(ipv4 bool) (eventSource, error)
}

func hostSystem() system {
	return system{
		listenTCP:   listenTCP,
		listenUDP:   listenUDP,
		listenGroup: listenGroup,
		connect:     connect,
		interfaces:  interfaces,
		subscribe:   subscribe,
	}
}

// portTries bounds the search for a port that is free for both TCP and UDP.
const portTries = 64

// readBuffer is how many bytes of datagrams may wait for Receive.
const readBuffer = 1 << 20

// openGroups opens the receivers. With IPv4, a system may lack either version
// of IP, though not both.
func (e *layer2Endpoint) openGroups(with4 bool) error {
	with4 = with4 && ipv4Works
	six, err := e.sys.listenGroup("udp6")
	switch {
	case err == nil:
		e.six = newFamily6(six)
	case !with4 || !isNoFamily(err):
		return err
	}
	if !with4 {
		return nil
	}
	four, err := e.sys.listenGroup("udp4")
	switch {
	case err == nil:
		e.four = newFamily4(four)
	case e.six == nil || !isNoFamily(err):
		return err
	}
	return nil
}

// families returns the versions of IP that there are.
func (e *layer2Endpoint) families() []*family {
	var fs []*family
	for _, f := range []*family{e.six, e.four} {
		if f != nil {
			fs = append(fs, f)
		}
	}
	return fs
}

// openPort opens a TCP listener and the senders on one port (RFC 8990 section
// 2.8.4: the port on which responses are awaited is the one the multicast
// came from). The system picks a port for TCP, of which more are taken; if UDP
// cannot have it too, another is tried. Listeners in vain are held until the
// end, or the system would pick the same few ports again.
func (e *layer2Endpoint) openPort() error {
	var vain []*net.TCPListener
	defer func() {
		for _, l := range vain {
			_ = l.Close()
		}
	}()
	for {
		tcp, err := e.sys.listenTCP(0)
		if err != nil {
			return fmt.Errorf("listen for streams, after %d ports that UDP cannot have: %w", len(vain), err)
		}
		port := portOf(tcp.Addr())
		if err = e.openSenders(port); err == nil {
			e.streams, e.port = tcp, port
			return nil
		}
		vain = append(vain, tcp)
		if len(vain) == portTries || !isInUse(err) {
			return fmt.Errorf("sender on port %d, try %d: %w", port, len(vain), err)
		}
	}
}

// openSenders opens the senders of all families on a port, or none.
func (e *layer2Endpoint) openSenders(port uint16) (err error) {
	for _, f := range e.families() {
		if f.send, err = e.sys.listenUDP(f.network, port); err != nil {
			f.send = nil
			break
		}
	}
	if err == nil {
		return nil
	}
	for _, f := range e.families() {
		if f.send != nil {
			_ = f.send.Close()
			f.send = nil
		}
	}
	return err
}

// closeSockets closes what has been opened.
func (e *layer2Endpoint) closeSockets() error {
	var errs []error
	for _, f := range e.families() {
		errs = append(errs, f.recv.Close())
		if f.send != nil {
			errs = append(errs, f.send.Close())
		}
	}
	if e.streams != nil {
		errs = append(errs, e.streams.Close())
	}
	if e.events != nil {
		_ = e.events.Close() // which may have been given up before
	}
	return errors.Join(errs...)
}

// listenTCP listens on IPv6 and, where the system allows it, on IPv4 too; or
// on IPv4 alone where there is no IPv6. Multipath TCP is off: it has no use
// for link-local addresses, and the transport of RFC 8990 is plain TCP.
func listenTCP(port uint16) (*net.TCPListener, error) {
	lc := net.ListenConfig{KeepAlive: noKeepAlive}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listenUDP opens the socket that multicasts are sent from.
func listenUDP(network string, port uint16) (*net.UDPConn, error) {
	return net.ListenUDP(network, &net.UDPAddr{Port: int(port)})
}

// listenGroup opens the socket that hears multicasts, on a port shared with
// every other process of the host. The one of IPv6 is of IPv6 alone, whatever
// the system's default: package net sees to that.
func listenGroup(network string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: controlShared}
	c, err := lc.ListenPacket(context.Background(), network, ":"+strconv.Itoa(Port))
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// isNoFamily is true if the system has no such version of IP.
func isNoFamily(err error) bool { return errors.Is(err, syscall.EAFNOSUPPORT) }

// explain adds what an operator can do about a system without IPv6.
func explain(err error) error {
	if isNoFamily(err) {
		return fmt.Errorf("the system has no IPv6, which link-local multicast needs unless IPv4 is on: %w", err)
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
