package grasp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/outlet"
	"github.com/go-grasp/grasp/internal/wire"
)

// Observers are told what happens from when they come until they go, beside
// Config.Trace and whatever is printed.
func TestObserve(t *testing.T) {
	inBed(t, func(b *bed) {
		var out bytes.Buffer
		var configured, first, second []string
		trace := func(to *[]string) func(Event) {
			return func(e Event) { *to = append(*to, e.Kind.String()+" "+e.Message+" "+e.Objective) }
		}
		a := b.other("A", func(c *Config) {
			c.Trace = trace(&configured)
			c.Dialogue.Output = &out
		})
		stop := a.g.Observe(Observer{
			Trace: trace(&first),
			Words: func(asa, text string) { first = append(first, asa+" said "+text) },
		})
		stopSecond := a.g.Observe(Observer{Words: func(asa, text string) { second = append(second, text) }})
		defer a.g.Observe(Observer{Trace: trace(new([]string))})()

		a.g.takeMulticast([]byte{0xff}, acp.Origin{})
		a.Tprint("hello", 1, "\x1b[2J")
		a.Ttprint("not in test mode")
		a.g.DumpAll(true)
		stop()
		stop()
		a.Tprint("later")
		stopSecond()
		a.Tprint("last")
		synctest.Wait()

		require.Equal(t, []string{"dropped  "}, configured)
		require.Equal(t, []string{"dropped  ", "A said hello 1 \ufffd[2J"}, first)
		require.Equal(t, []string{"hello 1 \ufffd[2J", "later"}, second)
		require.Contains(t, out.String(), "A: last\n")
	})
}

// Who prints nothing can be observed, and why messages were dropped are no
// words of an ASA.
func TestObserveSilent(t *testing.T) {
	a, out := printing(t, Dialogue{Silent: true, Testing: true, Diagnosing: true})
	var words []string
	a.g.Observe(Observer{Words: func(asa, text string) { words = append(words, asa+": "+text) }})
	a.g.takeMulticast([]byte{0xff}, acp.Origin{})
	a.Tprint("aloud")
	a.Ttprint("in test mode")
	a.g.flush()
	require.Equal(t, []string{"Briggs: aloud", "Briggs: in test mode"}, words)
	require.Empty(t, out.String())
}

func TestDone(t *testing.T) {
	n := memory.NewNetwork(1)
	g, err := New(Config{Plane: n.NewNode("x", n.NewLink(memory.LinkConfig{}))})
	require.NoError(t, err)
	a := newASA(t, g, "A")
	registered(t, syn("EX1", nil), a)
	require.NoError(t, a.Flood(0, TaggedObjective{Objective: syn("EX1", 1)}))
	select {
	case <-g.Done():
		require.Fail(t, "it is not closed")
	default:
	}
	require.NoError(t, g.Close())
	<-g.Done()
	require.Equal(t, map[string]uint64{"M_FLOOD": 1}, g.Snapshot().Sent, "the counters of a closed instance can be read")
}

// What is observed has happened: a flood that was received can be read, and a
// response is in the cache.
func TestObservedHasHappened(t *testing.T) {
	inBed(t, func(b *bed) {
		var read, known int
		stop := b.g.Observe(Observer{Trace: func(e Event) {
			switch {
			case e.Kind == Received && e.Message == "M_FLOOD":
				if got, err := b.asa.GetFlood(syn(e.Objective, nil)); err == nil && len(got) == 1 {
					read++
				}
			case e.Kind == Received && e.Message == "M_RESPONSE":
				known += len(b.g.Snapshot().Locators)
			}
		}})
		for i := range 1000 {
			b.peer.multicast(arr{9, i, b.peer.addr(), 0, arr{arr{fmt.Sprint("EX", i), 5, 6, i}, arr{}}})
		}
		b.learn(b.peer, "EX1", 60000, b.peer.option())
		stop()
		require.Equal(b, 1000, read)
		require.Equal(b, 1, known)
	})
}

// stuck is a writer and a handler that nobody ever reads. Its channel ends that
// with the test.
type stuck struct {
	slog.Handler
	end <-chan struct{}
}

func (s stuck) Write(p []byte) (int, error) { <-s.end; return len(p), nil }

func (s stuck) Enabled(context.Context, slog.Level) bool { return true }

