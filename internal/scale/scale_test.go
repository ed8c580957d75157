package scale

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/topology"
)

var (
	report = flag.String("report", "", "take large networks, minutes and gigabytes, and write figures and pictures to this directory")
	huge   = flag.Int("huge", 0, "with -report: measure a random graph of so many nodes, too")
)

// networks are measured, and crowds are the sizes of those in which all look for one.
func networks() (networks []topology.Topology, crowds []int) {
	if *report == "" {
		return []topology.Topology{Random(200, 1), Tree(5), LAN(50), Ring(40)}, []int{40}
	}
	networks = []topology.Topology{Random(100, 1), Random(1000, 1), Random(10_000, 1), Tree(10), LAN(500), Ring(200)}
	if *huge > 0 {
		networks = append(networks, Random(*huge, 1))
	}
	return networks, []int{30, 100, 300, 1000}
}

func TestScale(t *testing.T) {
	networks, sizes := networks()
	var results []*Result
	for _, top := range networks {
		t.Run(top.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { results = append(results, testNetwork(t, top)) })
		})
	}
	var crowds []*Crowd
	for _, nodes := range sizes {
		t.Run(fmt.Sprint("crowd of ", nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { crowds = append(crowds, testCrowd(t, Random(nodes, 1))) })
		})
	}
	dir := *report
	if dir == "" {
		dir = t.TempDir()
	}
	require.NoError(t, write(dir, results, crowds))
}

// A flood reaches all nodes, along the shortest ways, with no more packets than the
// relaying of RFC 8990 takes. With nodes down it reaches all that can be reached, and
// when it is repeated those that came back. A node at the other end is found.
func testNetwork(t *testing.T, top topology.Topology) *Result {
	r := Measure(t, top)
	assert.Len(t, r.Flood.Reached, top.Nodes)
	assert.EqualValues(t, top.FloodPackets(), r.Flood.Packets)
	assert.Equal(t, time.Duration(r.Diameter)*Delay, r.Flood.Last())
	assert.Len(t, r.Failed.Reached, r.Failed.Expected)
	assert.Equal(t, time.Duration(r.Failed.Farthest)*Delay, r.Failed.Last())
	assert.Len(t, r.Back.Reached, top.Nodes-r.Failed.Expected)
	assert.Zero(t, r.Refused)
	assert.Zero(t, r.Dropped)
	return r
}

// All nodes look for one at the same time, and all find it and do not lose it.
func testCrowd(t *testing.T, top topology.Topology) *Crowd {
	c := Watch(t, top, 5)
	assert.Len(t, c.Found, top.Nodes-1)
	assert.Zero(t, c.Gone)
	return c
}
