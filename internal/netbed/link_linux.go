package netbed

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// VethPair makes a link within the test's namespace and brings both ends up: what is
// sent on one end arrives on the other. Two instances, each limited to one end, are
// like two nodes on a link, except that the host reaches its own global addresses
// without the link.
func VethPair(t testing.TB, a, b string) {
	t.Helper()
	IP(t, "link", "add", a, "type", "veth", "peer", "name", b)
	t.Cleanup(func() { _, _ = ip([]string{"link", "del", a}) })
	Up(t, a)
	Up(t, b)
}

// Up brings an interface of the node up.
func (n *Node) Up(t testing.TB, name string) {
	t.Helper()
	n.IP(t, "link", "set", name, "up")
}

// Down brings an interface of the node down.
func (n *Node) Down(t testing.TB, name string) {
	t.Helper()
	n.IP(t, "link", "set", name, "down")
}

// Delete removes an interface of the node, and the other end of a veth.
func (n *Node) Delete(t testing.TB, name string) {
	t.Helper()
	n.IP(t, "link", "del", name)
}

// AddAddr gives an address, such as fd00::1/64, to an interface of the node.
// Where there is a carrier it can be used at once.
func (n *Node) AddAddr(t testing.TB, name, prefix string) {
	t.Helper()
	n.IP(t, "addr", "add", prefix, "dev", name, "nodad")
	addr, _, _ := strings.Cut(prefix, "/")
	if strings.Contains(addr, ":") && strings.Contains(n.IP(t, "link", "show", "dev", name), "LOWER_UP") {
		Eventually(t, 30*time.Second, "there is a route to "+addr, func() bool {
			return n.hasRoute(addr)
		})
	}
}

// hasRoute reports whether the node can be reached at an IPv6 address of its own. The
// kernel sees to that last, when it has got an address.
func (n *Node) hasRoute(addr string) bool {
	out, err := n.ip("-6", "route", "show", "table", "local", addr)
	return err == nil && out != ""
}

// Up is [Node.Up] for the test's namespace.
func Up(t testing.TB, name string) { t.Helper(); (*Node)(nil).Up(t, name) }

// Down is [Node.Down] for the test's namespace.
func Down(t testing.TB, name string) { t.Helper(); (*Node)(nil).Down(t, name) }

// Delete is [Node.Delete] for the test's namespace.
func Delete(t testing.TB, name string) { t.Helper(); (*Node)(nil).Delete(t, name) }

// AddAddr is [Node.AddAddr] for the test's namespace.
func AddAddr(t testing.TB, name, prefix string) {
	t.Helper()
	(*Node)(nil).AddAddr(t, name, prefix)
}

// MoveLink moves an interface of the test's namespace to the node and brings
// it up.
func (n *Node) MoveLink(t testing.TB, name string) {
	t.Helper()
	IP(t, "link", "set", name, "netns", strconv.Itoa(n.pid))
	n.Up(t, name)
}

// Bridge makes a bridge in the test's namespace with the given interfaces as
// its ports, and brings it up: the other ends of the ports are on one link.
func Bridge(t testing.TB, name string, ports ...string) {
	t.Helper()
	// No snooping: multicasts must pass before the first membership report is heard.
	IP(t, "link", "add", name, "type", "bridge", "mcast_snooping", "0")
	t.Cleanup(func() { _, _ = ip([]string{"link", "del", name}) })
	for _, p := range ports {
		IP(t, "link", "set", p, "master", name)
	}
	Up(t, name)
}

// VRF makes a routing domain in the node, and brings it up. If the kernel has no VRF,
// the test is skipped.
func (n *Node) VRF(t testing.TB, name string, table uint32) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	var err error
	n.Do(t, func() { err = netlink.LinkAdd(&netlink.Vrf{LinkAttrs: attrs, Table: table}) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("netbed: this kernel has no VRF (module vrf)") // also where CI=true: no package brings it
	}
	if err != nil {
		t.Fatalf("netbed: %v: VRF %s: %v", n, name, err)
	}
	n.Up(t, name)
}

