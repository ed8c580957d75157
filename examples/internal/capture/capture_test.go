package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/capture"
	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
)

var (
	at   = time.Unix(1800000000, 123456000)
	six  = netip.MustParseAddrPort("[fe80::1]:4000")
	six2 = netip.MustParseAddrPort("[ff02::13]:7017")
	four = netip.MustParseAddrPort("192.0.2.1:4000")
	fou2 = netip.MustParseAddrPort("224.0.0.119:7017")
)

// readAll returns what carries UDP or TCP in a file.
func readAll(t *testing.T, file []byte) (all []capture.Segment, times []time.Time) {
	t.Helper()
	require.True(t, capture.IsCapture(file))
	r, err := capture.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, times
		}
		require.NoError(t, err)
		if s, ok := p.Segment(); ok {
			s.Payload = bytes.Clone(s.Payload)
			all, times = append(all, s), append(times, p.Time)
		}
	}
}

// written returns a file with these packets.
func written(t *testing.T, linkType int, packets ...[]byte) []byte {
	t.Helper()
	f := capturetest.NewFile(t, linkType)
	for _, p := range packets {
		f.Packet(at, p)
	}
	f.Close()
	b, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	return b
}

func TestPcap(t *testing.T) {
	file := written(t, capturetest.Raw,
		capturetest.UDP(six, six2, []byte("one")),
		capturetest.UDP(four, fou2, []byte("two")),
		capturetest.TCP(six, six2, 77, capturetest.ACK, []byte("three")),
		[]byte{0x10}, nil)
	all, times := readAll(t, file)
	require.Len(t, all, 3)
	assert.Equal(t, capture.Segment{Src: six, Dst: six2, Payload: []byte("one")}, all[0])
	assert.Equal(t, capture.Segment{Src: four, Dst: fou2, Payload: []byte("two")}, all[1])
	assert.Equal(t, capture.Segment{Src: six, Dst: six2, TCP: true, Seq: 77, Payload: []byte("three")}, all[2])
	assert.True(t, times[0].Equal(at))

	// Big endian, nanoseconds.
	head := binary.BigEndian.AppendUint32(nil, 0xa1b23c4d)
	head = append(head, make([]byte, 16)...)
	head = binary.BigEndian.AppendUint32(head, capturetest.Raw)
	packet := capturetest.UDP(six, six2, []byte("one"))
	for _, v := range []uint32{1800000000, 5, uint32(len(packet)), uint32(len(packet))} {
		head = binary.BigEndian.AppendUint32(head, v)
	}
	_, times = readAll(t, append(head, packet...))
	require.Len(t, times, 1)
	assert.EqualValues(t, 5, times[0].Nanosecond())
}

func TestLinkTypes(t *testing.T) {
	packet := capturetest.UDP(six, six2, []byte("one"))
	v4 := capturetest.UDP(four, fou2, []byte("one"))
	mac := make([]byte, 12)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		linkType int
		packet   []byte
		ok       bool
	}{
		"ethernet":      {1, join(mac, []byte{0x86, 0xdd}, packet), true},
		"ethernet, v4":  {1, join(mac, []byte{8, 0}, v4), true},
		"VLANs":         {1, join(mac, []byte{0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x86, 0xdd}, packet), true},
		"ARP":           {1, join(mac, []byte{8, 6}, v4), false},
		"short":         {1, mac, false},
		"null":          {0, join(make([]byte, 4), packet), true},
		"cooked":        {113, join(make([]byte, 16), packet), true},
		"cooked 2":      {276, join(make([]byte, 20), packet), true},
		"IPv6":          {229, packet, true},
		"unknown":       {7777, packet, false},
		"cut to header": {101, packet[:40], false},
	} {
		_, ok := capture.Packet{LinkType: c.linkType, Data: c.packet}.Segment()
		assert.Equal(t, c.ok, ok, name)
	}
	// Whatever is cut off, nothing is read beyond the end.
	for _, p := range [][]byte{packet, v4, capturetest.TCP(six, six2, 1, 0, []byte("x"))} {
		for n := range p {
			s, ok := capture.Packet{LinkType: 101, Data: p[:n:n]}.Segment()
			assert.True(t, !ok || s.Cut, "%d of %d bytes", n, len(p))
		}
	}
	// Headers of IPv6 before that of UDP; a fragment is no datagram.
	extended := bytes.Clone(packet[:40])
	extended[5] += 16
	extended[6] = 0
	extended = append(extended, 44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 1)
	extended = append(extended, packet[40:]...)
	s, ok := capture.Packet{LinkType: 101, Data: extended}.Segment()
	require.True(t, ok)
	assert.Equal(t, "one", string(s.Payload))
	extended[51] = 1
	_, ok = capture.Packet{LinkType: 101, Data: extended}.Segment()
	assert.False(t, ok)
}

