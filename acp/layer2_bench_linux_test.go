package acp_test

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// BenchmarkLayer2Multicast sends a message over a link and receives it, one
// at a time, beside plain sockets of package net doing the same.
func BenchmarkLayer2Multicast(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	netbed.VethPair(b, "va0", "va1")
	va0 := netbed.LinkLocal(b, "va0")
	netbed.LinkLocal(b, "va1")
	msg := make([]byte, 200)

	for _, opt := range []struct {
		name     string
		from, to acp.Plane
	}{
		{"Layer2", on("va0"), on("va1")},
		{"Layer2IPv4On", on4("va0"), on4("va1")}, // with two sockets to hear
	} {
		b.Run(opt.name, func(b *testing.B) {
			from, to := openBench(b, opt.from), openBench(b, opt.to)
			l := from.Links()[0].Index
			buf := make([]byte, 2048)
			b.ReportAllocs()
			for b.Loop() {
				if err := from.Send(l, msg); err != nil {
					b.Fatal(err)
				}
				if _, _, err := to.Receive(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// As above, the host hears a copy of its own on va0, two sockets are in
	// the group, and nobody reads one of them.
	b.Run("Bare", func(b *testing.B) {
		listen := func(name string) *net.UDPConn {
			ifi, err := net.InterfaceByName(name)
			if err != nil {
				b.Fatal(err)
			}
			c, err := net.ListenMulticastUDP("udp6", ifi, &net.UDPAddr{IP: acp.Group6().AsSlice(), Port: acp.Port})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = c.Close() })
			return c
		}
		listen("va0")
		to := listen("va1")
		from, err := net.ListenUDP("udp6", nil)
		if err != nil {
			b.Fatal(err)
		}
		defer from.Close()
		addr := netip.AddrPortFrom(acp.Group6().WithZone("va0"), acp.Port) // whose index is cached
		buf := make([]byte, 2048)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := from.WriteToUDPAddrPort(msg, addr); err != nil {
				b.Fatal(err)
			}
			for range 2 {
				if _, _, err := to.ReadFromUDPAddrPort(buf); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("BareByZone", func(b *testing.B) {
		from, err := net.ListenUDP("udp6", nil)
		if err != nil {
			b.Fatal(err)
		}
		defer from.Close()
		to := netip.AddrPortFrom(acp.Group6().WithZone(va0.Zone()), acp.Port)
		b.ReportAllocs()
		for b.Loop() { // sending alone: the zone is looked up each time
			if _, err := from.WriteToUDPAddrPort(msg, to); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Layer2SendAlone", func(b *testing.B) {
		from := openBench(b, on("va0"))
		l := from.Links()[0].Index
		b.ReportAllocs()
		for b.Loop() {
			if err := from.Send(l, msg); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLayer2Dial opens a stream, sends a byte, without which the handshake's end
// may be late, accepts the stream and closes it, beside plain connections by the name of
// the zone.
func BenchmarkLayer2Dial(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	netbed.VethPair(b, "va0", "va1")
	va0 := netbed.LinkLocal(b, "va0")
	to := netbed.LinkLocal(b, "va1").WithZone(va0.Zone())
	netbed.AddAddr(b, "va1", "fd00::1/64")
	global := netip.MustParseAddr("fd00::1")
	for _, by := range []struct {
		name string
		to   netip.Addr
	}{
		{"Layer2", to},
		{"Global", global},
	} {
		b.Run(by.name, func(b *testing.B) {
			x, y := openBench(b, on("va0")), openBench(b, on("va1"))
			addr := netip.AddrPortFrom(by.to, y.Port())
			b.ReportAllocs()
			for b.Loop() {
				s, err := x.Dial(b.Context(), addr)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Write([]byte{1}); err != nil {
					b.Fatal(err)
				}
				in, err := y.Accept()
				if err != nil {
					b.Fatal(err)
				}
				reset(b, in.Conn) // or ports run out
				_ = in.Close()
				_ = s.Close()
			}
		})
	}
	b.Run("Bare", func(b *testing.B) {
		l, err := net.Listen("tcp6", "[::]:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		addr := "[" + to.WithZone("va0").String() + "]:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		b.ReportAllocs()
		for b.Loop() {
			s, err := net.Dial("tcp6", addr)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.Write([]byte{1}); err != nil {
				b.Fatal(err)
			}
			in, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			_ = s.(*net.TCPConn).SetLinger(0)
			_ = s.Close()
			_ = in.Close()
		}
	})
}

func openBench(b *testing.B, p acp.Plane) acp.Endpoint {
	b.Helper()
	e, err := p.Open()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	netbed.Eventually(b, 30*time.Second, "a link is in use", func() bool { return len(e.Links()) > 0 })
	return e
}

// reset has a connection be reset when it is closed, so that its port is free at once.
func reset(b *testing.B, c net.Conn) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		err = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	if err != nil {
		b.Fatal(err)
	}
}
