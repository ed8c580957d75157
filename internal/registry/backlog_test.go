package registry

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/share"
)

// taker takes requests, which are numbers here.
const taker = "taker"

// got is what a call of Get got.
type got struct {
	id  uint32
	err error
}

type backlog = Backlog[string, uint32]

func newBacklog(limit int) *backlog { return NewBacklog(limit, func(string, uint32) {}) }

// waitFor has somebody wait at a backlog.
func waitFor(ctx context.Context, b *backlog, who string) <-chan got {
	return waitUntil(ctx, b, who, nil)
}

func waitUntil(ctx context.Context, b *backlog, who string, gone <-chan struct{}) <-chan got {
	c := make(chan got, 1)
	go func() {
		r, err := b.Get(ctx, who, gone)
		c <- got{r, err}
	}()
	synctest.Wait()
	return c
}

// put puts a request. It returns false if one is refused.
func put(b *backlog, id uint32) bool {
	_, refused := b.Put(share.Holder{}, id, time.Now())
	return !refused
}

// stop stops one who takes requests.
func stop(b *backlog, who string) {
	b.Stop(ErrStopped, func(other string) bool { return other == who })
}

var errTold = errors.New("told")

// Requests and listeners are both served in the order in which they came.
func TestBacklogIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(10)
		b.Start(taker)
		for id := range uint32(3) {
			require.True(t, put(b, id))
		}
		require.Equal(t, 3, b.Len())
		for id := range uint32(3) {
			require.Equal(t, got{id: id}, <-waitFor(t.Context(), b, taker))
		}
		var listeners []<-chan got
		for range 3 {
			listeners = append(listeners, waitFor(t.Context(), b, taker))
		}
		for id := range uint32(3) {
			require.True(t, put(b, id))
			require.Equal(t, got{id: id}, <-listeners[id])
		}
		require.Zero(t, b.Len())
	})
}

func TestBacklogIsBounded(t *testing.T) {
	b := newBacklog(2)
	b.Start(taker)
	require.True(t, put(b, 1))
	require.True(t, put(b, 2))
	require.False(t, put(b, 3))
	_, err := b.Get(t.Context(), taker, nil)
	require.NoError(t, err)
	require.True(t, put(b, 4))
}

// An error is for whoever waits: it is not queued.
func TestBacklogErrorsAreNotQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(2)
		b.Start(taker)
		b.Tell(errTold)
		one, two := waitFor(t.Context(), b, taker), waitFor(t.Context(), b, taker)
		b.Tell(errTold)
		require.ErrorIs(t, (<-one).err, errTold)
		require.True(t, put(b, 7))
		require.Equal(t, got{id: 7}, <-two)
	})
}

func TestBacklogClosed(t *testing.T) {
	for name, b := range map[string]*backlog{"nil": nil, "before the first listener": newBacklog(1)} {
		t.Run(name, func(t *testing.T) {
			require.False(t, b.Listening())
			require.False(t, put(b, 1))
			require.Zero(t, b.Len())
			stop(b, taker) // does no harm
		})
	}
}

// stopping wakes all who wait, and nobody who comes later.
func TestA46BacklogStopWakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(1)
		b.Start(taker)
		var listeners []<-chan got
		for range 5 {
			listeners = append(listeners, waitFor(t.Context(), b, taker))
		}
		stop(b, taker)
		for _, l := range listeners {
			require.ErrorIs(t, (<-l).err, ErrStopped)
		}
		require.ErrorIs(t, (<-waitFor(t.Context(), b, taker)).err, ErrStopped)
		require.False(t, put(b, 1))
		b.Start(taker)
		require.True(t, put(b, 2))
		require.Equal(t, got{id: 2}, <-waitFor(t.Context(), b, taker))
	})
}

// Each ASA stops for itself. When the last has stopped, the queue is refused.
func TestBacklogOfSeveralASAs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(3)
		const other = "other"
		b.Start(taker)
		b.Start(other)
		mine, theirs := waitFor(t.Context(), b, taker), waitFor(t.Context(), b, other)
		stop(b, taker)
		require.ErrorIs(t, (<-mine).err, ErrStopped)
		require.Empty(t, theirs)
		require.ErrorIs(t, (<-waitFor(t.Context(), b, taker)).err, ErrStopped)
		require.True(t, put(b, 1))
		require.Equal(t, got{id: 1}, <-theirs)
		require.True(t, put(b, 2))
		b.Start(taker)
		stop(b, other)
		require.Equal(t, got{id: 2}, <-waitFor(t.Context(), b, taker), "what is queued is for who is left")
		b.Stop(errTold, func(string) bool { return true })
		require.False(t, b.Listening())
	})
}

