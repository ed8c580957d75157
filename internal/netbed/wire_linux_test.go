package netbed

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"
)

// ends returns a socket at each end of a wire: what is sent by out to the address
// arrives at in.
func ends(t *testing.T, nameOut, nameIn string) (in, out net.PacketConn, to net.Addr) {
	t.Helper()
	listen := func(name string) (c net.PacketConn) {
		at := LinkLocal(t, name)
		Eventually(t, Patience, at.String()+" can be used", func() bool {
			var err error
			c, err = net.ListenUDP("udp6", &net.UDPAddr{IP: at.AsSlice(), Zone: at.Zone()})
			return err == nil
		})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	in, out = listen(nameIn), listen(nameOut)
	at := *in.LocalAddr().(*net.UDPAddr)
	at.Zone = out.LocalAddr().(*net.UDPAddr).Zone
	return in, out, &at
}

// acrossWire sends numbered datagrams by a wire and returns those that arrive, in
// their order, and what the wire counted.
func acrossWire(t *testing.T, seed uint64, trouble Trouble, count int) ([]uint32, WireCounts) {
	t.Helper()
	n := fmt.Sprint(wires.Load())
	w := NewWire(t, seed, nil, "va"+n, nil, "vb"+n, trouble)
	in, out, to := ends(t, "va"+n, "vb"+n)
	heard := make(chan uint32, 2*count)
	defer func() {
		if t.Failed() {
			t.Logf("%d heard of %+v", len(heard), w.Counts())
		}
	}()
	go func() {
		buf := make([]byte, 4)
		for {
			if _, _, err := in.ReadFrom(buf); err != nil {
				return
			}
			heard <- binary.BigEndian.Uint32(buf)
		}
	}()
	for i := range count {
		if _, err := out.WriteTo(binary.BigEndian.AppendUint32(nil, uint32(i)), to); err != nil {
			t.Fatal(err)
		}
		// The kernel keeps few while it looks for the neighbour, for the wire, and for who
		// reads.
		if i == 0 || i%50 == 49 || i == count-1 {
			Eventually(t, Patience, "those are through", func() bool {
				c := w.Counts()
				return c.Frames == i+1 && len(heard) == c.Frames-c.Lost+c.Repeated
			})
		}
	}
	var arrived []uint32
	for len(heard) > 0 {
		arrived = append(arrived, <-heard)
	}
	return arrived, w.Counts()
}

// TestWire: what arrives is what the wire says, and with the same seed the same.
func TestWire(t *testing.T) {
	if !Enter(t) {
		return
	}
	const count = 500
	all := make([]uint32, count)
	for i := range all {
		all[i] = uint32(i)
	}
	got, c := acrossWire(t, 1, Trouble{}, count)
	if !slices.Equal(got, all) || c != (WireCounts{Frames: count}) {
		t.Errorf("without trouble: %v, %+v", got, c)
	}
	got, c = acrossWire(t, 1, Trouble{Repeat: 1, Delay: 5 * time.Millisecond}, count)
	if c != (WireCounts{Frames: count, Repeated: count}) || !slices.Equal(slices.Compact(got), all) {
		t.Errorf("each repeated: %v, %+v", got, c)
	}
	trouble := Trouble{Lose: 0.2, Repeat: 0.1, Reorder: 0.1, Delay: time.Millisecond, Jitter: 5 * time.Millisecond}
	first, c := acrossWire(t, 7, trouble, count)
	t.Logf("%+v", c)
	if c.Lost == 0 || c.Repeated == 0 || c.Overtaken == 0 || slices.IsSorted(first) {
		t.Errorf("no trouble: %+v", c)
	}
	sorted := func(seed uint64) []uint32 {
		got, _ := acrossWire(t, seed, trouble, count)
		slices.Sort(got)
		return got
	}
	slices.Sort(first)
	if again := sorted(7); !slices.Equal(first, again) {
		t.Errorf("with the same seed %v and then %v", first, again)
	}
	if other := sorted(8); slices.Equal(first, other) {
		t.Error("with another seed the same")
	}
}

// TestWireCarriesStreams: TCP gets through, however much is lost, with all that the
// kernel leaves for hardware to do.
func TestWireCarriesStreams(t *testing.T) {
	if !Enter(t) {
		return
	}
	w := NewWire(t, 1, nil, "va", nil, "vb", Trouble{Lose: 0.05, Repeat: 0.1, Reorder: 0.1})
	_, _, to := ends(t, "va", "vb") // then its address can be used
	at := to.(*net.UDPAddr)
	l, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: at.IP, Zone: "vb"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := make([]byte, 200_000)
	luck := rand.NewChaCha8([32]byte{})
	_, _ = luck.Read(sent)
	go func() {
		c, err := net.DialTCP("tcp6", nil, &net.TCPAddr{IP: at.IP, Port: l.Addr().(*net.TCPAddr).Port, Zone: at.Zone})
		if err != nil {
			t.Error(err)
			_ = l.Close()
			return
		}
		defer c.Close()
		if _, err := c.Write(sent); err != nil {
			t.Error(err)
		}
	}()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, and %v", len(got), len(sent), err)
	}
	t.Logf("%+v", w.Counts())
}

