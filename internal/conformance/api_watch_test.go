package conformance

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// A peer to which a call fails is gone for that reason, whatever its locator is: an IPv4
// address in the form of an IPv6 one, a name, a URI.
func TestWatchedPeerIsUnreachable(t *testing.T) {
	for name, locator := range map[string]bed.Arr{
		"IPv4": {104, bed.IP("10.0.0.9"), 6, 4000}, "mapped": {103, bed.IP("::ffff:10.0.0.9"), 6, 4000},
		"FQDN": {105, "gone.invalid", 6, 4000}, "URI": {106, "coap://[fd00::dead]:4000", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bed.InLinks(t, 1, grasp.Config{Resolver: names{}}, func(b *bed.Bed) {
				o := bed.Neg("EX3", 1)
				b.Register(o)
				var events []grasp.PeerEvent
				ctx, stop := context.WithCancel(b.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for e := range b.ASA.WatchPeers(ctx, o, grasp.WatchPeersOptions{}) {
						events = append(events, e)
					}
				}()
				b.RespondAll(60_000, locator)
				synctest.Wait()
				require.Len(b, events, 1)
				require.Equal(b, grasp.Added, events[0].Change)
				require.Error(b, b.Request(o, nil, 100*time.Millisecond).Within(time.Second).Err)
				synctest.Wait()
				stop()
				<-ended
				require.Len(b, events, 2)
				require.Equal(b, grasp.Gone, events[1].Change)
				require.Equal(b, grasp.GoneUnreachable, events[1].Reason)
			})
		})
	}
}
