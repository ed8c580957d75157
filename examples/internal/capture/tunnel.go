package capture

// The UDP ports of tunnels.
const (
	portGRE        = 4754 // RFC 8086
	portVXLAN      = 4789 // RFC 7348
	portGeneve     = 6081 // RFC 8926
	portMPLS       = 6635 // RFC 7510
	portVXLANLinux = 8472 // Linux' own, from before there was a number
)

// udpTunnel returns the layer that a datagram to a port holds, nil if it is of no tunnel.
func udpTunnel(port uint16, b []byte) layer {
	switch {
	case port == portGRE:
		return gre
	case port == portMPLS:
		return mpls
	case port == portGeneve:
		return geneve
	case (port == portVXLAN || port == portVXLANLinux) && len(b) >= 8 && b[0]&0x08 != 0: // it has a network
		return after(8, ethernet)
	}
	return nil
}

// gre takes the header of GRE off: RFC 2784 and 2890, and version 1 of RFC 2637.
func gre(x *dissection, b []byte) (layer, []byte) {
	const checksum, routing, key, sequence, acknowledged, version = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080, 0x0007
	if len(b) < 4 {
		return x.short()
	}
	flags, protocol := bigEndian.Uint16(b), bigEndian.Uint16(b[2:])
	header := 4
	for _, bit := range []uint16{checksum, key, sequence} {
		if flags&bit != 0 {
			header += 4
		}
	}
	switch {
	case flags&routing != 0 || flags&version > 1:
		return x.unread("GRE with routing or of a later version is not read")
	case flags&version == 1 && flags&acknowledged != 0:
		header += 4
	}
	if len(b) < header {
		return x.short()
	}
	b = b[header:]
	switch protocol {
	case etherERSPAN:
		if flags&sequence != 0 { // type II has a header, type I has none
			return after(8, ethernet), b
		}
		return ethernet, b
	case etherERSPAN3:
		if len(b) < 12 {
			return x.short()
		}
		if b[11]&1 != 0 { // it has another one
			return after(20, ethernet), b
		}
		return after(12, ethernet), b
	}
	return etherType(protocol), b
}

// geneve takes the header of Geneve off, with its options.
func geneve(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 8 {
		return x.short()
	}
	return after(8+int(b[0]&0x3f)*4, etherType(bigEndian.Uint16(b[2:]))), b
}
