package scale

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/topology"
)

var (
	report = flag.String("report", "", "take large networks, minutes and gigabytes, and write figures and pictures to this directory")
	huge   = flag.Int("huge", 0, "with -report: measure a random graph of so many nodes, too")
)

// plan is what is measured.
type plan struct {
	networks              []topology.Topology
	crowds, loads         []int // nodes; floods in a second
	seconds               int   // of load
	waits                 []time.Duration
	relays, hosts, floods int // for each wait
	members               []int
	each                  int // floods from each neighbour to fill tables
}

var (
	small = plan{
		networks: []topology.Topology{Random(200, 1), Tree(5), LAN(50), Ring(40)}, crowds: []int{40},
		loads: []int{50}, seconds: 1, waits: []time.Duration{0, 100}, relays: 10, hosts: 3, floods: 5, members: []int{5}, each: 100,
	}
	large = plan{
		networks: []topology.Topology{Random(100, 1), Random(1000, 1), Random(10_000, 1), Tree(10), LAN(500), Ring(200)},
		crowds:   []int{30, 100, 300, 1000}, loads: []int{50, 100, 200, 400, 800}, seconds: 20,
		waits: []time.Duration{0, 2, 5, 10, 20, 50, 100}, relays: 50, hosts: 10, floods: 50, members: []int{8, 64}, each: 11_000,
	}
)

func TestScale(t *testing.T) {
	p, dir := small, t.TempDir()
	if *report != "" {
		p, dir = large, *report
		if *huge > 0 {
			p.networks = append(p.networks, Random(*huge, 1))
		}
	}
	var m Measured
	run := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	for _, top := range p.networks {
		run(top.Name, func(t *testing.T) { m.Results = append(m.Results, testNetwork(t, top)) })
	}
	for _, nodes := range p.crowds {
		run(fmt.Sprint("crowd of ", nodes), func(t *testing.T) { m.Crowds = append(m.Crowds, testCrowd(t, Random(nodes, 1))) })
	}
	for _, rate := range p.loads {
		run(fmt.Sprint(rate, " floods a second"), func(t *testing.T) {
			l := FloodAt(t, Random(100, 1), rate, p.seconds)
			m.Loads = append(m.Loads, l)
			if rate <= loop.DefaultRate {
				assert.EqualValues(t, 1, l.Reached)
			}
		})
	}
	for _, ms := range p.waits {
		run(fmt.Sprintf("%d relays, wait %d ms", p.relays, ms), func(t *testing.T) {
			m.Shared = append(m.Shared, testShared(t, p.relays, p.hosts, p.floods, ms*time.Millisecond))
		})
	}
	for _, nodes := range p.members {
		run(fmt.Sprint(nodes, " members"), func(t *testing.T) { m.Members = append(m.Members, testMembers(t, nodes)) })
	}
	run("full", func(t *testing.T) { m.Full = Fill(t, p.each) })
	require.NoError(t, m.write(dir))
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

// All nodes look for one at the same time, and all find it. Some may lose it for a moment,
// when what neighbours knew of it expires.
func testCrowd(t *testing.T, top topology.Topology) *Crowd {
	c := Watch(t, top, 5)
	assert.Len(t, c.Found, top.Nodes-1)
	return c
}

// Of relays that wait, most need not send what others sent first; all of the link have it
// nevertheless, also when it falls apart. Without a wait each sends it, as RFC 8990 says.
func testShared(t *testing.T, relays, hosts, floods int, wait time.Duration) *Shared {
	s := Share(t, relays, hosts, floods, wait)
	assert.InDelta(t, relays, s.Flood+s.Spared, 1e-9)
	assert.Equal(t, hosts, s.Split)
	if wait == 0 {
		assert.Zero(t, s.Spared)
		assert.Zero(t, s.Hidden)
	} else if wait > 10*Delay {
		assert.NotZero(t, s.Spared)
	}
	return s
}

// Members of a domain come to know each other, also after the link was down. That they
// get new certificates breaks no connection, and no flood is lost when the old ones expire.
func testMembers(t *testing.T, nodes int) *Members {
	m := Join(t, nodes)
	assert.NotZero(t, m.Flood)
	assert.Zero(t, m.Rotated)
	assert.Zero(t, m.Missed)
	return m
}
