package wireshark

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
	"github.com/go-grasp/grasp/internal/wire"
)

// appended returns the encoding of a message.
func appended(t *testing.T, m wire.Message) []byte {
	t.Helper()
	raw, err := m.Append(nil)
	require.NoError(t, err)
	return raw
}

// tcp is a connection in a capture.
type tcp struct {
	f        *capturetest.File
	src, dst netip.AddrPort
	next     uint32
}

func connect(f *capturetest.File, src, dst string) *tcp {
	c := &tcp{f: f, src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), next: 1001}
	f.Packet(time.Unix(1800000000, 0), capturetest.TCP(c.src, c.dst, 1000, capturetest.SYN, nil))
	return c
}

// segment adds a segment to it.
func (c *tcp) segment(payload []byte) {
	c.f.Packet(time.Unix(1800000000, 0), capturetest.TCP(c.src, c.dst, c.next, capturetest.ACK, payload))
	c.next += uint32(len(payload))
}

// Connections are found by what discoveries and responses say, and messages in them
// however they are cut.
func TestTsharkStreams(t *testing.T) {
	objective := wire.Objective{Name: "EX3", Flags: wire.FlagDisc | wire.FlagNeg, LoopCount: 6, Value: []byte{0xf6}}
	initiator := netip.MustParseAddr("2001:db8::1")
	at := func(s string) wire.Locator {
		a := netip.MustParseAddrPort(s)
		kind := wire.LocatorIPv6
		if a.Addr().Is4() {
			kind = wire.LocatorIPv4
		}
		return wire.Locator{Kind: kind, Addr: a.Addr(), Protocol: wire.ProtoTCP, Port: int(a.Port())}
	}
	discovery := appended(t, &wire.Discovery{SessionID: 1, Initiator: initiator, Objective: objective})
	response := appended(t, &wire.Response{
		SessionID: 1, Initiator: initiator, TTL: 60000,
		Locators: []wire.Locator{at("[2001:db8::2]:41000"), {Kind: wire.LocatorURI, Name: "coap://x", Protocol: wire.Null, Port: wire.Null}},
		Diverted: []wire.Locator{at("192.0.2.2:42000"), {Kind: wire.LocatorFQDN, Name: "example.com", Protocol: wire.ProtoTCP, Port: 1}},
	})
	request := appended(t, &wire.ReqNeg{SessionID: 2, Objective: objective})
	wait := appended(t, &wire.Wait{SessionID: 2, Wait: 1000})
	end := appended(t, &wire.End{SessionID: 2, Reason: "no"})
	long := objective
	long.Value = append([]byte{0x59, 8, 0}, make([]byte, 2048)...)
	step := appended(t, &wire.Negotiate{SessionID: 2, Objective: long})
	join := func(all ...[]byte) []byte { return bytes.Join(all, nil) }

	f := capturetest.NewFile(t, capturetest.Raw)
	var want [][]byte
	early := connect(f, "[2001:db8::1]:43000", "[2001:db8::2]:41000") // before anything tells that it is GRASP
	early.segment(request)

	f.Packet(time.Unix(1800000000, 0), capturetest.UDP(netip.MustParseAddrPort("[fe80::1]:40000"), group, discovery))
	back := connect(f, "[fe80::2]:40001", "[fe80::1]:40000")
	back.segment(response[:30])
	back.segment(response[30:])
	want = append(want, discovery, response)

	// To a locator, byte by byte, and two messages and a half in a segment.
	there := connect(f, "[2001:db8::1]:43001", "[2001:db8::2]:41000")
	for _, b := range request {
		there.segment([]byte{b})
	}
	there.segment(join(wait, wait, step[:1000]))
	there.segment(step[1000:])
	want = append(want, request, wait, wait, step)

	// The other direction, and one to a diverted locator.
	answer := connect(f, "[2001:db8::2]:41000", "[2001:db8::1]:43001")
	answer.segment(join(wait, end))
	diverted := connect(f, "192.0.2.1:43002", "192.0.2.2:42000")
	diverted.segment(request)
	want = append(want, wait, end, request)

	// To the port of GRASP; what follows a message that is wrong is still read, unless
	// nobody knows where it begins.
	known := connect(f, "192.0.2.1:43003", "192.0.2.9:7017")
	known.segment(join(request, []byte{0x82, 3, 1}, wait))
	known.segment(join([]byte{0xff}, wait))
	want = append(want, request, []byte{0x82, 3, 1}, wait)

	// To a port that nobody told of.
	strange := connect(f, "192.0.2.1:43004", "192.0.2.2:42001")
	strange.segment(request)
	f.Close()

	all := dissect(t, f.Path)
	var got [][]byte
	var wrong []message
	for i := range 1000 {
		for _, m := range all[i] {
			if m.raw != nil {
				got = append(got, m.raw)
			}
			if m.isWrong() {
				wrong = append(wrong, m)
			}
		}
	}
	require.Equal(t, want, got)
	require.Len(t, wrong, 2)
	assert.Equal(t, []string{"objective is missing, at byte 0 of the message"}, wrong[0].wrong["grasp.invalid"])
	assert.Equal(t, []string{"unexpected break, at byte 0 of the message"}, wrong[1].wrong["grasp.malformed"])
}
