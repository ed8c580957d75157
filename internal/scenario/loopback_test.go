package scenario

import (
	"testing"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// onLoopback is the plane for the loopback interface of this name.
func onLoopback(name string) acp.Plane { return &acp.Layer2{Links: []string{name}, IPv4: true} }

// TestWorksOnLoopback: two instances that have nothing but the loopback interface, as
// on a machine that gives tests no namespaces.
func TestWorksOnLoopback(t *testing.T) {
	name := netbed.Loopback(t)
	if name == "" {
		return
	}
	works(t, func(t *testing.T) (asking, giving *topology.Node) {
		return topology.Here(t, "asking", onLoopback(name), grasp.Config{}), topology.Here(t, "giving", onLoopback(name), grasp.Config{})
	})
}

// TestScenarioOnLoopback: so do the three of the scenario.
func TestScenarioOnLoopback(t *testing.T) {
	t.Parallel() // most of it is waiting
	name := netbed.Loopback(t)
	if name == "" {
		return
	}
	p := onLoopback(name)
	s := &scenario{T: t, moment: time.Second / 2, oneLink: true}
	s.thinks.Store(1)
	s.run(p, p, p)
}
