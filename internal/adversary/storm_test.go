package adversary

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/wire"
)

// tally counts the multicasts of a kind that are sent on links, by link and
// second.
type tally struct {
	mu   sync.Mutex // guards all following fields
	from time.Time
	all  map[*memory.Link]map[*memory.Node][]int
}

func newTally(kind wire.Type, links ...*memory.Link) *tally {
	c := &tally{from: time.Now(), all: make(map[*memory.Link]map[*memory.Node][]int)}
	for _, l := range links {
		c.all[l] = make(map[*memory.Node][]int)
		l.Tap(func(p memory.Packet) {
			if wire.Type(p.Data[1]) == kind { // after the head of the array
				c.add(p)
			}
		})
	}
	return c
}

func (c *tally) add(p memory.Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.all[p.Link][p.From]
	second := int(p.Time.Sub(c.from) / time.Second)
	for len(counts) <= second {
		counts = append(counts, 0)
	}
	counts[second]++
	c.all[p.Link][p.From] = counts
}

// of returns how many a node sent on a link in each second.
func (c *tally) of(l *memory.Link, n *memory.Node) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all[l][n])
}

func totalOf(counts []int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}

// randomLinks returns the ends of the links of a random connected graph in
// which every node has the same number of links, an even one: rings in random
// order.
func randomLinks(r *rand.Rand, nodes, degree int) [][2]int {
	var links [][2]int
	for range degree / 2 {
		ring := r.Perm(nodes)
		for i := range ring {
			links = append(links, [2]int{ring[i], ring[(i+1)%nodes]})
		}
	}
	return links
}

// diameterFrom returns how many links it is to the node that is farthest.
func diameterFrom(links [][2]int, nodes, from int) int {
	near := make([][]int, nodes)
	for _, l := range links {
		near[l[0]], near[l[1]] = append(near[l[0]], l[1]), append(near[l[1]], l[0])
	}
	far := make([]int, nodes)
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		for _, n := range near[queue[0]] {
			if n != from && far[n] == 0 {
				far[n] = far[queue[0]] + 1
				queue = append(queue, n)
			}
		}
	}
	return slices.Max(far)
}

// A flood reaches each of a thousand nodes, once, if its loop count is as
// large as the network; and with the default one no further than six links.
func TestF08F10F12FloodOfAThousandNodes(t *testing.T) {
	const nodes, degree = 1000, 4
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		ends := randomLinks(rand.New(rand.NewPCG(1, 2)), nodes, degree)
		on := make([][]*memory.Link, nodes)
		var links []*memory.Link
		for _, e := range ends {
			l := n.NewLink(memory.LinkConfig{Delay: time.Millisecond, Jitter: time.Millisecond})
			links = append(links, l)
			on[e[0]], on[e[1]] = append(on[e[0]], l), append(on[e[1]], l)
		}
		var heard []time.Time // of the first flood
		var mu sync.Mutex
		all := make([]*grasp.Instance, nodes)
		for i := range all {
			g, err := grasp.New(grasp.Config{Plane: n.NewNode(fmt.Sprint("n", i), on[i]...), Trace: func(e grasp.Event) {
				if e.Kind == grasp.Received && e.Objective == "EX1" {
					mu.Lock()
					defer mu.Unlock()
					heard = append(heard, time.Now())
				}
			}})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, g.Close()) })
			all[i] = g
		}
		sent := func() (packets, most int) {
			for _, l := range links {
				s := int(l.Stats().Sent)
				packets, most = packets+s, max(most, s)
			}
			return packets, most
		}
		source := bed.NewASA(t, all[0], "source")
		flood := func(name string, loops uint8) int {
			o := grasp.Objective{Name: name, Synch: true, LoopCount: loops, Value: "x"}
			require.NoError(t, source.RegisterObj(o, grasp.RegisterOptions{}))
			require.NoError(t, source.Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
			time.Sleep(time.Second)
			reached := 0
			for _, g := range all {
				switch floodsIn(g, name) {
				case 0:
				case 1:
					reached++
				default:
					t.Errorf("%s is cached more than once", name)
				}
			}
			return reached
		}
		start := time.Now()
		require.Equal(t, nodes, flood("EX1", 255))
		packets, most := sent()
		// The source sends by all its links, each of the others by all but
		// one: every link but those of a tree carries it once each way.
		assert.Equal(t, len(links)*2-(nodes-1), packets)
		assert.LessOrEqual(t, most, 2)
		t.Logf("%d nodes, %d links, diameter %d: %d packets; the fewest possible are %d, for nodes that know a tree, and %d with each link used once",
			nodes, len(links), diameterFrom(ends, nodes, 0), packets, nodes-1, len(links))
		mu.Lock()
		t.Logf("%d copies heard, the last after %v", len(heard), slices.MaxFunc(heard, time.Time.Compare).Sub(start))
		mu.Unlock()

		within := flood("EX2", 6)
		t.Logf("with a loop count of 6 it reaches %d nodes", within)
		assert.Less(t, within, nodes)
	})
}

// storming is a chain of a host, relays and a host, with insiders on the first
// host's link who send as many discoveries as they can.
type storming struct {
	nodes    []*memory.Node
	chain    []*grasp.Instance
	links    []*memory.Link
	insiders []insider
}

type insider struct {
	ep   acp.Endpoint
	link int
}