func (s stuck) Handle(context.Context, slog.Record) error { <-s.end; return nil }

// Whoever observes, prints or logs may be stuck: messages go on as before, what
// is lost is counted, and Close does not wait for long.
func TestStuckReceivers(t *testing.T) {
	inBed(t, func(b *bed) {
		end := make(chan struct{})
		defer synctest.Wait()
		defer close(end)
		wait := func() { <-end }
		nobody := stuck{end: end}
		a := b.other("A", func(c *Config) {
			c.LogRate = math.MaxInt32
			c.Dialogue = Dialogue{Diagnosing: true, Output: nobody}
			c.Logger = slog.New(nobody)
			c.Trace = func(Event) { wait() }
		})
		a.g.Observe(Observer{Words: func(string, string) { wait() }})
		var told atomic.Int32
		a.g.Observe(Observer{Trace: func(Event) { told.Add(1) }})
		go a.Tprint("an ASA may wait for it")
		a.g.log.Warn("nobody reads it")

		const more = 100
		start := time.Now()
		a.g.takeMulticast([]byte{0xff}, acp.Origin{})
		synctest.Wait() // that is on its way
		for i := range outlet.MaxItems + more {
			a.g.takeMulticast([]byte{0xff}, acp.Origin{})
			if i%1000 == 0 {
				synctest.Wait() // who is quick keeps up
			}
		}
		b.peer.multicast(arr{9, 1, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "heard"}, arr{}}})
		got, err := a.GetFlood(syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, got, 1)
		require.Zero(b, time.Since(start), "nothing waits")
		synctest.Wait()
		require.EqualValues(b, outlet.MaxItems+more+2, told.Load(), "others are told")
		// Of the events and of the lines that many, and of the events the flood.
		require.EqualValues(b, 2*more+1, a.g.Snapshot().Dropped[ReasonSlowReceiver.String()])

		require.NoError(b, a.g.Close())
		require.LessOrEqual(b, time.Since(start), time.Second)
	})
}

// Nothing is spent on events that nobody observes.
func TestUnobservedCostsNothing(t *testing.T) {
	inBed(t, func(b *bed) {
		g := instanceWith(b, b.net.NewNode("quiet"))
		m := &wire.Noop{}
		require.Zero(b, testing.AllocsPerRun(100, func() {
			g.trace(Received, m, nil, netip.AddrPort{}, 1)
			g.drop(Event{Reason: ReasonOwn})
		}))
	})
}

func BenchmarkTrace(b *testing.B) {
	n := memory.NewNetwork(1)
	m := &wire.Noop{}
	raw := make([]byte, 120)
	for _, observed := range []bool{false, true} {
		b.Run(fmt.Sprint("observed=", observed), func(b *testing.B) {
			g := instanceWith(b, n.NewNode("x"))
			if observed {
				g.Observe(Observer{Trace: func(Event) {}})
			}
			b.ReportAllocs()
			for b.Loop() {
				g.trace(Received, m, raw, netip.AddrPort{}, 1)
			}
		})
	}
}

// Events are words for programs, too.
func TestEventAsJSON(t *testing.T) {
	for _, e := range []Event{
		{Kind: Dropped, Reason: ReasonTooDeep, Message: "M_FLOOD", Err: errors.New("too deep"), Raw: []byte{1}},
		{Kind: Received, Message: "M_FLOOD", Peer: netip.MustParseAddrPort("[fe80::1%2]:7017")},
	} {
		text, err := json.Marshal(e)
		require.NoError(t, err)
		var got map[string]any
		require.NoError(t, json.Unmarshal(text, &got))
		require.Equal(t, e.Kind.String(), got["Kind"])
		if e.Err != nil {
			require.Equal(t, "too deep", got["Reason"])
			require.Equal(t, "too deep", got["Err"])
		}
	}
	for r := range reasonCount {
		text, err := r.MarshalText()
		require.NoError(t, err)
		require.Equal(t, r == 0, len(text) == 0)
		var back Reason
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, r, back)
	}
	for k := range Dropped + 1 {
		text, err := k.MarshalText()
		require.NoError(t, err)
		var back EventKind
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, k, back)
	}
	require.Error(t, new(Reason).UnmarshalText([]byte("because")))
	require.Error(t, new(EventKind).UnmarshalText([]byte("eaten")))
}
