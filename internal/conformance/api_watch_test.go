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

// An IPv4 link-local address on two links is that of two peers (RFC 8990 section 2.9.5.1
// has such locators be of use on their link only), like fe80::1 there: neither of them
// takes the place of the other.
func TestWatchedPeersWithOneLinkLocalAddress(t *testing.T) {
	for name, locator := range map[string]bed.Arr{
		"IPv4": {104, bed.IP("169.254.0.9"), 6, 4000}, "IPv6": {103, bed.IP("fe80::9"), 6, 4000},
	} {
		t.Run(name, func(t *testing.T) {
			bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
				o := bed.Neg("EX3", 1)
				events := make(chan grasp.PeerEvent, 100)
				ctx, stop := context.WithCancel(b.Context())
				defer stop()
				go func() {
					for e := range b.ASA.WatchPeers(ctx, o, grasp.WatchPeersOptions{}) {
						events <- e
					}
				}()
				// pass has the peers answer for a time.
				pass := func(d time.Duration, all ...*bed.Peer) {
					for range d / (100 * time.Millisecond) {
						for _, p := range all {
							for _, m := range p.All() {
								p.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60_000, locator})
							}
						}
						time.Sleep(100 * time.Millisecond)
					}
				}
				pass(time.Second, b.Peer, b.Far)
				for _, l := range b.Links {
					e := <-events
					require.Equal(b, grasp.Added, e.Change)
					require.Equal(b, b.Index(l), e.Peer.IfIndex)
				}
				pass(time.Hour, b.Far, b.Peer)
				require.Empty(b, events)
				pass(time.Minute, b.Far) // and not the other, which is gone by and by
				e := <-events
				require.Equal(b, grasp.Gone, e.Change)
				require.Equal(b, grasp.GoneExpired, e.Reason)
				require.Equal(b, b.Index(b.Links[0]), e.Peer.IfIndex)
				require.Empty(b, events)
			})
		})
	}
}