func newStorming(t *testing.T, relays, insiders int) *storming {
	n := memory.NewNetwork(1)
	s := &storming{}
	for i := range relays + 2 {
		var links []*memory.Link
		if i > 0 {
			links = append(links, s.links[i-1])
		}
		if i < relays+1 {
			s.links = append(s.links, n.NewLink(memory.LinkConfig{Delay: time.Millisecond, Jitter: time.Millisecond}))
			links = append(links, s.links[i])
		}
		node := n.NewNode(fmt.Sprint("n", i), links...)
		s.nodes = append(s.nodes, node)
		s.chain = append(s.chain, bed.NewInstance(t, node))
	}
	for i := range insiders {
		node := n.NewNode(fmt.Sprint("insider", i))
		link := node.Attach(s.links[0])
		ep, err := node.Open()
		require.NoError(t, err)
		s.insiders = append(s.insiders, insider{ep, link.Index})
	}
	return s
}

// storm sends discoveries, each with a session ID and an initiator of its own
// making, at so many in a second until stop is called.
func (s *storming) storm(t *testing.T, perSecond int) (stop func() int) {
	done, over := make(chan struct{}), make(chan int)
	r := rand.New(rand.NewPCG(1, 2))
	go func() {
		sent := 0
		defer func() { over <- sent }()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range perSecond / 1000 {
				by := s.insiders[sent%len(s.insiders)]
				if err := by.ep.Send(by.link, spoofed(t, r, sent)); err != nil {
					t.Error(err)
					return
				}
				sent++
			}
		}
	}()
	return func() int {
		close(done)
		return <-over
	}
}

// spoofed is a discovery in somebody else's name.
func spoofed(t *testing.T, r *rand.Rand, i int) []byte {
	from := [16]byte{0: 0xfd}
	for i := range from[1:] {
		from[i+1] = byte(r.Uint32())
	}
	m := &wire.Discovery{
		SessionID: r.Uint32(), Initiator: netip.AddrFrom16(from),
		Objective: wire.Objective{Name: fmt.Sprint("nobody has it ", i), Flags: wire.FlagDisc, LoopCount: 255, Value: []byte{0xf6}},
	}
	raw, err := m.Append(nil)
	if err != nil {
		t.Error(err)
	}
	return raw
}

// Sections 2.5.4.4 and 4: a storm of discoveries by insiders, all of them new,
// is held to what a link may carry, and that of one to its share, while others'
// discoveries get through across several relays.
func TestR05StormOfDiscoveries(t *testing.T) {
	const relays, perSecond = 3, 10_000
	for insiders, seconds := range map[int]int{1: 10, 2: 10, 4: 10, 8: 5, 16: 15} {
		t.Run(fmt.Sprint(insiders), func(t *testing.T) {
			if insiders != 1 && insiders != 4 {
				longtest.Need(t)
			}
			synctest.Test(t, func(t *testing.T) {
				s := newStorming(t, relays, insiders)
				counted := newTally(wire.TypeDiscovery, s.links...)
				stop := s.storm(t, perSecond)
				found, first, asked := s.legitimate(t, counted.from.Add(time.Duration(seconds)*time.Second))
				sent := stop()
				took := time.Since(counted.from).Seconds()
				t.Logf("%d discoveries by %d insiders in %.1fs; of %d others, across %d relays, %d found the node, %d at the first try",
					sent, insiders, took, asked, relays, found, first)
				assert.InDelta(t, perSecond*took, sent, perSecond)

				for i, l := range s.links[1:] {
					counts := counted.of(l, s.nodes[i+1])
					t.Logf("relay %d sent %d of them on, by the second: %d", i+1, totalOf(counts), counts[:min(len(counts), 8)])
					others := 3 * asked // with the tries of each
					assert.LessOrEqual(t, totalOf(counts), int(loop.DefaultRate*(loop.BurstTime+took+1))+others, "relay %d", i+1)
					if insiders == 1 { // two neighbours: half for each
						assert.LessOrEqual(t, counts[8], loop.DefaultRate/2+others, "relay %d", i+1)
					}
				}
				t.Logf("the first relay dropped %v", s.chain[1].Snapshot().Dropped)
				if insiders <= loop.SmallestShare {
					assert.Equal(t, asked, found)
				} else { // their shares are more than there is, and luck decides
					assert.NotZero(t, found)
				}
			})
		})
	}
}

// legitimate has the first of the chain look for objectives of the last until
// some time, at random moments, and as patiently as ReqNegotiate does.
func (s *storming) legitimate(t *testing.T, until time.Time) (found, first, asked int) {
	far, near := bed.NewASA(t, s.chain[len(s.chain)-1], "far"), bed.NewASA(t, s.chain[0], "near")
	r := rand.New(rand.NewPCG(3, 4))
	for ; time.Now().Before(until); asked++ {
		time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
		o := grasp.Objective{Name: fmt.Sprint("wanted", asked), Neg: true, LoopCount: grasp.DefaultLoopCount}
		require.NoError(t, far.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
		start := time.Now()
		got, err := near.Discover(t.Context(), o, 7*bed.DiscoveryLasts, grasp.DiscoverOptions{First: true})
		require.NoError(t, err)
		if len(got) == 0 {
			continue
		}
		found++
		if time.Since(start) < bed.DiscoveryLasts {
			first++
		}
	}
	return found, first, asked
}

// floodsIn counts the flooded values of an objective in an instance's cache.
func floodsIn(g *grasp.Instance, name string) int {
	n := 0
	for _, f := range g.Snapshot().Floods {
		if f.Objective == name {
			n++
		}
	}
	return n
}
