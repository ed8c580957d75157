package wireshark

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
	"github.com/go-grasp/grasp/examples/internal/diag"
	"github.com/go-grasp/grasp/internal/wire"
)

// message is what tshark shows of a message, or of what is none.
type message struct {
	fields map[string][]string // what is shown, by field
	raw    []byte
	// wrong is what experts say of it, by field; the field is there with
	// an empty text if they do not.
	wrong map[string][]string
}

// isWrong says that it is marked as malformed or invalid.
func (m message) isWrong() bool {
	return len(m.wrong["grasp.malformed"])+len(m.wrong["grasp.invalid"]) > 0
}

// field is an element of tshark's PDML.
type field struct {
	Name   string  `xml:"name,attr"`
	Show   string  `xml:"show,attr"`
	Label  string  `xml:"showname,attr"`
	Value  string  `xml:"value,attr"`
	Fields []field `xml:"field"`
}

// collect puts a field and those below it into a message.
func (f field) collect(t *testing.T, m *message) {
	t.Helper()
	switch {
	case f.Name == "grasp.diagnostic":
		var err error
		m.raw, err = hex.DecodeString(f.Value)
		require.NoError(t, err)
	case f.Name == "_ws.expert":
		kind := f.Fields[0].Name
		m.wrong[kind] = append(m.wrong[kind], f.Fields[0].Label)
	}
	m.fields[f.Name] = append(m.fields[f.Name], f.Show)
	for _, inner := range f.Fields {
		inner.collect(t, m)
	}
}

// tshark returns the path of the program, or skips the test.
func tshark(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark to run the dissector in (Debian package tshark)")
	}
	return path
}

