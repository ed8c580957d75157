package grasp

import (
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

	"github.com/fxamacker/cbor/v2"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/outlet"
	"github.com/go-grasp/grasp/internal/wire"
	"github.com/stretchr/testify/require"
)

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
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer synctest.Wait()
		defer close(end)
		wait := func() { <-end }
		nobody := stuck{end: end}
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		peer, err := n.NewNode("peer", link).Open()
		require.NoError(t, err)
		defer peer.Close()
		a := newASA(t, newInstance(t, n.NewNode("A", link), func(c *Config) {
			c.LogRate = math.MaxInt32
			c.Dialogue = Dialogue{Diagnosing: true, Output: nobody}
			c.Logger = slog.New(nobody)
			c.Trace = func(Event) { wait() }
		}), "A")
		a.g.Observe(Observer{Words: func(string, string) { wait() }})
		var told atomic.Int32
		a.g.Observe(Observer{Trace: func(Event) { told.Add(1) }})
		go a.Tprint("an ASA may wait for it")
		a.g.log.Warn("nobody reads it")

		const more = 100
		start := time.Now()
		a.g.handleDatagram([]byte{0xff}, acp.Origin{}, time.Now())
		synctest.Wait() // that is on its way
		for i := range outlet.MaxItems + more {
			a.g.handleDatagram([]byte{0xff}, acp.Origin{}, time.Now())
			if i%1000 == 0 {
				synctest.Wait() // who is quick keeps up
			}
		}
		flood, err := cbor.Marshal([]any{9, 1, peer.Addr().AsSlice(), 0, []any{[]any{"EX1", 5, 6, "heard"}, []any{}}})
		require.NoError(t, err)
		require.NoError(t, peer.Send(peer.Links()[0].Index, flood))
		synctest.Wait()
		got, err := a.GetFlood(Objective{Name: "EX1", Synch: true})
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Zero(t, time.Since(start), "nothing waits")
		synctest.Wait()
		require.EqualValues(t, outlet.MaxItems+more+2, told.Load(), "others are told")
		// Of the events and of the lines that many, and of the events the flood.
		require.EqualValues(t, 2*more+1, a.g.Snapshot().Dropped[ReasonSlowReceiver])

		require.NoError(t, a.g.Close())
		require.LessOrEqual(t, time.Since(start), time.Second)
	})
}

// Nothing is spent on events that nobody observes.
func TestUnobservedCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newInstance(t, memory.NewNetwork(1).NewNode("quiet"))
		m := &wire.Noop{}
		require.Zero(t, testing.AllocsPerRun(100, func() {
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
			g := newInstance(b, n.NewNode("x"))
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

// Kinds and reasons have names.
func TestNamesOfKindsAndReasons(t *testing.T) {
	names := make(map[string]bool)
	for r := ReasonMalformed; r < reasonCount; r++ {
		require.NotEqual(t, "unknown", r.String(), "reason %d", r)
		require.False(t, names[r.String()], "%v", r)
		names[r.String()] = true
	}
	require.Equal(t, "unknown", Reason(0).String())
	require.Equal(t, "unknown", reasonCount.String())
	for k, want := range map[EventKind]string{Sent: "sent", Received: "received", Relayed: "relayed", Dropped: "dropped", 0: "unknown", 99: "unknown"} {
		require.Equal(t, want, k.String())
	}
}
