package grasp_test

import (
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wire"
)

// BenchmarkReal is BenchmarkMemory on real sockets, beside what cannot be
// undercut: Floor is a bare TCP connection for each operation, on which the
// bytes of a negotiation go that is accepted at once, with one write each way.
func BenchmarkReal(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	// Each connection leaves its port behind for a minute.
	netbed.Sysctl(b, "net/ipv4/ip_local_port_range", "1024 65535")
	netbed.VethPair(b, "va0", "va1")
	netbed.LinkLocal(b, "va0")
	at := netbed.LinkLocal(b, "va1")

	b.Run("Floor", func(b *testing.B) {
		// As the client's link sees it.
		addr := "[" + at.WithZone("va0").String() + "]"
		benchFloor(b, addr)
	})
	b.Run("GRASP", func(b *testing.B) {
		server, client, heard := tracedPair(b, &acp.Layer2{Links: []string{"va1"}}, &acp.Layer2{Links: []string{"va0"}})
		bed.WaitForLink(b, server.Instance())
		bed.WaitForLink(b, client.Instance())
		benchPair(b, server, client, heard)
	})
}

// BenchmarkStart is the time from New to the first answered discovery, on a
// link that is there.
func BenchmarkStart(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	netbed.VethPair(b, "va0", "va1")
	netbed.LinkLocal(b, "va0")
	netbed.LinkLocal(b, "va1")
	server := bed.NewASA(b, bed.NewInstance(b, &acp.Layer2{Links: []string{"va1"}}), "server")
	require.NoError(b, server.RegisterObj(bed.Stressed, grasp.RegisterOptions{Discoverable: true}))
	bed.WaitForLink(b, server.Instance())
	for b.Loop() {
		g, err := grasp.New(grasp.Config{Plane: &acp.Layer2{Links: []string{"va0"}}})
		require.NoError(b, err)
		client, err := g.RegisterASA("client")
		require.NoError(b, err)
		found, err := client.Discover(b.Context(), bed.Stressed, 0, grasp.DiscoverOptions{First: true})
		require.NoError(b, err)
		require.NotEmpty(b, found)
		b.StopTimer()
		require.NoError(b, g.Close())
		b.StartTimer()
	}
}

func benchFloor(b *testing.B, addr string) {
	asked, err := (&wire.ReqNeg{SessionID: 1 << 31, Objective: wire.Objective{
		Name: bed.Stressed.Name, Flags: wire.FlagDisc | wire.FlagNeg, LoopCount: bed.Stressed.LoopCount, Value: []byte{0},
	}}).Append(nil)
	require.NoError(b, err)
	answer, err := (&wire.End{SessionID: 1 << 31, Accept: true}).Append(nil)
	require.NoError(b, err)

	l, err := net.Listen("tcp6", "[::]:0")
	require.NoError(b, err)
	var all sync.WaitGroup
	defer all.Wait()
	defer l.Close()
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				buf := make([]byte, 512)
				if _, err := c.Read(buf); err == nil {
					_, _ = c.Write(answer)
				}
			})
		}
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(b, err)
	one := func() error {
		c, err := net.Dial("tcp6", addr+":"+port)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(asked); err != nil {
			return err
		}
		buf := make([]byte, 512)
		n, err := c.Read(buf)
		if err == nil && n != len(answer) {
			err = errors.New("short answer")
		}
		return err
	}
	b.Run("1", func(b *testing.B) { bed.OneByOne(b, one) })
	b.Run("64", func(b *testing.B) { bed.InParallel(b, one) })
}

// BenchmarkRealQUADS is BenchmarkReal's GRASP in a domain with a password.
func BenchmarkRealQUADS(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	netbed.Sysctl(b, "net/ipv4/ip_local_port_range", "1024 65535")
	netbed.VethPair(b, "va0", "va1")
	server, client, heard := tracedPair(b, inDomain(&acp.Layer2{Links: []string{"va1"}}), inDomain(&acp.Layer2{Links: []string{"va0"}}))
	bed.WaitForLink(b, server.Instance())
	bed.WaitForLink(b, client.Instance())
	benchPair(b, server, client, heard)
}
