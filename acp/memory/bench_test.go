package memory_test

import (
	"fmt"
	"io"
	"net/netip"
	"sync"
	"testing"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// BenchmarkMulticast sends to a number of nodes, all of which receive.
func BenchmarkMulticast(b *testing.B) {
	for _, members := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			n := memory.NewNetwork(1)
			l := n.NewLink(memory.LinkConfig{})
			ends := make([]acp.Endpoint, members)
			for i := range ends {
				ends[i], _ = n.NewNode("", l).Open()
			}
			msg := make([]byte, 200)
			buf := make([]byte, acp.MaxMulticast)
			link := ends[0].Links()[0].Index
			b.ReportAllocs()
			for b.Loop() {
				if err := ends[0].Send(link, msg); err != nil {
					b.Fatal(err)
				}
				for _, e := range ends {
					if _, _, err := e.Receive(buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			for _, e := range ends {
				_ = e.Close()
			}
		})
	}
}

// BenchmarkPingPong sends a message there and back on a stream.
func BenchmarkPingPong(b *testing.B) {
	for _, size := range []int{100, 2048} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			dialed, accepted := benchStream(b)
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = io.Copy(accepted, struct{ io.Reader }{accepted}) })
			msg := make([]byte, size)
			b.SetBytes(2 * int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := dialed.Write(msg); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(dialed, msg); err != nil {
					b.Fatal(err)
				}
			}
			_ = dialed.Close()
			wg.Wait()
			_ = accepted.Close()
		})
	}
}

// BenchmarkDial opens and closes streams.
func BenchmarkDial(b *testing.B) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	from, _ := n.NewNode("a", l).Open()
	h := n.NewNode("b", l)
	to, _ := h.Open()
	addr := netip.AddrPortFrom(h.Addr(), to.Port())
	b.ReportAllocs()
	for b.Loop() {
		s, err := from.Dial(b.Context(), addr)
		if err != nil {
			b.Fatal(err)
		}
		peer, err := to.Accept()
		if err != nil {
			b.Fatal(err)
		}
		_, _ = s.Close(), peer.Close()
	}
	_, _ = from.Close(), to.Close()
}

// BenchmarkRoute finds the routes of one node of a thousand anew.
func BenchmarkRoute(b *testing.B) {
	const size = 1000
	n := memory.NewNetwork(1)
	nodes := make([]*memory.Node, size)
	for i := range nodes {
		nodes[i] = n.NewNode("")
	}
	var l *memory.Link
	for i := range nodes {
		for _, j := range []int{(i + 1) % size, (i*37 + 11) % size} {
			l = n.NewLink(memory.LinkConfig{})
			nodes[i].Attach(l)
			nodes[j].Attach(l)
		}
	}
	e, _ := nodes[0].Open()
	addr := netip.AddrPortFrom(nodes[size/2].Addr(), 1)
	b.ReportAllocs()
	for b.Loop() {
		l.SetDelay(0)
		_, _ = e.Dial(b.Context(), addr)
	}
	_ = e.Close()
}

func benchStream(b *testing.B) (dialed, accepted *acp.Stream) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	from, _ := n.NewNode("a", l).Open()
	h := n.NewNode("b", l)
	to, _ := h.Open()
	dialed, err := from.Dial(b.Context(), netip.AddrPortFrom(h.Addr(), to.Port()))
	if err != nil {
		b.Fatal(err)
	}
	accepted, err = to.Accept()
	if err != nil {
		b.Fatal(err)
	}
	_, _ = from.Close(), to.Close()
	return dialed, accepted
}
