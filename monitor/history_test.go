package monitor

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
)

// The steps of an hour are counted, each on its own, and no more are kept.
func TestHistory(t *testing.T) {
	begun := time.Unix(1e9+1, 0)
	p := newPast(begun)
	event := func(after time.Duration, kind grasp.EventKind, reason grasp.Reason) {
		p.count(&grasp.Event{Time: begun.Add(after), Kind: kind, Reason: reason, Raw: make([]byte, 10)})
	}
	require.Empty(t, p.history("x", begun).Sent)
	event(0, grasp.Sent, 0) // in a step of which not all is known
	event(5*time.Second, grasp.Sent, 0)
	event(6*time.Second, grasp.Relayed, 0)
	event(16*time.Second, grasp.Received, 0)
	event(16*time.Second, grasp.Dropped, grasp.ReasonOwn)
	event(16*time.Second, grasp.Dropped, grasp.ReasonMalformed)
	event(20*time.Second, grasp.Sent, 0) // in the step under way
	h := p.history("x", begun.Add(20*time.Second))
	require.Equal(t, History{
		Instance: "x", End: time.Unix(1e9+20, 0), Step: historyStep,
		Sent: []uint64{1, 0, 0}, Received: []uint64{0, 0, 1}, Relayed: []uint64{1, 0, 0}, Dropped: []uint64{0, 0, 1},
		BytesOut: []uint64{20, 0, 0}, BytesIn: []uint64{0, 0, 10},
		Reasons: map[grasp.Reason][]uint64{grasp.ReasonMalformed: {0, 0, 1}},
	}, h)

	event(2*time.Hour, grasp.Received, 0)
	event(0, grasp.Received, 0) // so late that its step is gone
	h = p.history("x", begun.Add(2*time.Hour+historyStep))
	require.Len(t, h.Received, int(historySteps)-1)
	require.Equal(t, uint64(1), h.Received[historySteps-2])
	require.Equal(t, make([]uint64, historySteps-1), h.Sent, "what was is forgotten")
	require.Nil(t, h.Reasons)
}

// setBack returns a time as it would be if the clock had been set back meanwhile.
func setBack(t time.Time, by time.Duration) time.Time {
	const seconds = 30 // of what is kept besides the clock that nobody sets, in bits
	(*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).wall -= uint64(by/time.Second) << seconds
	return t
}

// A device may start with a clock that is ahead by years.
func TestHistoryOfAClockSetBack(t *testing.T) {
	begun := time.Now()
	later := setBack(begun.Add(10*time.Second), 24*time.Hour)
	require.Equal(t, 10*time.Second, later.Sub(begun))
	require.Equal(t, 10*time.Second-24*time.Hour, later.Round(0).Sub(begun.Round(0)))
	p := newPast(begun)
	for _, at := range []time.Time{begun, later, later.Add(2 * historyStep)} {
		p.count(&grasp.Event{Time: at, Kind: grasp.Dropped, Reason: grasp.ReasonMalformed})
	}
	now := later.Add(3 * historyStep)
	h := p.history("x", now)
	require.Equal(t, []uint64{0, 1}, h.Dropped)
	require.WithinRange(t, h.End, now.Add(-historyStep).Round(0), now.Round(0))
	require.Equal(t, map[grasp.Reason]uint64{grasp.ReasonMalformed: 2}, p.dropped(now, time.Minute))
}

// So may one whose clock begins in 1970.
func TestHistoryOf1970(t *testing.T) {
	p := newPast(time.Unix(1, 0))
	p.count(&grasp.Event{Time: time.Unix(10, 0), Kind: grasp.Dropped, Reason: grasp.ReasonMalformed})
	require.Equal(t, map[grasp.Reason]uint64{grasp.ReasonMalformed: 1}, p.dropped(time.Unix(20, 0), time.Minute))
	require.Len(t, p.history("x", time.Unix(20, 0)).Dropped, 3)
}

// Programs read it as JSON, with the reasons in words.
func TestServeHistory(t *testing.T) {
	w := newWatching(t)
	all := getJSON[[]History](t, w.m, "/history")
	require.Len(t, all, 2)
	require.Equal(t, historyStep, all[0].Step)
	require.Equal(t, "there", getJSON[[]History](t, w.m, "/history?instance=there")[0].Instance)
	require.Empty(t, getJSON[[]History](t, w.m, "/history?instance=nobody"))
}
