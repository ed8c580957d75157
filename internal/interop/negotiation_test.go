//go:build linux

package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
)

const (
	short = time.Second      // a timeout that is to expire
	long  = 20 * time.Second // a timeout that is not
)

// reasons of declines.
var reasons = []string{"Insufficient funds", "Недостаточно средств", "½ 不够 🤑 \u0000", ""}

// encodedNZD is a value in Tag 24.
func encodedNZD(t *testing.T, n int64) grasp.EncodedCBOR {
	t.Helper()
	raw, err := cbor.Marshal(nzd(n))
	require.NoError(t, err)
	return raw
}

// scenario is a negotiation, or some of a kind, between an agent a that asks
// and an agent b that listens.
type scenario struct {
	name string
	run  func(t *testing.T, a, b agent)
}

// scenarios are the negotiations in which both sides can have either role.
var scenarios = []scenario{
	{"AcceptedAtOnce", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		require.Equal(t, ex3(nzd(100)), o)
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(100))
		require.Equal(t, grasp.ErrNoSession, tb.end(t, true, ""), "A-38")
	}},
	{"AcceptedByInitiator", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		pb := tb.step(with(o, nzd(50)), long)
		ta, _ := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.end(t, true, ""))
		accepted(t, pb, nzd(50))
	}},
	{"AcceptedAfterSteps", func(t *testing.T, a, b agent) {
		o := ex3(nzd(100))
		o.LoopCount = 20
		pa := a.ask(o, long)
		tb, o := heard(t, b)
		last := o.LoopCount
		for i := range int64(3) {
			pb := tb.step(with(o, nzd(50+i)), long)
			var ta talk
			ta, o = offered(t, pa, nzd(50+i))
			require.LessOrEqual(t, o.LoopCount, last)
			pa = ta.step(with(o, nzd(90-i)), long)
			last = o.LoopCount
			tb, o = offered(t, pb, nzd(90-i))
			require.LessOrEqual(t, o.LoopCount, last)
			last = o.LoopCount
		}
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(88))
	}},
	{"Declined", func(t *testing.T, a, b agent) {
		for _, reason := range reasons {
			pa := a.ask(ex3(nzd(100)), long)
			tb, _ := heard(t, b)
			require.Equal(t, grasp.OK, tb.end(t, false, reason))
			require.Equal(t, reason, failed(t, pa, grasp.ErrDeclined).reason)
		}
	}},
	{"DeclinedByInitiator", func(t *testing.T, a, b agent) {
		for _, reason := range reasons {
			pa := a.ask(ex3(nzd(100)), long)
			tb, o := heard(t, b)
			pb := tb.step(with(o, nzd(1)), long)
			ta, _ := offered(t, pa, nzd(1))
			require.Equal(t, grasp.OK, ta.end(t, false, reason))
			require.Equal(t, reason, failed(t, pb, grasp.ErrDeclined).reason)
		}
	}},
	{"DeclinedAfterSteps", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		pb := tb.step(with(o, nzd(1)), long)
		ta, o := offered(t, pa, nzd(1))
		pa = ta.step(with(o, nzd(90)), long)
		tb, _ = offered(t, pb, nzd(90))
		require.Equal(t, grasp.OK, tb.end(t, false, reasons[1]))
		require.Equal(t, reasons[1], failed(t, pa, grasp.ErrDeclined).reason)
	}},
	{"LoopExhausted", func(t *testing.T, a, b agent) {
		exhausted, _ := exhaust(t, a, b, long)
		require.Equal(t, grasp.OK, exhausted.talk.end(t, false, "loop count exhausted"))
		require.Equal(t, "loop count exhausted", failed(t, exhausted.peer, grasp.ErrDeclined).reason)
	}},
	{"LoopExhaustedSilently", func(t *testing.T, a, b agent) {
		exhausted, _ := exhaust(t, a, b, short)
		failed(t, exhausted.peer, grasp.ErrNoNegReply)
	}},
	{"Wait", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		tb, _ := heard(t, b)
		require.Equal(t, grasp.OK, tb.wait(t, long))
		time.Sleep(2 * short) // what the wait is for
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(100))
	}},
	{"WaitInSteps", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		tb, o := heard(t, b)
		require.Equal(t, grasp.OK, tb.wait(t, 2*short))
		time.Sleep(short / 2)
		require.Equal(t, grasp.OK, tb.wait(t, long), "again")
		time.Sleep(2 * short)
		pb := tb.step(with(o, nzd(50)), short)
		ta, o := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.wait(t, long), "by the initiator, A-36")
		time.Sleep(2 * short)
		pa = ta.step(with(o, nzd(60)), long)
		tb, _ = offered(t, pb, nzd(60))
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(60))
	}},
	{"WaitExpires", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, _ := heard(t, b)
		start := time.Now()
		require.Equal(t, grasp.OK, tb.wait(t, short))
		failed(t, pa, grasp.ErrNoNegReply)
		require.InDelta(t, short.Seconds(), time.Since(start).Seconds(), 0.5)
	}},
	{"Silence", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		heard(t, b)
		failed(t, pa, grasp.ErrNoNegReply)
	}},
	{"DryRun", func(t *testing.T, a, b agent) {
		o := ex3(nzd(100))
		o.Dry = true
		pa := a.ask(o, long)
		tb, o := heard(t, b)
		require.True(t, o.Dry)
		pb := tb.step(with(o, nzd(50)), long)
		ta, o := offered(t, pa, nzd(50))
		require.True(t, o.Dry)
		pa = ta.step(with(o, nzd(60)), long)
		tb, o = offered(t, pb, nzd(60))
		require.True(t, o.Dry)
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(60))
	}},
	{"Tag24", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(encodedNZD(t, 100)), long)
		tb, o := heard(t, b)
		require.Equal(t, encodedNZD(t, 100), o.Value)
		pb := tb.step(with(o, encodedNZD(t, 50)), long)
		ta, o := offered(t, pa, encodedNZD(t, 50))
		pa = ta.step(with(o, encodedNZD(t, 60)), long)
		tb, o = offered(t, pb, encodedNZD(t, 60))
		tb.step(with(o, encodedNZD(t, 55)), long)
		ta, _ = offered(t, pa, encodedNZD(t, 55))
		require.Equal(t, grasp.OK, ta.end(t, true, ""))
	}},
	{"Invalid", func(t *testing.T, a, b agent) {
		for _, info := range []any{"Surprise! ☠", []byte{1, 2, 3}, []any{int64(5), nil}} {
			pa := a.ask(ex3(nzd(100)), long)
			tb, _ := heard(t, b)
			require.Equal(t, grasp.OK, tb.invalid(t, info))
			failed(t, pa, grasp.ErrNoValidStep)
			require.Equal(t, grasp.ErrNoSession, tb.end(t, false, ""))
		}
	}},
	{"InvalidByInitiator", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		pb := tb.step(with(o, nzd(50)), long)
		ta, _ := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.invalid(t, "Surprise! ☠"))
		failed(t, pb, grasp.ErrNoValidStep)
	}},
	{"Values", func(t *testing.T, a, b agent) {
		for _, v := range values {
			pa := a.ask(ex3(v), long)
			tb, o := heard(t, b)
			require.Equal(t, v, o.Value)
			pb := tb.step(o, long)
			ta, _ := offered(t, pa, v)
			require.Equal(t, grasp.OK, ta.end(t, true, ""))
			accepted(t, pb, v)
		}
	}},
	{"Sizes", func(t *testing.T, a, b agent) {
		for _, size := range []int{1170, 1198, 1199, 1200, 1201, 1202, 1424, 1440, 1500, 2020} {
			v := strings.Repeat("v", size-20) // and some twenty bytes around it
			pa := a.ask(ex3(v), long)
			tb, o := heard(t, b)
			require.Equal(t, v, o.Value)
			pb := tb.step(o, long)
			ta, o := offered(t, pa, v)
			pa = ta.step(o, long)
			tb, _ = offered(t, pb, v)
			require.Equal(t, grasp.OK, tb.end(t, false, v))
			require.Equal(t, v, failed(t, pa, grasp.ErrDeclined).reason)
		}
	}},
	{"Concurrently", func(t *testing.T, a, b agent) {
		// Three that a asks for and two that b asks for, all at once.
		type both struct {
			asking  <-chan outcome
			hearing talk
			o       grasp.Objective
		}
		var all []*both
		for i := range int64(5) {
			from, to := a, b
			if i%2 == 1 {
				from, to = b, a
			}
			n := &both{asking: from.ask(ex3(nzd(i)), long)}
			n.hearing, n.o = heard(t, to)
			require.Equal(t, nzd(i), n.o.Value)
			all = append(all, n)
		}
		var answers []<-chan outcome
		for i, n := range all {
			answers = append(answers, n.hearing.step(with(n.o, nzd(int64(10+i))), long))
		}
		for i := len(all) - 1; i >= 0; i-- {
			ta, o := offered(t, all[i].asking, nzd(int64(10+i)))
			all[i].asking = ta.step(with(o, nzd(int64(20+i))), long)
		}
		for i := range all {
			tb, _ := offered(t, answers[i], nzd(int64(20+i)))
			require.Equal(t, grasp.OK, tb.end(t, i%2 == 0, "no"))
		}
		for i, n := range all {
			if i%2 == 0 {
				accepted(t, n.asking, nzd(int64(20+i)))
			} else {
				failed(t, n.asking, grasp.ErrDeclined)
			}
		}
	}},
}

