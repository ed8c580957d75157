package netbed

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Where things are in a frame of TCP over IPv6 without extensions, or over IPv4 without
// options, after the virtio header.
const (
	ethernetHeader = 14
	tcpWindow      = 14 // in the TCP header
	tcpSum         = 16
)

// clampWindow makes the window that a TCP segment tells no larger than most. The frame has
// a virtio header.
func clampWindow(frame []byte, most uint16) {
	ip := frame[virtioHeader+ethernetHeader:]
	header := 40
	if binary.BigEndian.Uint16(frame[virtioHeader+ethernetHeader-2:]) == unix.ETH_P_IP {
		header = int(ip[0]&0xf) * 4
	}
	if len(ip) < header+tcpSum+2 {
		return
	}
	tcp := ip[header:]
	window := binary.BigEndian.Uint16(tcp[tcpWindow:])
	if window <= most {
		return
	}
	binary.BigEndian.PutUint16(tcp[tcpWindow:], most)
	const sumIsToBeMade = 1 // in the flags of the virtio header
	if frame[0]&sumIsToBeMade != 0 {
		return
	}
	// RFC 1624: the sum is that of before, but for what has changed.
	sum := uint32(^binary.BigEndian.Uint16(tcp[tcpSum:])) + uint32(^window) + uint32(most)
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(tcp[tcpSum:], ^uint16(sum))
}
