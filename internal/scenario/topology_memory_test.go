package scenario

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/topology"
)

// Everything that a chain, a ring, a mesh and others must carry, in memory.
func TestTopologiesInMemory(t *testing.T) {
	for _, top := range topologies {
		t.Run(top.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := topology.Memory(t, top, memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{})
				tapped := tapFloods(b)
				acrossTopology(t, b.Bed)
				// The traces did not lie: the links saw as many.
				assert.Equal(t, b.Nodes*b.FloodPackets(), *tapped)
			})
		})
	}
}

// tapFloods counts the floods on all links.
func tapFloods(b *topology.MemoryBed) *int {
	var mu sync.Mutex
	var count int
	for _, l := range b.Links {
		l.Tap(func(p memory.Packet) {
			if p.Data[1] == 9 { // M_FLOOD, after the head of the array
				mu.Lock()
				defer mu.Unlock()
				count++
			}
		})
	}
	return &count
}

// Discovery by asking one node, in memory.
func TestD21T03AskAloneInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := topology.Memory(t, topology.Chain(4), memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{})
		askAlone(t, b.Bed)
	})
}

// Renumbering, a dead relay, sleep: in virtual time.
func TestR01D19ChangesInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := topology.Memory(t, topology.Ring(6), memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{})
		changeAcross(t, b.Bed, func() { time.Sleep(8 * time.Hour) })
	})
}

// What relays know of a node that was renumbered is out of date for as long as
// its response said: but who asks again is passed on to the node itself.
func TestD19RenumberedBehindARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := topology.Memory(t, topology.Chain(4), memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{})
		from, to := b.On[b.From], b.On[b.To]
		to.Offer("EX3")
		assert.Len(t, from.Discover("EX3"), 1)
		b.Renumber(b.To)
		r := topology.Request{Op: topology.OpNegotiate, Objective: "EX3", Value: 2, Timeout: time.Second}
		assert.Empty(t, from.Call(r).Err)
		time.Sleep(grasp.DefaultTTL)
		assert.Empty(t, from.Call(r).Err)
	})
}

// Links that lose, delay and reorder multicasts, those of relays too: a
// discovery is repeated with a new session until it gets through.
func TestD05LossyChain(t *testing.T) {
	for _, loss := range []float64{0.05, 0.2} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const times = 50
				link := memory.LinkConfig{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: loss}
				b := topology.Memory(t, topology.Chain(5), link, grasp.Config{})
				from, to := b.On[b.From], b.On[b.To]
				found, first := 0, 0
				for i := range times {
					name := fmt.Sprint("lossy", i)
					to.Offer(name)
					r := topology.Request{Op: topology.OpDiscover, Objective: name, First: true, Timeout: 10 * time.Minute}
					out := from.Call(r)
					if len(out.Locators) == 1 {
						found++
					}
					if out.Took < 6*100*time.Millisecond {
						first++
					}
				}
				assert.Equal(t, times, found)
				t.Logf("%v of packets lost on each of 4 links: %d of %d found at the first try, all in the end", loss, first, times)
			})
		})
	}
}
