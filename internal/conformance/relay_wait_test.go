package conformance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Config.RelayWait: what another relay sends on a link meanwhile, byte for byte, is not
// sent there again; on other links it is, after the wait.
func TestRelayWait(t *testing.T) {
	const wait = 100 * time.Millisecond
	relayBed(t, grasp.Config{RelayWait: wait}, func(b *bed.Bed, third *bed.Peer) {
		flood := func(id, loops int) arr {
			return arr{9, id, bed.IP("2001:db8::1"), 60_000, arr{arr{"EX1", 4, loops, 1}, arr{}}}
		}
		b.Peer.Multicast(flood(1, 6))
		b.Far.Multicast(flood(1, 5)) // another relay
		b.WantDrop(grasp.ReasonRelayedByOther, 1)
		time.Sleep(wait)
		require.Equal(b, bed.Encoded(b, flood(1, 5)), third.Only().Raw)
		b.Far.None()
		b.Peer.None()
		// With another loop count it is no replacement.
		b.Peer.Multicast(flood(2, 6))
		b.Far.Multicast(flood(2, 4))
		time.Sleep(wait)
		require.Equal(b, bed.Encoded(b, flood(2, 5)), b.Far.Only().Raw)
		require.Equal(b, bed.Encoded(b, flood(2, 5)), third.Only().Raw)
		b.WantDrop(grasp.ReasonRelayedByOther, 1)
	})
}
