package grasp_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// footprint is what this process has, without what could go.
func footprint() (heap uint64, goroutines int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}

const mebibyte = 1 << 20

// An instance that has nothing to do, with ten links and a hundred objectives.
func TestIdleFootprint(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	const links, objectives = 10, 100
	var names []string
	for i := range links {
		here := fmt.Sprintf("va%d", i)
		netbed.VethPair(t, here, fmt.Sprintf("vb%d", i))
		names = append(names, here)
	}
	heap, goroutines := footprint()
	g := bed.NewInstance(t, &acp.Layer2{Links: names, IPv4: true})
	a := bed.NewASA(t, g, "idle")
	for i := range objectives {
		o := grasp.Objective{Name: fmt.Sprintf("example.com:idle-%d", i), Neg: i%2 == 0, Synch: i%2 == 1, Value: i}
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
		if o.Synch {
			require.NoError(t, a.ListenSynchronize(o))
		}
	}
	netbed.Eventually(t, 30*time.Second, "all links are in use", func() bool { return len(g.Snapshot().Links) == links })
	nowHeap, nowGoroutines := footprint()
	t.Logf("%d bytes of heap, %d goroutines", nowHeap-heap, nowGoroutines-goroutines)
	assert.Less(t, nowHeap, heap+8*mebibyte)
	assert.Less(t, nowGoroutines, goroutines+60)
	assert.Len(t, g.Snapshot().Objectives, objectives)
}
