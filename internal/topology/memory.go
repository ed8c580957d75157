package topology

import (
	"fmt"
	"testing"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
)

// MemoryBed is a bed in memory, for a bubble of testing/synctest.
type MemoryBed struct {
	*Bed
	Links []*memory.Link
	Hosts []*memory.Node
}

// Memory runs a topology in memory until the end of the test.
func Memory(t testing.TB, top Topology, link memory.LinkConfig, cfg grasp.Config) *MemoryBed {
	t.Helper()
	network := memory.NewNetwork(1)
	b := &MemoryBed{Bed: &Bed{Topology: top}}
	for i := range top.Nodes {
		b.Hosts = append(b.Hosts, network.NewNode(fmt.Sprint("n", i)))
	}
	for i, members := range top.Links {
		link.Name = fmt.Sprint("l", i)
		l := network.NewLink(link)
		b.Links = append(b.Links, l)
		for _, m := range members {
			b.Hosts[m].Attach(l)
		}
	}
	start := func(i int) func(Request) Reply {
		a, err := newAgent(b.Hosts[i], cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.close(); err != nil {
				t.Error(err)
			}
		})
		return a.do
	}
	for i, h := range b.Hosts {
		b.On = append(b.On, &Node{Name: h.Name(), t: t, do: start(i)})
	}
	b.set = func(link int, up bool) {
		if up {
			b.Links[link].Up()
		} else {
			b.Links[link].Down()
		}
	}
	b.renumber = func(i int) { b.Hosts[i].Renumber() }
	b.kill = func(i int) { b.Hosts[i].Kill() }
	b.restart = func(i int) {
		for l, members := range top.Links {
			for _, m := range members {
				if m == i {
					b.Hosts[i].Attach(b.Links[l])
				}
			}
		}
		b.On[i].do = start(i)
	}
	return b
}
