package capture

import "encoding/binary"

// linkNames are what link types that are not read are called.
var linkNames = map[int]string{
	6:   "Token Ring",
	187: "Bluetooth",
	189: "USB",
	195: "IEEE 802.15.4",
	201: "Bluetooth",
	215: "IEEE 802.15.4",
	220: "USB",
	227: "CAN",
	230: "IEEE 802.15.4",
	247: "InfiniBand",
	249: "USB",
	253: "netlink",
	283: "IEEE 802.15.4",
}

// linkLayer returns the layer with which packets of a link type begin: a LINKTYPE_ number
// of pcap. Some numbers stand for the same, since systems had their own.
func linkLayer(linkType int) layer {
	switch linkType {
	case 1:
		return ethernet
	case 12, 14, 101: // raw
		return ip
	case 228:
		return ipv4
	case 229:
		return ipv6
	case 0, 108: // the second one is OpenBSD's loopback
		return null
	case 113:
		return cooked
	case 276:
		return cooked2
	case 9, 50: // the second one is in frames as those of HDLC
		return ppp
	case 51:
		return pppoe
	case 104:
		return cHDLC
	case 166:
		return after(1, pppAddressed)
	case 204: // with a byte for the direction
		return after(1, ppp)
	case 205: // with a byte for the direction
		return after(1, cHDLC)
	case 105:
		return wlan
	case 127:
		return radiotap
	case 119, 163: // the second one is AVS
		return prism
	case 192:
		return ppi
	case 10: // FDDI
		return after(13, llc)
	case 100: // of ATM, RFC 2684
		return llc
	case 109: // OpenBSD's IPsec
		return after(12, ip)
	case 239:
		return nflog
	case 240: // netANALYZER
		return after(4, ethernet)
	case 241: // netANALYZER, with the preamble
		return after(12, ethernet)
	case 242:
		return after(40, ipoib)
	case 252:
		return exported
	case 258:
		return pktap
	case 274: // with the preamble
		return after(8, ethernet)
	}
	return func(x *dissection, _ []byte) (layer, []byte) {
		if name, ok := linkNames[linkType]; ok {
			return x.unread("link type %d (%s) is not read", linkType, name)
		}
		return x.unread("link type %d is not read", linkType)
	}
}

func ethernet(x *dissection, b []byte) (layer, []byte) {
	const addresses = 12
	if len(b) < addresses {
		return x.short()
	}
	return typed, b[addresses:]
}

// EtherTypes. What is less is the length of an LLC frame.
const (
	etherIPv4     = 0x0800
	etherARP      = 0x0806
	etherTrill    = 0x22f3
	etherBridged  = 0x6558
	etherRARP     = 0x8035
	etherVLAN     = 0x8100
	etherIPv6     = 0x86dd
	etherPPP      = 0x880b
	etherSlow     = 0x8809
	etherMPLS     = 0x8847
	etherMPLS2    = 0x8848
	etherPPPoE0   = 0x8863 // discovery
	etherPPPoE    = 0x8864
	etherEAPOL    = 0x888e
	etherQinQ     = 0x88a8
	etherERSPAN   = 0x88be
	etherLLDP     = 0x88cc
	etherMACsec   = 0x88e5
	etherPTP      = 0x88f7
	etherCFM      = 0x8902
	etherLoopback = 0x9000
	etherQinQOld  = 0x9100
	etherQinQOld2 = 0x9200
	etherERSPAN3  = 0x22eb

	minEtherType = 0x0600
)

// typed begins with an EtherType, or with the length of an LLC frame.
func typed(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 2 {
		return x.short()
	}
	t := bigEndian.Uint16(b)
	b = b[2:]
	if t < minEtherType {
		return llc, b[:min(int(t), len(b))]
	}
	return etherType(t), b
}

// etherType returns the layer that has an EtherType.
func etherType(t uint16) layer {
	switch t {
	case etherIPv4:
		return ipv4
	case etherIPv6:
		return ipv6
	case etherVLAN, etherQinQ, etherQinQOld, etherQinQOld2:
		return after(2, typed)
	case etherBridged:
		return ethernet
	case etherPPP:
		return ppp
	case etherPPPoE:
		return pppoe
	case etherMPLS, etherMPLS2:
		return mpls
	case etherARP, etherRARP, etherTrill, etherSlow, etherPPPoE0, etherEAPOL, etherLLDP, etherPTP, etherCFM, etherLoopback:
		return done
	}
	return func(x *dissection, _ []byte) (layer, []byte) {
		if t == etherMACsec {
			return x.unread("EtherType 0x88e5 (MACsec) is not read")
		}
		return x.unread("EtherType 0x%04x is not read", t)
	}
}

