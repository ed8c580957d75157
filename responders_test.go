package grasp

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/stretchr/testify/require"
)

// Whoever asks and cannot be reached does not keep others from being answered,
// alone or with others of the kind.
func TestUnreachableAskersDoNotStarveOthers(t *testing.T) {
	for _, dead := range []int{1, 8, 300} {
		t.Run(fmt.Sprint(dead), func(t *testing.T) {
			inBedOf(t, 2, Config{}, func(b *bed) {
				b.links[1].SetDelay(time.Hour)
				require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
				const asked = 1200
				id := 0
				link := linkOf(b.node, b.links[1]).Index
				var askers []*rawPeer
				for i := range dead {
					askers = append(askers, b.newPeer(fmt.Sprint("dead", i), b.links[1]))
				}
				for _, p := range askers {
					for range asked / dead {
						id++
						b.g.takeMulticast(encoded(b, arr{1, id, p.addr(), arr{"EX3", 3, 6, nil}}), acp.Origin{
							Link: link, Addr: netip.AddrPortFrom(linkOf(p.node, p.link).Addr.WithZone(zone(link)), p.ep.Port()),
						})
					}
				}
				for range 3 {
					_, ok := b.peer.discover(uint32(id+10_000), "EX3")
					require.True(b, ok)
					id++
				}
				time.Sleep(dialTimeout + soon)
				synctest.Wait()
				require.Zero(b, b.g.Snapshot().Responses)
				drops := b.g.Snapshot().Dropped
				room := min(maxResponders, dead*respondersPerNeighbour)
				require.EqualValues(b, asked/dead*dead, drops["too many responses"]+drops["send failed"])
				require.InDelta(b, room, drops["send failed"], 3, "but for those that gave way to the ones that were answered")
			})
		})
	}
}

func TestResponderTable(t *testing.T) {
	r := newResponderTable()
	done := make([]func(), 2*maxResponders)
	ctx := make([]context.Context, len(done))
	for i := range done {
		var cancel context.CancelFunc
		ctx[i], cancel = context.WithCancel(t.Context())
		done[i] = r.add(addrNo(i%8), cancel)
	}
	for i := range ctx {
		require.Equal(t, i < len(ctx)-maxResponders, ctx[i].Err() != nil, i)
	}
	for i := range done {
		done[i]()
		done[i]()
		require.Error(t, ctx[i].Err())
	}
	require.Zero(t, r.all.Len())
}

// addrNo is an address.
func addrNo(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1)) }
