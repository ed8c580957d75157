package conform

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// port is GRASP's port, and the groups are GRASP's, of RFC 8990 section 2.6.
const port = 7017

var (
	group6 = netip.MustParseAddr("ff02::13")
	group4 = netip.MustParseAddr("224.0.0.119")
)

// family is a version of IP on a link.
type family interface {
	// group is where to send what all on the link shall get.
	group() netip.AddrPort
	// own says whether an address of the interface is the one to send from.
	own(netip.Addr) bool
	// udp and tcp are names for package net.
	udp() string
	tcp() string
	// join makes a socket hear the group.
	join(net.PacketConn) (groupConn, error)
	// prepare makes a socket multicast on the link.
	prepare(*net.UDPConn) error
}

// groupConn hears what a group is sent.
type groupConn interface {
	// read reads a datagram. It says by which interface it came, 0 if the system
	// does not tell, and whether it was for one node alone.
	read(b []byte) (n int, from netip.AddrPort, link int, unicast bool, err error)
	Close() error
}

// listenGroup opens a socket that shares the port with other programs.
func listenGroup(f family, name string) (groupConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return bindToLink(c, name) }}
	// A multicast address has the port shared, and the socket bound to all addresses.
	at := netip.AddrPortFrom(f.group().Addr().WithZone(""), port).String()
	conn, err := config.ListenPacket(context.Background(), f.udp(), at)
	if err != nil {
		return nil, err
	}
	g, err := f.join(conn)
	if err != nil {
		_ = conn.Close()
	}
	return g, err
}

func source(a net.Addr) netip.AddrPort { return a.(*net.UDPAddr).AddrPort() }

// six is IPv6.
type six struct{ ifi *net.Interface }

func (f six) group() netip.AddrPort {
	return netip.AddrPortFrom(group6.WithZone(strconv.Itoa(f.ifi.Index)), port)
}
func (f six) own(a netip.Addr) bool    { return a.Is6() && a.IsLinkLocalUnicast() }
func (six) udp() string                { return "udp6" }
func (six) tcp() string                { return "tcp6" }
func (six) prepare(*net.UDPConn) error { return nil }

func (f six) join(c net.PacketConn) (groupConn, error) {
	p := ipv6.NewPacketConn(c)
	_ = p.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true) // without it, all is taken for this link's
	return group6Conn{p}, p.JoinGroup(f.ifi, &net.UDPAddr{IP: group6.AsSlice()})
}

type group6Conn struct{ *ipv6.PacketConn }

func (c group6Conn) read(b []byte) (n int, from netip.AddrPort, link int, unicast bool, err error) {
	n, cm, src, err := c.ReadFrom(b)
	if err != nil {
		return 0, from, 0, false, err
	}
	if cm != nil {
		link, unicast = cm.IfIndex, !cm.Dst.IsMulticast()
	}
	return n, source(src), link, unicast, nil
}

// four is IPv4.
type four struct{ ifi *net.Interface }

func (four) group() netip.AddrPort { return netip.AddrPortFrom(group4, port) }
func (four) own(a netip.Addr) bool { return a.Is4() && !a.IsLoopback() }
func (four) udp() string           { return "udp4" }
func (four) tcp() string           { return "tcp4" }
func (f four) prepare(c *net.UDPConn) error {
	return ipv4.NewPacketConn(c).SetMulticastInterface(f.ifi)
}

func (f four) join(c net.PacketConn) (groupConn, error) {
	p := ipv4.NewPacketConn(c)
	_ = p.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true)
	return group4Conn{p}, p.JoinGroup(f.ifi, &net.UDPAddr{IP: group4.AsSlice()})
}

type group4Conn struct{ *ipv4.PacketConn }

func (c group4Conn) read(b []byte) (n int, from netip.AddrPort, link int, unicast bool, err error) {
	n, cm, src, err := c.ReadFrom(b)
	if err != nil {
		return 0, from, 0, false, err
	}
	if cm != nil {
		link, unicast = cm.IfIndex, !cm.Dst.IsMulticast()
	}
	return n, source(src), link, unicast, nil
}
