package scenario

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// on is a node that runs on these links, or on all.
func on(names ...string) topology.Host {
	return topology.Host{Plane: acp.Layer2{Links: names}}
}

// on4 is on with IPv4.
func on4(names ...string) topology.Host {
	return topology.Host{Plane: acp.Layer2{Links: names, IPv4: true}}
}

// zoo are the layouts of networks that are to be found in the field. Each is
// made in namespaces, and returns a node that asks and one that gives.
var zoo = []struct {
	name  string
	build func(t *testing.T) (asking, giving *topology.Node)
}{
	// RFC 8994: the address is a /128 on the loopback, the links have none but
	// link-local ones.
	{"LoopbackULA", func(t *testing.T) (_, _ *topology.Node) { return loopbackULA(t, netbed.Cable) }},
	{"VPNBesideLAN", func(t *testing.T) (_, _ *topology.Node) { return vpnBesideLAN(t, on()) }},
	{"VPNBesideLANNamed", func(t *testing.T) (_, _ *topology.Node) { return vpnBesideLAN(t, on("eth0")) }},
	// The same where the LAN has no addresses but link-local ones.
	{"LinkLocalBesideULA", func(t *testing.T) (_, _ *topology.Node) {
		a, b := lan(t)
		vpn(t, b)
		return topology.Start(t, a, on("eth0")), topology.Start(t, b, on("eth0"))
	}},
	{"BridgeWithPorts", func(t *testing.T) (_, _ *topology.Node) {
		a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
		netbed.Cable(t, a, "eth0", b, "p1")
		netbed.Cable(t, a, "eth1", b, "p2")
		b.IP(t, "link", "add", "br0", "address", "02:42:ac:11:00:01", "type", "bridge", "mcast_snooping", "0")
		for _, port := range []string{"p1", "p2"} {
			b.IP(t, "link", "set", port, "master", "br0")
		}
		b.Up(t, "br0")
		giving := topology.Start(t, b, on())
		within(t, "the bridge is the link, and its ports are none", func() bool {
			links := giving.Snapshot().Links
			return len(links) == 1 && links[0].Name == "br0"
		})
		return topology.Start(t, a, on("eth0")), giving
	}},
	// As WireGuard makes them: no Ethernet, no neighbours, and no flag that says
	// that multicast works.
	{"Tun", func(t *testing.T) (_, _ *topology.Node) { return tun(t, true) }},
	{"TunWithoutFlags", func(t *testing.T) (_, _ *topology.Node) { return tun(t, false) }},
	{"NoNetlink", func(t *testing.T) (_, _ *topology.Node) {
		return refused(t, netbed.NoFamily(unix.AF_NETLINK, unix.EAFNOSUPPORT))
	}},
	{"NoNetlinkBind", func(t *testing.T) (_, _ *topology.Node) { return refused(t, netbed.NoNetlinkBind(unix.EACCES)) }},
	// Only the link-local address is known then.
	{"NoNetlinkNoProc", func(t *testing.T) (_, _ *topology.Node) {
		a, b := lan(t)
		host := on("eth0")
		host.Refuse = []netbed.Refusal{netbed.NoFamily(unix.AF_NETLINK, unix.EAFNOSUPPORT), netbed.NoFile(unix.EACCES)}
		return topology.Start(t, a, host), topology.Start(t, b, host)
	}},
	// VLANs and the like share the address of their device.
	{"ManyLinksOneMAC", func(t *testing.T) (_, _ *topology.Node) {
		const count = 30
		a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
		for i := range count {
			name := fmt.Sprint("v", i)
			netbed.Cable(t, a, name, b, name)
			a.Down(t, name)
			b.Down(t, name)
			a.IP(t, "link", "set", name, "address", "02:00:00:00:00:0a", "up")
			b.IP(t, "link", "set", name, "address", "02:00:00:00:00:0b", "up")
		}
		asking, giving := topology.Start(t, a, on()), topology.Start(t, b, on())
		usesAll(t, count, asking, giving)
		return asking, giving
	}},
	{"ManyLinksIPv4", func(t *testing.T) (_, _ *topology.Node) {
		const count = 30 // of which the kernel lets a socket join 20
		a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
		no6(t, a, b)
		for i := range count {
			name := fmt.Sprint("v", i)
			netbed.Cable(t, a, name, b, name)
			a.AddAddr(t, name, fmt.Sprintf("10.0.%d.1/24", i))
			b.AddAddr(t, name, fmt.Sprintf("10.0.%d.2/24", i))
		}
		asking, giving := topology.Start(t, a, on4()), topology.Start(t, b, on4())
		usesAll(t, count, asking, giving)
		return asking, giving
	}},
	{"MTU1280", func(t *testing.T) (_, _ *topology.Node) {
		a, b := lan(t)
		for _, n := range []*netbed.Node{a, b} {
			n.IP(t, "link", "set", "eth0", "mtu", "1280")
		}
		return topology.Start(t, a, on()), topology.Start(t, b, on())
	}},
	{"IPv4Only", func(t *testing.T) (_, _ *topology.Node) {
		a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
		no6(t, a, b)
		netbed.Cable(t, a, "eth0", b, "eth0")
		a.AddAddr(t, "eth0", "192.0.2.1/24")
		b.AddAddr(t, "eth0", "192.0.2.2/24")
		return topology.Start(t, a, on4()), topology.Start(t, b, on4())
	}},
	// One link of IPv6, one of IPv4, and a unique local address that only the
	// giving node knows of.
	{"Mixed", func(t *testing.T) (_, _ *topology.Node) {
		a, b := lan(t)
		vpn(t, b)
		for i, n := range []*netbed.Node{a, b} {
			n.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
			n.AddAddr(t, "eth0", fmt.Sprintf("192.0.2.%d/24", i+1))
		}
		netbed.Cable(t, a, "eth1", b, "eth1")
		a.AddAddr(t, "eth1", "198.51.100.1/24")
		b.AddAddr(t, "eth1", "198.51.100.2/24")
		asking, giving := topology.Start(t, a, on4()), topology.Start(t, b, on4("eth0", "eth1"))
		usesAll(t, 2, asking, giving)
		a.Down(t, "eth0")
		return asking, giving
	}},
	{"VRF", func(t *testing.T) (_, _ *topology.Node) {
		a, b := lan(t)
		b.VRF(t, "red", 10)
		b.IP(t, "link", "set", "eth0", "master", "red")
		return topology.Start(t, a, on()), topology.Start(t, b, on("eth0"))
	}},
}

