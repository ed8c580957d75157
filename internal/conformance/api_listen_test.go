package conformance

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// one call, one request, in the order in which calls and requests came.
func TestA41OneCallOneRequest(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		var calls []bed.Pending
		for range 3 {
			calls = append(calls, b.Listen(o))
		}
		for i := range 3 {
			s := b.Peer.Dial(b.At())
			s.Send(arr{3, i, arr{"EX1", 3, 6, i}})
			require.EqualValues(b, i, calls[i].Ok().O.Value)
		}
	})
}

// re-entrant: many goroutines listen for one objective, each gets another
// request, and none is lost.
func TestA41Reentrant(t *testing.T) {
	const requests, listeners = 200, 16
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		other := b.Other("other")
		bed.Registered(b, o, b.ASA, other)
		var mu sync.Mutex
		seen := make(map[any]int)
		var all sync.WaitGroup
		for range listeners {
			all.Go(func() {
				for {
					s, o, err := other.ListenNegotiate(bed.Forever, o)
					if err != nil {
						return
					}
					mu.Lock()
					seen[o.Value]++
					mu.Unlock()
					_ = s.EndNegotiate(true, "")
				}
			})
		}
		synctest.Wait()
		var asking sync.WaitGroup
		for i := range requests {
			asking.Go(func() {
				o := o
				o.Value = i
				if _, _, err := b.ASA.ReqNegotiate(bed.Forever, o, bed.At(other.Instance()), 0); err != nil {
					t.Error(err)
				}
			})
		}
		asking.Wait()
		require.NoError(b, other.Deregister())
		all.Wait()
		require.Len(b, seen, requests)
	})
}

// requests that come while nobody waits are queued, up to Config.Backlog,
// then refused by closing.
func TestA44Backlog(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{Backlog: 3}}, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		ask := func(id uint32) *bed.Stream {
			s := b.Peer.Dial(b.At())
			s.Send(arr{3, id, arr{"EX1", 3, 6, id}})
			return s
		}
		ask(100).Closed() // nobody ever listened
		b.WantDrop(grasp.ReasonNoListener, 1)
		first := b.Listen(o)
		ask(1)
		first.Ok()
		var queued []*bed.Stream
		for id := range uint32(3) {
			queued = append(queued, ask(10+id))
		}
		require.Equal(b, 3, b.G.Snapshot().Objectives[0].Waiting)
		for id := range uint32(3) {
			ask(20 + id).Closed()
		}
		b.WantDrop(grasp.ReasonBacklogFull, 3)
		require.Len(b, b.G.Snapshot().Sessions, 1+3)
		for id := range uint32(3) {
			a := b.Listen(o).Ok()
			require.EqualValues(b, 10+id, a.O.Value)
			require.NoError(b, a.S.EndNegotiate(true, ""))
			queued[id].Next().Is(b, `[6, %d, [101]]`)
		}
		ask(30)
		b.Listen(o).Ok()
	})
}

// What has waited for longer than its initiator does is not handed out.
func TestA44StaleRequests(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		b.Served(o, 1, nil)
		s := b.Peer.Dial(b.At())
		s.Send(arr{3, 2, arr{"EX1", 3, 6, nil}})
		time.Sleep(61 * time.Second)
		fresh := b.Peer.Dial(b.At())
		fresh.Send(arr{3, 3, arr{"EX1", 3, 6, "fresh"}})
		require.Equal(b, "fresh", b.Listen(o).Ok().O.Value)
		s.Closed()
		b.WantDrop(grasp.ReasonStale, 1)
	})
}

// Requests that have become stale do not keep fresh ones out.
func TestA44StaleRequestsMakeRoom(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{Backlog: 2}}, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		b.Served(o, 1, nil)
		for id := range uint32(2) {
			b.Peer.Dial(b.At()).Send(arr{3, 10 + id, arr{"EX1", 3, 6, "stale"}})
		}
		time.Sleep(61 * time.Second)
		fresh := b.Peer.Dial(b.At())
		fresh.Send(arr{3, 3, arr{"EX1", 3, 6, "fresh"}})
		listening := b.Listen(o)
		listening.IsDone()
		require.Equal(b, "fresh", listening.Ok().O.Value)
	})
}

