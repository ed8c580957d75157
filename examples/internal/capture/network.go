package capture

import (
	"net/netip"

	"github.com/go-grasp/grasp/acp"
)

// The protocols of IP that are read, or carry no GRASP for sure.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoIGMP     = 2
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoRSVP     = 46
	protoGRE      = 47
	protoESP      = 50
	protoAH       = 51
	protoICMPv6   = 58
	protoNone     = 59
	protoOptions  = 60
	protoEIGRP    = 88
	protoOSPF     = 89
	protoEtherIP  = 97
	protoPIM      = 103
	protoVRRP     = 112
	protoSCTP     = 132
	protoMobility = 135
	protoMPLS     = 137
	protoHIP      = 139
	protoShim6    = 140
)

const graspPort = acp.Port

const (
	headerIPv4      = 20
	headerIPv6      = 40
	headerUDP       = 8
	headerTCP       = 20
	fragmentsOffset = 0x1fff // of the header of IPv4, in units of 8 bytes
	fragmentsMore   = 0x2000
)

// ip is that version of IP which the first byte tells.
func ip(x *dissection, b []byte) (layer, []byte) {
	switch {
	case len(b) == 0:
		return x.short()
	case b[0]>>4 == 4:
		return ipv4, b
	case b[0]>>4 == 6:
		return ipv6, b
	}
	return x.unread("IP version %d is not read", b[0]>>4)
}

// ipv4 takes the header of IPv4 off.
func ipv4(x *dissection, b []byte) (layer, []byte) {
	if len(b) < headerIPv4 || b[0]>>4 != 4 {
		return x.short()
	}
	header, total := int(b[0]&15)*4, int(bigEndian.Uint16(b[2:]))
	if total == 0 { // more than the field can tell, or the network card's job
		total = len(b)
	}
	if header < headerIPv4 || header > total || header > len(b) {
		return x.short()
	}
	h := ipHeader{
		proto: b[9],
		src:   netip.AddrFrom4([4]byte(b[12:])),
		dst:   netip.AddrFrom4([4]byte(b[16:])),
		cut:   total > len(b),
	}
	rest := b[header:min(total, len(b))]
	if field := bigEndian.Uint16(b[6:]); field&(fragmentsOffset|fragmentsMore) != 0 {
		return h.fragment(x, uint32(bigEndian.Uint16(b[4:])), int(field&fragmentsOffset)*8, field&fragmentsMore != 0, rest)
	}
	return h.carried(), rest
}

// ipv6 takes the header of IPv6 off.
func ipv6(x *dissection, b []byte) (layer, []byte) {
	if len(b) < headerIPv6 || b[0]>>4 != 6 {
		return x.short()
	}
	total := headerIPv6 + int(bigEndian.Uint16(b[4:]))
	if total == headerIPv6 && b[6] != protoNone { // more than the field can tell, or the network card's job
		total = len(b)
	}
	h := ipHeader{
		proto: b[6],
		src:   netip.AddrFrom16([16]byte(b[8:])),
		dst:   netip.AddrFrom16([16]byte(b[24:])),
		cut:   total > len(b),
	}
	return h.carried(), b[headerIPv6:min(total, len(b))]
}

// ipHeader is what matters of a header of IP.
type ipHeader struct {
	proto    byte // of what follows
	src, dst netip.Addr
	cut      bool // not all of what follows was captured
}

// carried returns the layer of what a header of IP is followed by.
func (h ipHeader) carried() layer {
	switch h.proto {
	case protoUDP:
		return h.udp
	case protoTCP:
		return h.tcp
	case protoHopByHop, protoRouting, protoOptions, protoMobility, protoHIP, protoShim6:
		return h.extension
	case protoFragment:
		return h.fragmentHeader
	case protoAH:
		return h.authentication
	case protoIPv4:
		return ipv4
	case protoIPv6:
		return ipv6
	case protoGRE:
		return gre
	case protoMPLS:
		return mpls
	case protoEtherIP:
		return after(2, ethernet)
	case protoICMP, protoIGMP, protoRSVP, protoICMPv6, protoNone, protoEIGRP, protoOSPF, protoPIM, protoVRRP, protoSCTP:
		return done
	}
	return func(x *dissection, _ []byte) (layer, []byte) {
		if h.proto == protoESP {
			return x.unread("IPsec's ESP is not read")
		}
		return x.unread("IP protocol %d is not read", h.proto)
	}
}

