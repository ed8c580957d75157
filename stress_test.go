package grasp

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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// How much the stress tests do.
const (
	stressNegotiations = 20_000
	stressInitiators   = 64
	stressListeners    = 16
	stressSessions     = 100
	stressDiscoveries  = 200
)

// scaled is less with -short.
func scaled(n int) int {
	if testing.Short() {
		return max(n/10, 2*stressListeners)
	}
	return n
}

// stressed is the objective of the stress tests.
var stressed = Objective{Name: "stress", Neg: true, LoopCount: DefaultLoopCount}

// stressPair registers an ASA on each of two planes, with the objective.
func stressPair(t testing.TB, serving, asking acp.Plane) (server, client *ASA) {
	t.Helper()
	server = newASA(t, newInstance(t, serving), "server")
	client = newASA(t, newInstance(t, asking), "client")
	for _, a := range []*ASA{server, client} {
		require.NoError(t, a.RegisterObj(stressed, RegisterOptions{}))
	}
	return server, client
}

// memoryPair is stressPair on a link in memory, in a bubble.
func memoryPair(t testing.TB, delay time.Duration) (server, client *ASA) {
	t.Helper()
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{Delay: delay})
	server, client = stressPair(t, n.NewNode("server", l), n.NewNode("client", l))
	synctest.Wait() // until all goroutines are where they stay
	return server, client
}

// pool calls f for each number below n, from a number of goroutines, until one
// call fails. It returns that error.
func pool(ctx context.Context, workers, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(ctx, i); err != nil {
					cancel(fmt.Errorf("number %d: %w", i, err))
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// The negotiations of the stress tests. Each is about numbers of its own, so
// that sessions that got mixed up would be noticed.
type dealing uint8

const (
	acceptsAtOnce dealing = iota
	waitsAndAccepts
	haggles   // the responder offers, the initiator asks, the responder offers, and that is it
	declines  // the responder does
	isRefused // the responder, that is
)

// dealingOf says what happens in a negotiation, and about which numbers.
func dealingOf(i int64) (dealing, int64) {
	switch i % 10 {
	default:
		return acceptsAtOnce, 10 * i
	case 6:
		return waitsAndAccepts, 10 * i
	case 7:
		return haggles, 10 * i
	case 8:
		return declines, 10 * i
	case 9:
		return isRefused, 10 * i
	}
}

func stressReason(i int64) string { return fmt.Sprintf("not %d", i) }

// want says how a step differs from what it should be, or nothing.
func want(step string, s *Session, o Objective, err error, goesOn bool, value int64) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", step, err)
	case (s != nil) != goesOn:
		return fmt.Errorf("%s: goes on: %v", step, s != nil)
	case o.Value != value:
		return fmt.Errorf("%s: value %v, not %d", step, o.Value, value)
	}
	return nil
}

func wantDeclined(step string, err error, i int64) error {
	var declined *DeclinedError
	if !errors.As(err, &declined) || declined.Reason != stressReason(i) {
		return fmt.Errorf("%s: not declined as %q: %w", step, stressReason(i), err)
	}
	return nil
}

// initiate is negotiation i on the side of the initiator.
func initiate(ctx context.Context, a *ASA, i int64) error { return initiateTo(ctx, a, nil, i) }

// initiateTo is initiate with a peer that is known.
func initiateTo(ctx context.Context, a *ASA, peer *Locator, i int64) error {
	kind, value := dealingOf(i)
	o := stressed
	o.Value = value
	s, o, err := a.ReqNegotiate(ctx, o, peer, 0)
	switch kind {
	case acceptsAtOnce, waitsAndAccepts:
		return want("request", s, o, err, false, value)
	case declines:
		return wantDeclined("request", err, i)
	}
	if err := want("request", s, o, err, true, value+1); err != nil {
		return err
	}
	if kind == isRefused {
		return s.EndNegotiate(false, stressReason(i))
	}
	o.Value = value + 2
	s, o, err = s.NegotiateStep(ctx, o, 0)
	if err := want("step", s, o, err, true, value+3); err != nil {
		return err
	}
	return s.EndNegotiate(true, "")
}

