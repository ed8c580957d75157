// Package dnstest is a DNS server for tests.
package dnstest

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Zone is what a server knows: resources by name, which ends with a dot.
type Zone map[string][]dnsmessage.ResourceBody

// Example is a zone with DNS-SD records (RFC 6763): two printers, one of them
// with all kinds of addresses, and one web site at a host without addresses.
func Example() Zone {
	printers := []dnsmessage.ResourceBody{ptr(`First Floor._printer._tcp.example.org.`), ptr(`Büro._printer._tcp.example.org.`)}
	return Zone{
		"_printer._tcp.example.org.": printers,
		"First Floor._printer._tcp.example.org.": {
			srv(0, 5, 515, "first.example.org."),
			&dnsmessage.TXTResource{TXT: []string{"rp=main", "duplex", "note=on the = left"}},
		},
		"Büro._printer._tcp.example.org.": {
			srv(10, 0, 631, "second.example.org."),
			&dnsmessage.TXTResource{TXT: []string{""}},
		},
		"first.example.org.": {
			&dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()},
			&dnsmessage.AResource{A: netip.MustParseAddr("192.0.2.1").As4()},
		},
		"second.example.org.": {&dnsmessage.AResource{A: netip.MustParseAddr("192.0.2.2").As4()}},

		// What the prototype's client asks for.
		"_http._tcp.dns-sd.org.":               {ptr("Web._http._tcp.dns-sd.org.")},
		"_printer._sub._http._tcp.dns-sd.org.": {ptr("Web._http._tcp.dns-sd.org.")},
		"Web._http._tcp.dns-sd.org.":           {srv(0, 0, 80, "web.dns-sd.org."), &dnsmessage.TXTResource{TXT: []string{"path", "/index"}}},
	}
}

func ptr(name string) *dnsmessage.PTRResource {
	return &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(name)}
}

func srv(priority, weight, port uint16, target string) *dnsmessage.SRVResource {
	return &dnsmessage.SRVResource{Priority: priority, Weight: weight, Port: port, Target: dnsmessage.MustNewName(target)}
}

// maxUDP is the size of the largest message over UDP without EDNS.
const maxUDP = 512

// Answer answers a query of the zone.
func (z Zone) Answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	if m.Response || len(m.Questions) != 1 {
		return nil, errors.New("not one question")
	}
	q := m.Questions[0]
	m = dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: m.Questions,
	}
	bodies, known := z[q.Name.String()]
	for name, all := range z {
		if !known && strings.EqualFold(name, q.Name.String()) {
			bodies, known = all, true
		}
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, b := range bodies {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: b}
		if typeOf(b) == q.Type {
			m.Answers = append(m.Answers, r)
		}
	}
	return m.Pack()
}

func typeOf(b dnsmessage.ResourceBody) dnsmessage.Type {
	switch b.(type) {
	case *dnsmessage.PTRResource:
		return dnsmessage.TypePTR
	case *dnsmessage.SRVResource:
		return dnsmessage.TypeSRV
	case *dnsmessage.TXTResource:
		return dnsmessage.TypeTXT
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		return dnsmessage.TypeAAAA
	}
	return 0
}

// Serve answers queries until the test ends.
func (z Zone) Serve(t testing.TB, udp net.PacketConn, tcp net.Listener) {
	t.Cleanup(func() {
		_ = udp.Close()
		_ = tcp.Close()
	})
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			answer, err := z.Answer(buf[:n])
			if err != nil {
				continue
			}
			if len(answer) > maxUDP {
				answer = truncated(answer)
			}
			_, _ = udp.WriteTo(answer, from)
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			go z.serveConn(conn)
		}
	}()
}

// truncated returns an answer without its resources and with the bit TC.
func truncated(answer []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		return nil
	}
	m.Truncated, m.Answers = true, nil
	short, _ := m.Pack()
	return short
}

func (z Zone) serveConn(conn net.Conn) {
	defer conn.Close()
	var size [2]byte
	for {
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, int(size[0])<<8|int(size[1]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer, err := z.Answer(query)
		if err != nil {
			return
		}
		if _, err := conn.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...)); err != nil {
			return
		}
	}
}
