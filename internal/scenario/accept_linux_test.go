package scenario

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// TestAcceptIsCounted: what comes from a prefix that Layer2.Accept does not name is
// dropped and counted, streams to both ports and multicasts of IPv4.
func TestAcceptIsCounted(t *testing.T) {
	t.Parallel()
	if !netbed.Enter(t) {
		return
	}
	a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
	no6(t, a, b)
	netbed.Cable(t, a, "eth0", b, "eth0")
	a.AddAddr(t, "eth0", "192.0.2.1/24")
	b.AddAddr(t, "eth0", "192.0.2.2/24")
	host := on4()
	host.Plane.Accept = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	n := topology.Start(t, b, host)
	usesAll(t, 1, n)
	count := uint64(0)
	dropped := func(what string) {
		t.Helper()
		count++
		within(t, what+" is counted", func() bool { return n.Snapshot().Dropped[grasp.ReasonForeign] == count })
	}
	for _, port := range []uint16{n.Snapshot().Port, 7017} {
		a.Do(t, func() {
			c, err := net.Dial("tcp4", fmt.Sprintf("192.0.2.2:%d", port))
			require.NoError(t, err)
			_ = c.Close()
		})
		dropped(fmt.Sprint("a stream to port ", port))
	}
	flood := bed.Encoded(t, arr{9, 7, bed.IP("2001:db8::1"), 0, arr{arr{"EX1", 5, 1, "value"}, arr{}}})
	a.Do(t, func() {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)}, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 119), Port: 7017})
		require.NoError(t, err)
		_, err = c.Write(flood)
		require.NoError(t, err)
		_ = c.Close()
	})
	dropped("a multicast")
	assert.Empty(t, n.Flooded("EX1"))
	assert.Empty(t, n.Snapshot().Floods)
}