// respond is a negotiation on the side of the responder.
func respond(ctx context.Context, s *Session, o Objective) error {
	asked, _ := o.Value.(int64)
	i := asked / 10
	kind, value := dealingOf(i)
	switch kind {
	case waitsAndAccepts:
		if err := s.NegotiateWait(time.Minute); err != nil {
			return err
		}
		return s.EndNegotiate(true, "")
	case acceptsAtOnce:
		return s.EndNegotiate(true, "")
	case declines:
		return s.EndNegotiate(false, stressReason(i))
	}
	o.Value = value + 1
	s, o, err := s.NegotiateStep(ctx, o, 0)
	if kind == isRefused {
		return wantDeclined("offer", err, i)
	}
	if err := want("offer", s, o, err, true, value+2); err != nil {
		return err
	}
	o.Value = value + 3
	s, o, err = s.NegotiateStep(ctx, o, 0)
	return want("last offer", s, o, err, false, value+3)
}

// serve has a number of goroutines respond until stop is called, which lets
// them finish and returns their errors. (StopNegotiate would not do: who is
// between two calls of ListenNegotiate then does not know of it.)
func serve(ctx context.Context, a *ASA, listeners int, f func(context.Context, *Session, Objective) error) (stop func() error) {
	listening, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	errs := make([]error, listeners)
	for k := range listeners {
		all.Go(func() {
			for {
				s, o, err := a.ListenNegotiate(listening, stressed)
				switch {
				case errors.Is(err, ErrCancelled):
					return
				case errors.Is(err, ErrIDClash):
					continue // as likely as any other ID
				case err == nil:
					err = f(ctx, s, o)
				}
				if err != nil {
					errs[k] = err
					return
				}
			}
		})
	}
	return func() error {
		cancel()
		all.Wait()
		return errors.Join(errs...)
	}
}

// leftovers finds what stays behind of sessions.
type leftovers struct {
	instances       []*Instance
	goroutines, fds int // when there was nothing
}

func newLeftovers(asas ...*ASA) *leftovers {
	l := &leftovers{goroutines: countGoroutines(), fds: openFDs()}
	for _, a := range asas {
		l.instances = append(l.instances, a.g)
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
		add(who, "entries of the session table", g.sessions.Len())
		g.searches.mu.Lock()
		add(who, "searches", len(g.searches.byID))
		g.searches.mu.Unlock()
		g.streams.mu.Lock()
		add(who, "undecided streams", g.streams.undecided.Len())
		g.streams.mu.Unlock()
		add(who, "discoveries being answered", g.responders.len())
	}
	add("process", "goroutines", countGoroutines()-l.goroutines)
	add("process", "file descriptors", openFDs()-l.fds)
	return b.String()
}

// soonTrue polls until cond is true, in this goroutine: there may be no other.
func soonTrue(cond func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !cond(); <-tick.C {
		if time.Since(start) > 10*time.Second {
			return false
		}
	}
	return true
}

// none checks that soon nothing is left.
func (l *leftovers) none(t testing.TB) {
	t.Helper()
	if !soonTrue(func() bool { return l.found() == "" }) {
		buf := make([]byte, 1<<20)
		t.Fatalf("left behind:\n%s\n%s", l.found(), buf[:runtime.Stack(buf, true)])
	}
}

