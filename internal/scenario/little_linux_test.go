package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// TestLittleKernels: a kernel that refuses an option of a socket costs what the
// option is for, and that is nothing that two nodes on a link need.
func TestLittleKernels(t *testing.T) {
	const ipv6, ipv4, tcp, socket = unix.IPPROTO_IPV6, unix.IPPROTO_IP, unix.IPPROTO_TCP, unix.SOL_SOCKET
	for _, o := range []struct {
		name          string
		level, option uint32
	}{
		{"SO_REUSEADDR", socket, unix.SO_REUSEADDR},
		{"SO_REUSEPORT", socket, unix.SO_REUSEPORT},
		{"SO_BROADCAST", socket, unix.SO_BROADCAST},
		{"SO_RCVBUF", socket, unix.SO_RCVBUF},
		{"SO_KEEPALIVE", socket, unix.SO_KEEPALIVE},
		{"IPV6_V6ONLY", ipv6, unix.IPV6_V6ONLY},
		{"IPV6_MULTICAST_ALL", ipv6, unix.IPV6_MULTICAST_ALL},
		{"IPV6_MULTICAST_LOOP", ipv6, unix.IPV6_MULTICAST_LOOP},
		{"IPV6_MULTICAST_HOPS", ipv6, unix.IPV6_MULTICAST_HOPS},
		{"IPV6_RECVPKTINFO", ipv6, unix.IPV6_RECVPKTINFO},
		{"MCAST_JOIN_GROUP6", ipv6, unix.MCAST_JOIN_GROUP},
		{"IPV6_JOIN_GROUP", ipv6, unix.IPV6_JOIN_GROUP},
		{"IP_MULTICAST_ALL", ipv4, unix.IP_MULTICAST_ALL},
		{"IP_MULTICAST_LOOP", ipv4, unix.IP_MULTICAST_LOOP},
		{"IP_MULTICAST_TTL", ipv4, unix.IP_MULTICAST_TTL},
		{"IP_PKTINFO", ipv4, unix.IP_PKTINFO},
		{"MCAST_JOIN_GROUP4", ipv4, unix.MCAST_JOIN_GROUP},
		{"IP_ADD_MEMBERSHIP", ipv4, unix.IP_ADD_MEMBERSHIP},
		{"TCP_NODELAY", tcp, unix.TCP_NODELAY},
		{"TCP_QUICKACK", tcp, unix.TCP_QUICKACK},
	} {
		t.Run(o.name, func(t *testing.T) {
			if !netbed.Enter(t) {
				return
			}
			works(t, func(t *testing.T) (asking, giving *topology.Node) {
				a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
				if o.level == ipv4 {
					no6(t, a, b)
				}
				netbed.Cable(t, a, "eth0", b, "eth0")
				for i, n := range []*netbed.Node{a, b} {
					n.AddAddr(t, "eth0", fmt.Sprintf("192.0.2.%d/24", i+1))
				}
				host := on4()
				host.Refuse = []netbed.Refusal{netbed.NoOption(o.level, o.option, unix.ENOPROTOOPT)}
				return topology.Start(t, a, host), topology.Start(t, b, host)
			})
		})
	}
}

// TestNothingCanBeKnown: where neither netlink nor anything else tells of
// interfaces, everything that would need a link says so.
func TestNothingCanBeKnown(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a, _ := lan(t)
	host := on("eth0")
	host.Refuse = []netbed.Refusal{
		netbed.NoFamily(unix.AF_NETLINK, unix.EAFNOSUPPORT), {Call: unix.SYS_IOCTL, Errno: unix.EPERM},
	}
	n := topology.Start(t, a, host)
	trouble := n.Snapshot().LinkTrouble
	assert.Contains(t, trouble, "list interfaces")
	assert.Contains(t, trouble, "address family not supported")
	for _, r := range []topology.Request{
		{Op: topology.OpFlood, Objective: "flooded", TTL: time.Hour},
		{Op: topology.OpDiscover, Objective: "discovered", LoopCount: 1},
		{Op: topology.OpSynchronize, Objective: "synchronized", LoopCount: 1},
	} {
		out := n.Call(r)
		assert.Contains(t, out.Err, "list interfaces", "%s", r.Op)
	}
}

// TestNoRoute: where the route of multicasts is gone, discovery says so as
// floods do (N6).
func TestNoRoute(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a, b := lan(t)
	n, far := topology.Start(t, a, on()), topology.Start(t, b, on())
	usesAll(t, 1, n, far)
	far.Provide("provided", 7)
	a.IP(t, "-6", "route", "del", "multicast", "ff00::/8", "dev", "eth0")
	flood := n.Call(topology.Request{Op: topology.OpFlood, Objective: "flooded", TTL: time.Hour})
	found := n.Call(topology.Request{Op: topology.OpDiscover, Objective: "provided"})
	for _, out := range []topology.Reply{flood, found} {
		assert.Equal(t, grasp.ErrSockErr, out.Code)
		assert.Contains(t, out.Err, "network is unreachable")
	}
	a.IP(t, "-6", "route", "add", "multicast", "ff00::/8", "dev", "eth0")
	within(t, "it is found again", func() bool { return len(n.Discover("provided")) > 0 })
}
