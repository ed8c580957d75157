package main

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/netbed"
)

// All that goes out on the first link comes back on the second, through the relay and
// through its floor.
func TestRelayed(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	for _, link := range []string{"va0", "va1", "vb0", "vb1"} {
		netbed.LinkLocal(t, link)
	}
	ctx, stop := context.WithCancel(t.Context())
	var passed result
	var relaying sync.WaitGroup
	relaying.Go(func() { passed = measured(t, ctx, "-link va1,vb1 -floor relay") })
	awaitFloor(t, "va1")
	awaitFloor(t, "vb1") // the relay has both links by then
	n := 0
	for _, args := range []string{"relayflood 120", "relayflood 300 8", "relaydisc 300 8", "-mixed relayflood 300 8", "-mixed relaydisc 300 8", "-rate 1000 relaydisc 20"} {
		r := measured(t, t.Context(), "-link va0,vb0 -floor "+args)
		assert.Equal(t, []int{r.N, r.N, r.N}, []int{r.OK, r.FloorN, r.FloorOK}, args)
		assert.Positive(t, r.Ratio, args)
		n += r.N
	}
	assert.Equal(t, 1340, n)
	stop()
	relaying.Wait()
	assert.Equal(t, []int{n, n}, []int{passed.N, passed.OK})
}

// What one measurement sends is never what another one sent: a relay that remembers it would
// not pass it on.
func TestRelayedMessage(t *testing.T) {
	for _, verb := range []string{"relayflood", "relaydisc"} {
		one, err := relayedMessages(job{verb: verb})
		require.NoError(t, err)
		other, err := relayedMessages(job{verb: verb})
		require.NoError(t, err)
		assert.NotEqual(t, one, other)
	}
}
