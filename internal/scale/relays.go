package scale

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/topology"
)

// Parallel returns two LANs with relays between them, all on both. Node 0 is on the first
// LAN; the others that are no relays are on the second.
func Parallel(relays, hosts int) topology.Topology {
	n := topology.Topology{Name: fmt.Sprintf("%d relays between two LANs", relays), Nodes: 1 + hosts + relays, Links: [][]int{{0}, nil}}
	for i := range hosts {
		n.Links[1] = append(n.Links[1], 1+i)
	}
	for i := range relays {
		n.Links[0], n.Links[1] = append(n.Links[0], 1+hosts+i), append(n.Links[1], 1+hosts+i)
	}
	return n
}

// Shared is what Config.RelayWait does on two LANs with many relays between them.
type Shared struct {
	Wait      time.Duration
	Flood     float64       // packets on the second LAN, the mean
	Spared    float64       // what relays did not send there, because others had
	Slowest   time.Duration // until all there had it
	Discovery Discovery     // of a host on the second LAN, by node 0
	Split     int           // hosts of all that a flood reaches when the second LAN is split in two halves
	Lossy     float64       // part of the hosts that miss a flood when each packet is lost for one node in ten
	Hidden    float64       // part of the floods that a host misses which hears one relay only
}

// Share measures. It has to be called in a bubble.
func Share(t testing.TB, relays, hosts, floods int, wait time.Duration) *Shared {
	t.Helper()
	s := &Shared{Wait: wait}
	n := New(t, Parallel(relays, hosts), grasp.Config{RelayWait: wait})
	o := grasp.NewObjective("scale")
	o.Synch = true
	for i := range n.nodes {
		n.watch(i, o)
	}
	if err := n.nodes[0].asa.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	value := int64(0)
	flood := func() (missing []int) {
		value++
		o.Value = value
		if err := n.nodes[0].asa.Flood(time.Hour, grasp.TaggedObjective{Objective: o}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i := 1; i <= hosts; i++ {
			if here := n.nodes[i]; here.last() != value {
				missing = append(missing, i)
			}
		}
		return missing
	}
	second := n.links[1]

	for range floods {
		start := time.Now()
		if missing := flood(); len(missing) > 0 {
			t.Errorf("%v: a flood did not reach %v", wait, missing)
		}
		for i := 1; i <= hosts; i++ {
			s.Slowest = max(s.Slowest, n.nodes[i].at.Sub(start))
		}
	}
	s.Flood = float64(second.Stats().Sent) / float64(floods)
	for _, o := range n.nodes {
		s.Spared += float64(o.g.Snapshot().Dropped[grasp.ReasonRelayedByOther]) / float64(floods)
	}
	s.Discovery, _ = n.discover(o, 1, 2)

	// The LAN falls apart: half of the hosts and half of the relays on either side.
	each := func(do func(a, b int)) {
		for i, a := range n.Links[1] {
			for j, b := range n.Links[1][i+1:] {
				if i%2 != (i+1+j)%2 {
					do(a, b)
				}
			}
		}
	}
	each(func(a, b int) { second.Cut(n.hosts[a], n.hosts[b]) })
	s.Split = hosts - len(flood())
	each(func(a, b int) { second.Mend(n.hosts[a], n.hosts[b]) })

	second.SetLoss(0.1)
	missed := 0
	for range floods {
		missed += len(flood())
	}
	s.Lossy = float64(missed) / float64(floods*hosts)
	second.SetLoss(0)

	for _, r := range n.Links[1][hosts+1:] { // all but one
		second.Cut(n.hosts[1], n.hosts[r])
	}
	missed = 0
	for range floods {
		missed += len(flood())
	}
	s.Hidden = float64(missed) / float64(floods)
	return s
}

// last returns the value that the watcher of floods saw last.
func (o *node) last() any {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.value
}

// sharedTable returns the figures in Markdown, a row for each wait.
func sharedTable(all []*Shared) string {
	var b strings.Builder
	b.WriteString("| `RelayWait` | packets of a flood | all reached after, the slowest | packets, responses of a discovery | found after | LAN in two halves: hosts reached | 10 % loss: floods missed | a host that hears one relay: floods missed |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|\n")
	for _, s := range all {
		fmt.Fprintf(&b, "| %v | %.1f | %v | %d, %d | %v | %d | %.1f %% | %.0f %% |\n", s.Wait, s.Flood, s.Slowest.Round(100*time.Microsecond),
			s.Discovery.Packets, s.Discovery.Responses, s.Discovery.Took.Round(100*time.Microsecond), s.Split, 100*s.Lossy, 100*s.Hidden)
	}
	return b.String()
}
