package tlsplane_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// openIn opens an endpoint that receives, and accepts streams which it closes
// when the peer has.
func openIn(b *testing.B, p acp.Plane) acp.Endpoint {
	b.Helper()
	e, err := p.Open()
	require.NoError(b, err)
	b.Cleanup(func() { _ = e.Close() })
	go func() {
		for {
			if _, _, err := e.Receive(make([]byte, 2048)); err != nil {
				return
			}
		}
	}()
	go func() {
		for {
			s, err := e.Accept()
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				buf := make([]byte, 64)
				n, _ := s.Read(buf)
				_, _ = s.Write(buf[:n])
			}()
		}
	}()
	return e
}

// A stream on a real link: dialed, a message there and back, closed.
func BenchmarkDial(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	netbed.VethPair(b, "va0", "va1")
	d := newDomain(b, "testers")
	for _, tls := range []bool{false, true} {
		b.Run(fmt.Sprintf("TLS=%v", tls), func(b *testing.B) {
			plane := func(link string) acp.Plane {
				under := &acp.Layer2{Links: []string{link}}
				if !tls {
					return under
				}
				p, _ := newPlane(b, d, link, under)
				return p
			}
			from, to := openIn(b, plane("va0")), openIn(b, plane("va1"))
			netbed.Eventually(b, 30*time.Second, "links", func() bool { return len(from.Links()) == 1 && len(to.Links()) == 1 })
			at := netip.AddrPortFrom(to.Links()[0].Addr.WithZone(fmt.Sprint(from.Links()[0].Index)), to.Port())
			buf := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				s, err := from.Dial(b.Context(), at)
				require.NoError(b, err)
				_, err = s.Write(buf)
				require.NoError(b, err)
				_, err = s.Read(buf)
				require.NoError(b, err)
				_ = s.Close()
			}
		})
	}
}

// Multicasts of 200 bytes to some neighbours on a real link, as fast as they go
// out.
func BenchmarkSend(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	netbed.VethPair(b, "va0", "va1")
	d := newDomain(b, "testers")
	for _, neighbours := range []int{1, 8} {
		b.Run(fmt.Sprintf("Neighbours=%d", neighbours), func(b *testing.B) {
			p, _ := newPlane(b, d, "sender", &acp.Layer2{Links: []string{"va0"}})
			from := openIn(b, p)
			for i := range neighbours {
				to, _ := newPlane(b, d, fmt.Sprint("n", i), &acp.Layer2{Links: []string{"va1"}})
				openIn(b, to)
			}
			netbed.Eventually(b, 30*time.Second, "neighbours", func() bool { return len(p.Stats().Neighbours) == neighbours })
			link := from.Links()[0].Index
			msg := make([]byte, 200)
			var sent uint64
			out := func() uint64 { return p.Stats().Sent }
			before := out()
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, from.Send(link, msg))
				if sent++; sent%128 == 0 { // or the queues would overflow
					for out()-before < sent*uint64(neighbours) {
						runtime.Gosched()
					}
				}
			}
			require.Zero(b, p.Stats().Slow)
		})
	}
}
