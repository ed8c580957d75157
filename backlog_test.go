package grasp

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/session"
)

// taker is an ASA that takes requests.
var taker = &ASA{name: "taker"}

// got is what a listener of a backlog got.
type got struct {
	id  uint32
	err error
}

// waitFor has a listener wait at a backlog.
func waitFor(ctx context.Context, b *backlog, a *ASA) <-chan got {
	c := make(chan got, 1)
	go func() {
		r, err := b.get(ctx, a)
		if err != nil {
			c <- got{0, err}
			return
		}
		c <- got{r.session.key.ID, nil}
	}()
	synctest.Wait()
	return c
}

func ask(id uint32) request {
	return request{session: &Session{key: session.Key{ID: id}}, at: time.Now()}
}

// Requests and listeners are both served in the order in which they came.
func TestBacklogIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(10)
		b.start(taker)
		for id := range uint32(3) {
			require.Nil(t, b.put(ask(id)))
		}
		require.Equal(t, 3, b.len())
		for id := range uint32(3) {
			require.Equal(t, got{id: id}, <-waitFor(t.Context(), b, taker))
		}
		var listeners []<-chan got
		for range 3 {
			listeners = append(listeners, waitFor(t.Context(), b, taker))
		}
		for id := range uint32(3) {
			require.Nil(t, b.put(ask(id)))
			require.Equal(t, got{id: id}, <-listeners[id])
		}
		require.Zero(t, b.len())
	})
}

func TestBacklogIsBounded(t *testing.T) {
	b := newBacklog(2)
	b.start(taker)
	require.Nil(t, b.put(ask(1)))
	require.Nil(t, b.put(ask(2)))
	require.NotNil(t, b.put(ask(3)))
	_, err := b.get(t.Context(), taker)
	require.NoError(t, err)
	require.Nil(t, b.put(ask(4)))
}

// An error is for whoever waits: it is not queued.
func TestBacklogErrorsAreNotQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(2)
		b.start(taker)
		require.Nil(t, b.put(request{err: ErrIDClash}))
		one, two := waitFor(t.Context(), b, taker), waitFor(t.Context(), b, taker)
		require.Nil(t, b.put(request{err: ErrIDClash}))
		require.ErrorIs(t, (<-one).err, ErrIDClash)
		require.Nil(t, b.put(ask(7)))
		require.Equal(t, got{id: 7}, <-two)
	})
}

func TestBacklogClosed(t *testing.T) {
	for name, b := range map[string]*backlog{"nil": nil, "before the first listener": newBacklog(1)} {
		t.Run(name, func(t *testing.T) {
			require.False(t, b.listening())
			require.NotNil(t, b.put(ask(1)))
			require.Zero(t, b.len())
			b.stop(taker) // does no harm
		})
	}
}

// stopping wakes all who wait, and nobody who comes later.
func TestA46BacklogStopWakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(1)
		b.start(taker)
		var listeners []<-chan got
		for range 5 {
			listeners = append(listeners, waitFor(t.Context(), b, taker))
		}
		b.stop(taker)
		for _, l := range listeners {
			require.ErrorIs(t, (<-l).err, ErrStopped)
		}
		require.ErrorIs(t, (<-waitFor(t.Context(), b, taker)).err, ErrStopped)
		require.NotNil(t, b.put(ask(1)))
		b.start(taker)
		require.Nil(t, b.put(ask(2)))
		require.Equal(t, got{id: 2}, <-waitFor(t.Context(), b, taker))
	})
}

// Each ASA stops for itself. When the last has stopped, the queue is refused.
func TestBacklogOfSeveralASAs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(3)
		other := &ASA{name: "other"}
		b.start(taker)
		b.start(other)
		mine, theirs := waitFor(t.Context(), b, taker), waitFor(t.Context(), b, other)
		b.stop(taker)
		require.ErrorIs(t, (<-mine).err, ErrStopped)
		require.Empty(t, theirs)
		require.ErrorIs(t, (<-waitFor(t.Context(), b, taker)).err, ErrStopped)
		require.Nil(t, b.put(ask(1)))
		require.Equal(t, got{id: 1}, <-theirs)
		require.Nil(t, b.put(ask(2)))
		b.start(taker)
		b.stop(other)
		require.Equal(t, got{id: 2}, <-waitFor(t.Context(), b, taker), "what is queued is for who is left")
		b.stopWith(ErrNoSecurity, func(*ASA) bool { return true })
		require.False(t, b.listening())
	})
}

// What has waited for longer than the default timeout is taken out.
func TestBacklogStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(3)
		b.start(taker)
		require.Nil(t, b.put(ask(1)))
		time.Sleep(time.Second)
		require.Nil(t, b.put(ask(2)))
		time.Sleep(DefaultTimeout)
		old := b.stale()
		require.Len(t, old, 1)
		require.EqualValues(t, 1, old[0].session.key.ID)
		require.Equal(t, 1, b.len())
		time.Sleep(time.Nanosecond)
		require.Len(t, b.stale(), 1)
		require.Empty(t, b.stale())
	})
}

func TestBacklogContextAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(1)
		b.start(taker)
		why := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancelled := waitFor(ctx, b, taker)
		gone := make(chan struct{})
		other := &ASA{gone: gone}
		b.start(other)
		left, stays := waitFor(t.Context(), b, other), waitFor(t.Context(), b, taker)
		cancel(why)
		r := <-cancelled
		require.ErrorIs(t, r.err, ErrCancelled)
		require.ErrorIs(t, r.err, why)
		close(gone)
		require.ErrorIs(t, (<-left).err, ErrNoASA)
		// Those who are gone get nothing: the next request is for who stays.
		require.Nil(t, b.put(ask(1)))
		require.Equal(t, got{id: 1}, <-stays)
	})
}

// However listeners and requests cross, each request that was taken is given
// to one listener, also if that one is cancelled at the same moment.
func TestBacklogLosesNothing(t *testing.T) {
	const requests, listeners = 2000, 8
	b := newBacklog(4)
	b.start(taker)
	var mu sync.Mutex
	seen := make(map[uint32]int)
	var all sync.WaitGroup
	for range listeners {
		all.Go(func() {
			for {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				r, err := b.get(ctx, taker)
				cancel()
				switch {
				case errors.Is(err, ErrStopped):
					return
				case err == nil:
					mu.Lock()
					seen[r.session.key.ID]++
					mu.Unlock()
				}
			}
		})
	}
	for id := uint32(0); id < requests; {
		if b.put(ask(id)) == nil {
			id++
		}
	}
	for b.len() > 0 {
		runtime.Gosched() // the listeners empty it
	}
	b.stop(taker)
	all.Wait()
	require.Len(t, seen, requests)
	for id, n := range seen {
		require.Equal(t, 1, n, "request %d", id)
	}
}