// fires checks that what is left is found.
func (l *leftovers) fires(t testing.TB, server, client *ASA, real bool) {
	t.Helper()
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		s, _, err := server.ListenNegotiate(t.Context(), stressed)
		assert.NoError(t, err)
		<-stop
		assert.NoError(t, s.EndNegotiate(true, ""))
	})
	s, err := client.OpenSession(t.Context(), stressed, nil, 0)
	require.NoError(t, err)
	whats := []string{
		"server: 1 streams", "server: 1 sessions", "server: 1 entries of the session table",
		"client: 1 streams", "client: 1 sessions", "client: 1 entries of the session table",
		"goroutines",
	}
	if real {
		whats = append(whats, "process: 2 file descriptors")
	}
	require.True(t, soonTrue(func() bool {
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
	require.NoError(t, server.StopNegotiate(stressed))
}

// stress negotiates, many at a time, and finds nothing left.
func stress(t testing.TB, before *leftovers, server, client *ASA, negotiations int, real bool) {
	t.Helper()
	before.fires(t, server, client, real)
	before.none(t)

	negotiate := func(n int) {
		t.Helper()
		stop := serve(t.Context(), server, stressListeners, respond)
		start := time.Now()
		err := pool(t.Context(), stressInitiators, n, func(ctx context.Context, i int) error {
			return initiate(ctx, client, int64(i))
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

	for _, a := range []*ASA{server, client} {
		dropped := a.g.Snapshot().Dropped
		delete(dropped, ReasonOwn.String())
		require.Empty(t, dropped)
	}
}

func TestStressMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, time.Millisecond)
		stress(t, newLeftovers(server, client), server, client, scaled(stressNegotiations), false)
	})
}

// A negotiation with a peer that is not known yet takes four round trips:
// discovery and the connection that brings its answer are two, the connection
// for the request and its answer two more.
func TestStressColdNegotiation(t *testing.T) {
	for _, delay := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := memoryPair(t, delay)
				stop := serve(t.Context(), server, 1, respond)
				synctest.Wait()
				timed := func() time.Duration {
					start := time.Now()
					require.NoError(t, initiate(t.Context(), client, 0))
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
func discoverAgain(t testing.TB, server, client *ASA, times int) {
	t.Helper()
	stop := serve(t.Context(), server, 1, respond)
	var slowest time.Duration
	require.True(t, soonTrue(func() bool { return server.g.objectives.backlogOf(stressed.Name).listening() }))
	for i := range times {
		start := time.Now()
		found, err := client.Discover(t.Context(), stressed, 0, DiscoverOptions{First: true, Flush: true})
		require.NoError(t, err)
		require.Len(t, found, 1, "number %d", i)
		slowest = max(slowest, time.Since(start))
	}
	t.Logf("%d discoveries with %d messages, the slowest took %v",
		times, client.g.Snapshot().Sent["M_DISCOVERY"], slowest)
	require.NoError(t, stop())
}

func TestStressDiscoveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, time.Millisecond)
		before := newLeftovers(server, client)
		discoverAgain(t, server, client, stressDiscoveries)
		require.EqualValues(t, stressDiscoveries, client.g.Snapshot().Sent["M_DISCOVERY"])
		before.none(t)
	})
}

// openAtOnce has many sessions between two ASAs go on at the same time. Each
// carries numbers of its own, in an order that has nothing to do with the
// order in which they were opened.
func openAtOnce(t testing.TB, server, client *ASA, sessions int) {
	t.Helper()
	ctx := t.Context()
	const rounds = 3
	var open sync.WaitGroup // until all sessions are
	open.Add(sessions)
	stop := serve(ctx, server, sessions, func(ctx context.Context, s *Session, o Objective) error {
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
	opened := make([]*Session, sessions)
	require.NoError(t, pool(ctx, stressInitiators, sessions, func(ctx context.Context, i int) error {
		o := stressed
		o.Value = i
		var err error
		opened[i], err = client.OpenSession(ctx, o, nil, 0)
		return err
	}))
	open.Wait()
	for _, a := range []*ASA{server, client} {
		require.Equal(t, sessions, len(a.g.Snapshot().Sessions), "sessions of the %s", a.name)
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
		server, client := memoryPair(t, time.Millisecond)
		before := newLeftovers(server, client)
		openAtOnce(t, server, client, stressSessions)
		before.none(t)
	})
}

// Several goroutines listen: whoever has waited longest gets the next request,
// each gets one of them, and all wake up at the end.
func TestStressListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, time.Millisecond)
		before := newLeftovers(server, client)
		var mu sync.Mutex
		taken := make(map[any]int)
		first := make(map[int]bool)
		var all sync.WaitGroup
		for k := range stressListeners {
			all.Go(func() {
				for {
					s, o, err := server.ListenNegotiate(t.Context(), stressed)
					if err != nil {
						assert.ErrorIs(t, err, ErrStopped)
						return
					}
					mu.Lock()
					taken[o.Value]++
					if len(taken) <= stressListeners {
						first[k] = true
					}
					mu.Unlock()
					time.Sleep(time.Second)
					assert.NoError(t, s.EndNegotiate(true, ""))
				}
			})
		}
		synctest.Wait()
		requests := stressListeners * 10
		start := time.Now()
		require.NoError(t, pool(t.Context(), requests, requests, func(ctx context.Context, i int) error {
			return initiate(ctx, client, int64(10*i)) // accepted, a second later
		}))
		require.Less(t, time.Since(start), 11*time.Second, "all of them work all the time")
		synctest.Wait() // until all listen again
		require.NoError(t, server.StopNegotiate(stressed))
		all.Wait()
		require.Len(t, taken, requests)
		for value, times := range taken {
			require.Equal(t, 1, times, "request %v", value)
		}
		require.Len(t, first, stressListeners, "each waited, and got one of the first")
		before.none(t)
	})
}
