//go:build !linux

package acp

import (
	"errors"
	"net"
	"net/netip"
)

// joinOtherwise and leaveOtherwise: there is one way to join a group.
func joinOtherwise(*net.UDPConn, netip.Addr, int) error { return errors.ErrUnsupported }

func leaveOtherwise(*net.UDPConn, netip.Addr, int) {}
