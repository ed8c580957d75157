package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
	"github.com/go-grasp/grasp/examples/internal/diag"
	"github.com/go-grasp/grasp/internal/wire"
)

// decoded returns what graspctl decode -json prints.
func decoded(t *testing.T, wantStatus int, in []byte, args ...string) []seen {
	t.Helper()
	status, out, errOut := ctl(bytes.NewReader(in), append([]string{"decode", "-json"}, args...)...)
	require.Equal(t, wantStatus, status, errOut)
	var all []seen
	for line := range strings.Lines(out) {
		var s seen
		require.NoError(t, json.Unmarshal([]byte(line), &s), line)
		all = append(all, s)
	}
	return all
}

func TestDecode(t *testing.T) {
	all := capturetest.Vectors(t)
	var text, binary bytes.Buffer
	var args []string
	for _, raw := range all {
		fmt.Fprintf(&text, "# a message\n\n %x\n", raw)
		binary.Write(raw)
		args = append(args, hex.EncodeToString(raw))
	}
	file := filepath.Join(t.TempDir(), "messages")
	require.NoError(t, os.WriteFile(file, binary.Bytes(), 0o600))
	for name, got := range map[string][]seen{
		"arguments":  decoded(t, 0, nil, args...),
		"text":       decoded(t, 0, text.Bytes()),
		"standard":   decoded(t, 0, text.Bytes(), "-"),
		"a sequence": decoded(t, 0, binary.Bytes()),
		"a file":     decoded(t, 0, nil, file),
		"one line":   decoded(t, 0, nil, hex.EncodeToString(binary.Bytes())),
	} {
		require.Len(t, got, len(all), name)
		for i, s := range got {
			m, err := wire.Parse(all[i], wire.Limits{})
			require.NoError(t, err)
			assert.Equal(t, m.Type().String(), s.Message)
			assert.Equal(t, args[i], s.Hex)
			again, err := diag.Parse(s.Diagnostic)
			require.NoError(t, err)
			assert.Equal(t, all[i], again, "nothing is lost in %s", s.Diagnostic)
			assert.Contains(t, s.Words, s.Message)
			for _, o := range s.Objectives {
				assert.Contains(t, s.Words, fmt.Sprintf("%q", o))
			}
		}
	}
}

// Each kind of message in words.
func TestDecodeWords(t *testing.T) {
	flood := &wire.Flood{SessionID: 7, Initiator: netip.MustParseAddr("2001:db8::1"), TTL: 59000, Objectives: []wire.Flooded{
		{Objective: wire.Objective{Name: "EX1", Flags: wire.FlagDisc | wire.FlagSynch, LoopCount: 4, Value: []byte{1}}},
		{Objective: wire.Objective{Name: "a\nb", LoopCount: 1}, Locator: wire.Locator{Kind: wire.LocatorURI, Name: "coap://x", Protocol: wire.Null, Port: wire.Null}},
	}}
	raw, err := flood.Append(nil)
	require.NoError(t, err)
	for text, want := range map[string]string{
		hex.EncodeToString(raw): `M_FLOOD session 7 initiator 2001:db8::1 ttl 59s: "EX1" (discovery, synchronization; loop count 4) = 1 at no locator; "a\nb" (; loop count 1) = no value at coap://x`,
		"8100":                  "M_NOOP",
		"83061a00c3443d811865":  "M_END session 12796989: accept",
		"83061ad9cdece0811866":  "M_END session 3654151392: decline",
		"8306018218666178":      `M_END session 1: decline, "x"`,
		"83070119ea60":          "M_WAIT session 1: 1m0s",
		"83186301617a":          `M_INVALID session 1: "z"`,
		"82186301":              "M_INVALID session 1",
	} {
		status, out, errOut := ctl(nil, "decode", "-brief", text)
		assert.Zero(t, status, errOut)
		assert.Equal(t, want+"\n", out)
	}
	status, out, _ := ctl(nil, "decode", "830301"+"83"+"6178"+"1820"+"05")
	assert.Zero(t, status)
	assert.Equal(t, "M_REQ_NEG session 1: \"x\" (flag 5; loop count 5) = no value\n    [3, 1, [\"x\", 32, 5]]\n", out)
}

