package acp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

const oobSize = 64

// ipv4Works: nothing would tell the interface of an IPv4 packet.
const ipv4Works = false

// Errors of Winsock that package syscall has no names for.
const (
	wsaeMsgSize   = syscall.Errno(10040)
	wsaeAddrInUse = syscall.Errno(10048)
)

// controlShared prepares the socket on port 7017 before it is bound: here,
// SO_REUSEADDR alone lets sockets share a port.
func controlShared(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt SO_REUSEADDR",
			syscall.SetsockoptInt(syscall.Handle(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	}); cerr != nil {
		return cerr
	}
	return err
}

// packetInfo: there is none. The link is told by the zone of the source, and
// the destination not at all.
func packetInfo([]byte) (netip.Addr, int, bool) { return netip.Addr{}, 0, false }

// peerZone returns the index of the link that a link-local peer is on, 0 if
// it cannot be told.
func peerZone(c *net.TCPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	zone := 0
	_ = raw.Control(func(fd uintptr) {
		if sa, err := syscall.Getpeername(syscall.Handle(fd)); err == nil {
			if sa, ok := sa.(*syscall.SockaddrInet6); ok {
				zone = int(sa.ZoneId)
			}
		}
	})
	return zone
}

// sendOn multicasts on one link, which the zone of the destination picks.
func sendOn(l *linkState, msg []byte) error {
	_, err := l.family.send.WriteToUDPAddrPort(msg, netip.AddrPortFrom(Group6().WithZone(l.zone), Port))
	return err
}

// sendUnicast sends to one node on a link, which the zone of its address picks.
func sendUnicast(l *linkState, to netip.AddrPort, msg []byte) error {
	_, err := l.family.send.WriteToUDPAddrPort(msg, to)
	return err
}

func isInUse(err error) bool {
	return errors.Is(err, wsaeAddrInUse) || errors.Is(err, syscall.EADDRINUSE)
}

// isTruncated: a datagram longer than the buffer is an error here, though the
// buffer is full.
func isTruncated(err error) bool { return errors.Is(err, wsaeMsgSize) }

// unpolled returns the socket that multicasts are sent by.
func unpolled(c *net.UDPConn) outSocket { return c }
