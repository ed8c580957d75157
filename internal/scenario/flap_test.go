package scenario

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// flapTimeout is the timeout that requests give while links flap. A request may
// look for a peer, dial and wait for two answers, each for as long; and look
// and dial once more, should what is cached be out of date: seven times, in virtual
// time.
const (
	flapTimeout = time.Second
	flapLongest = 7 * flapTimeout
)

// outcomes counts how requests end.
type outcomes struct {
	longest time.Duration // that a request may take

	mu     sync.Mutex // guards all following fields
	ok     int
	failed map[grasp.ErrorCode]int
	late   []string
}

func (o *outcomes) add(r topology.Request, out topology.Reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if out.Took > o.longest {
		o.late = append(o.late, fmt.Sprintf("%s took %v: %s", r.Op, out.Took, out.Err))
	}
	switch {
	case out.Err != "":
		o.failed[out.Code]++
	case r.Op == topology.OpDiscover && len(out.Locators) == 0:
		o.failed[grasp.ErrNoDiscReply]++
	default:
		o.ok++
	}
}

// check checks that all requests ended in time, and those that failed with a
// code that says why: nobody answered, or the connection broke.
func (o *outcomes) check(t *testing.T) {
	t.Helper()
	assert.Empty(t, o.late)
	failed := 0
	for code, times := range o.failed {
		failed += times
		assert.Contains(t, []grasp.ErrorCode{
			grasp.ErrNoDiscReply, grasp.ErrNotFloodDisc, grasp.ErrSockErrNegRq, grasp.ErrSockErrNegStep,
			grasp.ErrSockErrSynRq, grasp.ErrNoNegReply, grasp.ErrNoSynchReply, grasp.ErrNoPeer, grasp.ErrNoListener,
			grasp.ErrSockErr, // of a discovery while no link could send
		}, code, "%v, %d times", code, times)
	}
	t.Logf("%d requests succeeded, %d failed: %v", o.ok, failed, o.failed)
}

// flapping takes links down and up, one at a time and for random times, while
// the ends negotiate, synchronize, discover and flood, again and again.
func flapping(t *testing.T, b *topology.Bed, flaps int, r *rand.Rand, longest time.Duration) *outcomes {
	t.Helper()
	pause := func() time.Duration { return time.Duration(r.Int64N(int64(longest))) }
	from, to := b.On[b.From], b.On[b.To]
	to.Offer("money")
	to.Provide("news", 7)
	from.Flood("flooded", 0, 6) // which registers it
	from.Call(topology.Request{Op: topology.OpNegotiate, Objective: "money", Value: 2})
	before := make([]int, b.Nodes)
	for i, n := range b.On {
		before[i] = n.Call(topology.Request{Op: topology.OpSnapshot}).Goroutines
	}

	all := &outcomes{longest: flapLongest, failed: make(map[grasp.ErrorCode]int)}
	if b.Real {
		all.longest += netbed.Patience // the machine may be busy
	}
	stop := make(chan struct{})
	var working sync.WaitGroup
	for _, r := range []topology.Request{
		{Op: topology.OpNegotiate, Objective: "money", Value: 100, Timeout: flapTimeout},
		{Op: topology.OpNegotiate, Objective: "money", Value: 50, Timeout: flapTimeout},
		{Op: topology.OpSynchronize, Objective: "news", Timeout: flapTimeout},
		{Op: topology.OpDiscover, Objective: "money", Timeout: flapTimeout, First: true},
	} {
		working.Go(func() {
			for !over(stop, longest/20) {
				all.add(r, from.Call(r))
			}
		})
	}
	floods := 0
	working.Go(func() {
		for ; !over(stop, longest/20); floods++ {
			out := to.Call(topology.Request{Op: topology.OpFlood, Objective: "flooded", Value: int64(floods), TTL: time.Hour})
			if out.Err != "" {
				assert.Equal(t, grasp.ErrSockErr, out.Code, out.Err) // no link left
			}
		}
	})
	for i := range flaps {
		link := i % len(b.Links)
		b.SetLink(link, false)
		over(stop, pause())
		b.SetLink(link, true)
		over(stop, pause())
	}
	close(stop)
	working.Wait()
	t.Logf("%d flaps, %d floods", flaps, floods)
	all.check(t)

	// All is as before: requests succeed, and nothing has piled up.
	b.Eventually(t, 10*time.Second, "all works again", func() bool {
		r := topology.Request{Op: topology.OpNegotiate, Objective: "money", Value: 100, Timeout: flapTimeout}
		return from.Call(r).Value == 50
	})
	start := time.Now()
	b.Eventually(t, 10*time.Second, "all links are in use", b.Ready)
	t.Logf("all links in use after %v more", time.Since(start))
	var last time.Time
	b.Eventually(t, 10*time.Second, "a flood gets through", func() bool {
		// The kernel may lose what is sent on a link that has just come up.
		if time.Since(last) > 500*time.Millisecond {
			to.Flood("flooded", -1, 6)
			last = time.Now()
		}
		got := from.Flooded("flooded")
		return len(got) == 1 && got[0] == -1 // one value, however many floods
	})
	b.Eventually(t, 70*time.Second, "sessions and connections are gone", func() bool {
		for i, n := range b.On {
			out := n.Call(topology.Request{Op: topology.OpSnapshot})
			s := out.Snapshot
			if len(s.Sessions) > 0 || s.Streams > 0 || out.Goroutines > before[i]+3 {
				return false
			}
		}
		return true
	})
	for _, n := range b.On {
		s := n.Snapshot()
		var found []grasp.Locator
		for _, l := range s.Locators {
			found = append(found, l.Locator)
		}
		assert.LessOrEqual(t, len(topology.Routed(found)), 2, "one for each objective")
		assert.LessOrEqual(t, len(s.Floods), 1)
		assert.Zero(t, s.Dropped[grasp.ReasonIDClash])
	}
	return all
}

// over waits until stop is closed, or for d.
func over(stop <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-stop:
		return true
	case <-timer.C:
		return false
	}
}

const flapCount = 100

// In a ring of which one link at a time is down there is always a path.
func TestFlappingInMemory(t *testing.T) {
	for _, longest := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second} {
		t.Run(longest.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := topology.Memory(t, topology.Ring(6), memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{})
				r := rand.New(rand.NewPCG(1, uint64(longest)))
				all := flapping(t, b.Bed, flapCount, r, longest)
				failed := 0
				for _, times := range all.failed {
					failed += times
				}
				require.Zero(t, failed, "there was a path")
			})
		})
	}
}

// In a chain every flap cuts the only path.
func TestFlappingChainInMemory(t *testing.T) {
	for _, longest := range []time.Duration{200 * time.Millisecond, 2 * time.Second} {
		t.Run(longest.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := topology.Memory(t, topology.Chain(4), memory.LinkConfig{Delay: time.Millisecond}, grasp.Config{})
				r := rand.New(rand.NewPCG(1, uint64(longest)))
				all := flapping(t, b.Bed, flapCount, r, longest)
				require.NotZero(t, all.ok)
			})
		})
	}
}
