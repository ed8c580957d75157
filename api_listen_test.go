package grasp

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// one call, one request, in the order in which calls and requests came.
func TestA41OneCallOneRequest(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		var calls []pending
		for range 3 {
			calls = append(calls, b.listen(o))
		}
		for i := range 3 {
			s := b.peer.dial(b.at())
			s.send(arr{3, i, arr{"EX1", 3, 6, i}})
			require.EqualValues(b, i, calls[i].ok().o.Value)
		}
	})
}

// re-entrant: many goroutines listen for one objective, each gets another
// request, and none is lost.
func TestA41Reentrant(t *testing.T) {
	const requests, listeners = 200, 16
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		other := b.other("other")
		registered(b, o, b.asa, other)
		var mu sync.Mutex
		seen := make(map[any]int)
		var all sync.WaitGroup
		for range listeners {
			all.Go(func() {
				for {
					s, o, err := other.ListenNegotiate(forever, o)
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
				if _, _, err := b.asa.ReqNegotiate(forever, o, at(other.g), 0); err != nil {
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
	inBedOf(t, 1, Config{Limits: Limits{Backlog: 3}}, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		ask := func(id uint32) *rawStream {
			s := b.peer.dial(b.at())
			s.send(arr{3, id, arr{"EX1", 3, 6, id}})
			return s
		}
		ask(100).closed() // nobody ever listened
		b.wantDrop(ReasonNoListener, 1)
		first := b.listen(o)
		ask(1)
		first.ok()
		var queued []*rawStream
		for id := range uint32(3) {
			queued = append(queued, ask(10+id))
		}
		require.Equal(b, 3, b.g.Snapshot().Objectives[0].Waiting)
		for id := range uint32(3) {
			ask(20 + id).closed()
		}
		b.wantDrop(ReasonBacklogFull, 3)
		require.Len(b, b.g.Snapshot().Sessions, 1+3)
		for id := range uint32(3) {
			a := b.listen(o).ok()
			require.EqualValues(b, 10+id, a.o.Value)
			require.NoError(b, a.s.EndNegotiate(true, ""))
			queued[id].read().is(b, `[6, %d, [101]]`)
		}
		ask(30)
		b.listen(o).ok()
	})
}

// What has waited for longer than its initiator does is not handed out.
func TestA44StaleRequests(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		b.served(o, 1, nil)
		s := b.peer.dial(b.at())
		s.send(arr{3, 2, arr{"EX1", 3, 6, nil}})
		time.Sleep(61 * time.Second)
		fresh := b.peer.dial(b.at())
		fresh.send(arr{3, 3, arr{"EX1", 3, 6, "fresh"}})
		require.Equal(b, "fresh", b.listen(o).ok().o.Value)
		s.closed()
		b.wantDrop(ReasonStale, 1)
	})
}

// Requests that have become stale do not keep fresh ones out.
func TestA44StaleRequestsMakeRoom(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{Backlog: 2}}, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		b.served(o, 1, nil)
		for id := range uint32(2) {
			b.peer.dial(b.at()).send(arr{3, 10 + id, arr{"EX1", 3, 6, "stale"}})
		}
		time.Sleep(61 * time.Second)
		fresh := b.peer.dial(b.at())
		fresh.send(arr{3, 3, arr{"EX1", 3, 6, "fresh"}})
		listening := b.listen(o)
		listening.isDone()
		require.Equal(b, "fresh", listening.ok().o.Value)
	})
}

// isDone checks that a call has returned.
func (p pending) isDone() {
	p.b.Helper()
	require.NotEmpty(p.b, p.ch, "the call waits")
}

// the request comes with the requester's flags, loop count and value.
func TestA45Requested(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", "mine"))
		for i, c := range []struct {
			sent arr
			want Objective
		}{
			{arr{"EX1", 3, 6, nil}, neg("EX1", nil)},
			{arr{"EX1", 11, 0, arr{1, "x"}}, Objective{Name: "EX1", Neg: true, Dry: true, Value: []any{int64(1), "x"}}},
			{arr{"EX1", 2, 255}, Objective{Name: "EX1", Neg: true, LoopCount: 255}},
		} {
			listening := b.listen(neg("EX1", "mine"))
			b.peer.dial(b.at()).send(arr{3, i, c.sent})
			require.Equal(b, c.want, listening.ok().o)
		}
	})
}

// StopNegotiate wakes all who listen. A-47: later requests are refused by
// closing, sessions go on, and listening may start again.
func TestA46A47StopNegotiate(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		require.NoError(b, b.asa.StopNegotiate(o), "nobody listens")
		session, _, conn := b.served(o, 1, nil)
		queued := b.peer.dial(b.at())
		queued.send(arr{3, 2, arr{"EX1", 3, 6, nil}})
		require.NoError(b, b.asa.StopNegotiate(o))
		queued.closed()

		var calls []pending
		for range 5 {
			calls = append(calls, b.listen(o))
		}
		require.NoError(b, b.asa.StopNegotiate(o))
		for _, c := range calls {
			err := c.done().err
			isCode(b, err, ErrStopped)
			require.ErrorContains(b, err, `"EX1"`)
		}
		require.NoError(b, b.asa.StopNegotiate(o), "twice")
		late := b.peer.dial(b.at())
		late.send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		late.closed()
		require.NoError(b, session.EndNegotiate(true, ""))
		conn.read().is(b, `[6, %d, [101]]`)
		_, _, conn = b.served(o, 4, nil)
		require.NoError(b, conn.Close())
	})
}

// from the first call on the objective can be discovered and requested,
// also between two calls.
func TestA42BetweenTwoCalls(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		o := neg("EX1", 1)
		registered(b, o, b.asa, other)
		go func() {
			for {
				s, _, err := other.ListenNegotiate(forever, o)
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
				if _, _, err := b.asa.ReqNegotiate(forever, o, nil, 0); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// Cancelling a listener leaves requests to the others.
func TestListenersLeave(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		ctx, cancel := context.WithCancel(forever)
		first := b.call(func() answer {
			s, o, err := b.asa.ListenNegotiate(ctx, o)
			return answer{s: s, o: o, err: err}
		})
		second := b.listen(o)
		cancel()
		isCode(b, first.done().err, ErrCancelled)
		b.peer.dial(b.at()).send(arr{3, 1, arr{"EX1", 3, 6, nil}})
		second.ok()
	})
}

// A request for something else than was registered is for nobody.
func TestRequestsForNobody(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil), syn("EX2", nil), Objective{Name: "EX3"})
		require.NoError(b, b.asa.ListenSynchronize(syn("EX2", 1)))
		waiting := b.listen(neg("EX1", nil))
		for i, m := range []arr{
			{3, 1, arr{"EX2", 3, 6, nil}}, // not for negotiation
			{3, 2, arr{"EX3", 3, 6, nil}},
			{3, 3, arr{"EX4", 3, 6, nil}}, // unknown
			{3, 4, arr{"EX1", 5, 6, nil}}, // not meant for negotiation
			{4, 5, arr{"EX1", 5, 6, nil}}, // not for synchronization
			{4, 6, arr{"EX4", 5, 6, nil}},
		} {
			s := b.peer.dial(b.at())
			s.send(m)
			s.closed()
			b.wantDrop(ReasonNoListener, i+1)
		}
		waiting.blocks()
		require.Empty(b, b.g.Snapshot().Sessions, fmt.Sprint(b.g.sessions.All()))
	})
}
