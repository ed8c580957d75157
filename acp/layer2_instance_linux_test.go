package acp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestLayer2InstancesOverIPv4: what GRASP does, between two hosts without IPv6:
// it discovers, synchronizes and floods.
func TestLayer2InstancesOverIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
	no6(t, a)
	no6(t, b)
	netbed.Connect(t, a, b)
	a.AddAddr(t, "to-b", "10.0.0.1/24")
	b.AddAddr(t, "to-a", "10.0.0.2/24")
	start := func(n *netbed.Node) (*grasp.Instance, *grasp.ASA) {
		g, err := grasp.New(grasp.Config{Plane: acp.In(func(f func()) { n.Do(t, f) }, *on4())})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, g.Close()) })
		asa, err := g.RegisterASA("asa of " + n.Name)
		require.NoError(t, err)
		return g, asa
	}
	_, has := start(a)
	g, wants := start(b)
	o := grasp.NewObjective("EX1")
	o.Synch = true
	o.Value = 42
	require.NoError(t, has.RegisterObj(o, grasp.RegisterOptions{}))
	require.NoError(t, has.ListenSynchronize(o))

	found, err := wants.Discover(t.Context(), o, patience, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, "10.0.0.1", found[0].IP.String())
	assert.Equal(t, g.Snapshot().Links[0].Index, found[0].IfIndex)
	require.NoError(t, wants.RegisterObj(o, grasp.RegisterOptions{}))
	got, err := wants.Synchronize(t.Context(), o, &found[0], patience)
	require.NoError(t, err)
	assert.EqualValues(t, 42, got.Value)

	require.NoError(t, has.Flood(time.Minute, grasp.TaggedObjective{
		Objective: o,
		Source:    &grasp.Locator{IP: found[0].IP, Protocol: grasp.TCP, Port: 1234},
	}))
	netbed.Eventually(t, patience, "the flood arrives", func() bool {
		all, err := wants.GetFlood(o)
		return err == nil && len(all) == 1 && all[0].Source.Port == 1234
	})
}
