package capture

import (
	"encoding/binary"
	"net/netip"
)

// Segment is a UDP datagram or a TCP segment.
type Segment struct {
	Src, Dst netip.AddrPort
	TCP      bool
	Seq      uint32 // of TCP
	SYN, End bool   // of TCP; End: FIN or RST
	Payload  []byte // part of the packet's data
	// Cut says that not all of the payload was captured.
	Cut bool
}

// The link types that are read: LINKTYPE_ numbers of pcap.
const (
	linkNull      = 0
	linkEthernet  = 1
	linkRaw       = 101
	linkLoop      = 108
	linkLinuxSLL  = 113
	linkIPv4      = 228
	linkIPv6      = 229
	linkLinuxSLL2 = 276
)

const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	protoTCP   = 6
	protoUDP   = 17
	headerUDP  = 8
	headerIPv6 = 40
)

// Segment returns what a packet carries, false if it is something else, such as
// a fragment.
func (p Packet) Segment() (Segment, bool) {
	ip, ok := p.network()
	if !ok || len(ip) == 0 {
		return Segment{}, false
	}
	var s Segment
	var proto byte
	var src, dst netip.Addr
	var rest []byte
	switch ip[0] >> 4 {
	case 4:
		proto, src, dst, rest, s.Cut, ok = ipv4(ip)
	case 6:
		proto, src, dst, rest, s.Cut, ok = ipv6(ip)
	default:
		ok = false
	}
	if !ok || len(rest) < headerUDP {
		return Segment{}, false
	}
	s.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(rest))
	s.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(rest[2:]))
	switch proto {
	case protoUDP:
		length := int(binary.BigEndian.Uint16(rest[4:]))
		if length < headerUDP {
			return Segment{}, false
		}
		s.Cut = s.Cut && length > len(rest)
		s.Payload = rest[headerUDP:min(length, len(rest))]
		return s, true
	case protoTCP:
		if len(rest) < 20 || len(rest) < int(rest[12]>>4)*4 || rest[12]>>4 < 5 {
			return Segment{}, false
		}
		s.TCP, s.Seq = true, binary.BigEndian.Uint32(rest[4:])
		s.SYN, s.End = rest[13]&2 != 0, rest[13]&5 != 0
		s.Payload = rest[int(rest[12]>>4)*4:]
		return s, true
	}
	return Segment{}, false
}

// network returns what begins with the header of IP.
func (p Packet) network() ([]byte, bool) {
	b := p.Data
	skip := 0
	switch p.LinkType {
	case linkEthernet:
		skip = 14
		for len(b) >= skip && isVLAN(b[skip-2:skip]) {
			skip += 4
		}
	case linkNull, linkLoop:
		skip = 4
	case linkLinuxSLL:
		skip = 16
	case linkLinuxSLL2:
		skip = 20
	case linkRaw, linkIPv4, linkIPv6, 12, 14: // the two are LINKTYPE_RAW of some systems
	default:
		return nil, false
	}
	if len(b) < skip {
		return nil, false
	}
	if p.LinkType == linkEthernet {
		if t := binary.BigEndian.Uint16(b[skip-2:]); t != etherIPv4 && t != etherIPv6 {
			return nil, false
		}
	}
	return b[skip:], true
}

func isVLAN(etherType []byte) bool {
	t := binary.BigEndian.Uint16(etherType)
	return t == etherVLAN || t == etherQinQ
}

// ipv4 takes the header of IPv4 off.
func ipv4(b []byte) (proto byte, src, dst netip.Addr, rest []byte, cut, ok bool) {
	if len(b) < 20 {
		return
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // but for the bit "do not fragment"
	if header < 20 || header > total || header > len(b) || fragment != 0 {
		return
	}
	src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	return b[9], src, dst, b[header:min(total, len(b))], total > len(b), true
}

// ipv6 takes the headers of IPv6 off.
func ipv6(b []byte) (proto byte, src, dst netip.Addr, rest []byte, cut, ok bool) {
	const hopByHop, routing, fragment, options = 0, 43, 44, 60
	if len(b) < headerIPv6 {
		return
	}
	total := headerIPv6 + int(binary.BigEndian.Uint16(b[4:]))
	src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	proto, rest, cut = b[6], b[headerIPv6:min(total, len(b))], total > len(b)
	for {
		length := 8
		switch proto {
		case hopByHop, routing, options:
			if len(rest) < 8 {
				return
			}
			length += int(rest[1]) * 8
		case fragment:
			if len(rest) < 8 || binary.BigEndian.Uint16(rest[2:])&0xfff9 != 0 {
				return
			}
		default:
			ok = true
			return
		}
		if len(rest) < length {
			return
		}
		proto, rest = rest[0], rest[length:]
	}
}
