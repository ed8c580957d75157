package grasp

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
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
	server, client := stressPair(t, n.NewNode("server", l), n.NewNode("client", l))
	sessions := make(chan *Session, open)
	var listening, asking sync.WaitGroup
	for range stressListeners {
		listening.Go(func() {
			for range open / stressListeners {
				s, _, err := server.ListenNegotiate(ctx, stressed)
				if assert.NoError(t, err) {
					sessions <- s
				}
			}
		})
	}
	require.True(t, soonTrue(func() bool { return server.g.objectives.backlogOf(stressed.Name).listening() }))
	peer, err := client.Discover(t.Context(), stressed, 0, DiscoverOptions{First: true})
	require.NoError(t, err)
	require.NotEmpty(t, peer)

	before := residentMemory()
	for i := range open {
		if i%burst == 0 {
			require.True(t, soonTrue(func() bool { return len(sessions) == i }))
		}
		asking.Go(func() {
			o := stressed
			o.Value = i
			s, agreed, err := client.ReqNegotiate(ctx, o, &peer[0], 0)
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
	assert.Len(t, server.g.Snapshot().Sessions, open)
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
