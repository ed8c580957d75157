package grasp_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// Ten thousand negotiations are open at the same time. Both ends are in this
// process, with a goroutine for each, and so are the buffers between them.
func TestOpenNegotiationsFootprint(t *testing.T) {
	const (
		open  = 10_000
		burst = 200 // asked for at once: queues hold more
	)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	server, client := bed.StressPair(t, n.NewNode("server", l), n.NewNode("client", l))
	sessions := make(chan *grasp.Session, open)
	var listening, asking sync.WaitGroup
	for range bed.StressListeners {
		listening.Go(func() {
			for range open / bed.StressListeners {
				s, _, err := server.ListenNegotiate(ctx, bed.Stressed)
				if assert.NoError(t, err) {
					sessions <- s
				}
			}
		})
	}
	require.True(t, bed.SoonTrue(func() bool { return bed.Listens(server.Instance(), bed.Stressed.Name) }))
	peer, err := client.Discover(t.Context(), bed.Stressed, time.Minute, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.NotEmpty(t, peer)

	before := residentMemory()
	for i := range open {
		if i%burst == 0 {
			require.True(t, bed.SoonTrue(func() bool { return len(sessions) == i }))
		}
		asking.Go(func() {
			o := bed.Stressed
			o.Value = i
			s, agreed, err := client.ReqNegotiate(ctx, o, &peer[0], 10*time.Minute) // for all of them to be open
			ok := assert.NoError(t, err) && assert.Nil(t, s) && assert.EqualValues(t, i, agreed.Value)
			if !ok {
				cancel()
			}
		})
	}
	listening.Wait()
	require.Len(t, sessions, open)
	during := residentMemory()
	t.Logf("%d MiB for %d negotiations at both ends", (during-before)>>20, open)
	assert.Less(t, during, before+400<<20)
	assert.Len(t, server.Instance().Snapshot().Sessions, open)
	for range open {
		require.NoError(t, (<-sessions).EndNegotiate(true, ""))
	}
	asking.Wait()
}

// residentMemory is what this process has of the system, at most.
func residentMemory() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}
