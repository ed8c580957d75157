package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

func TestScenarioOnRealLinks(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	runScenarioOnRealLinks(t, func(links acp.Plane) acp.Plane { return links })
}

// The same on a host without IPv6, over the group 224.0.0.119 (RFC 8990 section
// 2.6), with initiators and locators of IPv4 everywhere.
func TestT01C03ScenarioOverIPv4(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	// IPv4 takes what comes from the host itself for forged.
	netbed.Sysctl(t, "net/ipv4/conf/default/accept_local", "1")
	netbed.Sysctl(t, "net/ipv4/conf/default/rp_filter", "0")
	netbed.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
	for i, pair := range [][2]string{{"va0", "va1"}, {"vb0", "vb1"}} {
		netbed.VethPair(t, pair[0], pair[1])
		for j, name := range pair {
			netbed.AddAddr(t, name, fmt.Sprintf("10.0.%d.%d/24", i, j+1))
		}
	}
	on := func(names ...string) acp.Plane { return &acp.Layer2{Links: names, IPv4: true} }
	ep, err := on("va0").Open()
	require.NoError(t, err)
	defer ep.Close()
	netbed.Eventually(t, 30*time.Second, "the link is in use", func() bool { return len(ep.Links()) == 1 })
	require.True(t, ep.Links()[0].Addr.Is4() && ep.Addr().Is4())
	runScenario(t, on("va0"), on("va1", "vb0"), on("vb1"), time.Second/2, 1)
}

// runScenarioOnRealLinks runs the scenario, under some protection, on one node
// with two links, each a pair of interfaces: three instances share it, limited
// to an interface each, but for the middle one, which has the other ends of
// both.
func runScenarioOnRealLinks(t *testing.T, protect func(links acp.Plane) acp.Plane) {
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	netbed.AddAddr(t, "va0", "fd00::1/64") // or there is nothing to divert to
	on := func(names ...string) acp.Plane { return protect(&acp.Layer2{Links: names}) }
	runScenario(t, on("va0"), on("va1", "vb0"), on("vb1"), time.Second/2, 1)
}
