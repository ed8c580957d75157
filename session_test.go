package grasp

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// A session belongs to its ASA from the moment in which its request is handed to a
// listener, or leaves the queue: Drain must not end before it, even if the call of
// ListenNegotiate has not returned yet.
func TestSessionHasItsASAAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newInstance(t, memory.NewNetwork(1).NewNode("x"))
		a := newASA(t, g, "listener")
		o := Objective{Name: "EX1", Neg: true}
		require.NoError(t, a.RegisterObj(o, RegisterOptions{}))
		got := make(chan *Session)
		listen := func() {
			s, _, err := a.ListenNegotiate(t.Context(), o)
			if err == nil {
				got <- s
			}
		}
		request := func(id uint32) { g.handleRequest(pending(t, g), reqNeg(id, o.Name)) }
		for id := range uint32(100) { // the listener may be fast
			go listen()
			synctest.Wait()
			request(1 + id)
			require.Len(t, g.sessionsOf(a), 1)
			require.NoError(t, (<-got).Close())
		}
		request(1000) // to the queue, until somebody listens again
		require.Empty(t, g.sessionsOf(a))
		go listen()
		s := <-got
		require.Equal(t, []*Session{s}, g.sessionsOf(a))
		require.NoError(t, s.Close())
	})
}

// pending returns a stream from somebody who has not said yet what it wants.
func pending(t *testing.T, g *Instance) *stream {
	t.Helper()
	near, far, err := memory.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = near.Close() })
	s := g.newStream(far, true)
	require.True(t, g.await(s))
	return s
}

func reqNeg(id uint32, name string) *wire.ReqNeg {
	return &wire.ReqNeg{SessionID: id, Objective: wire.Objective{Name: name, Flags: wire.FlagNeg, LoopCount: 6, Value: null}}
}

// No listener gets a request whose connection had to give way to others in the very
// instant in which the request was read: nobody could be answered.
func TestEvictedRequestIsNotHandedOut(t *testing.T) {
	g := newInstance(t, memory.NewNetwork(1).NewNode("x"))
	a := newASA(t, g, "listener")
	o := Objective{Name: "EX1", Neg: true}
	require.NoError(t, a.RegisterObj(o, RegisterOptions{}))
	require.NoError(t, g.objectives.owned(a, o.Name, func(r *registration) error {
		r.backlog = newBacklog(10)
		r.backlog.Start(a)
		return nil
	}))
	s := pending(t, g)
	require.True(t, g.giveWay())
	g.handleRequest(s, reqNeg(1, o.Name))
	require.Zero(t, g.objectives.backlogOf(o.Name).Len())
	require.Empty(t, g.sessions.All())
	require.Zero(t, g.sessions.Len())
}
