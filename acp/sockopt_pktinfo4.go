//go:build darwin || linux

package acp

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ipv4Works: an IPv4 packet comes and goes with its interface.
const ipv4Works = true

// packetInfo4 reads the packet information of IPv4.
func packetInfo4(level, typ int32, data []byte) (dst netip.Addr, ifindex int, ok bool) {
	if level != unix.IPPROTO_IP || typ != unix.IP_PKTINFO || len(data) < unix.SizeofInet4Pktinfo {
		return netip.Addr{}, 0, false
	}
	// The interface, our address there, and the destination.
	return netip.AddrFrom4([4]byte(data[8:])), int(binary.NativeEndian.Uint32(data)), true
}