// TestZoo: in every layout discovery, negotiation, synchronization and floods
// work, without patience of the caller's.
func TestZoo(t *testing.T) {
	for _, layout := range zoo {
		t.Run(layout.name, func(t *testing.T) {
			if !netbed.Enter(t) {
				return
			}
			works(t, layout.build)
		})
	}
}

func usesAll(t *testing.T, count int, nodes ...*topology.Node) {
	t.Helper()
	for _, n := range nodes {
		within(t, "all links are in use", func() bool { return len(n.Snapshot().Links) == count })
	}
}

// loopbackULA is a node that asks, a relay and a node that gives, with cables between
// them, on which the kernels route.
func loopbackULA(t *testing.T, cable func(t testing.TB, a *netbed.Node, nameA string, b *netbed.Node, nameB string)) (asking, giving *topology.Node) {
	a, r, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "r"), netbed.NewNode(t, "b")
	cable(t, a, "a0", r, "r0")
	cable(t, r, "r1", b, "b0")
	for i, n := range []*netbed.Node{a, r, b} {
		n.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		n.AddAddr(t, "lo", fmt.Sprintf("fd89:b714:f3db::%d/128", i+1))
	}
	a.IP(t, "route", "add", "fd89:b714:f3db::/48", "via", linkLocal(t, r, "r0"), "dev", "a0")
	b.IP(t, "route", "add", "fd89:b714:f3db::/48", "via", linkLocal(t, r, "r1"), "dev", "b0")
	r.IP(t, "route", "add", "fd89:b714:f3db::1/128", "via", linkLocal(t, a, "a0"), "dev", "r0")
	r.IP(t, "route", "add", "fd89:b714:f3db::3/128", "via", linkLocal(t, b, "b0"), "dev", "r1")
	topology.Start(t, r, on())
	giving = topology.Start(t, b, on())
	within(t, "the address is announced", func() bool {
		return giving.Snapshot().Address.String() == "fd89:b714:f3db::3"
	})
	return topology.Start(t, a, on()), giving
}

// lan is two nodes, each with an interface eth0 on the link between them.
func lan(t *testing.T) (a, b *netbed.Node) {
	a, b = netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
	netbed.Cable(t, a, "eth0", b, "eth0")
	return a, b
}