// whereGoAsks is for graspy as the listener only. It takes one segment for one
// message, and a step right behind a wait would be lost on it.
var whereGoAsks = []scenario{
	{"WaitThenStep", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		tb, o := heard(t, b)
		require.Equal(t, grasp.OK, tb.wait(t, long))
		pb := tb.step(with(o, nzd(50)), long)
		ta, _ := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.end(t, true, ""))
		accepted(t, pb, nzd(50))
	}},
}

// whereGraspyAsks is for graspy as the initiator only. It refuses half of the
// requests in a burst, whoever sends them.
var whereGraspyAsks = []scenario{
	{"Burst", func(t *testing.T, a, b agent) {
		var all []<-chan outcome
		for i := range int64(50) {
			all = append(all, a.ask(ex3(nzd(i)), long))
		}
		seen := make(map[any]bool)
		for range all {
			tb, o := heard(t, b)
			seen[o.Value.([]any)[1]] = true
			require.Equal(t, grasp.OK, tb.end(t, true, ""))
		}
		require.Len(t, seen, len(all))
		for i, pa := range all {
			accepted(t, pa, nzd(int64(i)))
		}
	}},
}

// values are values of every kind that graspy leaves as they are.
var values = []any{
	nil, true, false, int64(0), int64(-1), int64(1) << 40, -1.5, 0.1, "", "Ünïcode ☃",
	[]byte{}, []byte{0x61}, []any{}, []any{[]any{[]any{"deep"}}, nil},
	map[any]any{"a": int64(1), int64(2): []any{}},
	cbor.Tag{Number: 4711, Content: "tagged"},
}

