package capture_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/capture"
	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
)

// part returns a packet with a fragment of what IPv6 carries.
func part(id uint32, offset int, more bool, data []byte) []byte {
	field := offset
	if more {
		field |= 1
	}
	return inIPv6(44, join("1100", be16(field), binary.BigEndian.AppendUint32(nil, id), data))
}

// However a datagram is cut into fragments, sent again and shuffled, it is read once.
func TestFragments(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		text := make([]byte, 1+random.IntN(5000))
		for i := range text {
			text[i] = byte(i * i)
		}
		udp := capturetest.UDP(six, six2, text)[40:]
		var parts [][]byte
		for at := 0; at < len(udp); {
			n := min(8*(1+random.IntN(60)), len(udp)-at)
			if n == len(udp) {
				n = 8
			}
			p := part(7, at, at+n < len(udp), udp[at:at+n])
			parts = append(parts, p)
			if random.IntN(4) == 0 {
				parts = append(parts, p)
			}
			at += n
		}
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var d capture.Dissector
		var got []string
		for _, p := range parts {
			if s, ok := d.Segment(capture.Packet{LinkType: 101, Data: p}); ok {
				got = append(got, string(s.Payload))
			}
		}
		require.Equal(t, []string{string(text)}, got, "seed %d", seed)
	}
}

// What does not fit together is given up as a whole (RFC 5722), and counted; so is what
// waits too long, or is too much.
func TestFragmentsGivenUp(t *testing.T) {
	udp := capturetest.UDP(six, six2, make([]byte, 100))[40:]
	other := make([]byte, len(udp))
	for i := range other {
		other[i] = 0xff
	}
	now := time.Unix(1800000000, 0)
	for name, c := range map[string]struct {
		packets [][]byte
		after   time.Duration // between them
		counted int
	}{
		"other content":               {[][]byte{part(1, 0, true, udp[:40]), part(1, 0, true, other[:40]), part(1, 40, false, udp[40:])}, 0, 3},
		"overlap":                     {[][]byte{part(1, 0, true, udp[:40]), part(1, 32, false, udp[32:])}, 0, 2},
		"overlap of a later one":      {[][]byte{part(1, 40, false, udp[40:]), part(1, 0, true, udp[:48])}, 0, 2},
		"two ends":                    {[][]byte{part(1, 40, false, udp[40:]), part(1, 80, false, udp[80:90])}, 0, 2},
		"beyond the end":              {[][]byte{part(1, 40, false, udp[40:80]), part(1, 80, true, udp[80:88])}, 0, 2},
		"an end before what is there": {[][]byte{part(1, 80, true, udp[80:88]), part(1, 8, false, udp[8:40])}, 0, 2},
		"no multiple of 8":            {[][]byte{part(1, 0, true, udp[:39]), part(1, 40, false, udp[40:])}, 0, 2},
		"empty":                       {[][]byte{part(1, 0, true, nil)}, 0, 1},
		"too long":                    {[][]byte{part(1, 0xfff8, false, udp[:8])}, 0, 1},
		"too late":                    {[][]byte{part(1, 0, true, udp[:40]), part(1, 40, false, udp[40:])}, 61 * time.Second, 2},
		"of another datagram":         {[][]byte{part(1, 0, true, udp[:40]), part(2, 40, false, udp[40:])}, 0, 2},
	} {
		var d capture.Dissector
		at := now
		for _, p := range c.packets {
			_, ok := d.Segment(capture.Packet{Time: at, LinkType: 101, Data: p})
			assert.False(t, ok, name)
			at = at.Add(c.after)
		}
		assert.Equal(t, []capture.Unread{{Why: "fragments came without the rest of their datagrams", Packets: c.counted}}, d.Unread(), name)
	}

	// Thousands that have no end leave room for one that has.
	var d capture.Dissector
	const lonely = 3000
	for i := range uint32(lonely) {
		d.Segment(capture.Packet{LinkType: 101, Data: part(1000+i, 0xff00, true, udp[:8])})
	}
	assert.Equal(t, lonely, d.Unread()[0].Packets)
	d.Segment(capture.Packet{LinkType: 101, Data: part(1, 0, true, udp[:40])})
	s, ok := d.Segment(capture.Packet{LinkType: 101, Data: part(1, 40, false, udp[40:])})
	assert.True(t, ok)
	assert.Len(t, s.Payload, 100)
	// The oldest of too many is given up.
	d = capture.Dissector{}
	d.Segment(capture.Packet{LinkType: 101, Data: part(1, 0, true, udp[:40])})
	for i := range uint32(1000) {
		d.Segment(capture.Packet{LinkType: 101, Data: part(1000+i, 0xff00, true, udp[:8])})
	}
	_, ok = d.Segment(capture.Packet{LinkType: 101, Data: part(1, 40, false, udp[40:])})
	assert.False(t, ok)
	assert.Equal(t, 1002, d.Unread()[0].Packets)
	// So is one with too many stretches, although all of it comes.
	d = capture.Dissector{}
	long := capturetest.UDP(six, six2, make([]byte, 40_000))[40:]
	parts := 0
	for _, first := range []int{0, 8} {
		for at := first; at < len(long); at += 16 {
			end := min(at+8, len(long))
			_, ok := d.Segment(capture.Packet{LinkType: 101, Data: part(1, at, end < len(long), long[at:end])})
			assert.False(t, ok)
			parts++
		}
	}
	assert.Equal(t, parts, d.Unread()[0].Packets)
	// A part that was not captured in full is none.
	d = capture.Dissector{}
	p := part(1, 0, true, udp[:40])
	d.Segment(capture.Packet{LinkType: 101, Data: p[:len(p)-1]})
	assert.Equal(t, "fragments that were not captured in full are not read", d.Unread()[0].Why)
}