// What is wrong, and at which byte.
func TestDecodeWrong(t *testing.T) {
	for text, want := range map[string]struct {
		what string
		at   int
	}{
		"83031a00d4d748":                   {"M_REQ_NEG: cut short", 7},
		"82031a00d4d748":                   {"objective is missing", 7},
		"83030184617801190100f6":           {"loop count is not an unsigned integer up to 255", 7},
		"82182a01":                         {"unknown message type: 42", 1},
		"83031a00d4d74861ff":               {"not UTF-8", 7},
		"830601811863":                     {"neither accept nor decline", 3},
		"1c":                               {"reserved first byte", 0},
		"86091a00357b4e5020010db8f000baaa": {"cut short", 16},
	} {
		got := decoded(t, 1, nil, text)
		require.Len(t, got, 1, text)
		assert.Contains(t, got[0].Error, want.what)
		require.NotNil(t, got[0].At)
		assert.Equal(t, want.at, *got[0].At, text)
		assert.Contains(t, got[0].Error, fmt.Sprint("at byte ", want.at))
		assert.Equal(t, text, got[0].Hex)
		status, out, errOut := ctl(nil, "decode", text)
		assert.Equal(t, 1, status)
		assert.Contains(t, out, "WRONG: ")
		assert.Contains(t, errOut, "wrong: 1 of 1")
	}
	// After a message that is wrong the next one is decoded, if it can be told where
	// that begins.
	assert.Len(t, decoded(t, 1, nil, "82031a00d4d748"+"8100"), 2)
	// A message of 2100 bytes is too long, unless it may be.
	long := append([]byte{0x83, 5, 1, 0x84, 0x61, 'x', 1, 5, 0x59, 8, 0}, make([]byte, 2048)...)
	assert.Contains(t, decoded(t, 1, long)[0].Error, "too long")
	assert.Len(t, decoded(t, 0, long, "-max", "5000"), 1)
	status, _, errOut := ctl(strings.NewReader(""), "decode")
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "no message")
	status, _, errOut = ctl(nil, "decode", "no such file")
	assert.Equal(t, 3, status)
	assert.Contains(t, errOut, "no such file")
}

// A flood of which receivers take only a part is wrong, and says what they take.
func TestDecodeLeftOut(t *testing.T) {
	// A locator of five items, and then an objective that is as it should be.
	const text = "86" + "09" + "07" + "50fe800000000000000000000000000001" + "19ea60" +
		"82" + "84634558310505f6" + "85186750fe8000000000000000000000000000010619115b00" +
		"82" + "84634558320505f6" + "80"
	status, out, errOut := ctl(nil, "decode", "-brief", text)
	assert.Equal(t, 1, status)
	assert.Contains(t, out, `"EX2"`)
	assert.NotContains(t, out, "EX1")
	assert.Contains(t, out, "  WRONG: 1 of its objectives malformed, which receivers pass over\n")
	assert.Contains(t, errOut, "wrong: 1 of 1")
}

