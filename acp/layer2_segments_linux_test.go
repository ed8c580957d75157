package acp_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// rounds is how often a batch is sent, so that the few packets that a kernel sends unasked
// do not matter.
const rounds = 20

// alike returns messages of which those of each size, one after the other, make one packet.
func alike(link int, sizes ...int) (all []acp.Multicast, want []string) {
	for _, size := range sizes {
		msg := nonce()
		msg += strings.Repeat("x", size-len(msg))
		all = append(all, acp.Multicast{Link: link, Msg: []byte(msg)})
		want = append(want, msg)
	}
	return all, want
}

// sendAlike sends such batches for several links, message by message in turns, and checks
// that all listeners on each get each message as a datagram, in their order.
func sendAlike(t *testing.T, from acp.Endpoint, links map[string][]acp.Endpoint, sizes ...int) {
	t.Helper()
	for range rounds {
		var all []acp.Multicast
		want := make(map[string][]string)
		for name := range links {
			var some []acp.Multicast
			some, want[name] = alike(must(t, from, name).Index, sizes...)
			for i, m := range some {
				at := min(len(all), i*(len(all)/len(sizes)+1))
				all = append(all[:at], append([]acp.Multicast{m}, all[at:]...)...)
			}
		}
		from.(acp.BatchSender).SendBatch(all)
		for _, m := range all {
			require.NoError(t, m.Err)
		}
		for name, listeners := range links {
			for _, l := range listeners {
				receivesAll(t, l, want[name])
			}
		}
	}
}

// packets returns how many packets an interface has sent.
func packets(t *testing.T, name string) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/thread-self/net/dev")
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); f[0] == name+":" {
			n, err := strconv.Atoi(f[10])
			require.NoError(t, err)
			return n
		}
	}
	t.Fatalf("no %s in %s", name, raw)
	return 0
}

// TestLayer2Segments: messages of a batch for a link that are equally long leave as one
// packet, and come as datagrams, to neighbours and to other programs on this host.
func TestLayer2Segments(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	eight := []int{100, 100, 100, 100, 100, 100, 100, 100}
	sent := func(t *testing.T, sizes ...int) (batches int) {
		from, near, a, b := open(t, on("va0", "vb0")), open(t, on("va0")), open(t, on("va1")), open(t, on("vb1"))
		use(t, from, "va0", "vb0")
		for name, e := range map[string]acp.Endpoint{"va0": near, "va1": a, "vb1": b} {
			use(t, e, name)
		}
		ready(t, from, "va0", near)
		ready(t, from, "va0", a)
		ready(t, from, "vb0", b)
		before := packets(t, "va0")
		sendAlike(t, from, map[string][]acp.Endpoint{"va0": {near, a}, "vb0": {b}}, sizes...)
		return (packets(t, "va0") - before) / rounds
	}
	t.Run("Alike", func(t *testing.T) { require.Less(t, sent(t, eight...), len(eight)/2) })
	t.Run("Longest", func(t *testing.T) {
		require.Less(t, sent(t, acp.MaxMulticast, acp.MaxMulticast, acp.MaxMulticast, acp.MaxMulticast), 3)
	})
	t.Run("GrowAndShrink", func(t *testing.T) { sent(t, 60, 61, 61, 60, 60, 1200, 59, 60) })
	t.Run("Loopback", func(t *testing.T) {
		from, to := open(t, on4("lo")), open(t, on4("lo"))
		use(t, from, "lo")
		use(t, to, "lo")
		ready(t, from, "lo", to)
		sendAlike(t, from, map[string][]acp.Endpoint{"lo": {to}}, eight...)
	})
	// A kernel before 5.0 would not cut what comes to a socket of this host.
	t.Run("OldKernel", func(t *testing.T) {
		netbed.Refuse(t, netbed.Refusal{
			Call: unix.SYS_GETSOCKOPT, Args: map[int]uint32{1: unix.IPPROTO_UDP, 2: unix.UDP_GRO}, Errno: unix.ENOPROTOOPT,
		})
		require.GreaterOrEqual(t, sent(t, eight...), len(eight))
	})
}

// TestLayer2SegmentsRefused: where the system takes no segments, here because they would be
// longer than the link takes, while it can make fragments of a message, all messages leave
// one by one, at once and in their order.
func TestLayer2SegmentsRefused(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.IP(t, "link", "set", "va0", "mtu", "1280")
	from, to := open(t, on("va0")), open(t, on("va1"))
	use(t, from, "va0")
	use(t, to, "va1")
	ready(t, from, "va0", to)
	acp.ControlSender(t, from, func(fd int) error {
		padding := string([]byte{0, 0, 1, 4, 0, 0, 0, 0})
		return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, padding)
	})
	const long = acp.MaxMulticast
	sendAlike(t, from, map[string][]acp.Endpoint{"va0": {to}}, long, long, long, long)
	require.True(t, acp.SendsWhole(from, must(t, from, "va0").Index))
}
