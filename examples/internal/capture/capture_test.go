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
	var d capture.Dissector
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, times
		}
		require.NoError(t, err)
		if s, ok := d.Segment(p); ok {
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

// Other forms of pcap: that of some Linux distributions of long ago, with more in the
// header of a packet, and that of before version 2.4, whose lengths may be swapped.
func TestPcapForms(t *testing.T) {
	packet := capturetest.UDP(six, six2, []byte("one"))
	for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
		u16, u32 := order.AppendUint16, order.AppendUint32
		header := func(magic uint32, minor uint16, linkType uint32) []byte {
			return u32(append(u16(u16(u32(nil, magic), 2), minor), make([]byte, 12)...), linkType)
		}
		record := func(file []byte, captured, original int) []byte {
			return u32(u32(u32(u32(file, 1800000000), 123456), uint32(captured)), uint32(original))
		}
		modified := append(record(header(0xa1b2cd34, 4, capturetest.Raw), len(packet), len(packet)), 0, 0, 0, 2, 0x86, 0xdd, 0, 0)
		for name, file := range map[string][]byte{
			"modified":     append(modified, packet...),
			"swapped":      append(record(header(0xa1b2c3d4, 3, capturetest.Raw), len(packet)+10, len(packet)), packet...),
			"not swapped":  append(record(header(0xa1b2c3d4, 3, capturetest.Raw), len(packet), len(packet)+10), packet...),
			"longer":       append(record(header(0xa1b2c3d4, 4, capturetest.Raw), len(packet), 10), packet...),
			"check length": append(record(header(0xa1b2c3d4, 4, capturetest.Raw|0x44000000), len(packet), len(packet)), packet...),
		} {
			all, times := readAll(t, file)
			require.Len(t, all, 1, name)
			assert.Equal(t, capture.Segment{Src: six, Dst: six2, Payload: []byte("one")}, all[0], name)
			assert.True(t, times[0].Equal(at), name)
		}
	}
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
			body = order.AppendUint16(order.AppendUint16(order.AppendUint32(nil, 0x1a2b3c4d), 1), 0)
			body = order.AppendUint64(body, 1<<64-1)
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

		// The block that enhanced ones took the place of.
		obsolete := u32(u32(u32(u32(u16(u16([]byte{2}, 0), 0), 0), 3*1024+512), uint32(len(packet))), uint32(len(packet)))
		obsolete = append(obsolete, packet...)
		// A unit of 10^-20 s, which does not fit in 64 bits, and times that begin later.
		fine := append(u32(u16(u16([]byte{1}, capturetest.Raw), 0), 0), u16(u16(nil, 9), 1)...)
		fine = append(fine, 20, 0, 0, 0)
		later := u16(u16(u32(u16(u16([]byte{1}, capturetest.Raw), 0), 0), 14), 8)
		later = order.AppendUint64(later, 1800000000)
		stamped := func(id, high, low uint32) []byte {
			return append(u32(u32(u32(u32(u32([]byte{6}, id), high), low), uint32(len(packet))), uint32(len(packet))), packet...)
		}
		all, times = readAll(t, ng(order, []byte{0}, iface, fine, later, obsolete, stamped(1, 1<<31, 0), stamped(2, 0, 123456)))
		require.Len(t, all, 3)
		assert.Equal(t, "one", string(all[0].Payload))
		assert.True(t, times[0].Equal(time.Unix(3, 5e8)))
		assert.Equal(t, 92233720*time.Nanosecond, times[1].Sub(time.Unix(0, 0)), "2^63 units")
		assert.True(t, times[2].Equal(at))

		for name, bad := range map[string][]byte{
			"short obsolete":   ng(order, []byte{0}, iface, obsolete[:18]),
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
	for _, l := range links() { // big endian, modified
		head := binary.BigEndian.AppendUint32(hexed("a1b2cd34 0002 0004 00000000 00000000 00040000"), uint32(l.linkType))
		for _, p := range l.packets {
			head = binary.BigEndian.AppendUint32(append(head, make([]byte, 8)...), uint32(len(p)))
			head = binary.BigEndian.AppendUint32(head, uint32(len(p)))
			head = append(append(head, make([]byte, 8)...), p...)
		}
		f.Add(head)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := capture.NewReader(bytes.NewReader(b))
		var d capture.Dissector
		var streams capture.Streams
		for err == nil {
			var p capture.Packet
			if p, err = r.Next(); err == nil {
				if s, ok := d.Segment(p); ok && s.TCP {
					streams.Add(s)
				}
			}
		}
		for _, u := range d.Unread() {
			if u.Why == "" || u.Packets < 1 {
				t.Errorf("%+v", u)
			}
		}
	})
}
