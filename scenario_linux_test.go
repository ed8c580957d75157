package grasp

import (
	"testing"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

func TestScenarioOnRealLinks(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	runScenarioOnRealLinks(t, func(links acp.Plane) acp.Plane { return links })
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
	runScenario(t, on("va0"), on("va1", "vb0"), on("vb1"), 100*time.Millisecond)
}
