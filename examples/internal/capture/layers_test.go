package capture_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/capture"
	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
)

// A link is a form in which a datagram is captured, made by hand from the definition of
// its format.
type link struct {
	name     string
	linkType int
	packets  [][]byte
	// why it is not read; empty: it is.
	why string
	// nothing says that it carries no datagram at all.
	nothing bool
	// differs is why tshark sees something else, of which there are few.
	differs string
}

var (
	datagram  = capturetest.UDP(six, six2, []byte("one"))
	datagram4 = capturetest.UDP(four, fou2, []byte("one"))
)

// hexed returns the bytes of digits, which may have spaces between them.
func hexed(digits string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// join puts bytes, or digits for them, together.
func join(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			out = append(out, p...)
		case string:
			out = append(out, hexed(p)...)
		}
	}
	return out
}

// be16 is a number in network order.
func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

// inIPv4 returns a packet of IPv4 with the checksum that tshark asks for.
func inIPv4(proto byte, flags string, held []byte) []byte {
	h := join("4500", be16(20+len(held)), "0007", flags, "40", []byte{proto}, "0000", "c0000201", "c0000202")
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
	return append(h, held...)
}

// inIPv6 returns a packet of IPv6 from fe80::1 to ff02::13.
func inIPv6(next byte, held []byte) []byte {
	src, dst := six.Addr().As16(), six2.Addr().As16()
	return join("60000000", be16(len(held)), []byte{next, 1}, src[:], dst[:], held)
}

const (
	mac  = "333300000013 020000000001"
	snap = "aaaa03 000000 86dd"
)

