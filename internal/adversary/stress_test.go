package adversary

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// leftovers finds what stays behind of sessions.
type leftovers struct {
	instances       []*grasp.Instance
	goroutines, fds int // when there was nothing
}

func newLeftovers(asas ...*grasp.ASA) *leftovers {
	l := &leftovers{goroutines: countGoroutines(), fds: openFDs()}
	for _, a := range asas {
		l.instances = append(l.instances, a.Instance())
	}
	return l
}

// countGoroutines counts goroutines; in a bubble only its own: time passes too fast
// there for others to end.
func countGoroutines() int {
	buf := make([]byte, 1<<20)
	all := string(buf[:runtime.Stack(buf, true)])
	own, _, _ := strings.Cut(all, "\n")
	if _, bubble, ok := strings.Cut(own, "synctest bubble "); ok {
		return strings.Count(all, "synctest bubble "+bubble)
	}
	return runtime.NumGoroutine()
}

// openFDs counts open file descriptors, where there is a way to.
func openFDs() int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(fds)
}

// found says what there is more than before.
func (l *leftovers) found() string {
	var b strings.Builder
	add := func(who, what string, n int) {
		if n > 0 {
			fmt.Fprintf(&b, "%s: %d %s\n", who, n, what)
		}
	}
	for _, g := range l.instances {
		now := g.Snapshot()
		who := strings.Join(now.ASAs, ", ")
		add(who, "streams", now.Streams)
		add(who, "sessions", len(now.Sessions))
		for _, o := range now.Objectives {
			add(who, "requests that wait", o.Waiting)
		}
		add(who, "session IDs", now.SessionIDs)
		add(who, "searches", now.Searches)
		add(who, "pending streams", now.Pending)
		add(who, "discoveries being answered", now.Responses)
	}
	add("process", "goroutines", countGoroutines()-l.goroutines)
	add("process", "file descriptors", openFDs()-l.fds)
	return b.String()
}

// none checks that soon nothing is left.
func (l *leftovers) none(t testing.TB) {
	t.Helper()
	if !bed.SoonTrue(func() bool { return l.found() == "" }) {
		buf := make([]byte, 1<<20)
		t.Fatalf("left behind:\n%s\n%s", l.found(), buf[:runtime.Stack(buf, true)])
	}
}

// fires checks that what is left is found.
func (l *leftovers) fires(t testing.TB, server, client *grasp.ASA, real bool) {
	t.Helper()
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		s, _, err := server.ListenNegotiate(t.Context(), bed.Stressed)
		assert.NoError(t, err)
		<-stop
		assert.NoError(t, s.EndNegotiate(true, ""))
	})
	s, err := client.OpenSession(t.Context(), bed.Stressed, nil, 0)
	require.NoError(t, err)
	whats := []string{
		"server: 1 streams", "server: 1 sessions", "server: 1 session IDs",
		"client: 1 streams", "client: 1 sessions", "client: 1 session IDs",
		"goroutines",
	}
	if real {
		whats = append(whats, "process: 2 file descriptors")
	}
	require.True(t, bed.SoonTrue(func() bool {
		found := l.found()
		for _, what := range whats {
			if !strings.Contains(found, what) {
				return false
			}
		}
		return true
	}), "an open session does not show:\n%s", l.found())
	close(stop)
	done.Wait()
	require.NoError(t, s.EndNegotiate(true, ""))
	require.NoError(t, server.StopNegotiate(bed.Stressed))
}

// stress negotiates, many at a time, and finds nothing left.
func stress(t testing.TB, before *leftovers, server, client *grasp.ASA, negotiations int, real bool) {
	t.Helper()
	before.fires(t, server, client, real)
	before.none(t)

	negotiate := func(n int) {
		t.Helper()
		stop := bed.Serve(t.Context(), server, bed.StressListeners, bed.Respond)
		start := time.Now()
		err := bed.Pool(t.Context(), bed.StressInitiators, n, func(ctx context.Context, i int) error {
			return bed.Initiate(ctx, client, int64(i))
		})
		took := time.Since(start)
		require.NoError(t, errors.Join(err, stop()))
		t.Logf("%d negotiations in %v", n, took)
		before.none(t)
	}
	// The garbage collector closes connections that were forgotten: some
	// without it.
	percent := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(percent)
	negotiate(min(negotiations, 500))
	debug.SetGCPercent(percent)
	negotiate(negotiations)

	for _, a := range []*grasp.ASA{server, client} {
		dropped := a.Instance().Snapshot().Dropped
		delete(dropped, grasp.ReasonOwn)
		if real { // a busy machine: who has not connected within 250 ms is looked for once more
			delete(dropped, grasp.ReasonUnsolicited)
			delete(dropped, grasp.ReasonSendFailed)
		}
		require.Empty(t, dropped)
	}
}

func TestStressMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := bed.MemoryPair(t, time.Millisecond)
		stress(t, newLeftovers(server, client), server, client, bed.Scaled(bed.StressNegotiations), false)
	})
}

// A negotiation with a peer that is not known yet takes four round trips:
// discovery and the connection that brings its answer are two, the connection
// for the request and its answer two more.
func TestStressColdNegotiation(t *testing.T) {
	for _, delay := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := bed.MemoryPair(t, delay)
				stop := bed.Serve(t.Context(), server, 1, bed.Respond)
				synctest.Wait()
				timed := func() time.Duration {
					start := time.Now()
					require.NoError(t, bed.Initiate(t.Context(), client, 0))
					return time.Since(start)
				}
				cold, warm := timed(), timed()
				t.Logf("one way %v: cold %v, warm %v", delay, cold, warm)
				require.LessOrEqual(t, cold, 8*delay)
				require.LessOrEqual(t, warm, 4*delay)
				require.NoError(t, stop())
			})
		})
	}
}

