//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package acp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
)

const (
	ipv4Works = false
	oobSize   = 1
)

// controlShared makes Open fail: Layer2 does not know this system's sockets.
func controlShared(_, _ string, _ syscall.RawConn) error {
	return fmt.Errorf("%s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func packetInfo([]byte) (netip.Addr, int, bool) { return netip.Addr{}, 0, false }

func peerZone(*net.TCPConn) int { return 0 }

func sendOn(*linkState, []byte) error { return errors.ErrUnsupported }

func sendUnicast(*linkState, netip.AddrPort, []byte) error { return errors.ErrUnsupported }

func isInUse(error) bool { return false }

func isTruncated(error) bool { return false }

// unpolled returns the socket that multicasts are sent by.
func unpolled(c *net.UDPConn) outSocket { return c }