// dissect returns the messages in a capture, by the number of the packet that ends
// them, which begins at 0. The dissector must have no bug that shows.
func dissect(t *testing.T, file string, args ...string) map[int][]message {
	t.Helper()
	args = append([]string{"-r", file, "-X", "lua_script:grasp.lua", "-T", "pdml", "-J", "geninfo grasp _ws.lua"}, args...)
	var stderr bytes.Buffer
	cmd := exec.Command(tshark(t), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	assert.NotContains(t, stderr.String(), "Lua")
	require.NotContains(t, string(out), "Lua Error")
	var pdml struct {
		Packets []struct {
			Protos []struct {
				Name string `xml:"name,attr"`
				field
			} `xml:"proto"`
		} `xml:"packet"`
	}
	require.NoError(t, xml.Unmarshal(out, &pdml))
	all := make(map[int][]message)
	for i, p := range pdml.Packets {
		for _, proto := range p.Protos {
			if proto.Name != "grasp" {
				continue
			}
			m := message{fields: make(map[string][]string), wrong: make(map[string][]string)}
			for _, f := range proto.Fields {
				f.collect(t, &m)
			}
			all[i] = append(all[i], m)
		}
	}
	return all
}

var (
	from  = netip.MustParseAddrPort("[fe80::1]:40000")
	group = netip.MustParseAddrPort("[ff02::13]:7017")
)

// datagrams writes a capture with these messages, a datagram each.
func datagrams(t *testing.T, all [][]byte) string {
	t.Helper()
	f := capturetest.NewFile(t, capturetest.Raw)
	for _, raw := range all {
		f.Packet(time.Unix(1800000000, 0), capturetest.UDP(from, group, raw))
	}
	f.Close()
	return f.Path
}

// requireSame requires that tshark shows a valid message as it is.
func requireSame(t *testing.T, raw []byte, m message) {
	t.Helper()
	require.False(t, m.isWrong(), "%x: %v", raw, m.wrong)
	require.Equal(t, raw, m.raw)
	require.Len(t, m.fields["grasp.diagnostic"], 1)
	again, err := diag.Parse(m.fields["grasp.diagnostic"][0])
	require.NoError(t, err)
	require.Equal(t, raw, again, m.fields["grasp.diagnostic"][0])
}

// All messages that are known are shown as they are, in diagnostic notation, and
// with their fields.
func TestTsharkVectors(t *testing.T) {
	all := capturetest.Vectors(t)
	got := dissect(t, datagrams(t, all))
	for i, raw := range all {
		require.Len(t, got[i], 1, "%x", raw)
		requireSame(t, raw, got[i][0])
		parsed, err := wire.Parse(raw, wire.Limits{})
		require.NoError(t, err)
		requireFields(t, parsed, got[i][0])
		assert.Empty(t, got[i][0].wrong)
	}
}

// Mutations of messages are found wrong if, and only if, the library finds them wrong.
func TestTsharkMutations(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	known := capturetest.Vectors(t)
	var all [][]byte
	for range 2000 {
		raw := bytes.Clone(known[random.IntN(len(known))])
		for range 1 + random.IntN(2) {
			switch at := random.IntN(len(raw)); random.IntN(5) {
			case 0:
				raw = raw[:at+1]
			case 1:
				raw = append(raw[:at:at], append([]byte{byte(random.Uint32())}, raw[at:]...)...)
			case 2:
				raw = append(raw[:at:at], raw[min(at+1, len(raw)-1):]...)
			default:
				raw[at] = [...]byte{byte(random.Uint32()), raw[at] + 1, raw[at] - 1, 0xf6, 0x80, 0xff}[random.IntN(6)]
			}
		}
		all = append(all, raw)
	}
	got := dissect(t, datagrams(t, all))
	valid := 0
	for i, raw := range all {
		require.Len(t, got[i], 1, "%x", raw)
		m := got[i][0]
		parsed, err := wire.Parse(raw, wire.Limits{})
		flood, ok := parsed.(*wire.Flood)
		leftOut := ok && err == nil && flood.LeftOut > 0
		require.Equal(t, err != nil || leftOut, m.isWrong(), "%x: the library: %v, the dissector: %v", raw, err, m.wrong)
		if err == nil && !leftOut {
			requireFields(t, parsed, m)
			valid++
		}
	}
	assert.Greater(t, valid, len(all)/10)
	assert.Less(t, valid, len(all)*9/10)
	t.Logf("%d of %d are valid", valid, len(all))
}

// Values of all kinds, in diagnostic notation.
func TestTsharkValues(t *testing.T) {
	texts := []string{
		"0", "24", "18446744073709551615", "-1", "-24", "-25", "-18446744073709551615", "-18446744073709551616",
		"18446744073709551616", "0.0", "-0.0", "1.5", "65504.0", "5.960464477539063e-08", "100000.0", "3.4028234663852886e+38", "1.1",
		"1e300", "-4.1", "Infinity", "-Infinity", "NaN", "true", "false", "null", "undefined", "simple(16)", "simple(255)",
		"h''", "h'00ff'", `""`, `"a\"\\\u0000\u007f\nü水𐅑"`, "[]", "[[[1], 2], 3]", "{}", `{"a": {1: [2]}, h'00': null}`,
		"[_ 1, [_ ]]", `{_ "a": 1}`, `(_ "a", "b")`, "(_ h'01', h'')", `0("2013-03-21T20:04:00Z")`, "24(h'01')", "1(1.5)",
		strings.Repeat("[", 28) + strings.Repeat("]", 28),
	}
	var all [][]byte
	for _, text := range texts {
		value, err := diag.Parse(text)
		require.NoError(t, err, text)
		raw, err := (&wire.Synch{SessionID: 1, Objective: wire.Objective{Name: "EX1", Flags: wire.FlagSynch, LoopCount: 1, Value: value}}).Append(nil)
		require.NoError(t, err, text)
		all = append(all, raw)
	}
	got := dissect(t, datagrams(t, all))
	for i, raw := range all {
		require.Len(t, got[i], 1)
		requireSame(t, raw, got[i][0])
	}
}

// Messages that left as one packet, and were captured before it was cut into datagrams, are
// shown one by one.
func TestTsharkSegments(t *testing.T) {
	one := capturetest.Vectors(t)[0]
	got := dissect(t, datagrams(t, [][]byte{bytes.Repeat(one, 3), one}))
	for i, n := range []int{3, 1} {
		require.Len(t, got[i], n)
		for _, m := range got[i] {
			requireSame(t, one, m)
		}
	}
}

// What is wrong is said, with the byte.
func TestTsharkWrong(t *testing.T) {
	cases := []struct{ hex, kind, want string }{
		{"83031a00d4d748", "grasp.malformed", "cut short, at byte 7 of the message"},
		{"82031a00d4d748", "grasp.invalid", "objective is missing, at byte 0 of the message"},
		{"83030184617801190100f6", "grasp.invalid", "loop count is not an unsigned integer up to 255, at byte 7 of the message"},
		{"82182a01", "grasp.invalid", "unknown message type 42, at byte 1 of the message"},
		{"83030183" + "61ff" + "0105", "grasp.malformed", "text that is not UTF-8, at byte 4 of the message"},
		{"820601", "grasp.invalid", "neither accept nor decline, at byte 0 of the message"},
		{"1c", "grasp.malformed", "reserved first byte, at byte 0 of the message"},
		{"810000", "grasp.malformed", "1 bytes after the message, at byte 2 of the message"},
		{"8203" + "5b00000000ffffffff", "grasp.malformed", "string of 4294967295 bytes, at byte 2 of the message"},
		{strings.Repeat("81", 100) + "00", "grasp.malformed", "nested deeper than 32 levels, at byte 32 of the message"},
		{"830301" + "84617818100500", "grasp.unknown", "Flags that RFC 8990 does not have"},
		{"830301" + "83617801058101", "grasp.malformed", "2 bytes after the message, at byte 8 of the message"},
		{"840301" + "836178010581187b", "grasp.unknown", "Option 123 has no place here, and is to be ignored"},
		{"850201440a00000100" + "84186a617806", "grasp.malformed", "cut short, at byte 15 of the message"},
		{"86020144" + "0a000001" + "00" + "84186744010203040606" + "84186844010203040607", "grasp.unknown", "Locator that is to be ignored: address of an O_IPv6_LOCATOR is not 16 bytes"},
	}
	var all [][]byte
	for _, c := range cases {
		raw, err := hex.DecodeString(c.hex)
		require.NoError(t, err)
		all = append(all, raw)
	}
	got := dissect(t, datagrams(t, all))
	for i, c := range cases {
		require.Len(t, got[i], 1, c.hex)
		assert.Equal(t, map[string][]string{c.kind: {c.want}}, got[i][0].wrong, c.hex)
	}
}