// discoverAgain discovers many times from a cold cache.
func discoverAgain(t testing.TB, server, client *grasp.ASA, times int) {
	t.Helper()
	stop := bed.Serve(t.Context(), server, 1, bed.Respond)
	var slowest time.Duration
	require.True(t, bed.SoonTrue(func() bool { return bed.Listens(server.Instance(), bed.Stressed.Name) }))
	for i := range times {
		start := time.Now()
		found, err := client.Discover(t.Context(), bed.Stressed, netbed.Patience, grasp.DiscoverOptions{First: true, Flush: true})
		require.NoError(t, err)
		require.Len(t, found, 1, "number %d", i)
		slowest = max(slowest, time.Since(start))
	}
	t.Logf("%d discoveries with %d messages, the slowest took %v",
		times, client.Instance().Snapshot().Sent["M_DISCOVERY"], slowest)
	require.NoError(t, stop())
}

func TestStressDiscoveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := bed.MemoryPair(t, time.Millisecond)
		before := newLeftovers(server, client)
		discoverAgain(t, server, client, bed.StressDiscoveries)
		require.EqualValues(t, bed.StressDiscoveries, client.Instance().Snapshot().Sent["M_DISCOVERY"])
		before.none(t)
	})
}

// openAtOnce has many sessions between two ASAs go on at the same time. Each
// carries numbers of its own, in an order that has nothing to do with the
// order in which they were opened.
func openAtOnce(t testing.TB, server, client *grasp.ASA, sessions int) {
	t.Helper()
	ctx := t.Context()
	const rounds = 3
	var open sync.WaitGroup // until all sessions are
	open.Add(sessions)
	stop := bed.Serve(ctx, server, sessions, func(ctx context.Context, s *grasp.Session, o grasp.Objective) error {
		number, _ := o.Value.(int64)
		open.Done()
		open.Wait()
		for round := range int64(rounds) {
			got, err := s.Recv(ctx, 0)
			if err != nil {
				return err
			}
			if want := number*100 + round; got != want {
				return fmt.Errorf("session %d received %v, not %d", number, got, want)
			}
			if err := s.Send(number*100 + 50 + round); err != nil {
				return err
			}
		}
		return s.EndNegotiate(true, "")
	})
	opened := make([]*grasp.Session, sessions)
	require.NoError(t, bed.Pool(ctx, bed.StressInitiators, sessions, func(ctx context.Context, i int) error {
		o := bed.Stressed
		o.Value = i
		var err error
		opened[i], err = client.OpenSession(ctx, o, nil, 0)
		return err
	}))
	open.Wait()
	for _, a := range []*grasp.ASA{server, client} {
		require.Equal(t, sessions, len(a.Instance().Snapshot().Sessions), "sessions of the %s", a.Name())
	}
	order := rand.New(rand.NewPCG(1, 2))
	for round := range rounds {
		for _, i := range order.Perm(sessions) {
			require.NoError(t, opened[i].Send(i*100+round))
		}
		for _, i := range order.Perm(sessions) {
			got, err := opened[i].Recv(ctx, 0)
			require.NoError(t, err)
			require.EqualValues(t, i*100+50+round, got)
		}
	}
	for _, s := range opened {
		_ = s.EndNegotiate(true, "") // the other side may have been faster
	}
	require.NoError(t, stop())
}

func TestStressOpenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := bed.MemoryPair(t, time.Millisecond)
		before := newLeftovers(server, client)
		openAtOnce(t, server, client, bed.StressSessions)
		before.none(t)
	})
}

// Several goroutines listen: whoever has waited longest gets the next request,
// each gets one of them, and all wake up at the end.
func TestStressListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := bed.MemoryPair(t, time.Millisecond)
		before := newLeftovers(server, client)
		var mu sync.Mutex
		taken := make(map[any]int)
		first := make(map[int]bool)
		var all sync.WaitGroup
		for k := range bed.StressListeners {
			all.Go(func() {
				for {
					s, o, err := server.ListenNegotiate(t.Context(), bed.Stressed)
					if err != nil {
						assert.ErrorIs(t, err, grasp.ErrStopped)
						return
					}
					mu.Lock()
					taken[o.Value]++
					if len(taken) <= bed.StressListeners {
						first[k] = true
					}
					mu.Unlock()
					time.Sleep(time.Second)
					assert.NoError(t, s.EndNegotiate(true, ""))
				}
			})
		}
		synctest.Wait()
		requests := bed.StressListeners * 10
		start := time.Now()
		require.NoError(t, bed.Pool(t.Context(), requests, requests, func(ctx context.Context, i int) error {
			return bed.Initiate(ctx, client, int64(10*i)) // accepted, a second later
		}))
		require.Less(t, time.Since(start), 11*time.Second, "all of them work all the time")
		synctest.Wait() // until all listen again
		require.NoError(t, server.StopNegotiate(bed.Stressed))
		all.Wait()
		require.Len(t, taken, requests)
		for value, times := range taken {
			require.Equal(t, 1, times, "request %v", value)
		}
		require.Len(t, first, bed.StressListeners, "each waited, and got one of the first")
		before.none(t)
	})
}
