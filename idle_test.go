package grasp

import (
	"fmt"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
)

// wakes returns how often goroutines of this process began to run, about: the runtime
// counts one start in eight of each.
func wakes() (n uint64) {
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	for _, c := range s[0].Value.Float64Histogram().Counts {
		n += c
	}
	return 8 * n
}

// An instance that has nothing to do sleeps, however many links it has: in ten hours it
// wakes up less than once in ten seconds.
func TestIdleInstanceSleeps(t *testing.T) {
	for _, links := range []int{1, 10, 100} {
		t.Run(fmt.Sprint(links, " links"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memory.NewNetwork(1)
				var all []*memory.Link
				for range links {
					all = append(all, n.NewLink(memory.LinkConfig{}))
				}
				g, err := New(Config{Plane: n.NewNode("idle", all...)})
				require.NoError(t, err)
				defer g.Close()
				a := newASA(t, g, "idle")
				o := Objective{Name: "EX1", Synch: true, LoopCount: DefaultLoopCount}
				require.NoError(t, a.RegisterObj(o, RegisterOptions{Discoverable: true}))
				require.NoError(t, a.ListenSynchronize(o))
				synctest.Wait()
				const idle = 10 * time.Hour
				before := wakes()
				time.Sleep(idle)
				n2 := wakes() - before
				t.Logf("%d wake-ups in %v", n2, idle)
				require.Less(t, n2, uint64(idle/(10*time.Second)))
			})
		})
	}
}