// extension takes a header off that has its length in units of 8 bytes, without the
// first 8.
func (h ipHeader) extension(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 8 || len(b) < 8+int(b[1])*8 {
		return x.short()
	}
	h.proto = b[0]
	return h.carried(), b[8+int(b[1])*8:]
}

// authentication takes a header off that has its length in units of 4 bytes, without the
// first 8.
func (h ipHeader) authentication(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 8 || len(b) < 8+int(b[1])*4 {
		return x.short()
	}
	h.proto = b[0]
	return h.carried(), b[8+int(b[1])*4:]
}

// fragmentHeader takes the header of an IPv6 fragment off.
func (h ipHeader) fragmentHeader(x *dissection, b []byte) (layer, []byte) {
	const header, offset, more = 8, 0xfff8, 1
	if len(b) < header {
		return x.short()
	}
	h.proto = b[0]
	field, id := bigEndian.Uint16(b[2:]), bigEndian.Uint32(b[4:])
	if field&(offset|more) == 0 { // all of it, RFC 6946
		return h.carried(), b[header:]
	}
	return h.fragment(x, id, int(field&offset), field&more != 0, b[header:])
}

// fragment adds a fragment to those that are there, and goes on with the whole.
func (h ipHeader) fragment(x *dissection, id uint32, offset int, more bool, b []byte) (layer, []byte) {
	if h.cut {
		return x.unread("fragments that were not captured in full are not read")
	}
	key := fragmentKey{h.src, h.dst, id, 0}
	if h.src.Is4() {
		key.proto = h.proto // RFC 791; IPv6 does without
	}
	whole, given := x.dissector.fragments.add(key, fragment{h.proto, offset, more, b, x.time})
	if given > 0 {
		x.dissector.skip(whyFragments, given)
	}
	if whole == nil {
		return nil, nil
	}
	h.proto = whole.proto
	return h.carried(), whole.data
}

// udp ends a dissection with a datagram, unless that is of a tunnel.
func (h ipHeader) udp(x *dissection, b []byte) (layer, []byte) {
	if len(b) < headerUDP {
		return x.short()
	}
	length := int(bigEndian.Uint16(b[4:]))
	switch {
	case length == 0: // more than the field can tell
		length = len(b)
	case length < headerUDP:
		return x.short()
	default:
		h.cut = h.cut && length > len(b)
	}
	src, dst, payload := bigEndian.Uint16(b), bigEndian.Uint16(b[2:]), b[headerUDP:min(length, len(b))]
	if tunnel := udpTunnel(dst, payload); tunnel != nil && src != graspPort {
		return tunnel, payload
	}
	x.segment = Segment{
		Src:     netip.AddrPortFrom(h.src, src),
		Dst:     netip.AddrPortFrom(h.dst, dst),
		Payload: payload,
		Cut:     h.cut,
	}
	x.found = true
	return nil, nil
}

// tcp ends a dissection with a segment.
func (h ipHeader) tcp(x *dissection, b []byte) (layer, []byte) {
	if len(b) < headerTCP {
		return x.short()
	}
	const syn, fin, rst = 2, 1, 4
	header := int(b[12]>>4) * 4
	if header < headerTCP || len(b) < header {
		return x.short()
	}
	x.segment = Segment{
		Src:     netip.AddrPortFrom(h.src, bigEndian.Uint16(b)),
		Dst:     netip.AddrPortFrom(h.dst, bigEndian.Uint16(b[2:])),
		TCP:     true,
		Seq:     bigEndian.Uint32(b[4:]),
		SYN:     b[13]&syn != 0,
		End:     b[13]&(fin|rst) != 0,
		Payload: b[header:],
		Cut:     h.cut,
	}
	x.found = true
	return nil, nil
}