// links returns each form that is read, and those that are named.
func links() []link {
	udp := datagram[40:]
	eth := join(mac, "86dd", datagram)
	on := func(name string, linkType int, parts ...any) link {
		return link{name: name, linkType: linkType, packets: [][]byte{join(parts...)}}
	}
	not := func(l link, why string) link {
		l.why = why
		return l
	}
	nothing := func(l link) link {
		l.nothing = true
		return l
	}
	differs := func(l link, why string) link {
		l.differs = why
		return l
	}
	const stations = "ffffffffffff 020202020202 030303030303 1000"
	dot11 := join("0800 0000", stations, snap, datagram)
	outer := func(port int, parts ...any) []byte {
		b := join(parts...)
		return inIPv4(17, "0000", join(be16(5000), be16(port), be16(8+len(b)), "0000", b))
	}
	return []link{
		{name: "Ethernet", linkType: 1, packets: [][]byte{eth}},
		on("Ethernet, IPv4", 1, mac, "0800", datagram4),
		on("Ethernet, with a trailer", 1, eth, make([]byte, 20)),
		nothing(on("Ethernet, ARP", 1, mac, "0806 0001 0800 06 04 0001", make([]byte, 20))),
		nothing(on("Ethernet, LLDP", 1, mac, "88cc 0000")),
		not(on("MACsec", 1, mac, "88e5", make([]byte, 40)), "EtherType 0x88e5 (MACsec) is not read"),
		not(on("an EtherType of experiments", 1, mac, "88b5", datagram), "EtherType 0x88b5 is not read"),
		on("VLAN", 1, mac, "8100 0005 86dd", datagram),
		on("QinQ", 1, mac, "88a8 0005 8100 0006 86dd", datagram),
		on("QinQ 0x9100", 1, mac, "9100 0005 8100 0006 86dd", datagram),
		differs(on("QinQ 0x9200", 1, mac, "9200 0005 8100 0006 86dd", datagram), "tshark takes 0x9200 for something else"),
		on("LLC/SNAP", 1, mac, be16(8+len(datagram)), snap, datagram),
		on("LLC/SNAP, bridged", 1, mac, be16(10+len(eth)), "aaaa03 0080c2 0007 0000", eth),
		nothing(on("spanning tree", 1, mac, "0026 424203 0000 00 00 00", make([]byte, 31))),
		on("PPPoE", 1, mac, "8864 11 00 0001", be16(2+len(datagram)), "0057", datagram),
		nothing(on("PPPoE, link control", 1, mac, "8864 11 00 0001 0006 c021 0901 0004")),
		on("MPLS, two labels", 1, mac, "8847 00010040 00011140", datagram),
		differs(on("MPLS, pseudowire", 1, mac, "8847 00011140 00000000", eth), "tshark guesses that there is no control word"),
		on("MPLS, IPv4", 1, mac, "8847 00011140", datagram4),

		on("null, little endian", 0, "1e000000", datagram),
		on("null, big endian", 0, "0000001c", datagram),
		on("null, IPv4", 0, "02000000", datagram4),
		not(on("null, AppleTalk", 0, "10000000", datagram), "address family 16 is not read"),
		on("loop", 108, "00000018", datagram),
		on("raw 12", 12, datagram), on("raw 14", 14, datagram), on("raw 101", 101, datagram), on("raw, IPv4", 101, datagram4),
		on("IPv4", 228, datagram4), on("IPv6", 229, datagram),
		on("OpenBSD's IPsec", 109, "18000000 00000000 00000000", datagram),
		on("cooked", 113, "0000 0001 0006 0200000000010000 86dd", datagram),
		on("cooked, VLAN", 113, "0000 0001 0006 0200000000010000 8100 0005 86dd", datagram),
		nothing(on("cooked, ARP that looks like IPv6", 113, "0000 0001 0006 0200000000010000 0806", datagram)),
		nothing(on("cooked, netlink", 113, "0004 0338 0000 0000000000000000 0000", datagram)),
		on("cooked, LLC", 113, "0000 0001 0006 0200000000010000 0004", snap, datagram),
		on("cooked, 802.11 with radiotap", 113, "0000 0323 0006 0200000000010000 0004", "0000 0800 00000000", dot11),
		on("cooked 2", 276, "86dd 0000 00000002 0001 00 06 0200000000010000", datagram),
		nothing(on("cooked 2, ARP that looks like IPv6", 276, "0806 0000 00000002 0001 00 06 0200000000010000", datagram)),

		on("PPP", 9, "ff03 0057", datagram),
		on("PPP without address and control", 9, "0057", datagram),
		on("PPP with a short protocol", 9, "57", datagram),
		on("PPP, IPv4", 9, "ff03 21", datagram4),
		not(on("PPP, compressed", 9, "ff03 00fd", datagram), "PPP protocol 0x00fd is not read"),
		on("PPP in HDLC", 50, "ff03 0057", datagram),
		on("PPP, Cisco's framing", 50, "0f00 86dd", datagram),
		on("PPP over Ethernet without that", 51, "11 00 0001", be16(2+len(datagram)), "0057", datagram),
		differs(on("PPP with a direction for an address", 166, "01 03 0057", datagram), "tshark does not know the link type"),
		on("PPP after a direction", 204, "00 ff03 0057", datagram),
		on("Cisco's HDLC", 104, "0f00 86dd", datagram),
		differs(on("Cisco's HDLC after a direction", 205, "01 0f00 86dd", datagram), "tshark does not know the link type"),
		on("RFC 2684", 100, snap, datagram),
		on("FDDI", 10, "50", mac, snap, datagram),
		on("IP over InfiniBand", 242, make([]byte, 40), "86dd 0000", datagram),

		{name: "802.11", linkType: 105, packets: [][]byte{dot11}},
		on("802.11 with four addresses", 105, "0803 0000", stations, "040404040404", snap, datagram),
		on("802.11 QoS", 105, "8800 0000", stations, "0000", snap, datagram),
		on("802.11 QoS and HT control", 105, "8880 0000", stations, "0000 00000000", snap, datagram),
		nothing(on("802.11 beacon", 105, "8000 0000", stations, make([]byte, 12))),
		nothing(on("802.11 without data", 105, "4801 0000", stations)),
		not(on("802.11 encrypted", 105, "0840 0000", stations, "00000020 00000000", make([]byte, 60)), "encrypted IEEE 802.11 frames are not read"),
		not(on("802.11 fragment", 105, "0804 0000", stations, snap, datagram), "fragments of IEEE 802.11 frames are not read"),
		differs(not(on("802.11 A-MSDU", 105, "8800 0000", stations, "8000", mac, be16(8+len(datagram)), snap, datagram),
			"aggregated IEEE 802.11 frames (A-MSDU) are not read"), "tshark reads them"),
		on("radiotap", 127, "0000 0800 00000000", dot11),
		on("radiotap with time, flags and padding", 127, "0000 1a00 2f480000", make([]byte, 8), "20 00 6c09c000 c600 0000",
			"8800 0000", stations, "0000", "0000", snap, datagram),
		on("radiotap with two words", 127, "0000 1000 020000a0 00000020 00 000000", dot11),
		on("PPI", 192, "0000 0800 69000000", dot11),
		on("Prism", 119, "44000000 90000000", make([]byte, 136), dot11),
		on("AVS", 163, "80211001 00000040", make([]byte, 56), dot11),

		on("NFLOG", 239, "0a00 0000", "0800 0100 86dd 0100", "0800 0a00 6162 6300", binary.LittleEndian.AppendUint16(nil, uint16(4+len(datagram))), "0900", datagram),
		differs(on("NFLOG, big endian", 239, "0a00 0000", be16(4+len(datagram)), "0009", datagram), "tshark goes by the order of the file"),
		on("PKTAP", 258, "6c000000 01000000 01000000 00000000", make([]byte, 92), eth),
		differs(on("netANALYZER", 240, "00000000", eth, "00000000"), "tshark wants its header to be filled in"),
		differs(on("netANALYZER with the preamble", 241, "00000000 55555555555555d5", eth, "00000000"), "tshark wants its header to be filled in"),
		on("mPacket", 274, "55555555555555d5", eth, binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(eth))),
		on("exported IPv6", 252, "000c 0008 6970763600000000 0000 0000", datagram),
		not(on("exported HTTP", 252, "000c 0004 68747470 0000 0000", datagram), `exported PDUs of "http" are not read`),

		not(on("802.15.4", 195, "418800"), "link type 195 (IEEE 802.15.4) is not read"),
		not(on("a link type of users", 147, datagram), "link type 147 is not read"),

		on("6in4", 101, inIPv4(41, "0000", datagram)),
		on("IPv4 in IPv6", 101, inIPv6(4, datagram4)),
		on("IPv6 in IPv6", 101, inIPv6(41, datagram)),
		on("GRE", 101, inIPv4(47, "0000", join("0000 86dd", datagram))),
		on("GRE with checksum, key and number", 101, inIPv4(47, "0000", join("b000 86dd 00000000 00000001 00000002", datagram))),
		on("GRE, bridged", 101, inIPv4(47, "0000", join("0000 6558", eth))),
		on("GRE, PPTP", 101, inIPv4(47, "0000", join("3081 880b", be16(4+len(datagram)), "0001 00000001 00000001", "ff03 0057", datagram))),
		on("ERSPAN", 101, inIPv4(47, "0000", join("1000 88be 00000001", "10010001 00000000", eth))),
		differs(not(on("GRE with routing", 101, inIPv4(47, "0000", join("4000 86dd 00000000 00000000", datagram))), "GRE with routing or of a later version is not read"), "tshark reads what RFC 2784 gave up"),
		on("EtherIP", 101, inIPv4(97, "0000", join("3000", eth))),
		on("MPLS in IP", 101, inIPv4(137, "0000", join("00011140", datagram))),
		on("VXLAN", 101, outer(4789, "08000000 00000500", eth)),
		differs(on("VXLAN, the old port", 101, outer(8472, "08000000 00000500", eth)), "tshark takes that port for OTV"),
		on("Geneve with an option", 101, outer(6081, "0100 6558 00000500", "00000000", eth)),
		on("MPLS in UDP", 101, outer(6635, "00011140", datagram)),
		on("GRE in UDP", 101, outer(4754, "0000 86dd", datagram)),

		on("options before UDP", 101, inIPv6(0, join("3c00 0502 0000 0100", "1100 0104 00000000", udp))),
		on("authentication", 101, inIPv6(51, join("1104 0000 00000001 00000001", make([]byte, 12), udp))),
		not(on("encryption", 101, inIPv6(50, join("00000001 00000001", udp))), "IPsec's ESP is not read"),
		not(on("a protocol of experiments", 101, inIPv6(253, udp)), "IP protocol 253 is not read"),
		nothing(on("ICMPv6", 101, inIPv6(58, join("8000 0000 00000000")))),
		nothing(on("nothing", 101, inIPv6(59, nil))),
		on("a datagram without its length", 101, inIPv6(17, join(udp[:4], "0000", udp[6:]))),
		differs(on("a packet without its length", 101, join(datagram[:4], "0000", datagram[6:])), "tshark wants jumbograms to say so"),
		on("an atomic fragment", 101, inIPv6(44, join("1100 0000 00000007", udp))),
		{name: "fragments", linkType: 101, packets: [][]byte{
			inIPv6(44, join("1100 0001 00000007", udp[:8])), inIPv6(44, join("1100 0008 00000007", udp[8:])),
		}},
		{name: "fragments of IPv4, the last one first", linkType: 101, packets: [][]byte{
			inIPv4(17, "0001", udp[8:]), inIPv4(17, "2000", udp[:8]),
		}},
		{name: "fragments in a tunnel in Ethernet", linkType: 1, packets: [][]byte{
			join(mac, "0800", inIPv4(41, "0000", inIPv6(44, join("1100 0001 00000009", udp[:8])))),
			join(mac, "0800", inIPv4(41, "0000", inIPv6(44, join("1100 0008 00000009", udp[8:])))),
		}},
		not(on("a fragment alone", 101, inIPv6(44, join("1100 0001 00000008", udp[:8]))), "fragments came without the rest of their datagrams"),
		not(on("no bytes", 101), "headers are cut short or malformed"),
		not(on("version 7", 101, "70", datagram[1:]), "IP version 7 is not read"),
	}
}