// What has waited for too long is taken out.
func TestBacklogStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(3)
		const timeout = time.Minute
		b.Start(taker)
		require.True(t, put(b, 1))
		time.Sleep(time.Second)
		require.True(t, put(b, 2))
		time.Sleep(timeout)
		old := b.Stale(time.Now().Add(-timeout))
		require.Len(t, old, 1)
		require.EqualValues(t, 1, old[0])
		require.Equal(t, 1, b.Len())
		time.Sleep(time.Nanosecond)
		require.Len(t, b.Stale(time.Now().Add(-timeout)), 1)
		require.Empty(t, b.Stale(time.Now().Add(-timeout)))
	})
}

func TestBacklogContextAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(1)
		b.Start(taker)
		why := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancelled := waitFor(ctx, b, taker)
		gone := make(chan struct{})
		const other = "other"
		b.Start(other)
		left, stays := waitUntil(t.Context(), b, other, gone), waitFor(t.Context(), b, taker)
		cancel(why)
		r := <-cancelled
		require.ErrorIs(t, r.err, ErrInterrupted)
		require.ErrorIs(t, r.err, why)
		close(gone)
		require.ErrorIs(t, (<-left).err, ErrGone)
		// Those who are gone get nothing: the next request is for who stays.
		require.True(t, put(b, 1))
		require.Equal(t, got{id: 1}, <-stays)
	})
}

// However listeners and requests cross, each request that was taken is given
// to one listener, also if that one is cancelled at the same moment.
func TestBacklogLosesNothing(t *testing.T) {
	const requests, listeners = 2000, 8
	b := newBacklog(4)
	b.Start(taker)
	var mu sync.Mutex
	seen := make(map[uint32]int)
	var all sync.WaitGroup
	for range listeners {
		all.Go(func() {
			for {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				r, err := b.Get(ctx, taker, nil)
				cancel()
				switch {
				case errors.Is(err, ErrStopped):
					return
				case err == nil:
					mu.Lock()
					seen[r]++
					mu.Unlock()
				}
			}
		})
	}
	for id := uint32(0); id < requests; {
		if put(b, id) {
			id++
		} else {
			runtime.Gosched() // a listener is to take one
		}
	}
	for b.Len() > 0 {
		runtime.Gosched() // the listeners empty it
	}
	stop(b, taker)
	all.Wait()
	require.Len(t, seen, requests)
	for id, n := range seen {
		require.Equal(t, 1, n, "request %d", id)
	}
}

// When it is full, the youngest request of the peer that has most is refused; and
// peers are served by turns.
func TestBacklogIsFair(t *testing.T) {
	b := newBacklog(4)
	b.Start(taker)
	greedy, modest := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	refused := func(peer netip.Addr, id uint32) uint32 {
		r, _ := b.Put(share.HolderOf("", peer, true), id, time.Now())
		return r
	}
	for id := range uint32(4) {
		require.Zero(t, refused(greedy, id+1))
	}
	require.EqualValues(t, 5, refused(greedy, 5), "the new one is the youngest")
	require.EqualValues(t, 4, refused(modest, 11))
	require.EqualValues(t, 3, refused(modest, 12))
	require.EqualValues(t, 13, refused(modest, 13), "now they have the same")
	for _, want := range []uint32{1, 11, 2, 12} {
		got, err := b.Get(t.Context(), taker, nil)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// A request has its taker before Put, or Get, lets others at the backlog: whoever stops
// the taker then finds all that it got.
func TestBacklogAssigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		assigned := make(map[uint32]string) // guarded by the backlog
		b := NewBacklog(10, func(who string, id uint32) { assigned[id] = who })
		const other = "other"
		b.Start(taker)
		b.Start(other)
		waits := waitFor(t.Context(), b, other)
		require.True(t, put(b, 1))
		require.Equal(t, map[uint32]string{1: other}, assigned)
		require.Equal(t, got{id: 1}, <-waits)
		require.True(t, put(b, 2))
		require.Len(t, assigned, 1, "it is queued")
		require.Equal(t, got{id: 2}, <-waitFor(t.Context(), b, taker))
		require.Equal(t, map[uint32]string{1: other, 2: taker}, assigned)
	})
}