func TestNoCapture(t *testing.T) {
	for name, b := range map[string][]byte{"empty": nil, "short": {0xa1}, "text": []byte("84011a00")} {
		_, err := capture.NewReader(bytes.NewReader(b))
		assert.ErrorIs(t, err, capture.ErrNoCapture, name)
	}
	file := written(t, capturetest.Raw, capturetest.UDP(six, six2, []byte("one")))
	const header = 24
	for n := 4; n < len(file); n++ {
		r, err := capture.NewReader(bytes.NewReader(file[:n]))
		if err == nil {
			_, err = r.Next()
		}
		assert.Error(t, err, "%d of %d bytes", n, len(file))
		assert.Equal(t, n == header, errors.Is(err, io.EOF), "%d of %d bytes", n, len(file))
	}
	binary.LittleEndian.PutUint32(file[header+8:], 1<<31)
	r, err := capture.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	_, err = r.Next()
	assert.ErrorContains(t, err, "2147483648 bytes at once")
}

// What Wireshark makes of a pcap file in its own format is the same.
func TestTsharkPcapng(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark, which writes pcapng (Debian package tshark)")
	}
	old := capturetest.NewFile(t, capturetest.Raw)
	old.Packet(at, capturetest.UDP(six, six2, []byte("one")))
	old.Packet(at, capturetest.TCP(four, fou2, 1, capturetest.SYN, nil))
	old.Close()
	out, err := exec.Command(tshark, "-r", old.Path, "-F", "pcapng", "-w", old.Path+"ng").CombinedOutput()
	require.NoError(t, err, string(out))
	file, err := os.ReadFile(old.Path + "ng")
	require.NoError(t, err)
	all, times := readAll(t, file)
	require.Len(t, all, 2)
	assert.Equal(t, capture.Segment{Src: six, Dst: six2, Payload: []byte("one")}, all[0])
	assert.True(t, all[1].SYN)
	assert.True(t, times[1].Equal(at), times[1])
}

// ng returns a pcapng file of these blocks, given by type and body.
func ng(order binary.AppendByteOrder, blocks ...[]byte) []byte {
	var out []byte
	for _, b := range blocks {
		kind, body := uint32(b[0]), b[1:]
		if kind == 0 {
			kind = 0x0a0d0d0a
			body = order.AppendUint32(nil, 0x1a2b3c4d)
			body = append(body, make([]byte, 12)...)
		}
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		out = order.AppendUint32(out, kind)
		out = order.AppendUint32(out, uint32(12+len(body)))
		out = append(out, body...)
		out = order.AppendUint32(out, uint32(12+len(body)))
	}
	return out
}

func TestPcapng(t *testing.T) {
	packet := capturetest.UDP(six, six2, []byte("one"))
	for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
		u16, u32 := order.AppendUint16, order.AppendUint32
		// 1/1024 s as the unit of time stamps.
		iface := append(u32(u16(u16([]byte{1}, capturetest.Raw), 0), 0), u16(u16(nil, 9), 1)...)
		iface = append(iface, 0x80|10, 0, 0, 0)
		enhanced := u32(u32(u32(u32(u32([]byte{6}, 0), 0), 3*1024+512), uint32(len(packet))), uint32(len(packet)))
		enhanced = append(enhanced, packet...)
		simple := append(u32([]byte{3}, uint32(len(packet))), packet...)
		file := ng(order, []byte{0}, iface, []byte{99, 1}, enhanced, simple, []byte{0}, iface, enhanced)
		all, times := readAll(t, file)
		require.Len(t, all, 3)
		assert.Equal(t, "one", string(all[1].Payload))
		assert.True(t, times[0].Equal(time.Unix(3, 5e8)))
		assert.True(t, times[1].IsZero())

		for name, bad := range map[string][]byte{
			"no interface":     ng(order, []byte{0}, enhanced),
			"nor for a simple": ng(order, []byte{0}, simple),
			"short packet":     ng(order, []byte{0}, iface, enhanced[:20]),
			"longer than told": ng(order, []byte{0}, iface, append(u32(u32(u32(u32([]byte{6}, 0), 0), 0), 100), 0, 0, 0, 0)),
			"short interface":  ng(order, []byte{0}, iface[:5]),
			"short option":     ng(order, []byte{0}, u16(u16(iface[:9:9], 9), 200)),
			"odd length":       append(ng(order, []byte{0}), append(u32(u32(nil, 1), 13), 0)...),
			"short block":      append(ng(order, []byte{0}), u32(u32(nil, 1), 8)...),
			"very long block":  append(ng(order, []byte{0}), u32(u32(nil, 1), 1<<31)...),
			"cut short":        file[:len(file)-1],
			"cut in the magic": file[:9],
		} {
			r, err := capture.NewReader(bytes.NewReader(bad))
			require.NoError(t, err)
			for err == nil {
				_, err = r.Next()
			}
			assert.NotErrorIs(t, err, io.EOF, name)
		}
	}
}

// FuzzReader reads anything without harm.
func FuzzReader(f *testing.F) {
	f.Add(ng(binary.LittleEndian, []byte{0}, []byte{1, 101, 0, 0, 0, 0, 0, 0, 0}))
	f.Add([]byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 101, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := capture.NewReader(bytes.NewReader(b))
		var streams capture.Streams
		for err == nil {
			var p capture.Packet
			if p, err = r.Next(); err == nil {
				if s, ok := p.Segment(); ok && s.TCP {
					streams.Add(s)
				}
			}
		}
	})
}
