package tlsplane_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/netbed"
)

// forgery is a way to lie in an announcement.
type forgery int

// What is at the address that is announced.
const (
	absent  forgery = iota // nobody
	refuses                // a host with nothing on that port
	silent                 // a listener that never says anything
	foreign                // a TLS server with a certificate that it made itself
	sealed                 // nobody, but there seems to be a proof
)

// The ports of the hosts that are there.
const (
	refusingPort = 4
	silentPort   = 5
	foreignPort  = 6
)

// forger is a host without a certificate of the domain, on a number of links
// that end in its namespace. It has 2^32 addresses on each.
type forger struct {
	node   *netbed.Node
	places map[string]uint16 // in its addresses, by link
	// seal makes what looks like a proof to those who know the anchor.
	seal func(at netip.AddrPort) []byte

	sent    atomic.Uint64
	stopped chan struct{}
	done    sync.WaitGroup
}

// newForger starts a host that answers for all of its addresses.
func newForger(t *testing.T, node *netbed.Node, links ...string) *forger {
	t.Helper()
	f := &forger{node: node, places: make(map[string]uint16), stopped: make(chan struct{})}
	node.Sysctl(t, "net/core/somaxconn", "65535")
	cert := issue(t, newDomain(t, "strangers"), "foreign")
	for i, link := range links {
		node.IP(t, "-6", "route", "add", "local", fmt.Sprintf("fe80::bad:%x:0:0/96", i), "dev", link)
		f.places[link] = uint16(i)
		fd, mac := f.packetSocket(t, link)
		f.done.Go(func() { f.answerSolicitations(fd, mac) })
	}
	node.Do(t, func() {
		for port, serve := range map[int]func(net.Conn){
			silentPort: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
			foreignPort: func(c net.Conn) {
				s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"grasp-multicast"}})
				_ = s.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = s.Read(make([]byte, 1))
			},
		} {
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			require.NoError(t, err)
			require.NoError(t, unix.Bind(fd, &unix.SockaddrInet6{Port: port}))
			require.NoError(t, unix.Listen(fd, 65535))
			f.done.Go(func() { f.serve(fd, serve) })
		}
	})
	t.Cleanup(func() {
		close(f.stopped)
		f.done.Wait()
	})
	return f
}

// serve accepts until the end. It polls, because package net would not take a
// listener that another thread made.
func (f *forger) serve(fd int, serve func(net.Conn)) {
	defer unix.Close(fd)
	for f.running() {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		file := os.NewFile(uintptr(conn), "accepted")
		c, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			continue
		}
		go func() { // until the peer ends it
			defer c.Close()
			serve(c)
		}()
	}
}

func (f *forger) running() bool {
	select {
	case <-f.stopped:
		return false
	default:
		return true
	}
}

// packetSocket opens a socket for raw frames on a link of the node.
func (f *forger) packetSocket(t *testing.T, link string) (fd int, mac net.HardwareAddr) {
	t.Helper()
	proto := int(binary.NativeEndian.Uint16([]byte{unix.ETH_P_IPV6 >> 8, unix.ETH_P_IPV6 & 0xff}))
	f.node.Do(t, func() {
		ifi, err := net.InterfaceByName(link)
		require.NoError(t, err)
		mac = ifi.HardwareAddr
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		require.NoError(t, err)
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20))
		require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: ifi.Index}))
	})
	return fd, mac
}

// isThere says that the forger answers for an address: it does for those of
// which the last bit is set.
func isThere(a netip.Addr) bool {
	b := a.As16()
	return [10]byte(b[:10]) == [10]byte{0: 0xfe, 1: 0x80, 8: 0x0b, 9: 0xad} && b[15]&1 == 1
}

// answerSolicitations is neighbour discovery (RFC 4861) for any number of
// addresses.
func (f *forger) answerSolicitations(fd int, mac net.HardwareAddr) {
	defer unix.Close(fd)
	buf := make([]byte, 2048)
	for f.running() {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			if errors.Is(err, syscall.EAGAIN) {
				time.Sleep(200 * time.Microsecond)
			}
			continue
		}
		p := buf[:n]
		if len(p) < 78 || p[20] != 58 || p[54] != 135 { // no solicitation
			continue
		}
		target := netip.AddrFrom16([16]byte(p[62:78]))
		asker := netip.AddrFrom16([16]byte(p[22:38]))
		if !isThere(target) || !asker.IsLinkLocalUnicast() {
			continue
		}
		body := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, target.AsSlice()...)
		body = append(append(body, 2, 1), mac...)
		frame := append([]byte(nil), p[6:12]...)
		frame = append(frame, mac...)
		_ = unix.Send(fd, append(frame, ipv6Packet(target, asker, 58, body)...), 0)
	}
}

// ipv6Packet returns an Ethernet type and a packet, whose payload gets its
// checksum.
func ipv6Packet(from, to netip.Addr, proto byte, payload []byte) []byte {
	at := 2
	if proto == unix.IPPROTO_UDP {
		at = 6
	}
	sum := uint32(proto) + uint32(len(payload))
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	add(from.AsSlice())
	add(to.AsSlice())
	add(payload)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(payload[at:], ^uint16(sum))
	p := []byte{0x86, 0xdd, 0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), proto, 255}
	p = append(append(p, from.AsSlice()...), to.AsSlice()...)
	return append(p, payload...)
}

// announce sends so many announcements a second on a link, each by another
// address, until stop is called.
func (f *forger) announce(t *testing.T, link string, perSecond int, kinds ...forgery) (stop func()) {
	t.Helper()
	fd, mac := f.packetSocket(t, link)
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		defer unix.Close(fd)
		start := time.Now()
		for n := 0; ; {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
			for due := int(time.Since(start).Seconds() * float64(perSecond)); n < due; n++ {
				f.forge(fd, mac, f.places[link], kinds[n%len(kinds)])
			}
		}
	})
	return sync.OnceFunc(func() {
		close(end)
		done.Wait()
	})
}

// forge sends one announcement.
func (f *forger) forge(fd int, mac net.HardwareAddr, place uint16, kind forgery) {
	b := [16]byte{0: 0xfe, 1: 0x80, 8: 0x0b, 9: 0xad}
	binary.BigEndian.PutUint16(b[10:], place)
	binary.BigEndian.PutUint32(b[12:], rand.Uint32())
	b[15] |= 1
	port := uint16(1 + rand.IntN(1<<15))
	switch kind {
	case absent, sealed:
		b[15] &^= 1
	case refuses:
		port = refusingPort
	case silent:
		port = silentPort
	case foreign:
		port = foreignPort
	}
	from := netip.AddrFrom16(b)
	var proof []byte
	if kind == sealed {
		proof = f.seal(netip.AddrPortFrom(from, port))
	}
	msg, err := tlsplane.Announcement(netip.AddrPortFrom(from, port), proof, time.Minute)
	if err != nil {
		panic(err) // it always encodes
	}
	udp := binary.BigEndian.AppendUint16(nil, acp.Port)
	udp = binary.BigEndian.AppendUint16(udp, acp.Port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(msg)))
	udp = append(append(udp, 0, 0), msg...)
	frame := append(append([]byte{0x33, 0x33, 0, 0, 0, 0x13}, mac...), ipv6Packet(from, acp.Group6(), unix.IPPROTO_UDP, udp)...)
	if unix.Send(fd, frame, 0) == nil {
		f.sent.Add(1)
	}
}
