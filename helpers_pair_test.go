package grasp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/netbed"
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

func waitForLink(t testing.TB, g *Instance) {
	t.Helper()
	netbed.Eventually(t, 10*time.Second, "the link is in use", func() bool { return len(g.Snapshot().Links) > 0 })
}

// DiscoveryLasts is how long a discovery takes by default, with the default loop
// count.
const DiscoveryLasts = 600 * time.Millisecond
