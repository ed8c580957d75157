package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// patienceOnWires bounds the wait for what gets through in the end, on a machine that
// may be busy.
const patienceOnWires = 2 * time.Minute

// rounds is how often TestLossyWires does everything. One takes some three seconds
// where a tenth is lost, nearly all of it waiting for TCP.
var rounds = flag.Int("rounds", 1, "how many rounds TestLossyWires takes")

// TestLossyWires: behind a relay, over wires that lose, repeat, delay and reorder
// frames, everything that is asked for comes in the end, is right, and comes once.
func TestLossyWires(t *testing.T) {
	for _, c := range []struct {
		name    string
		trouble netbed.Trouble
		long    bool
	}{
		{"Lossy", netbed.Trouble{Lose: 0.1, Repeat: 0.1, Reorder: 0.1, Delay: time.Millisecond, Jitter: 5 * time.Millisecond}, false},
		{"AllTwice", netbed.Trouble{Repeat: 1}, false},
		{"Disorder", netbed.Trouble{Reorder: 0.5}, false},
		{"VeryLossy", netbed.Trouble{Lose: 0.15, Repeat: 0.25, Reorder: 0.25, Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond, Wholly: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long {
				longtest.Need(t)
			}
			if !netbed.Enter(t) {
				return
			}
			// Without trouble until there are addresses.
			var wires []*netbed.Wire
			asking, giving := loopbackULA(t, func(t testing.TB, a *netbed.Node, nameA string, b *netbed.Node, nameB string) {
				wires = append(wires, netbed.NewWire(t, uint64(len(wires)), a, nameA, b, nameB, netbed.Trouble{}))
			})
			for _, n := range []*topology.Node{asking, giving} {
				within(t, "there is a link", func() bool { return len(n.Snapshot().Links) > 0 })
			}
			for _, w := range wires {
				w.Set(c.trouble)
			}
			acrossLossyWires(t, asking, giving, *rounds)
			var all netbed.WireCounts
			for _, w := range wires {
				n := w.Counts()
				all.Frames += n.Frames
				all.Lost += n.Lost
				all.Repeated += n.Repeated
				all.Overtaken += n.Overtaken
			}
			t.Logf("on both wires: %+v", all)
			assert.Equal(t, c.trouble.Lose > 0, all.Lost > 0, "frames were lost")
			assert.Equal(t, c.trouble.Repeat > 0, all.Repeated > 0, "frames were repeated")
			assert.Equal(t, c.trouble.Reorder > 0, all.Overtaken > 0, "frames were overtaken")
		})
	}
}

// acrossLossyWires discovers, negotiates, synchronizes and floods several times, and
// logs what came of the first calls.
func acrossLossyWires(t *testing.T, asking, giving *topology.Node, times int) {
	calls := make(map[topology.Op]int)
	call := func(r topology.Request) (out topology.Reply) {
		t.Helper()
		netbed.Eventually(t, patienceOnWires, fmt.Sprint(r.Op, " succeeds"), func() bool {
			calls[r.Op]++
			out = asking.Call(r)
			return out.Err == "" && (r.Op != topology.OpDiscover || len(out.Locators) > 0)
		})
		return out
	}
	for i := range times {
		offered, provided, flooded := fmt.Sprint("offered", i), fmt.Sprint("provided", i), fmt.Sprint("flooded", i)
		giving.Offer(offered)
		giving.Provide(provided, int64(i))
		found := call(topology.Request{Op: topology.OpDiscover, Objective: offered, LoopCount: 2, First: true, Timeout: 20 * time.Second})
		require.Len(t, found.Locators, 1)
		require.True(t, found.Locators[0].Diverted)
		require.Equal(t, giving.At().String(), found.Locators[0].String())
		agreed := call(topology.Request{Op: topology.OpNegotiate, Objective: offered, Value: int64(100 * i), Timeout: 20 * time.Second})
		require.EqualValues(t, 50*i, agreed.Value)
		// What is not known yet is discovered by the same call.
		synched := call(topology.Request{Op: topology.OpSynchronize, Objective: provided, LoopCount: 2, Timeout: 20 * time.Second})
		require.EqualValues(t, i, synched.Value)
		// Nobody repeats a flood but its source.
		netbed.Eventually(t, patienceOnWires, "the flood is heard", func() bool {
			calls[topology.OpFlood]++
			giving.Flood(flooded, int64(i), 3)
			for wait := time.Now().Add(250 * time.Millisecond); time.Now().Before(wait); time.Sleep(5 * time.Millisecond) {
				if len(asking.Flooded(flooded)) > 0 {
					return true
				}
			}
			return false
		})
		require.Equal(t, []int64{int64(i)}, asking.Flooded(flooded))
	}
	t.Logf("calls until each of %d succeeded: %v", times, calls)
	for _, n := range []*topology.Node{asking, giving} {
		netbed.Eventually(t, patienceOnWires, "no session is left", func() bool {
			s := n.Snapshot()
			return len(s.Sessions) == 0 && s.Streams == 0
		})
	}
}