// exhaustion is a negotiation whose loop count is used up.
type exhaustion struct {
	talk talk           // whose step failed
	peer <-chan outcome // the other side, which waits
}

// exhaust negotiates until the loop count is used up.
func exhaust(t *testing.T, a, b agent, timeout time.Duration) (exhaustion, int) {
	t.Helper()
	o := ex3(nzd(100))
	o.LoopCount = 5
	theirs := a.ask(o, timeout)
	own, o := heard(t, b)
	for steps := 0; ; steps++ {
		require.Less(t, steps, 5)
		ours := own.step(o, timeout)
		select {
		case failed := <-ours:
			require.NoError(t, failed.err)
			require.Equal(t, grasp.ErrLoopExhausted, failed.code)
			require.GreaterOrEqual(t, steps, 2)
			return exhaustion{own, theirs}, steps
		case next := <-theirs:
			require.NoError(t, next.err)
			require.Equal(t, grasp.OK, next.code)
			own, o, theirs = next.talk, next.objective, ours
		case <-time.After(patience):
			require.Fail(t, "no step")
		}
	}
}

// TestInteropNegotiation covers N-01 to N-18, Y-01, V-01 to V-04 and D-01 to
// D-11: agents discover each other and negotiate, in both roles.
func TestInteropNegotiation(t *testing.T) {
	meet(t, func(m *meeting) {
		goes := newGoAgent(m.t, m.asa, ex3(nil))
		pys := newPyAgent(m.t, m.py, ex3(nil))
		goes.peer, pys.peer = m.find(ex3(nil))

		for _, roles := range []struct {
			name string
			a, b agent
			more []scenario
		}{
			{"GoAsks", goes, pys, whereGoAsks},
			{"GraspyAsks", pys, goes, whereGraspyAsks},
		} {
			m.t.Run(roles.name, func(t *testing.T) {
				var table strings.Builder
				begun := m.tape.len()
				for _, s := range slices.Concat(scenarios, roles.more) {
					t.Run(s.name, func(t *testing.T) {
						before := m.tape.len()
						s.run(t, roles.a, roles.b)
						sessions := m.tape.checkSessions(t, before)
						fmt.Fprintf(&table, "%6d %s\n", sessions, s.name)
					})
				}
				t.Logf("%s: %d negotiations\n%s", roles.name, m.tape.checkSessions(t, begun), &table)
			})
		}
	})
}
