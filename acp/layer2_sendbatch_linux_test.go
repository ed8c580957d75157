package acp_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// hello is what ready sends.
const hello = "hello"

// receivesAll checks that an endpoint's next datagrams, but for hello, are these.
func receivesAll(t *testing.T, e acp.Endpoint, want []string) {
	t.Helper()
	stop := time.AfterFunc(patience, func() { _ = e.Close() })
	defer stop.Stop()
	var got []string
	buf := make([]byte, 2048)
	for len(got) < len(want) {
		n, _, err := e.Receive(buf)
		require.NoError(t, err, "after %q", got)
		if msg := string(buf[:n]); msg != hello {
			got = append(got, msg)
		}
	}
	require.Equal(t, want, got)
}

// TestLayer2SendBatch: messages sent at once go where calls of Send would have sent them,
// in their order, and those that fail say why and keep none of the others back.
func TestLayer2SendBatch(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	netbed.Sysctl(t, "net/ipv6/conf/vb0/disable_ipv6", "1")
	netbed.Sysctl(t, "net/ipv6/conf/vb1/disable_ipv6", "1")
	netbed.Sysctl(t, "net/ipv4/conf/vb1/accept_local", "1") // both ends are in one namespace
	netbed.AddAddr(t, "vb0", "192.0.2.1/24")
	netbed.AddAddr(t, "vb1", "192.0.2.2/24")
	from, six, four := open(t, on4("va0", "vb0")), open(t, on("va1")), open(t, on4("vb1"))
	use(t, from, "va0", "vb0")
	use(t, six, "va1")
	use(t, four, "vb1")
	ready(t, from, "va0", six)
	ready(t, from, "vb0", four)
	a, b := must(t, from, "va0").Index, must(t, from, "vb0").Index
	check := func(t *testing.T) {
		var all []acp.Multicast
		var want6, want4 []string
		for i := range 60 {
			msg := fmt.Sprintf("%d%s", i, nonce())
			m := acp.Multicast{Link: a, Msg: []byte(msg), Err: assert.AnError}
			switch {
			case i%20 == 19:
				m.Link = 1 << 30
			case i%20 == 9:
				m.Msg = make([]byte, acp.MaxMulticast+1)
			case i%4 == 3, i >= 40: // both one by one and many at a time
				m.Link = b
				want4 = append(want4, msg)
			default:
				want6 = append(want6, msg)
			}
			all = append(all, m)
		}
		from.(acp.BatchSender).SendBatch(all)
		for i, m := range all {
			switch {
			case i%20 == 19:
				assert.ErrorIs(t, m.Err, syscall.ENODEV, i)
			case i%20 == 9:
				assert.ErrorIs(t, m.Err, syscall.EMSGSIZE, i)
			default:
				assert.NoError(t, m.Err, i)
			}
		}
		receivesAll(t, six, want6)
		receivesAll(t, four, want4)
	}
	check(t)
	t.Run("Refused", func(t *testing.T) {
		netbed.Refuse(t, netbed.Refusal{Call: unix.SYS_SENDMMSG, Errno: unix.ENOSYS})
		check(t)
	})
	require.NoError(t, from.Close())
	all := make([]acp.Multicast, 3)
	from.(acp.BatchSender).SendBatch(all)
	for _, m := range all {
		assert.ErrorIs(t, m.Err, net.ErrClosed)
	}
}

// ready waits until what is sent on a link comes to an endpoint. Further copies of hello may
// be on their way then.
func ready(t *testing.T, from acp.Endpoint, name string, to acp.Endpoint) {
	t.Helper()
	stop := time.AfterFunc(patience, func() { _ = to.Close() })
	defer stop.Stop()
	came := make(chan struct{})
	go func() {
		defer close(came)
		buf := make([]byte, 2048)
		for {
			if n, _, err := to.Receive(buf); err != nil || string(buf[:n]) == hello {
				return
			}
		}
	}()
	netbed.Eventually(t, patience, "the link carries multicasts", func() bool {
		require.NoError(t, from.Send(must(t, from, name).Index, []byte(hello)))
		select {
		case <-came:
			return true
		default:
			return false
		}
	})
}

// TestLayer2Waiting: an endpoint says that a datagram waits as long as Receive returns one
// at once, and not for the sake of one that is not for us.
func TestLayer2Waiting(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "fd00::1/64")
	e := open(t, on("va1"))
	assert.False(t, acp.Waiting(e))
	queued(t, e, 10, 10, 10)
	foreign, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP("fd00::1")})
	require.NoError(t, err)
	defer foreign.Close()
	_, err = foreign.WriteToUDPAddrPort([]byte("from beyond the link"), netip.AddrPortFrom(acp.Group6().WithZone("va0"), acp.Port))
	require.NoError(t, err)
	witness := must(t, e, "va1").Index
	assert.False(t, acp.Waiting(e), "nothing was read yet")
	buf := make([]byte, 100)
	var waits []bool
	for i := range 4 { // the fourth one is by which queued knows that the others are there
		n, from, err := e.Receive(buf)
		require.NoError(t, err)
		require.Equal(t, witness, from.Link)
		if i < 3 {
			require.Equal(t, bytes.Repeat([]byte{byte(i)}, 10), buf[:n])
		}
		waits = append(waits, acp.Waiting(e))
	}
	assert.Equal(t, []bool{true, true, true, false}, waits)
	assert.False(t, acp.Waiting(struct{ acp.Endpoint }{e}), "of one that does not say")
}
