package monitor

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
)

// tallying gives a tally events, a second apart.
type tallying struct {
	*tally
	now time.Time
}

func newTallying() *tallying { return &tallying{newTally(), time.Unix(1e9, 0)} }

func (t *tallying) event(kind grasp.EventKind, message string, id uint32, objective string, peer string) {
	t.now = t.now.Add(time.Second)
	e := grasp.Event{Time: t.now, Kind: kind, Message: message, SessionID: id, Objective: objective, Raw: []byte{0x80}}
	if peer != "" {
		e.Peer = netip.MustParseAddrPort(peer)
	}
	t.count(&e)
}

// outcomes returns the sessions that ended, as text.
func (t *tallying) outcomes() map[string]uint64 {
	out := make(map[string]uint64)
	for k, n := range t.copy().sessions {
		out[fmt.Sprintf("%s %s %s %s", procedureNames[k.what], role(k.asked), k.objective, k.outcome)] = n
	}
	return out
}

const somePeer, otherPeer = "[fe80::1%2]:7017", "[fe80::2%2]:7017"

func TestTallyOutcomes(t *testing.T) {
	s := newTallying()
	s.event(grasp.Sent, "M_DISCOVERY", 1, "EX1", "") // on two links, answered twice
	s.event(grasp.Sent, "M_DISCOVERY", 1, "EX1", "")
	s.event(grasp.Received, "M_RESPONSE", 1, "", somePeer)
	s.event(grasp.Received, "M_RESPONSE", 1, "", otherPeer)
	s.event(grasp.Sent, "M_DISCOVERY", 2, "EX2", "") // in rapid mode
	s.event(grasp.Received, "M_SYNCH", 2, "EX2", somePeer)
	s.event(grasp.Sent, "M_DISCOVERY", 3, "EX3", "") // nobody answers
	s.event(grasp.Received, "M_REQ_SYN", 4, "EX2", somePeer)
	s.event(grasp.Received, "M_REQ_SYN", 4, "EX2", otherPeer) // another session of the same ID
	s.event(grasp.Sent, "M_SYNCH", 4, "EX2", otherPeer)
	s.event(grasp.Sent, "M_REQ_NEG", 5, "EX3", somePeer) // with itself
	s.event(grasp.Received, "M_REQ_NEG", 5, "EX3", somePeer)
	s.event(grasp.Sent, "M_END", 5, "", somePeer)
	s.event(grasp.Received, "M_END", 5, "", somePeer)
	s.event(grasp.Sent, "M_REQ_NEG", 6, "EX3", somePeer)
	s.event(grasp.Received, "M_INVALID", 6, "", somePeer)
	require.Equal(t, map[string]uint64{
		"discovery initiator EX1 answered":       1,
		"discovery initiator EX2 answered":       1,
		"synchronization responder EX2 answered": 1,
		"negotiation initiator EX3 declined":     1,
		"negotiation responder EX3 declined":     1,
		"negotiation initiator EX3 invalid":      1,
	}, s.outcomes())
	h := s.copy().times[timesKey{discovery, "EX1"}]
	require.Equal(t, 2*time.Second, h.sum, "from the first question to the first answer")

	s.settle(nil, s.now.Add(time.Hour))
	out := s.outcomes()
	require.Equal(t, uint64(1), out["discovery initiator EX3 unanswered"])
	require.Equal(t, uint64(1), out["synchronization responder EX2 unanswered"])
	require.Empty(t, s.followed)
}

// A negotiation that ends without a word is given up when the instance no longer
// knows it, and not before its M_END may have been seen.
func TestTallyBroken(t *testing.T) {
	s := newTallying()
	s.event(grasp.Received, "M_REQ_NEG", 1, "EX3", somePeer)
	s.event(grasp.Sent, "M_NEGOTIATE", 1, "EX3", somePeer)
	here := []grasp.SessionState{{ID: 1, Peer: netip.MustParseAddrPort(somePeer)}}
	s.settle(here, s.now.Add(time.Hour))
	s.settle(nil, s.now.Add(time.Hour))
	s.settle(here, s.now.Add(time.Hour+time.Minute))
	s.settle(nil, s.now.Add(2*time.Hour))
	require.Empty(t, s.outcomes())
	s.settle(nil, s.now.Add(2*time.Hour+endTime))
	require.Equal(t, map[string]uint64{"negotiation responder EX3 broken": 1}, s.outcomes())
}

// Peers cannot make a tally grow, nor use up its names.
func TestTallyBounds(t *testing.T) {
	s := newTallying()
	for i := range uint32(2 * maxFollowed) {
		s.event(grasp.Received, "M_REQ_NEG", i, fmt.Sprint("of a peer ", i), somePeer)
	}
	require.Len(t, s.followed, maxFollowed)
	require.Equal(t, map[string]uint64{"negotiation responder  unknown": maxFollowed}, s.outcomes())
	for i := range uint32(2 * maxObjectives) {
		s.event(grasp.Sent, "M_REQ_SYN", i, fmt.Sprint("EX", i), otherPeer)
		s.event(grasp.Received, "M_SYNCH", i, "", otherPeer)
	}
	out := s.outcomes()
	require.Len(t, out, maxObjectives+2)
	require.Equal(t, uint64(maxObjectives), out["synchronization initiator  answered"], "those without a name")
	require.Equal(t, uint64(1), out["synchronization initiator EX0 answered"])
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 300 * time.Second, time.Hour} {
		h.add(d)
	}
	require.Equal(t, []uint64{2, 1}, h.counts[:2], "a bound is in its bucket")
	require.Equal(t, []uint64{1, 1}, h.counts[len(bounds)-1:])
	require.Equal(t, time.Hour+300*time.Second+2*time.Millisecond+1, h.sum)
}