// TestWireWindow: who writes into a window of some bytes has no more under way.
func TestWireWindow(t *testing.T) {
	if !Enter(t) {
		return
	}
	Sysctl(t, "net/ipv4/tcp_window_scaling", "0")
	w := NewWire(t, 1, nil, "va", nil, "vb", Trouble{})
	_, _, to := ends(t, "va", "vb")
	at := to.(*net.UDPAddr)
	l, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: at.IP, Zone: "vb"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialTCP("tcp6", nil, &net.TCPAddr{IP: at.IP, Port: l.Addr().(*net.TCPAddr).Port, Zone: at.Zone})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	w.SetWays(Trouble{}, Trouble{Window: 3})       // of the one who reads
	if _, err := in.Write([]byte{0}); err != nil { // tells the other
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before := w.Counts().Frames
	if _, err := c.Write(make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	if frames := w.Counts().Frames - before; frames < 12/3 {
		t.Errorf("12 bytes in %d frames", frames)
	}
}

// TestClampWindow: the sum of a segment is what it was, and if it is still to be made it
// is left alone.
func TestClampWindow(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	sumOf := func(b []byte) (sum uint32) {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		return sum % 0xffff
	}
	for range 1000 {
		frame := make([]byte, virtioHeader+14+40+20)
		frame[virtioHeader+12], frame[virtioHeader+13] = 0x86, 0xdd
		tcp := frame[len(frame)-20:]
		for i := range tcp {
			tcp[i] = byte(luck.Uint32())
		}
		window, sum := binary.BigEndian.Uint16(tcp[14:]), binary.BigEndian.Uint16(tcp[16:])
		before := sumOf(tcp)
		clampWindow(frame, 1000)
		if got := binary.BigEndian.Uint16(tcp[14:]); got != min(window, 1000) {
			t.Fatalf("a window of %d became %d", window, got)
		}
		if sumOf(tcp) != before {
			t.Fatalf("the sum is wrong: %d, before %d", sumOf(tcp), before)
		}
		binary.BigEndian.PutUint16(tcp[14:], 5000)
		binary.BigEndian.PutUint16(tcp[16:], sum)
		frame[0] = 1
		clampWindow(frame, 1000)
		if binary.BigEndian.Uint16(tcp[14:]) != 1000 || binary.BigEndian.Uint16(tcp[16:]) != sum {
			t.Fatal("the sum was made too early")
		}
	}
}

// TestWireWays: what is lost in one direction only.
func TestWireWays(t *testing.T) {
	if !Enter(t) {
		return
	}
	w := NewWire(t, 1, nil, "va", nil, "vb", Trouble{})
	b, a, _ := ends(t, "va", "vb")
	atA, atB := *a.LocalAddr().(*net.UDPAddr), *b.LocalAddr().(*net.UDPAddr)
	atA.Zone, atB.Zone = "vb", "va"
	var sent byte // each datagram has a number, so that one that comes late is no other
	hears := func(in, out net.PacketConn, to net.Addr) bool {
		sent++
		_, _ = out.WriteTo([]byte{sent}, to)
		_ = in.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for buf := []byte{0}; ; {
			if _, _, err := in.ReadFrom(buf); err != nil || buf[0] == sent {
				return err == nil
			}
		}
	}
	Eventually(t, Patience, "both hear", func() bool { return hears(a, b, &atA) && hears(b, a, &atB) })
	w.SetWays(Trouble{Lose: 1}, Trouble{})
	for i := range 3 {
		Eventually(t, Patience, "the other direction", func() bool { return hears(a, b, &atA) })
		if hears(b, a, &atB) {
			t.Fatal("heard, though all is lost")
		}
		Eventually(t, Patience, "it is lost", func() bool { return w.Counts().Lost == i+1 })
	}
}

// TestWireSet: trouble comes and goes, and no carrier with it.
func TestWireSet(t *testing.T) {
	if !Enter(t) {
		return
	}
	w := NewWire(t, 1, nil, "va", nil, "vb", Trouble{Lose: 1, Wholly: true})
	in, out, to := ends(t, "va", "vb")
	heard := make(chan error, 1)
	go func() {
		_, _, err := in.ReadFrom(make([]byte, 1))
		heard <- err
	}()
	isHeard := func() bool {
		_, _ = out.WriteTo([]byte{1}, to)
		select {
		case err := <-heard:
			return err == nil
		default:
			return false
		}
	}
	Eventually(t, Patience, "something is lost", func() bool { return isHeard() || w.Counts().Lost > 0 })
	if isHeard() {
		t.Fatal("heard by a wire that loses everything")
	}
	w.Set(Trouble{})
	Eventually(t, 30*time.Second, "it is heard", isHeard)
}
