package conformance

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/target"
	"github.com/stretchr/testify/require"
)

// Whoever asks and cannot be reached does not keep others from being answered,
// alone or with others of the kind.
func TestUnreachableAskersDoNotStarveOthers(t *testing.T) {
	for _, dead := range []int{1, 8, 300} {
		t.Run(fmt.Sprint(dead), func(t *testing.T) {
			bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
				b.Links[1].SetDelay(time.Hour)
				node := b.Net.NewNode("besieged", b.Links...)
				plane := bed.NewInjector(node)
				g := bed.InstanceWith(b, plane)
				require.NoError(b, bed.NewASA(b, g, "besieged").RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
				const asked = 1200
				id := 0
				link := bed.LinkOf(node, b.Links[1]).Index
				var askers []*bed.Peer
				for i := range dead {
					askers = append(askers, b.NewPeer(fmt.Sprint("dead", i), b.Links[1]))
				}
				for _, p := range askers {
					for range asked / dead {
						id++
						plane.Inject(bed.Encoded(b, arr{1, id, p.Addr(), arr{"EX3", 3, 6, nil}}), acp.Origin{
							Link: link, Addr: netip.AddrPortFrom(bed.LinkOf(p.Node, p.Link).Addr.WithZone(bed.Zone(link)), p.Endpoint.Port()),
						})
					}
				}
				for range 3 {
					_, ok := b.Peer.Discover(uint32(id+10_000), "EX3")
					require.True(b, ok)
					id++
				}
				time.Sleep(dialTimeout + bed.Soon)
				synctest.Wait()
				require.Zero(b, g.Snapshot().Responses)
				drops := g.Snapshot().Dropped
				room := min(maxResponders, dead*respondersPerNeighbour, strangers)
				require.EqualValues(b, asked/dead*dead, drops[grasp.ReasonTooManyResponses]+drops[grasp.ReasonSendFailed])
				failed := drops[grasp.ReasonSendFailed]
				require.GreaterOrEqual(b, int(failed), room-3, "but for those that gave way to the ones that were answered")
				require.LessOrEqual(b, int(failed), room+target.Again, "those that ask again have a few more")
			})
		})
	}
}
