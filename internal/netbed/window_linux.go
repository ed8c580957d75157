package netbed

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Where things are in a frame of TCP over IPv6 without extensions, or over IPv4 without
// options, after the virtio header.
const (
	ethernetHeader = 14
	tcpOffset      = 12 // in the TCP header
	tcpFlags       = 13
	tcpWindow      = 14
	tcpSum         = 16
)

// segmentIn returns the TCP segment of a frame with a virtio header, nil if it is cut.
func segmentIn(frame []byte) []byte {
	ip := frame[virtioHeader+ethernetHeader:]
	header := 40
	if binary.BigEndian.Uint16(frame[virtioHeader+ethernetHeader-2:]) == unix.ETH_P_IP {
		header = int(ip[0]&0xf) * 4
	}
	if len(ip) < header+tcpSum+2 {
		return nil
	}
	return ip[header:]
}

// isEarly reports whether a TCP segment opens a connection and carries data.
func isEarly(frame []byte) bool {
	const syn = 2
	tcp := segmentIn(frame)
	return tcp != nil && tcp[tcpFlags]&syn != 0 && len(tcp) > int(tcp[tcpOffset]>>4)*4
}

// clampWindow makes the window that a TCP segment tells no larger than most. The frame has
// a virtio header.
func clampWindow(frame []byte, most uint16) {
	tcp := segmentIn(frame)
	if tcp == nil {
		return
	}
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
