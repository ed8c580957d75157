package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/go-grasp/grasp/internal/asleep"
)

// system is what Layer2 needs of the operating system; tests replace parts.
// Networks are udp6 and udp4.
type system struct {
	listenTCP   func(port uint16) (*net.TCPListener, error)
	listenUDP   func(network string, port uint16) (*net.UDPConn, error)
	listenGroup func(network string) (*net.UDPConn, error)
	connect     func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// interfaces may return interfaces and an error, which says what is amiss.
	interfaces func() ([]netif, error)
	subscribe  func(ipv4 bool) (eventSource, error)
	alarm      func() (eventSource, error) // tells when the machine wakes up
}

func hostSystem(names []string) system {
	return system{
		listenTCP:   listenTCP,
		listenUDP:   listenUDP,
		listenGroup: listenGroup,
		connect:     connect,
		interfaces:  func() ([]netif, error) { return interfaces(names) },
		subscribe:   subscribe,
		alarm:       func() (eventSource, error) { return asleep.NewAlarm() },
	}
}

// portTries bounds the search for a port that is free for both TCP and UDP.
const portTries = 64

// readBuffer is how many bytes of datagrams may wait for Receive.
const readBuffer = 1 << 20

// openGroups opens the receivers. With IPv4, it is enough if one version of IP works.
func (e *layer2Endpoint) openGroups(with4 bool) error {
	six, err6 := e.sys.listenGroup("udp6")
	if err6 == nil {
		e.six = newFamily("udp6", six)
	}
	if !with4 || !ipv4Works {
		return err6
	}
	four, err4 := e.sys.listenGroup("udp4")
	if err4 == nil {
		e.four = newFamily("udp4", four)
	}
	switch {
	case err6 != nil && err4 != nil:
		return errors.Join(err6, err4)
	case err6 != nil && !isNoFamily(err6):
		e.miss("udp6", err6)
	case err4 != nil && !isNoFamily(err4):
		e.miss("udp4", err4)
	}
	return nil
}

// families returns the versions of IP that there are. Once watch runs only that may call it.
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
// came from). The system picks a port for TCP, of which more are taken. If UDP
// cannot have that port, too, another one is tried, unless the port is fixed. Until one
// is found, the listeners stay open, or the system would pick the same ports again.
func (e *layer2Endpoint) openPort(fixed uint16) error {
	var vain []*net.TCPListener
	defer func() {
		for _, l := range vain {
			_ = l.Close()
		}
	}()
	for {
		tcp, err := e.sys.listenTCP(fixed)
		if err != nil && fixed != 0 {
			return fmt.Errorf("listen for streams on port %d: %w", fixed, err)
		}
		if err != nil {
			return fmt.Errorf("listen for streams, after %d ports that UDP cannot have: %w", len(vain), err)
		}
		port := portOf(tcp.Addr())
		if err = e.openSenders(port); err == nil {
			return e.acceptAt(tcp, port)
		}
		vain = append(vain, tcp)
		done := len(vain) == portTries || !isInUse(err) || fixed != 0
		if done && e.six != nil && e.four != nil && isInUse(err) {
			e.giveUp(e.four, err) // as where a socket of IPv6 takes the port of IPv4, too
			if err = e.openSenders(port); err == nil {
				vain = vain[:len(vain)-1]
				return e.acceptAt(tcp, port)
			}
		}
		if done {
			return fmt.Errorf("sender on port %d, try %d: %w", port, len(vain), err)
		}
	}
}

// acceptAt has the endpoint accept streams on its port.
func (e *layer2Endpoint) acceptAt(tcp *net.TCPListener, port uint16) (err error) {
	e.port = port
	e.streams, err = newListener(tcp, e.fast != nil)
	return err
}

// openSenders opens the senders of all families on a port, or none. If a family cannot
// have a sender, whatever the port, and there is another family, it is given up.
func (e *layer2Endpoint) openSenders(port uint16) error {
	var failed error
	for _, f := range e.families() {
		send, err := e.sys.listenUDP(f.network, port)
		switch {
		case err == nil:
			f.send = send
		case failed != nil || isInUse(err) || e.six == nil || e.four == nil:
			failed = errors.Join(failed, err)
		default:
			e.giveUp(f, err)
		}
	}
	if failed == nil {
		return nil
	}
	for _, f := range e.families() {
		if f.send != nil {
			_ = f.send.Close()
			f.send = nil
		}
	}
	return failed
}

// giveUp has the endpoint do without a family for now.
func (e *layer2Endpoint) giveUp(f *family, err error) {
	_ = f.conn.Close()
	e.miss(f.network, err)
	if f == e.six {
		e.six = nil
	} else {
		e.four = nil
	}
}

// closeSockets closes what Open has opened.
func (e *layer2Endpoint) closeSockets(opened []*family) error {
	var errs []error
	for _, f := range opened {
		errs = append(errs, f.receiver.conn.Close(), f.closeSender())
	}
	if e.streams != nil {
		errs = append(errs, e.streams.Close())
	}
	if e.events != nil {
		_ = e.events.Close() // which may have been given up before
	}
	if e.alarm != nil {
		_ = e.alarm.Close()
	}
	return errors.Join(errs...)
}

// listenTCP listens on IPv6 and, where the system allows it, on IPv4 too; or
// on IPv4 alone where there is no IPv6. Multipath TCP is off: it has no use
// for link-local addresses, and the transport of RFC 8990 is plain TCP.
func listenTCP(port uint16) (*net.TCPListener, error) {
	lc := net.ListenConfig{KeepAlive: noKeepAlive, Control: controlStreams}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", ":"+strconv.Itoa(int(port)))
	if isOption(err) {
		return plainTCP(port)
	}
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listenUDP opens the socket that multicasts are sent from.
func listenUDP(network string, port uint16) (*net.UDPConn, error) {
	c, err := net.ListenUDP(network, &net.UDPAddr{Port: int(port)})
	if isOption(err) {
		return plainUDP(network, port, false)
	}
	return c, err
}

// listenGroup opens the socket that hears multicasts, on a port shared with
// every other process of the host. The one of IPv6 is of IPv6 alone, whatever
// the system's default: package net sees to that.
func listenGroup(network string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: controlShared}
	c, err := lc.ListenPacket(context.Background(), network, ":"+strconv.Itoa(Port))
	if isOption(err) {
		return plainUDP(network, Port, true)
	}
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
