package acp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// family is a version of IP, with the sockets for its multicasts. A link runs
// over one of them.
type family struct {
	network    string     // as package net has it: udp6 or udp4
	group      netip.Addr // of GRASP
	recv       *net.UDPConn
	groups     grouper // recv
	packetInfo bool    // datagrams come with their destination and interface
	send       *net.UDPConn
	rawSend    syscall.RawConn
}

// grouper is what is alike in the packages ipv4 and ipv6.
type grouper interface {
	JoinGroup(ifi *net.Interface, group net.Addr) error
	LeaveGroup(ifi *net.Interface, group net.Addr) error
}

// newFamily6 and newFamily4 take the socket on the port of GRASP.
func newFamily6(recv *net.UDPConn) *family {
	return &family{network: "udp6", group: Group6, recv: recv, groups: ipv6.NewPacketConn(recv)}
}

func newFamily4(recv *net.UDPConn) *family {
	return &family{network: "udp4", group: Group4, recv: recv, groups: ipv4.NewPacketConn(recv)}
}

// minMTU is what a link needs to carry every multicast whole. IPv6 has it by
// definition.
const minMTU = 1280

// prepare sets the options of both sockets. Other processes of this host hear
// what is sent. The hop limit is 1, as everybody's: the scope of the group
// keeps packets on the link already, and this keeps them there if a router is
// wrong about that.
func (f *family) prepare() error {
	var err error
	if f.rawSend, err = f.send.SyscallConn(); err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	// Every socket on the port queues what any socket joined, by any link. The
	// system may grant less.
	_ = f.recv.SetReadBuffer(readBuffer)
	if f.group.Is4() {
		p := ipv4.NewPacketConn(f.send)
		err = errors.Join(p.SetMulticastLoopback(true), p.SetMulticastTTL(1))
	} else {
		p := ipv6.NewPacketConn(f.send)
		err = errors.Join(p.SetMulticastLoopback(true), p.SetMulticastHopLimit(1))
	}
	if err != nil {
		return fmt.Errorf("sender: multicast loopback and hop limit: %w", err)
	}
	switch g := f.groups.(type) {
	case *ipv4.PacketConn:
		err = g.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	case *ipv6.PacketConn:
		err = g.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	}
	// Windows has no packet information (golang/go#77598): origin makes do
	// with the zone of the source there.
	f.packetInfo = err == nil
	if err != nil && needPacketInfo {
		return fmt.Errorf("receiver: the system tells no interface with a packet: %w", err)
	}
	return nil
}

// join joins the group on an interface. That it is joined already is success.
func (f *family) join(index int) error {
	err := f.groups.JoinGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: f.group.AsSlice()})
	if err != nil && !isInUse(err) {
		return fmt.Errorf("acp: join %v on link %d: %w", f.group, index, err)
	}
	return nil
}

// leave leaves the group on an interface, which may be gone. There is nothing
// to be done if it fails.
func (f *family) leave(index int) {
	_ = f.groups.LeaveGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: f.group.AsSlice()})
}

// control returns the control message that picks a link and its address. The
// address is pinned so that the source is what Links says, however many the
// interface has.
func (f *family) control(l Link) []byte {
	if f.group.Is4() {
		return (&ipv4.ControlMessage{IfIndex: l.Index, Src: l.Addr.AsSlice()}).Marshal()
	}
	return (&ipv6.ControlMessage{IfIndex: l.Index, Src: l.Addr.AsSlice()}).Marshal()
}

// choice says how good an address is as the node's address on a link.
type choice int

const (
	choiceNone    choice = iota
	choiceFailed         // another node has it
	choiceAwaited        // duplicate address detection goes on
	choiceSecond
	choiceFirst
)

// usable is true if the link can be used with an address.
func (c choice) usable() bool { return c >= choiceSecond }

// rate says how good an address is on an interface. Only a loopback has ::1 or
// 127.0.0.1. An IPv4 address that the node chose for itself yields to one that
// it was given.
func (f *family) rate(ifi *netif, a netifAddr) choice {
	switch {
	case a.ip.Is4() != f.group.Is4():
		return choiceNone
	case a.ip.IsLoopback():
		if !ifi.loopback {
			return choiceNone
		}
	case !a.ip.IsLinkLocalUnicast() && (a.ip.Is6() || !a.ip.IsGlobalUnicast()):
		return choiceNone
	}
	switch {
	case a.flags&addrFailed != 0:
		return choiceFailed
	case a.flags&addrTentative != 0:
		return choiceAwaited
	case a.ip.Is6() && a.ip.IsLoopback(), a.ip.Is4() && a.ip.IsLinkLocalUnicast():
		return choiceSecond
	}
	return choiceFirst
}

// pick returns the best address for a link: of several that are as good, the
// one it had, or else the first.
func (f *family) pick(ifi *netif, old netip.Addr) (best netifAddr, c choice) {
	for _, a := range ifi.addrs {
		r := f.rate(ifi, a)
		if r > c || (r == c && r != choiceNone && a.ip == old) {
			best, c = a, r
		}
	}
	return best, c
}
