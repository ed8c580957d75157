package scale

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/topology"
	"github.com/go-grasp/grasp/internal/wire"
)

// Full is the memory that a relay holds when its tables are full.
type Full struct {
	Floods   uint64 // with 20,000 flooded values cached and 33,000 messages remembered
	Locators uint64 // 20,000 of them, cached
}

// Fill floods a relay with as many floods from each of three neighbours. It has to be
// called in a bubble.
func Fill(t testing.TB, each int) Full {
	t.Helper()
	m := memory.NewNetwork(1)
	l, far := m.NewLink(memory.LinkConfig{}), m.NewLink(memory.LinkConfig{})
	g, err := grasp.New(grasp.Config{
		Plane: m.NewNode("relay", l, far), Dialogue: grasp.Dialogue{Silent: true}, Limits: grasp.Limits{RelayRate: 1 << 28},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	before := usedMemory()
	for s := range 3 {
		ep, err := m.NewNode("neighbour", l).Open()
		if err != nil {
			t.Fatal(err)
		}
		link := ep.Links()[0].Index
		for i := range each {
			f := wire.Flood{SessionID: uint32(each*s + i), Initiator: ep.Addr(), Objectives: []wire.Flooded{{
				Objective: wire.Objective{Name: fmt.Sprint("objective", each*s+i), Flags: wire.FlagSynch, LoopCount: 6, Value: []byte{0x18, 0x2a}},
			}}}
			raw, err := f.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := ep.Send(link, raw); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		if err := ep.Close(); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	full := Full{Floods: usedMemory() - before}
	before = usedMemory()
	c := cache.NewLocators(cache.Limits{All: 20_000, PerObjective: 64, PerSource: 20_000})
	for i := range 3 * each {
		addr := netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)})
		c.Put(fmt.Sprint("objective", i), []cache.Locator{{
			Wire: wire.Locator{Kind: wire.LocatorIPv6, Addr: addr, Protocol: 6, Port: 7017}, Link: 1, From: addr, Expire: time.Now().Add(time.Hour),
		}}, time.Now())
	}
	full.Locators = usedMemory() - before
	if c.Len() == 0 { // it is still in use
		t.Error("nothing is cached")
	}
	return full
}

// Load is a network whose nodes flood at a rate, all together.
type Load struct {
	Rate    int     // floods in a second
	Reached float64 // part of the floods that reached a node
	Refused uint64  // messages, by the rate of relays
}

// FloodAt has random nodes flood for some seconds. It has to be called in a bubble.
func FloodAt(t testing.TB, top topology.Topology, rate, seconds int) *Load {
	t.Helper()
	n := New(t, top, grasp.Config{})
	o := grasp.NewObjective("scale")
	o.Synch = true
	var mu sync.Mutex
	type arrival struct {
		node    int
		session uint32
	}
	arrived := make(map[arrival]bool)
	random := rand.New(rand.NewPCG(1, uint64(rate)))
	watched := random.Perm(top.Nodes)[:min(10, top.Nodes)]
	for _, i := range watched {
		n.nodes[i].g.Observe(grasp.Observer{Trace: func(e grasp.Event) {
			if e.Message == "M_FLOOD" && e.Kind != grasp.Dropped {
				mu.Lock()
				defer mu.Unlock()
				arrived[arrival{i, e.SessionID}] = true
			}
		}})
	}
	for _, here := range n.nodes {
		if err := here.asa.RegisterObj(o, grasp.RegisterOptions{Overlap: true}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range rate * seconds {
		o.Value = i
		if err := n.nodes[random.IntN(top.Nodes)].asa.Flood(time.Minute, grasp.TaggedObjective{Objective: o}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second / time.Duration(rate))
	}
	time.Sleep(settle)
	synctest.Wait()
	l := &Load{Rate: rate}
	mu.Lock()
	defer mu.Unlock()
	l.Reached = float64(len(arrived)) / float64(rate*seconds*len(watched))
	l.Refused, _ = n.lost()
	return l
}

// loadTable returns the figures in Markdown, a row for each rate.
func loadTable(all []*Load) string {
	var b strings.Builder
	b.WriteString("| floods in a second | reached a node | messages refused by the rate of relays |\n|---|---|---|\n")
	for _, l := range all {
		fmt.Fprintf(&b, "| %d | %.1f %% | %d |\n", l.Rate, 100*l.Reached, l.Refused)
	}
	return b.String()
}
