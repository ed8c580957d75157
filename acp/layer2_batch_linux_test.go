package acp_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// queued sends datagrams of these sizes to an endpoint that does not listen yet, each
// of another byte, and returns when all of them wait there.
func queued(t *testing.T, to acp.Endpoint, sizes ...int) {
	t.Helper()
	from := open(t, on("va0"))
	use(t, from, "va0")
	use(t, to, "va1")
	witness := join(t, on("va1")) // hears the last one, too
	at := netip.AddrPortFrom(acp.Group6().WithZone("va0"), acp.Port)
	for i, size := range sizes {
		msg := bytes.Repeat([]byte{byte(i)}, size)
		if size <= acp.MaxMulticast {
			require.NoError(t, from.Send(must(t, from, "va0").Index, msg))
			continue
		}
		s, err := listenShared(t, "udp6", "[::]:0")
		require.NoError(t, err)
		_, err = s.WriteToUDPAddrPort(msg, at) // in fragments
		require.NoError(t, err)
	}
	last := nonce()
	require.NoError(t, from.Send(must(t, from, "va0").Index, []byte(last)))
	hear(t, witness.Heard, last)
}

// receives checks that an endpoint's next datagrams have these sizes, in order.
func receives(t *testing.T, e acp.Endpoint, buffer int, sizes ...int) {
	t.Helper()
	stop := time.AfterFunc(patience, func() { _ = e.Close() })
	defer stop.Stop()
	buf := make([]byte, buffer)
	for i, size := range sizes {
		n, from, err := e.Receive(buf)
		require.NoError(t, err, "datagram %d", i)
		require.Equal(t, size, n, "datagram %d", i)
		require.Equal(t, byte(i), buf[0])
		require.Equal(t, byte(i), buf[n-1])
		require.Equal(t, must(t, e, "va1").Index, from.Link)
		require.True(t, from.Addr.Addr().IsLinkLocalUnicast())
		require.False(t, from.Unicast)
	}
}

// TestLayer2Batch: datagrams that wait are read several at a time. All of them come, in
// their order, whole, and from whom they are, by the old way of reading, too.
func TestLayer2Batch(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	many := make([]int, 100)
	for i := range many {
		many[i] = 1 + i*12
	}
	long := []int{1, 5000, 1000, 60_000, 20_000, 9000, 1}
	check := func(t *testing.T) {
		for name, plane := range map[string]*acp.Layer2{"IPv6": on("va1"), "IPv4Too": on4("va1")} {
			t.Run(name, func(t *testing.T) {
				e := open(t, plane)
				queued(t, e, many...)
				receives(t, e, 2048, many...)
			})
			t.Run(name+"/Long", func(t *testing.T) {
				e := open(t, plane)
				queued(t, e, long...)
				receives(t, e, 1<<16, long...)
			})
		}
	}
	check(t)
	t.Run("Refused", func(t *testing.T) {
		netbed.Refuse(t, netbed.Refusal{Call: unix.SYS_RECVMMSG, Errno: unix.ENOSYS})
		check(t)
	})
}

// TestLayer2BatchSmallBuffers: a small buffer loses the end of its own datagram, not that
// of those read with it.
func TestLayer2BatchSmallBuffers(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	e := open(t, on("va1"))
	queued(t, e, 1000, 1000, 1000)
	for i, size := range []int{1, 2048, 10} {
		buf := make([]byte, size)
		n, _, err := e.Receive(buf)
		require.NoError(t, err)
		assert.Equal(t, min(size, 1000), n)
		assert.Equal(t, bytes.Repeat([]byte{byte(i)}, n), buf[:n])
	}
}