func TestSegment(t *testing.T) {
	for _, l := range links() {
		var d capture.Dissector
		var got []string
		for _, p := range l.packets {
			if s, ok := d.Segment(capture.Packet{LinkType: l.linkType, Data: p}); ok {
				assert.False(t, s.TCP || s.Cut, l.name)
				assert.EqualValues(t, 7017, s.Dst.Port(), l.name)
				got = append(got, string(s.Payload))
			}
		}
		if l.why == "" && !l.nothing {
			assert.Equal(t, []string{"one"}, got, l.name)
		} else {
			assert.Empty(t, got, l.name)
		}
		if l.why == "" {
			assert.Empty(t, d.Unread(), l.name)
		} else {
			assert.Equal(t, []capture.Unread{{Why: l.why, Packets: 1}}, d.Unread(), l.name)
		}
	}
}

// Wherever a packet ends, nothing is read beyond that, and what is left out shows.
func TestSegmentCut(t *testing.T) {
	for _, l := range links() {
		if len(l.packets) != 1 || l.why != "" || l.nothing {
			continue
		}
		p := l.packets[0]
		end := bytes.LastIndex(p, []byte("one")) + len("one")
		for n := range end {
			var d capture.Dissector
			s, ok := d.Segment(capture.Packet{LinkType: l.linkType, Data: p[:n:n]})
			if ok && l.name != "a packet without its length" && l.name != "a datagram without its length" {
				assert.True(t, s.Cut, "%s: %d of %d bytes", l.name, n, end)
			}
		}
	}
}