// wired is two instances in this process with a wire between them.
func wired(t *testing.T) (w *netbed.Wire, asking, giving *grasp.ASA) {
	w = netbed.NewWire(t, 1, nil, "va0", nil, "va1", netbed.Trouble{})
	return w, bed.NewASA(t, newInstanceOn(t, "va0"), "asking"), bed.NewASA(t, newInstanceOn(t, "va1"), "giving")
}

// Section 2.8.8: M_WAIT has the peer wait beyond its timeout, and gets through a lossy
// wire as everything does.
func TestWaitOnALossyWire(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	w, asking, giving := wired(t)
	o := bed.Neg("EX1", nil)
	require.NoError(t, asking.RegisterObj(o, grasp.RegisterOptions{}))
	require.NoError(t, giving.RegisterObj(o, grasp.RegisterOptions{}))
	const timeout = time.Second
	go func() {
		for {
			s, _, err := giving.ListenNegotiate(t.Context(), o)
			if err != nil {
				return
			}
			_ = s.NegotiateWait(patienceOnWires)
			time.Sleep(2 * timeout)
			_ = s.EndNegotiate(true, "")
		}
	}()
	w.Set(netbed.Trouble{Lose: 0.1, Repeat: 0.2, Reorder: 0.2, Jitter: 5 * time.Millisecond})
	calls := 0
	netbed.Eventually(t, patienceOnWires, "the negotiation succeeds", func() bool {
		calls++
		start := time.Now()
		_, _, err := asking.ReqNegotiate(t.Context(), o, nil, timeout)
		if err != nil {
			t.Log(err)
			return false
		}
		require.GreaterOrEqual(t, time.Since(start), 2*timeout, "without the peer's having had the time it asked for")
		return true
	})
	t.Logf("after %d calls: %+v", calls, w.Counts())
}

// Timers end sessions when nothing comes any more, on both sides, though no carrier is
// lost; and once something comes again, all is as before.
func TestSilentWire(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	w, asking, giving := wired(t)
	o := bed.Neg("EX1", nil)
	require.NoError(t, asking.RegisterObj(o, grasp.RegisterOptions{}))
	require.NoError(t, giving.RegisterObj(o, grasp.RegisterOptions{}))
	const timeout = time.Second
	served := make(chan error, 10)
	go func() {
		for {
			s, o, err := giving.ListenNegotiate(t.Context(), o)
			if err != nil {
				return
			}
			// Longer, so that the wire is silent before this ends, on a busy machine, too.
			s, _, err = s.NegotiateStep(t.Context(), o, 3*timeout)
			if err == nil {
				err = s.EndNegotiate(true, "")
			}
			served <- err
		}
	}()
	opened := func() (s *grasp.Session) {
		netbed.Eventually(t, patienceOnWires, "a session is open", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var err error
			s, _, err = asking.ReqNegotiate(ctx, o, nil, 0)
			return err == nil
		})
		return s
	}
	s := opened()
	w.Set(netbed.Trouble{Lose: 1, Wholly: true})
	_, _, err := s.NegotiateStep(t.Context(), o, timeout)
	bed.IsCode(t, err, grasp.ErrNoNegReply)
	var timed net.Error
	require.True(t, errors.As(err, &timed) && timed.Timeout(), "%v", err)
	bed.IsCode(t, <-served, grasp.ErrNoNegReply)
	for _, a := range []*grasp.ASA{asking, giving} {
		require.Empty(t, a.Instance().Snapshot().Sessions)
		require.Len(t, a.Instance().Snapshot().Links, 1)
	}
	found, err := asking.Discover(t.Context(), o, timeout, grasp.DiscoverOptions{Flush: true})
	require.NoError(t, err)
	require.Empty(t, found)

	w.Set(netbed.Trouble{})
	s = opened()
	_, _, err = s.NegotiateStep(t.Context(), o, patience)
	require.NoError(t, err)
	require.NoError(t, <-served)
}