// llc is IEEE 802.2, of which SNAP has an EtherType.
func llc(x *dissection, b []byte) (layer, []byte) {
	const snap, rfc948 = 0xaa, 0x06 // service access points
	if len(b) < 3 {
		return x.short()
	}
	switch {
	case b[0] == rfc948 && b[1] == rfc948:
		return ip, b[3:]
	case b[0] != snap:
		return nil, nil // spanning trees, IS-IS, IPX
	case len(b) < 8:
		return x.short()
	}
	const none, bridgeTunnel, cisco, bridged = 0x000000, 0x0000f8, 0x00000c, 0x0080c2
	oui, t := uint32(b[3])<<16|uint32(b[4])<<8|uint32(b[5]), bigEndian.Uint16(b[6:])
	switch {
	case oui == none || oui == bridgeTunnel:
		return etherType(t), b[8:]
	case oui == bridged && (t == 1 || t == 7): // Ethernet, with and without its check sequence
		return after(2, ethernet), b[8:]
	case oui == cisco:
		return nil, nil
	}
	return x.unread("SNAP of organization %06x is not read", oui)
}

// null begins with the address family, in the byte order of the host.
func null(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 4 {
		return x.short()
	}
	family := min(bigEndian.Uint32(b), binary.LittleEndian.Uint32(b))
	switch family {
	case 2:
		return ipv4, b[4:]
	case 10, 23, 24, 28, 30: // of Linux, Windows, NetBSD, FreeBSD, Darwin
		return ipv6, b[4:]
	}
	return x.unread("address family %d is not read", family)
}

// cooked is what Linux makes of the headers of all its links.
func cooked(x *dissection, b []byte) (layer, []byte) {
	const header = 16
	if len(b) < header {
		return x.short()
	}
	return cookedType(bigEndian.Uint16(b[2:]), bigEndian.Uint16(b[14:])), b[header:]
}

// cooked2 is the second version of it.
func cooked2(x *dissection, b []byte) (layer, []byte) {
	const header = 20
	if len(b) < header {
		return x.short()
	}
	return cookedType(bigEndian.Uint16(b[8:]), bigEndian.Uint16(b)), b[header:]
}

// cookedType returns the layer of a protocol, as Linux tells it with the type of hardware.
func cookedType(hardware, protocol uint16) layer {
	const (
		hardwareWLAN, hardwarePrism, hardwareRadiotap = 801, 802, 803
		hardwareNetlink                               = 824
		protocolLLC                                   = 4
	)
	switch {
	case hardware == hardwareWLAN:
		return wlan
	case hardware == hardwarePrism:
		return prism
	case hardware == hardwareRadiotap:
		return radiotap
	case hardware == hardwareNetlink:
		return done
	case protocol == protocolLLC:
		return llc
	case protocol < minEtherType: // Novell's, CAN, and what has none
		return done
	}
	return etherType(protocol)
}

// pppAddressed is PPP whose first byte was taken for the direction.
func pppAddressed(x *dissection, b []byte) (layer, []byte) {
	if len(b) > 0 && b[0] == 0x03 {
		b = b[1:]
	}
	return ppp, b
}

// ppp has, or has not, an address and a control byte before the protocol (RFC 1661 and
// 1662). Cisco's framing is told by its address.
func ppp(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 2 {
		return x.short()
	}
	const unicast, multicast = 0x0f, 0x8f
	switch {
	case b[0] == 0xff && b[1] == 0x03:
		b = b[2:]
	case (b[0] == unicast || b[0] == multicast) && b[1] == 0:
		return cHDLC, b
	}
	if len(b) < 2 {
		return x.short()
	}
	protocol := uint16(b[0])
	if b[0]&1 != 0 { // it is compressed to a byte
		b = b[1:]
	} else {
		protocol, b = bigEndian.Uint16(b), b[2:]
	}
	const protocolIPv4, protocolBridged, protocolIPv6, protocolMPLS, protocolMPLS2, firstControl = 0x21, 0x31, 0x57, 0x281, 0x283, 0x4000
	switch {
	case protocol == protocolIPv4:
		return ipv4, b
	case protocol == protocolIPv6:
		return ipv6, b
	case protocol == protocolBridged:
		return after(2, ethernet), b
	case protocol == protocolMPLS, protocol == protocolMPLS2:
		return mpls, b
	case protocol >= firstControl:
		return nil, nil
	}
	return x.unread("PPP protocol 0x%04x is not read", protocol)
}

// cHDLC is Cisco's HDLC.
func cHDLC(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 4 {
		return x.short()
	}
	const discovery = 0x2000 // of Cisco
	if t := bigEndian.Uint16(b[2:]); t != discovery {
		return etherType(t), b[4:]
	}
	return nil, nil
}

func pppoe(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 6 {
		return x.short()
	}
	length := int(bigEndian.Uint16(b[4:]))
	b = b[6:]
	return ppp, b[:min(length, len(b))]
}

// mpls takes all labels off. What follows them does not say what it is: IP has its
// version, and the control word of a pseudowire (RFC 4385) begins with 0.
func mpls(x *dissection, b []byte) (layer, []byte) {
	for len(b) > 4 {
		bottom := b[2]&1 != 0
		b = b[4:]
		if !bottom {
			continue
		}
		switch b[0] >> 4 {
		case 4, 6:
			return ip, b
		case 0:
			return after(4, ethernet), b
		}
		return x.unread("what follows MPLS labels is not read")
	}
	return x.short()
}

// ipoib begins with an EtherType and two bytes that are not used.
func ipoib(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 4 {
		return x.short()
	}
	return etherType(bigEndian.Uint16(b)), b[4:]
}