func TestSegmentTCP(t *testing.T) {
	var d capture.Dissector
	p := capturetest.TCP(six, six2, 77, capturetest.SYN, []byte("one"))
	s, ok := d.Segment(capture.Packet{LinkType: 101, Data: p})
	require.True(t, ok)
	assert.Equal(t, capture.Segment{Src: six, Dst: six2, TCP: true, Seq: 77, SYN: true, Payload: []byte("one")}, s)
	for n := range p {
		s, ok := d.Segment(capture.Packet{LinkType: 101, Data: p[:n:n]})
		assert.True(t, !ok || s.Cut, "%d of %d bytes", n, len(p))
	}
}

// Packets are counted by the reason why they were not read, the most frequent first, and
// neither the reasons nor the headers of a packet have no bound.
func TestUnread(t *testing.T) {
	var d capture.Dissector
	assert.Empty(t, d.Unread())
	for range 3 {
		d.Segment(capture.Packet{LinkType: 195})
	}
	d.Segment(capture.Packet{LinkType: 147})
	tags := append(hexed(mac+"8100"), bytes.Repeat(hexed("0001 8100"), 1000)...)
	d.Segment(capture.Packet{LinkType: 1, Data: tags})
	assert.Equal(t, []capture.Unread{
		{Why: "link type 195 (IEEE 802.15.4) is not read", Packets: 3},
		{Why: "link type 147 is not read", Packets: 1},
		{Why: "packets with more than 32 headers are not read", Packets: 1},
	}, d.Unread())
	for i := range 10000 {
		d.Segment(capture.Packet{LinkType: 1000 + i})
	}
	all := d.Unread()
	assert.LessOrEqual(t, len(all), 65)
	total := 0
	for _, u := range all {
		total += u.Packets
	}
	assert.Equal(t, 10005, total)
}

// tshark, which others wrote, finds a datagram in the same packets.
func TestSegmentTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark to compare with (Debian package tshark)")
	}
	blocks := [][]byte{{0}}
	u16, u32 := binary.LittleEndian.AppendUint16, binary.LittleEndian.AppendUint32
	all := links()
	var packets [][]byte
	var of []*link // by packet
	for i := range all {
		l := &all[i]
		blocks = append(blocks, u32(u16(u16([]byte{1}, uint16(l.linkType)), 0), 0))
		for _, p := range l.packets {
			b := u32(u32(u32([]byte{6}, uint32(i)), 0), uint32(len(packets)))
			packets = append(packets, append(u32(u32(b, uint32(len(p))), uint32(len(p))), p...))
			of = append(of, l)
		}
	}
	path := filepath.Join(t.TempDir(), "links.pcapng")
	require.NoError(t, os.WriteFile(path, ng(binary.LittleEndian, append(blocks, packets...)...), 0o600))
	var stderr bytes.Buffer
	cmd := exec.Command(tshark, "-r", path, "-T", "fields", "-e", "udp.dstport", "-e", "udp.payload")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	require.Len(t, lines, len(of))
	found := make(map[*link]bool)
	for i, line := range lines {
		ports, payload, _ := strings.Cut(line, "\t")
		payloads := strings.Split(payload, ",")
		found[of[i]] = found[of[i]] || strings.HasSuffix(ports, "7017") && payloads[len(payloads)-1] == "6f6e65"
	}
	for i := range all {
		l := &all[i]
		read := l.why == "" && !l.nothing
		if l.differs == "" {
			assert.Equal(t, found[l], read, l.name)
		} else {
			assert.NotEqual(t, found[l], read, "%s: no longer so: %s", l.name, l.differs)
		}
	}
}
