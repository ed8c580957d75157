//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package acp

import (
	"net"
	"syscall"
)

// limitGroups: these systems deliver to the sockets that joined only.
func limitGroups(int, string) {}

// reusePort reports whether SO_REUSEPORT is set on the shared socket.
func reusePort(string) bool { return true }

// peerZone returns the index of the link that a link-local peer is on, 0 if
// it cannot be told.
func peerZone(c *net.TCPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	zone := 0
	_ = raw.Control(func(fd uintptr) {
		// Not that of package unix, which asks for the protocol too.
		if sa, err := syscall.Getpeername(int(fd)); err == nil {
			if sa, ok := sa.(*syscall.SockaddrInet6); ok {
				zone = int(sa.ZoneId)
			}
		}
	})
	return zone
}