// vpn gives a node a unique local address on an interface that leads nowhere
// for others.
func vpn(t *testing.T, n *netbed.Node) {
	n.IP(t, "link", "add", "vpn", "type", "veth", "peer", "name", "vpnx")
	n.Up(t, "vpn")
	n.Up(t, "vpnx")
	n.AddAddr(t, "vpn", "fd7a:115c:a1e0::1/128")
}

// vpnBesideLAN has a node ask that has a router, which knows nothing of the
// unique local address.
func vpnBesideLAN(t *testing.T, host topology.Host) (asking, giving *topology.Node) {
	a, b := lan(t)
	a.AddAddr(t, "eth0", "2001:db8:1::1/64")
	b.AddAddr(t, "eth0", "2001:db8:1::2/64")
	vpn(t, b)
	a.IP(t, "route", "add", "default", "via", "2001:db8:1::ffff", "dev", "eth0")
	return topology.Start(t, a, on("eth0")), topology.Start(t, b, host)
}

// refused has both nodes do without something.
func refused(t *testing.T, all ...netbed.Refusal) (asking, giving *topology.Node) {
	a, b := lan(t)
	a.AddAddr(t, "eth0", "2001:db8:1::1/64")
	b.AddAddr(t, "eth0", "2001:db8:1::2/64")
	host := on("eth0")
	host.Refuse = all
	giving = topology.Start(t, b, host)
	within(t, "the address is known", func() bool { return giving.Snapshot().Address.String() == "2001:db8:1::2" })
	return topology.Start(t, a, host), giving
}

// no6 has nodes do without IPv6, on interfaces to come.
func no6(t *testing.T, nodes ...*netbed.Node) {
	for _, n := range nodes {
		n.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
	}
}

// linkLocal returns the link-local address of an interface.
func linkLocal(t *testing.T, n *netbed.Node, name string) string {
	t.Helper()
	var addr string
	within(t, name+" has a link-local address", func() bool {
		for _, f := range strings.Fields(n.IP(t, "-6", "-o", "addr", "show", "dev", name, "scope", "link")) {
			if strings.HasPrefix(f, "fe80::") {
				addr, _, _ = strings.Cut(f, "/")
			}
		}
		return addr != ""
	})
	return addr
}

// tun is two nodes with a tunnel between them, whose packets this process
// carries.
func tun(t *testing.T, multicast bool) (asking, giving *topology.Node) {
	a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
	ends := []*os.File{openTun(t, a), openTun(t, b)}
	for i, end := range ends {
		go func() {
			buf := make([]byte, 1<<16)
			for {
				n, err := end.Read(buf)
				if err != nil {
					return
				}
				_, _ = ends[1-i].Write(buf[:n]) // what is down loses it
			}
		}()
	}
	for i, n := range []*netbed.Node{a, b} {
		if !multicast {
			n.IP(t, "link", "set", "tun0", "multicast", "off")
		}
		n.IP(t, "link", "set", "tun0", "mtu", "1280", "up")
		n.IP(t, "addr", "add", fmt.Sprintf("fd00:4::%d", i+1), "peer", fmt.Sprintf("fd00:4::%d/128", 2-i), "dev", "tun0")
		if !multicast {
			n.IP(t, "addr", "add", fmt.Sprintf("fe80::%d/64", i+1), "dev", "tun0", "nodad")
		}
	}
	host := on("tun0")
	if multicast {
		host = on()
	}
	return topology.Start(t, a, host), topology.Start(t, b, host)
}

// openTun makes the interface tun0 in a node.
func openTun(t *testing.T, n *netbed.Node) *os.File {
	t.Helper()
	var file *os.File
	n.Do(t, func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Skipf("no tunnels here: %v", err)
		}
		var ifr [40]byte
		copy(ifr[:], "tun0")
		*(*uint16)(unsafe.Pointer(&ifr[unix.IFNAMSIZ])) = unix.IFF_TUN | unix.IFF_NO_PI
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&ifr))); errno != 0 {
			_ = unix.Close(fd)
			t.Errorf("tun0: %v", errno)
			return
		}
		file = os.NewFile(uintptr(fd), "tun0")
	})
	require.NotNil(t, file)
	t.Cleanup(func() { _ = file.Close() })
	return file
}
