package grasp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/wire"
)

// burst is a plane by which datagrams come several at a time.
type burst struct {
	acp.Plane
	acp.Endpoint // of its instance
	came         chan []arrived

	mu   sync.Mutex // guards all following fields
	rest []arrived
	sent []acp.Multicast
	how  []int // how many messages were sent at a time
}

type arrived struct {
	raw  []byte
	from acp.Origin
	err  error
}

func (b *burst) Open() (_ acp.Endpoint, err error) {
	b.Endpoint, err = b.Plane.Open()
	b.came = make(chan []arrived)
	return b, err
}

func (b *burst) Waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rest) > 0
}

func (b *burst) Receive(buf []byte) (int, acp.Origin, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rest) == 0 {
		b.mu.Unlock()
		came, ok := <-b.came
		b.mu.Lock()
		if b.rest = came; !ok {
			return 0, acp.Origin{}, net.ErrClosed
		}
	}
	a := b.rest[0]
	b.rest = b.rest[1:]
	return copy(buf, a.raw), a.from, a.err
}

func (b *burst) SendBatch(all []acp.Multicast) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.how = append(b.how, len(all))
	for i := range all {
		m, err := wire.Parse(all[i].Msg, wire.Limits{})
		if err == nil && wire.SessionID(m)%2 == 1 {
			err = errors.New("odd")
		}
		all[i].Err = err
		b.sent = append(b.sent, all[i])
	}
}

// What is relayed because of datagrams that came together is sent together, in their
// order, whatever the last of them is. Each is counted for itself.
func TestRelaysSendTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		node := n.NewNode("relay", n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{}))
		b := &burst{Plane: node}
		g := newInstance(t, b)
		defer close(b.came)
		links := g.Snapshot().Links
		flood := func(id uint32) arrived {
			raw, err := (&wire.Flood{SessionID: id, Initiator: addrNo(9), Objectives: []wire.Flooded{{Objective: wire.Objective{
				Name: "EX1", Flags: wire.FlagSynch, LoopCount: 6, Value: []byte{0},
			}}}}).Append(nil)
			require.NoError(t, err)
			return arrived{raw: raw, from: acp.Origin{Link: links[0].Index, Addr: netip.AddrPortFrom(links[0].Addr, 1000)}}
		}
		useless, foreign := flood(1), flood(2)
		useless.raw = useless.raw[1:]
		foreign.err = acp.ErrForeign
		for _, last := range []arrived{useless, foreign, flood(7), flood(3)} {
			b.came <- []arrived{flood(3), flood(4), flood(5), last}
			synctest.Wait()
		}
		b.came <- []arrived{flood(8)}
		synctest.Wait()
		require.Equal(t, []int{6, 2, 2}, b.how, "two links each; nothing is relayed twice")
		var at []int
		var ids []uint32
		for _, s := range b.sent {
			m, err := wire.Parse(s.Msg, wire.Limits{})
			require.NoError(t, err)
			at, ids = append(at, s.Link), append(ids, wire.SessionID(m))
		}
		one, two := links[1].Index, links[2].Index
		require.Equal(t, []uint32{3, 3, 4, 4, 5, 5, 7, 7, 8, 8}, ids)
		require.Equal(t, []int{one, two, one, two, one, two, one, two, one, two}, at)
		s := g.Snapshot()
		require.EqualValues(t, 4, s.Relayed["M_FLOOD"], "4 and 8")
		require.EqualValues(t, 6, s.Dropped[ReasonSendFailed], "3, 5 and 7")
	})
}

// Who relays while something is held back does not wait for it to be sent.
func TestOutbox(t *testing.T) {
	var o outbox
	require.False(t, o.add(nil, nil, netip.AddrPort{}), "nothing is held back")
	o.hold()
	m := &wire.Flood{}
	for i := range 3 {
		d := loop.Decision{Links: make([]int, i)}
		require.True(t, o.add(m, &d, netip.AddrPort{}))
	}
	r := o.take()
	require.Len(t, r.all, 0+1+2)
	require.Len(t, r.of, len(r.all))
	require.Empty(t, o.take().all)
	require.False(t, o.add(m, nil, netip.AddrPort{}), "no longer")
}
