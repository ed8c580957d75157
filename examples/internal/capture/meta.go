package capture

import (
	"encoding/binary"
	"net/netip"
)

// The layers of this file are what systems put before packets when they capture them.

// nflog is of Linux' firewall: attributes in the byte order of the host, of which one is
// the packet.
func nflog(x *dissection, b []byte) (layer, []byte) {
	const header, packet = 4, 9
	if len(b) < header {
		return x.short()
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for attr := b[header:]; len(attr) >= 4; {
			length, kind := int(order.Uint16(attr)), order.Uint16(attr[2:])
			if length < 4 {
				break
			}
			if kind == packet {
				return ip, attr[4:min(length, len(attr))]
			}
			attr = attr[min((length+3)&^3, len(attr)):]
		}
	}
	return x.short()
}

// pktap is of Darwin: its length, and the link type of what follows.
func pktap(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 12 {
		return x.short()
	}
	length, linkType := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[8:])
	if length < 12 || uint64(length) > uint64(len(b)) {
		return x.short()
	}
	return linkLayer(int(linkType)), b[length:]
}

// ppi has its length and the link type of what follows.
func ppi(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 8 {
		return x.short()
	}
	length := int(binary.LittleEndian.Uint16(b[2:]))
	if length < 8 || length > len(b) {
		return x.short()
	}
	return linkLayer(int(binary.LittleEndian.Uint32(b[4:]))), b[length:]
}

// exported is what Wireshark exports: tags with the name of the protocol, and the
// addresses, before what it held.
func exported(x *dissection, b []byte) (layer, []byte) {
	const (
		endOfTags, dissectorName                   = 0, 12
		sourceIPv4, destIPv4, sourceIPv6, destIPv6 = 20, 21, 22, 23
		sourcePort, destPort                       = 25, 26
	)
	var name string
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	port := func(v []byte) uint16 {
		if len(v) != 4 {
			return 0
		}
		return bigEndian.Uint16(v[2:])
	}
	for len(b) >= 4 {
		tag, length := bigEndian.Uint16(b), int(bigEndian.Uint16(b[2:]))
		if b = b[4:]; len(b) < length {
			break
		}
		value := b[:length]
		b = b[min((length+3)&^3, len(b)):]
		switch tag {
		case dissectorName:
			name = string(trimZeros(value))
		case sourceIPv4, sourceIPv6:
			src, _ = netip.AddrFromSlice(value)
		case destIPv4, destIPv6:
			dst, _ = netip.AddrFromSlice(value)
		case sourcePort:
			srcPort = port(value)
		case destPort:
			dstPort = port(value)
		case endOfTags:
			switch name {
			case "grasp":
				if srcPort != graspPort && dstPort != graspPort {
					dstPort = graspPort
				}
				x.found = true
				x.segment = Segment{Src: netip.AddrPortFrom(src, srcPort), Dst: netip.AddrPortFrom(dst, dstPort), Payload: b}
				return nil, nil
			case "ip", "ipv6":
				return ip, b
			case "eth_withoutfcs", "eth_maybefcs", "eth":
				return ethernet, b
			}
			return x.unread("exported PDUs of %.32q are not read", name)
		}
	}
	return x.short()
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}
