package tlsplane_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/acptest"
	"github.com/go-grasp/grasp/internal/netbed"
)

func TestConformanceOnRealLinks(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	d := newDomain(t, "testers")
	on := func(name string, links ...string) acp.Plane {
		p, _ := newPlane(t, d, name, &acp.Layer2{Links: links})
		return p
	}
	t.Run("OneLinkEach", func(t *testing.T) { acptest.Plane(t, on("one", "va0"), on("two", "va1")) })
	t.Run("AllLinks", func(t *testing.T) { acptest.Plane(t, on("one"), on("two")) })
}

// On links without IPv6, nodes announce IPv4 addresses.
func TestConformanceOverIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	// Or a host takes what comes from itself by a veth pair for forged.
	netbed.Sysctl(t, "net/ipv4/conf/default/accept_local", "1")
	netbed.Sysctl(t, "net/ipv4/conf/default/rp_filter", "0")
	netbed.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "10.0.0.1/24")
	netbed.AddAddr(t, "va1", "10.0.0.2/24")
	d := newDomain(t, "testers")
	on := func(link string) acp.Plane {
		p, _ := newPlane(t, d, link, &acp.Layer2{Links: []string{link}, IPv4: true})
		return p
	}
	acptest.Plane(t, on("va0"), on("va1"))
}

// Three nodes on a bridge hear each other, and find each other again.
func TestX05ThreeOnABridge(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	d := newDomain(t, "testers")
	var planes []*tlsplane.Plane
	var members []member
	var ports []string
	for _, name := range []string{"a", "b", "c"} {
		netbed.VethPair(t, "v"+name, "p"+name)
		ports = append(ports, "p"+name)
	}
	netbed.Bridge(t, "br0", ports...)
	for _, name := range []string{"a", "b", "c"} {
		p, _ := newPlane(t, d, name, &acp.Layer2{Links: []string{"v" + name}})
		planes, members = append(planes, p), append(members, join(t, p))
	}
	connected := func() bool {
		for _, p := range planes {
			if len(p.Stats().Neighbours) != 2 {
				return false
			}
		}
		return true
	}
	exchange := func() {
		t.Helper()
		netbed.Eventually(t, 30*time.Second, "all are neighbours", connected)
		for _, from := range members {
			n := &node{member: from}
			msg := n.send(t)
			for _, to := range members {
				origin := hear(t, to.Heard, msg)
				assert.Equal(t, from.Port(), origin.Addr.Port())
				assert.Equal(t, to.Links()[0].Index, origin.Link)
			}
		}
	}
	exchange()
	netbed.Down(t, "va")
	netbed.Eventually(t, 30*time.Second, "the neighbours of a went", func() bool { return len(planes[0].Stats().Neighbours) == 0 })
	netbed.Up(t, "va")
	exchange()
}