// the request comes with the requester's flags, loop count and value.
func TestA45Requested(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", "mine"))
		for i, c := range []struct {
			sent arr
			want grasp.Objective
		}{
			{arr{"EX1", 3, 6, nil}, bed.Neg("EX1", nil)},
			{arr{"EX1", 11, 0, arr{1, "x"}}, grasp.Objective{Name: "EX1", Neg: true, Dry: true, Value: []any{int64(1), "x"}}},
			{arr{"EX1", 2, 255}, grasp.Objective{Name: "EX1", Neg: true, LoopCount: 255}},
		} {
			listening := b.Listen(bed.Neg("EX1", "mine"))
			b.Peer.Dial(b.At()).Send(arr{3, i, c.sent})
			require.Equal(b, c.want, listening.Ok().O)
		}
	})
}

// StopNegotiate wakes all who listen. A-47: later requests are refused by
// closing, sessions go on, and listening may start again.
func TestA46A47StopNegotiate(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		require.NoError(b, b.ASA.StopNegotiate(o), "nobody listens")
		session, _, conn := b.Served(o, 1, nil)
		queued := b.Peer.Dial(b.At())
		queued.Send(arr{3, 2, arr{"EX1", 3, 6, nil}})
		require.NoError(b, b.ASA.StopNegotiate(o))
		queued.Closed()

		var calls []bed.Pending
		for range 5 {
			calls = append(calls, b.Listen(o))
		}
		require.NoError(b, b.ASA.StopNegotiate(o))
		for _, c := range calls {
			err := c.Done().Err
			bed.IsCode(b, err, grasp.ErrStopped)
			require.ErrorContains(b, err, `"EX1"`)
		}
		require.NoError(b, b.ASA.StopNegotiate(o), "twice")
		late := b.Peer.Dial(b.At())
		late.Send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		late.Closed()
		require.NoError(b, session.EndNegotiate(true, ""))
		conn.Next().Is(b, `[6, %d, [101]]`)
		_, _, conn = b.Served(o, 4, nil)
		require.NoError(b, conn.Close())
	})
}

// from the first call on the objective can be discovered and requested,
// also between two calls.
func TestA42BetweenTwoCalls(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		o := bed.Neg("EX1", 1)
		bed.Registered(b, o, b.ASA, other)
		go func() {
			for {
				s, _, err := other.ListenNegotiate(bed.Forever, o)
				if err != nil {
					return
				}
				time.Sleep(time.Second) // thinking
				_ = s.EndNegotiate(true, "")
			}
		}()
		synctest.Wait()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, _, err := b.ASA.ReqNegotiate(bed.Forever, o, nil, 0); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// Cancelling a listener leaves requests to the others.
func TestListenersLeave(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		ctx, cancel := context.WithCancel(bed.Forever)
		first := b.Call(func() bed.Answer {
			s, o, err := b.ASA.ListenNegotiate(ctx, o)
			return bed.Answer{S: s, O: o, Err: err}
		})
		second := b.Listen(o)
		cancel()
		bed.IsCode(b, first.Done().Err, grasp.ErrCancelled)
		b.Peer.Dial(b.At()).Send(arr{3, 1, arr{"EX1", 3, 6, nil}})
		second.Ok()
	})
}

// A request for something else than was registered is for nobody.
func TestRequestsForNobody(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil), grasp.Objective{Name: "EX3"})
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX2", 1)))
		waiting := b.Listen(bed.Neg("EX1", nil))
		for i, m := range []arr{
			{3, 1, arr{"EX2", 3, 6, nil}}, // not for negotiation
			{3, 2, arr{"EX3", 3, 6, nil}},
			{3, 3, arr{"EX4", 3, 6, nil}}, // unknown
			{3, 4, arr{"EX1", 5, 6, nil}}, // not meant for negotiation
			{4, 5, arr{"EX1", 5, 6, nil}}, // not for synchronization
			{4, 6, arr{"EX4", 5, 6, nil}},
		} {
			s := b.Peer.Dial(b.At())
			s.Send(m)
			s.Closed()
			b.WantDrop(grasp.ReasonNoListener, i+1)
		}
		waiting.Blocks()
		require.Empty(b, b.G.Snapshot().Sessions)
	})
}
