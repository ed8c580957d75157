package monitor

import (
	"testing"
	"time"

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

// Programs read it as JSON, with the reasons in words.
func TestServeHistory(t *testing.T) {
	w := newWatching(t)
	all := getJSON[[]History](t, w.m, "/history")
	require.Len(t, all, 2)
	require.Equal(t, historyStep, all[0].Step)
	require.Equal(t, "there", getJSON[[]History](t, w.m, "/history?instance=there")[0].Instance)
	require.Empty(t, getJSON[[]History](t, w.m, "/history?instance=nobody"))
}