// conversation is a capture of the kinds of traffic that GRASP has.
func conversation(t *testing.T) string {
	t.Helper()
	f := capturetest.NewFile(t, capturetest.Raw)
	now := time.Unix(1800000000, 0)
	add := func(packet []byte) {
		now = now.Add(time.Millisecond)
		f.Packet(now, packet)
	}
	all := capturetest.Vectors(t)
	discovery, response := all[0], all[1]
	asking, answering := netip.MustParseAddrPort("[fe80::1]:4000"), netip.MustParseAddrPort("[fe80::2]:5000")
	group := netip.MustParseAddrPort("[ff02::13]:7017")
	add(capturetest.UDP(asking, group, discovery))
	add(capturetest.UDP(asking, netip.MustParseAddrPort("[fe80::9]:53"), []byte("not GRASP")))

	// The response goes to the port that the discovery came from.
	back := netip.AddrPortFrom(answering.Addr(), 5001)
	add(capturetest.TCP(back, asking, 100, capturetest.SYN, nil))
	add(capturetest.TCP(asking, back, 900, capturetest.SYN, nil))
	add(capturetest.TCP(back, asking, 101, 0, response[:20]))
	add(capturetest.TCP(back, asking, 121, capturetest.FIN, response[20:]))

	// It says where to negotiate. Segments come twice, in disorder, and with two messages.
	there := netip.MustParseAddrPort("[2001:db8:f000:baaa:f000:baaa:f000:baaa]:49443")
	here := netip.MustParseAddrPort("[2001:db8::1]:6000")
	request, _ := hex.DecodeString("83031a00d214628463455833030682634e5a4419019a")
	step, _ := hex.DecodeString("83051a00d214628463455833030682634e5a441850")
	wait, _ := hex.DecodeString("83071a00d21462198895")
	end, _ := hex.DecodeString("83061a00d21462811865")
	add(capturetest.TCP(here, there, 500, capturetest.SYN, nil))
	add(capturetest.TCP(here, there, 501+10, 0, request[10:]))
	add(capturetest.TCP(here, there, 501, 0, request[:10]))
	add(capturetest.TCP(here, there, 501, 0, request))
	add(capturetest.TCP(there, here, 700, 0, append(append([]byte{}, wait...), step...)))
	add(capturetest.TCP(here, there, 501+uint32(len(request)), 0, append(append([]byte{}, end...), 0x82, 0x18)))

	// A connection of something else, and one to the port of GRASP that makes no sense.
	add(capturetest.TCP(netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:443"), 1, 0, []byte("\x16\x03\x01")))
	add(capturetest.TCP(netip.MustParseAddrPort("192.0.2.1:2"), netip.MustParseAddrPort("192.0.2.2:7017"), 1, 0, []byte{0xff, 0, 0}))
	f.Close()
	return f.Path
}

func TestDecodeCapture(t *testing.T) {
	path := conversation(t)
	check := func(got []seen) {
		var types []string
		for _, s := range got {
			require.NotNil(t, s.Time)
			types = append(types, s.Message)
		}
		require.Equal(t, []string{"M_DISCOVERY", "M_RESPONSE", "M_REQ_NEG", "M_WAIT", "M_NEGOTIATE", "M_END", "", ""}, types)
		assert.Equal(t, "[fe80::1]:4000", got[0].Source)
		assert.Equal(t, "[ff02::13]:7017", got[0].Dest)
		assert.Equal(t, "udp", got[0].Protocol)
		assert.Equal(t, "tcp", got[1].Protocol)
		assert.Contains(t, got[6].Error, "at byte 0")
		assert.Equal(t, "192.0.2.2:7017", got[6].Dest)
		assert.Contains(t, got[7].Error, "not captured to its end")
		assert.Equal(t, "8218", got[7].Hex)
	}
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	status, out, errOut := ctl(bytes.NewReader(file), "decode")
	assert.Equal(t, 1, status)
	assert.Contains(t, out, "[2001:db8::1]:6000 > [2001:db8:f000:baaa:f000:baaa:f000:baaa]:49443 tcp  M_REQ_NEG session 13767778: \"EX3\"")
	assert.Contains(t, errOut, "wrong: 2 of 8")
	// What is left at the end has no time.
	all := decoded(t, 1, nil, path)
	all[len(all)-1].Time = all[0].Time
	check(all)
	// A capture that ends in the midst of a packet.
	status, _, errOut = ctl(bytes.NewReader(file[:len(file)-1]), "decode")
	assert.Equal(t, 3, status)
	assert.Contains(t, errOut, "cut short")
}

// A gap in a connection is told once.
func TestDecodeGap(t *testing.T) {
	f := capturetest.NewFile(t, capturetest.Raw)
	from, to := netip.MustParseAddrPort("[2001:db8::1]:6000"), netip.MustParseAddrPort("[2001:db8::2]:7017")
	f.Packet(time.Now(), capturetest.TCP(from, to, 0, 0, []byte{0x81, 0}))
	for i := range uint32(300) {
		f.Packet(time.Now(), capturetest.TCP(from, to, 3+2*i, 0, []byte{0}))
	}
	f.Close()
	got := decoded(t, 1, nil, f.Path)
	require.Len(t, got, 2)
	assert.Equal(t, "M_NOOP", got[0].Message)
	assert.Contains(t, got[1].Error, "a part was not captured")
}

// What cannot be read in a capture is told with the number of packets, and the exit status
// says whether there was a message nevertheless.
func TestDecodeUnread(t *testing.T) {
	flood := capturetest.Vectors(t)[0]
	from, to := netip.MustParseAddrPort("[fe80::1]:4000"), netip.MustParseAddrPort("[ff02::13]:7017")
	packet := capturetest.UDP(from, to, flood)
	frame := func(etherType string) []byte {
		b, err := hex.DecodeString("333300000013020000000001" + etherType)
		require.NoError(t, err)
		return append(b, packet...)
	}
	file := func(linkType int, packets ...[]byte) string {
		f := capturetest.NewFile(t, linkType)
		for _, p := range packets {
			f.Packet(time.Now(), p)
		}
		f.Close()
		return f.Path
	}
	for name, c := range map[string]struct {
		path     string
		status   int
		messages int
		told     []string
	}{
		"a link type that is not read": {file(195, packet, packet, packet), 1, 0,
			[]string{"link type 195 (IEEE 802.15.4) is not read, 3 packets skipped\n", "no message"}},
		"some that are not read": {file(capturetest.Ethernet, frame("88e5"), frame("86dd"), frame("88b5"), frame("88b5")), 0, 1,
			[]string{"EtherType 0x88b5 is not read, 2 packets skipped\nEtherType 0x88e5 (MACsec) is not read, 1 packet skipped\n"}},
		"ARP that looks like IPv6": {file(capturetest.Ethernet, frame("0806")), 1, 0, []string{"no message"}},
		"VXLAN":                    {file(capturetest.Raw, capturetest.UDP(from, netip.MustParseAddrPort("[fe80::2]:4789"), append([]byte{8, 0, 0, 0, 0, 0, 5, 0}, frame("86dd")...))), 0, 1, nil},
	} {
		status, out, errOut := ctl(nil, "decode", "-brief", c.path)
		assert.Equal(t, c.status, status, "%s: %s", name, errOut)
		assert.Equal(t, c.messages, strings.Count(out, "M_DISCOVERY"), name)
		assert.Equal(t, c.messages, strings.Count(out, "\n"), name)
		for _, told := range c.told {
			assert.Contains(t, errOut, told, name)
		}
		if c.told == nil {
			assert.Empty(t, errOut, name)
		}
		if c.messages > 0 {
			assert.Contains(t, out, "[fe80::1]:4000 > [ff02::13]:7017 udp", name)
		}
	}
}

// Files that are compressed with gzip are read as they are; other forms are named.
func TestDecodeForms(t *testing.T) {
	path := conversation(t)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	pack := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, err := z.Write(b)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return out.Bytes()
	}
	assert.Equal(t, decoded(t, 1, file), decoded(t, 1, pack(file)))
	assert.Len(t, decoded(t, 0, pack([]byte("8100\n8100\n"))), 2)
	// What came before the end of a file that is cut is decoded, and so is what it leaves.
	cut := pack(file)
	status, out, errOut := ctl(bytes.NewReader(cut[:len(cut)-20]), "decode", "-brief")
	assert.Equal(t, 3, status)
	assert.Contains(t, out, "M_DISCOVERY")
	assert.Contains(t, errOut, "cut short")
	status, out, _ = ctl(bytes.NewReader(file[:len(file)-1]), "decode", "-brief")
	assert.Equal(t, 3, status)
	assert.Contains(t, out, "WRONG: not captured to its end")
	for begin, told := range map[string]string{
		"\x28\xb5\x2f\xfdxx":                "compressed with zstd, which is not read: try zstd -dc FILE",
		"BZh9xx":                            "bzip2",
		"snoop\x00\x00\x00\x00\x00\x00\x02": "a capture of snoop, which is not read: editcap FILE FILE.pcapng converts it",
		"\x1f\x8bxx":                        "gzip",
	} {
		status, _, errOut := ctl(strings.NewReader(begin), "decode")
		assert.Equal(t, 3, status, begin)
		assert.Contains(t, errOut, told)
	}
	for _, text := range []string{"\ufeff8100\n", "0X8100", "0x8100\r\n"} {
		assert.Len(t, decoded(t, 0, []byte(text)), 1, text)
	}
}

// A connection whose ports are used again ends a message that had no end; neither that nor
// a message without end in each of many connections is kept for ever.
func TestDecodeAgain(t *testing.T) {
	f := capturetest.NewFile(t, capturetest.Raw)
	from, to := netip.MustParseAddrPort("[2001:db8::1]:6000"), netip.MustParseAddrPort("[2001:db8::2]:7017")
	f.Packet(time.Now(), capturetest.TCP(from, to, 0, capturetest.SYN, nil))
	f.Packet(time.Now(), capturetest.TCP(from, to, 1, 0, []byte{0x82, 0x18}))
	f.Packet(time.Now(), capturetest.TCP(from, to, 100, capturetest.SYN, nil))
	f.Packet(time.Now(), capturetest.TCP(from, to, 101, 0, []byte{0x81, 0}))
	f.Packet(time.Now(), capturetest.TCP(from, to, 103, capturetest.FIN, []byte{0x82}))
	f.Close()
	got := decoded(t, 1, nil, f.Path)
	require.Len(t, got, 3)
	assert.Contains(t, got[0].Error, "not captured to its end")
	assert.Equal(t, "8218", got[0].Hex)
	assert.Equal(t, "M_NOOP", got[1].Message)
	assert.Equal(t, "82", got[2].Hex)

	f = capturetest.NewFile(t, capturetest.Raw)
	begin := append([]byte{0x83, 5, 1, 0x84, 0x61, 'x', 1, 5, 0x5a, 0, 0, 0xf0, 0}, make([]byte, 50_000)...)
	for i := range 2000 {
		from := netip.AddrPortFrom(from.Addr(), uint16(i))
		f.Packet(time.Now(), capturetest.TCP(from, to, 1, 0, begin))
	}
	f.Close()
	status, out, _ := ctl(nil, "decode", "-brief", "-max", "1000000", f.Path)
	assert.Equal(t, 1, status)
	assert.Equal(t, 2000, strings.Count(out, "WRONG"))
	assert.Equal(t, 2000-64<<20/len(begin), strings.Count(out, "too many connections"))
}

// What xxd, od, hexdump and tcpdump -x print of messages and packets.
func TestDecodeDumps(t *testing.T) {
	message := capturetest.Vectors(t)[0]
	packet := capturetest.UDP(netip.MustParseAddrPort("[fe80::1]:4000"), netip.MustParseAddrPort("[ff02::13]:7017"), message)
	frame := append([]byte{0x33, 0x33, 0, 0, 0, 0x13, 2, 0, 0, 0, 0, 1, 0x86, 0xdd}, packet...)
	// dump returns rows of 16 bytes, each beginning with its offset.
	dump := func(b []byte, offset, sep string, group int, end func([]byte) string) string {
		var out strings.Builder
		for at := 0; at < len(b); at += 16 {
			r := b[at:min(at+16, len(b))]
			fmt.Fprintf(&out, offset, at)
			for i := range 16 {
				switch {
				case i < len(r) && i%group == 0:
					out.WriteString(sep)
				case i >= len(r) && end != nil:
					out.WriteString("  ")
				}
				if i < len(r) {
					fmt.Fprintf(&out, "%02x", r[i])
				}
			}
			if end != nil {
				out.WriteString(end(r))
			}
			out.WriteString("\n")
		}
		return out.String()
	}
	characters := func(r []byte) string { return "  ab cd" + strings.Repeat("e", max(0, len(r)-5)) }
	bars := func(r []byte) string { return "  |ab cd" + strings.Repeat(".", max(0, len(r)-5)) + "|" }
	var lines strings.Builder
	for at := 0; at < len(message); at += 30 {
		fmt.Fprintf(&lines, "%x\n", message[at:min(at+30, len(message))])
	}
	for name, c := range map[string]struct {
		text   string
		count  int
		source string
	}{
		"xxd":             {dump(message, "%08x:", " ", 2, characters), 1, ""},
		"xxd -p":          {lines.String(), 1, ""},
		"od -Ax -tx1":     {dump(message, "%06x", " ", 1, nil) + fmt.Sprintf("%06x\n", len(message)), 1, ""},
		"text2pcap":       {dump(message, "%06x ", " ", 1, nil) + dump(message, "%06x ", " ", 1, nil), 2, ""},
		"hexdump -C":      {dump(message, "%08x ", " ", 1, bars) + fmt.Sprintf("%08x\r\n", len(message)), 1, ""},
		"tcpdump -x":      {"12:00:00.000000 IP6 fe80::1.4000 > ff02::13.7017: UDP\n" + dump(packet, "\t0x%04x: ", " ", 2, nil), 1, "[fe80::1]:4000"},
		"tcpdump -XX":     {dump(frame, "\t0x%04x: ", " ", 2, characters), 1, "[fe80::1]:4000"},
		"several packets": {dump(packet, "\t0x%04x: ", " ", 2, nil) + "12:00:01\n" + dump(packet, "\t0x%04x: ", " ", 2, nil), 2, "[fe80::1]:4000"},
	} {
		got := decoded(t, 0, []byte(c.text))
		require.Len(t, got, c.count, "%s:\n%s", name, c.text)
		for _, s := range got {
			assert.Equal(t, hex.EncodeToString(message), s.Hex, name)
			assert.Equal(t, c.source, s.Source, name)
		}
	}
	// A part of a dump, or one with a gap, is none; nor are lines that make no sense together.
	full := dump(message, "%08x: ", " ", 1, nil)
	rows := strings.SplitAfter(full, "\n")
	for _, text := range []string{strings.Join(rows[1:], ""), rows[0] + strings.Join(rows[2:], ""), "0000\n", "0000:\n0010:\n"} {
		status, out, _ := ctl(strings.NewReader(text), "decode", "-brief")
		assert.Equal(t, 1, status)
		assert.NotContains(t, out, "M_DISCOVERY session")
	}
	assert.Len(t, decoded(t, 1, []byte("8506\n8506\n85\n")), 3, "each line by itself")
	status, out, errOut := ctl(strings.NewReader("hQkaALxOT1D+gAAAAAAAAAAAAAAAAAABGgACvyCChGhBTl9Qcm94\n"), "decode")
	assert.Equal(t, 1, status)
	assert.Empty(t, out)
	assert.Contains(t, errOut, "no message: a text that is neither hexadecimal digits nor a dump")
}

// FuzzDecode decodes anything: a file in any form, a message, or neither.
func FuzzDecode(f *testing.F) {
	message := capturetest.Vectors(f)[0]
	f.Add(message)
	f.Add(fmt.Appendf(nil, "%x\n", message))
	f.Add(fmt.Appendf(nil, "0000: % x\n0001:\n", message[:1]))
	packet := capturetest.UDP(netip.MustParseAddrPort("[fe80::1]:4000"), netip.MustParseAddrPort("[ff02::13]:7017"), message)
	f.Add(fmt.Appendf(nil, "\t0x0000:  % x\n", packet[:16]))
	header, err := hex.DecodeString("d4c3b2a1020004000000000000000000ffff000065000000" + "0000000000000000")
	require.NoError(f, err)
	file := binary.LittleEndian.AppendUint32(header, uint32(len(packet)))
	file = append(binary.LittleEndian.AppendUint32(file, uint32(len(packet))), packet...)
	f.Add(file)
	f.Fuzz(func(t *testing.T, b []byte) {
		if status, _, errOut := ctl(bytes.NewReader(b), "decode", "-brief"); status == 2 || status != 0 && errOut == "" {
			t.Errorf("status %d: %s", status, errOut)
		}
	})
}

// Messages that left as one packet, and were captured before it was cut into datagrams, are
// decoded one by one; what is not equally long is one message with bytes after it.
func TestDecodeSegments(t *testing.T) {
	f := capturetest.NewFile(t, capturetest.Raw)
	asking, group := netip.MustParseAddrPort("[fe80::1]:4000"), netip.MustParseAddrPort("[ff02::13]:7017")
	one := capturetest.Vectors(t)[0]
	f.Packet(time.Unix(1800000000, 0), capturetest.UDP(asking, group, bytes.Repeat(one, 3)))
	f.Close()
	status, out, errOut := ctl(nil, "decode", "-brief", f.Path)
	assert.Zero(t, status, errOut)
	assert.Equal(t, 3, strings.Count(out, "\n"), out)

	f = capturetest.NewFile(t, capturetest.Raw)
	f.Packet(time.Unix(1800000000, 0), capturetest.UDP(asking, group, append(bytes.Clone(one), 0x80)))
	f.Close()
	status, _, errOut = ctl(nil, "decode", "-brief", f.Path)
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "wrong: 1 of 1")
}
