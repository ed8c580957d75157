package bed

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// How much the stress tests do.
const (
	StressNegotiations = 20_000
	StressInitiators   = 64
	StressListeners    = 16
	StressSessions     = 100
	StressDiscoveries  = 200
)

// Scaled is less with -short.
func Scaled(n int) int {
	if !longtest.On() {
		return max(n/10, 2*StressListeners)
	}
	return n
}

// Stressed is the objective of the stress tests.
var Stressed = grasp.Objective{Name: "stress", Neg: true, LoopCount: grasp.DefaultLoopCount}

// StressPair registers an ASA on each of two planes, with the objective.
func StressPair(t testing.TB, serving, asking acp.Plane) (server, client *grasp.ASA) {
	t.Helper()
	server = NewASA(t, NewInstance(t, serving), "server")
	client = NewASA(t, NewInstance(t, asking), "client")
	for _, a := range []*grasp.ASA{server, client} {
		require.NoError(t, a.RegisterObj(Stressed, grasp.RegisterOptions{}))
	}
	return server, client
}

// MemoryPair is stressPair on a link in memory, in a bubble.
func MemoryPair(t testing.TB, delay time.Duration) (server, client *grasp.ASA) {
	t.Helper()
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{Delay: delay})
	server, client = StressPair(t, n.NewNode("server", l), n.NewNode("client", l))
	synctest.Wait() // until all goroutines are where they stay
	return server, client
}

// Pool calls f for each number below n, from a number of goroutines, until one
// call fails. It returns that error.
func Pool(ctx context.Context, workers, n int, f func(ctx context.Context, i int) error) error {
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
func want(step string, s *grasp.Session, o grasp.Objective, err error, goesOn bool, value int64) error {
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
	var declined *grasp.DeclinedError
	if !errors.As(err, &declined) || declined.Reason != stressReason(i) {
		return fmt.Errorf("%s: not declined as %q: %w", step, stressReason(i), err)
	}
	return nil
}

// Initiate is negotiation i on the side of the initiator.
func Initiate(ctx context.Context, a *grasp.ASA, i int64) error { return InitiateTo(ctx, a, nil, i) }

// InitiateTo is initiate with a peer that is known.
func InitiateTo(ctx context.Context, a *grasp.ASA, peer *grasp.Locator, i int64) error {
	kind, value := dealingOf(i)
	o := Stressed
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

// Respond is a negotiation on the side of the responder.
func Respond(ctx context.Context, s *grasp.Session, o grasp.Objective) error {
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

// Serve has a number of goroutines respond until stop is called, which lets
// them finish and returns their errors. (StopNegotiate would not do: who is
// between two calls of ListenNegotiate then does not know of it.)
func Serve(ctx context.Context, a *grasp.ASA, listeners int, f func(context.Context, *grasp.Session, grasp.Objective) error) (stop func() error) {
	listening, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	errs := make([]error, listeners)
	for k := range listeners {
		all.Go(func() {
			for {
				s, o, err := a.ListenNegotiate(listening, Stressed)
				switch {
				case errors.Is(err, grasp.ErrCancelled):
					return
				case errors.Is(err, grasp.ErrIDClash):
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
	// A request that comes before is refused.
	SoonTrue(func() bool {
		return slices.ContainsFunc(a.Instance().Snapshot().Objectives, func(o grasp.ObjectiveState) bool {
			return o.Name == Stressed.Name && o.Negotiating
		})
	})
	return func() error {
		cancel()
		all.Wait()
		return errors.Join(errs...)
	}
}

// SoonTrue polls until cond is true, in this goroutine: there may be no other.
func SoonTrue(cond func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !cond(); <-tick.C {
		if time.Since(start) > netbed.Patience {
			return false
		}
	}
	return true
}

func WaitForLink(t testing.TB, g *grasp.Instance) {
	t.Helper()
	netbed.Eventually(t, netbed.Patience, "the link is in use", func() bool { return len(g.Snapshot().Links) > 0 })
}

// DiscoveryLasts is how long a discovery takes by default, with the default loop
// count.
const DiscoveryLasts = 600 * time.Millisecond

// InParallel runs f, which is one operation, in some 64 goroutines.
func InParallel(b *testing.B, f func() error) {
	b.SetParallelism(max(64/runtime.GOMAXPROCS(0), 1))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// OneByOne runs f again and again.
func OneByOne(b *testing.B, f func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}
