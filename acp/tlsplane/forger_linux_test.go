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
	inParts                // nobody, but there seems to be a part of a proof
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
	// stranger makes what looks like proofs to those who know the anchor.
	stranger *tlsplane.Stranger

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
		fd, mac := node.PacketSocket(t, link)
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
		_ = unix.Send(fd, netbed.Frame(mac, p[6:12], target, asker, unix.IPPROTO_ICMPV6, body), 0)
	}
}

// announce sends so many announcements a second on a link, each by another
// address, until stop is called.
func (f *forger) announce(t *testing.T, link string, perSecond int, kinds ...forgery) (stop func()) {
	t.Helper()
	fd, mac := f.node.PacketSocket(t, link)
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
	case absent, sealed, inParts:
		b[15] &^= 1
	case refuses:
		port = refusingPort
	case silent:
		port = silentPort
	case foreign:
		port = foreignPort
	}
	from := netip.AddrFrom16(b)
	var proof []any
	if kind == sealed {
		proof = f.stranger.Proof()
	}
	if kind == inParts {
		proof = f.stranger.Part(netip.AddrPortFrom(from, port))
	}
	msg, err := tlsplane.Announcement(netip.AddrPortFrom(from, port), time.Minute, proof...)
	if err != nil {
		panic(err) // it always encodes
	}
	frame := netbed.Datagram(mac, nil, netip.AddrPortFrom(from, acp.Port), netip.AddrPortFrom(acp.Group6(), acp.Port), msg)
	if unix.Send(fd, frame, 0) == nil {
		f.sent.Add(1)
	}
}
