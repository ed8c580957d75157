package capture

import "encoding/binary"

// The bits of a frame of IEEE 802.11 that matter here.
const (
	wlanTypes    = 0x0c // of the first byte
	wlanData     = 0x08
	wlanNoData   = 0x40
	wlanQoS      = 0x80
	wlanToDS     = 0x01 // of the second
	wlanFromDS   = 0x02
	wlanMoreFrag = 0x04
	wlanSecret   = 0x40
	wlanOrder    = 0x80
)

// wlan is IEEE 802.11.
func wlan(x *dissection, b []byte) (layer, []byte) { return wlanFrame(x, b, false) }

// wlanPadded is IEEE 802.11 with its header padded to a multiple of 4 bytes.
func wlanPadded(x *dissection, b []byte) (layer, []byte) { return wlanFrame(x, b, true) }

func wlanFrame(x *dissection, b []byte, padded bool) (layer, []byte) {
	if len(b) < 2 {
		return x.short()
	}
	if b[0]&wlanTypes != wlanData || b[0]&wlanNoData != 0 {
		return nil, nil // management, control, or nothing
	}
	header, qos := 24, 0
	if b[1]&wlanToDS != 0 && b[1]&wlanFromDS != 0 {
		header += 6 // a fourth address
	}
	if b[0]&wlanQoS != 0 {
		qos = header
		header += 2
		if b[1]&wlanOrder != 0 {
			header += 4
		}
	}
	if padded {
		header = (header + 3) &^ 3
	}
	if len(b) < header {
		return x.short()
	}
	const fragment, aggregated = 0x0f, 0x80
	switch {
	case b[1]&wlanSecret != 0:
		return x.unread("encrypted IEEE 802.11 frames are not read")
	case b[1]&wlanMoreFrag != 0 || b[22]&fragment != 0:
		return x.unread("fragments of IEEE 802.11 frames are not read")
	case qos != 0 && b[qos]&aggregated != 0:
		return x.unread("aggregated IEEE 802.11 frames (A-MSDU) are not read")
	}
	return llc, b[header:]
}

// radiotap comes before IEEE 802.11 and tells how it was received.
func radiotap(x *dissection, b []byte) (layer, []byte) {
	if len(b) < 8 {
		return x.short()
	}
	length := int(binary.LittleEndian.Uint16(b[2:]))
	if length < 8 || length > len(b) {
		return x.short()
	}
	// What is there is told by words of bits, the highest of which says that
	// another one follows.
	const hasTime, hasFlags, more = 1, 2, 1 << 31
	present, at := binary.LittleEndian.Uint32(b[4:]), 8
	for word := present; word&more != 0; at += 4 {
		if at+4 > length {
			return x.short()
		}
		word = binary.LittleEndian.Uint32(b[at:])
	}
	if present&hasTime != 0 {
		at = (at+7)&^7 + 8
	}
	next := layer(wlan)
	if present&hasFlags != 0 {
		if at >= length {
			return x.short()
		}
		const padded, badCheck = 0x20, 0x40
		switch {
		case b[at]&badCheck != 0:
			return x.unread("IEEE 802.11 frames that came damaged are not read")
		case b[at]&padded != 0:
			next = wlanPadded
		}
	}
	return next, b[length:]
}

// prism has its length in the second word: that of AVS is in network order.
func prism(x *dissection, b []byte) (layer, []byte) {
	const avs = 0x80211
	if len(b) < 8 {
		return x.short()
	}
	length := uint64(binary.LittleEndian.Uint32(b[4:]))
	if bigEndian.Uint32(b)>>12 == avs {
		length = uint64(bigEndian.Uint32(b[4:]))
	}
	if length < 8 || length > uint64(len(b)) {
		return x.short()
	}
	return wlan, b[length:]
}
