package netbed

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// PacketSocket opens a socket for raw frames of IPv6 on an interface of the node.
// It does not block, and is the caller's to close.
func (n *Node) PacketSocket(t testing.TB, name string) (fd int, mac net.HardwareAddr) {
	t.Helper()
	var err error
	n.Do(t, func() { fd, mac, err = packetSocket(name, unix.ETH_P_IPV6) })
	if err != nil {
		t.Fatalf("netbed: %v: a socket for frames on %s: %v", n, name, err)
	}
	return fd, mac
}

// packetSocket opens a socket for raw frames of a protocol of Ethernet, here.
func packetSocket(name string, ether uint16) (fd int, mac net.HardwareAddr, err error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return 0, nil, err
	}
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, ether))
	// It hears nothing before it is bound.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index}); err != nil {
		_ = unix.Close(fd)
		return 0, nil, os.NewSyscallError("bind", err)
	}
	return fd, ifi.HardwareAddr, nil
}

// Frame returns an Ethernet frame with an IPv6 packet, whose payload gets its
// checksum: it is of ICMPv6 or UDP. To a multicast address it goes to the group's
// MAC address, whatever dst is.
func Frame(src, dst net.HardwareAddr, from, to netip.Addr, proto byte, payload []byte) []byte {
	at := 2
	if proto == unix.IPPROTO_UDP {
		at = 6
	}
	sum := uint32(proto) + uint32(len(payload))
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	add(from.AsSlice())
	add(to.AsSlice())
	add(payload)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(payload[at:], ^uint16(sum))
	if to.IsMulticast() {
		dst = append(net.HardwareAddr{0x33, 0x33}, to.AsSlice()[12:]...)
	}
	frame := append(append(append([]byte(nil), dst...), src...), 0x86, 0xdd)
	frame = append(frame, 0x60, 0, 0, 0, byte(len(payload)>>8), byte(len(payload)), proto, 255)
	frame = append(append(frame, from.AsSlice()...), to.AsSlice()...)
	return append(frame, payload...)
}

// Datagram returns a UDP datagram in a frame.
func Datagram(src, dst net.HardwareAddr, from, to netip.AddrPort, payload []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	return Frame(src, dst, from.Addr().WithZone(""), to.Addr().WithZone(""), unix.IPPROTO_UDP, udp)
}