// DAD turns duplicate address detection on or off for interfaces that the
// test's namespace gets from now on. It begins at once, without the random delay.
func DAD(t testing.TB, on bool) {
	t.Helper()
	value := "0"
	if on {
		value = "1"
	}
	Sysctl(t, "net/ipv6/conf/default/accept_dad", value)
	Sysctl(t, "net/ipv6/conf/default/router_solicitation_delay", "0")
}

// Sysctl sets a parameter of the node's network, such as
// net/ipv6/conf/va0/disable_ipv6.
func (n *Node) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	var err error
	n.Do(t, func() { err = os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
	if err != nil {
		t.Fatalf("netbed: %v: %v", n, err)
	}
}

// Sysctl is [Node.Sysctl] for the test's namespace.
func Sysctl(t testing.TB, name, value string) {
	t.Helper()
	(*Node)(nil).Sysctl(t, name, value)
}

// Index returns the index of an interface of the test's namespace.
func Index(t testing.TB, name string) int {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatalf("netbed: %v", err)
	}
	return ifi.Index
}

// LinkLocal waits until an interface of the test's namespace has a link-local
// address, and returns it with the interface's index as its zone. The address
// may be tentative if [DAD] is on; if it is off, the kernel takes a moment to say
// that the address can be used.
func LinkLocal(t testing.TB, name string) netip.Addr {
	t.Helper()
	dad, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/accept_dad")
	if err != nil {
		t.Fatalf("netbed: %v", err)
	}
	tentative := strings.TrimSpace(string(dad)) != "0"
	var here *Node
	var found netip.Addr
	Eventually(t, 30*time.Second, name+" has a link-local address", func() bool {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return false
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return false
		}
		for _, a := range addrs {
			addr, _ := netip.AddrFromSlice(a.IP)
			if addr.IsLinkLocalUnicast() && (tentative || a.Flags&unix.IFA_F_TENTATIVE == 0 && here.hasRoute(addr.String())) {
				found = addr.WithZone(strconv.Itoa(link.Attrs().Index))
				return true
			}
		}
		return false
	})
	return found
}

// Connect makes a link between two nodes and brings it up. Its ends are named
// after where they lead: "to-" and the name of the other node.
func Connect(t testing.TB, a, b *Node) {
	t.Helper()
	Cable(t, a, "to-"+b.Name, b, "to-"+a.Name)
}

// Cable is Connect with names for the two ends.
func Cable(t testing.TB, a *Node, nameA string, b *Node, nameB string) {
	t.Helper()
	IP(t, "link", "add", nameA, "netns", strconv.Itoa(a.pid),
		"type", "veth", "peer", "name", nameB, "netns", strconv.Itoa(b.pid))
	a.Up(t, nameA)
	b.Up(t, nameB)
}

// nodes makes nodes named n0, n1 and so on.
func nodes(t testing.TB, count int) []*Node {
	t.Helper()
	ns := make([]*Node, count)
	for i := range ns {
		ns[i] = NewNode(t, "n"+strconv.Itoa(i))
	}
	return ns
}

// Chain makes nodes n0, n1 and so on, each with a link to the next.
func Chain(t testing.TB, count int) []*Node {
	t.Helper()
	ns := nodes(t, count)
	for i := 1; i < count; i++ {
		Connect(t, ns[i-1], ns[i])
	}
	return ns
}

// Ring is a [Chain] with a link from the last node to the first. It takes
// three nodes at least.
func Ring(t testing.TB, count int) []*Node {
	t.Helper()
	ns := Chain(t, count)
	Connect(t, ns[count-1], ns[0])
	return ns
}

// Mesh makes nodes n0, n1 and so on, with a link between any two.
func Mesh(t testing.TB, count int) []*Node {
	t.Helper()
	ns := nodes(t, count)
	for i, a := range ns {
		for _, b := range ns[:i] {
			Connect(t, b, a)
		}
	}
	return ns
}
