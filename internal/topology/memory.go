package topology

import (
	"fmt"
	"testing"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// MemoryBed is a bed in memory, for a bubble of testing/synctest.
type MemoryBed struct {
	*Bed
	Links []*memory.Link
	Hosts []*memory.Node
}

// Here starts a node in this process, on some plane, until the end of the test. It does
// not wait for links.
func Here(t testing.TB, name string, plane acp.Plane, cfg grasp.Config) *Node {
	t.Helper()
	a, err := newAgent(plane, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return &Node{Name: name, t: t, do: a.do}
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
	for _, h := range b.Hosts {
		b.On = append(b.On, Here(t, h.Name(), h, cfg))
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
		b.On[i].do = Here(t, b.Hosts[i].Name(), b.Hosts[i], cfg).do
	}
	return b
}
