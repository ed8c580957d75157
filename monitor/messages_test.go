package monitor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
)

// negotiated has here ask there for something, which is declined after a wait.
func (w *watching) negotiated(t testing.TB) {
	t.Helper()
	o := grasp.Objective{Name: "EX3", Neg: true, Dry: true, LoopCount: 6}
	require.NoError(t, w.b.RegisterObj(o, grasp.RegisterOptions{}))
	require.NoError(t, w.a.RegisterObj(o, grasp.RegisterOptions{}))
	served := make(chan error, 1)
	go func() {
		s, o, err := w.b.ListenNegotiate(t.Context(), o)
		if err == nil {
			err = s.NegotiateWait(90 * time.Second)
		}
		if err == nil {
			s, _, err = s.NegotiateStep(t.Context(), o, 0)
		}
		if err == nil {
			err = s.EndNegotiate(false, "no <b>money</b>")
		}
		served <- err
	}()
	synctest.Wait()
	value, err := grasp.Encode([]any{"NZD", 100})
	require.NoError(t, err)
	o.Value = value
	s, o, err := w.a.ReqNegotiate(t.Context(), o, nil, 0)
	require.NoError(t, err)
	_, _, err = s.NegotiateStep(t.Context(), o, 0)
	require.ErrorIs(t, err, grasp.ErrDeclined)
	require.NoError(t, <-served)
	synctest.Wait()
}

// The log has what a negotiation was, each message in diagnostic notation.
func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		w.negotiated(t)
		all := getJSON[[]Message](t, w.m, "/messages?instance=here&objective=EX3&type=M_REQ_NEG&type=M_WAIT&type=M_NEGOTIATE&type=M_END")
		var got []string
		for _, m := range all {
			require.Equal(t, "here", m.Instance)
			require.Equal(t, "EX3", m.Objective, "of its session, if the message has none")
			require.Equal(t, all[0].SessionID, m.SessionID)
			require.Equal(t, all[0].Peer, m.Peer)
			require.NotZero(t, m.Size)
			require.NotNil(t, m.Step)
			got = append(got, fmt.Sprintf("%s %s %+v", m.Kind, strings.ReplaceAll(m.Text, fmt.Sprint(m.SessionID), "ID"), *m.Step))
		}
		require.Equal(t, []string{
			`sent [3, ID, ["EX3", 11, 6, 24(h'82634e5a441864')]] {Value:["NZD", 100] LoopCount:6 Dry:true Accept:false Why: Wait:0s}`,
			`received [7, ID, 90000] {Value: LoopCount:0 Dry:false Accept:false Why: Wait:1m30s}`,
			`received [5, ID, ["EX3", 11, 5, 24(h'82634e5a441864')]] {Value:["NZD", 100] LoopCount:5 Dry:true Accept:false Why: Wait:0s}`,
			`sent [5, ID, ["EX3", 11, 4, 24(h'82634e5a441864')]] {Value:["NZD", 100] LoopCount:4 Dry:true Accept:false Why: Wait:0s}`,
			`received [6, ID, [102, "no <b>money</b>"]] {Value: LoopCount:0 Dry:false Accept:false Why:no <b>money</b> Wait:0s}`,
		}, got)
	})
}

// Filters let through what they name, and nothing else.
func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		w.negotiated(t)
		w.flood(t, "EX1", "a value")
		w.flood(t, "EX 2&=", 2)
		require.NoError(t, w.stranger.Send(w.link, []byte{0xff}))
		time.Sleep(time.Second)
		everything := getJSON[[]Message](t, w.m, "/messages")
		require.Greater(t, len(everything), 15)
		peer := w.here.Snapshot().Links[0].Addr.WithZone("").String()
		for query, want := range map[string]func(Message) bool{
			"text=m_flood":                     func(m Message) bool { return m.Type == "M_FLOOD" },
			"text=A+VALUE&kind=sent":           func(m Message) bool { return strings.Contains(m.Words, "a value") && m.Kind == "sent" },
			"instance=here":                    func(m Message) bool { return m.Instance == "here" },
			"instance=here&instance=there":     func(Message) bool { return true },
			"kind=dropped":                     func(m Message) bool { return m.Kind == "dropped" },
			"kind=sent&kind=received":          func(m Message) bool { return m.Kind != "dropped" },
			"type=M_FLOOD":                     func(m Message) bool { return m.Type == "M_FLOOD" },
			"type=M_FLOOD&type=M_END":          func(m Message) bool { return m.Type == "M_FLOOD" || m.Type == "M_END" },
			"objective=EX3":                    func(m Message) bool { return m.Objective == "EX3" },
			"objective=EX+2%26%3D":             func(m Message) bool { return m.Objective == "EX 2&=" },
			"objective=&type=&kind=&peer=":     func(Message) bool { return true },
			"peer=" + peer:                     func(m Message) bool { return strings.Contains(m.Peer, peer) },
			"type=M_FLOOD&instance=there":      func(m Message) bool { return m.Type == "M_FLOOD" && m.Instance == "there" },
			"kind=dropped&type=M_FLOOD&peer=f": func(m Message) bool { return m.Kind == "dropped" && m.Type == "M_FLOOD" },
		} {
			got := getJSON[[]Message](t, w.m, "/messages?"+query)
			require.NotEmpty(t, got, query)
			var expected []Message
			for _, m := range everything {
				if want(m) {
					expected = append(expected, m)
				}
			}
			require.Equal(t, expected, got, query)
		}
		for _, query := range []string{"instance=nobody", "type=m_flood", "objective=%00", "peer=nowhere", "kind=lost"} {
			require.Equal(t, "[]\n", get(w.m, "/messages?"+query).Body.String(), query)
		}
		junk := getJSON[[]Message](t, w.m, "/messages?kind=dropped&instance=there&peer=fe80")
		last := junk[len(junk)-1]
		require.Equal(t, "malformed", last.Reason)
		require.Equal(t, "h'ff'", last.Text)
		require.NotEmpty(t, last.Error)
	})
}

// What is long is cut, what is no CBOR is shown in digits, and the bytes are
// the monitor's own.
func TestMessageText(t *testing.T) {
	w := newWatching(t)
	from := w.m.all()[0]
	peer := netip.MustParseAddrPort("[fe80::1%2]:7017")
	raw := []byte{0x82, 0x00, 0x01}
	from.trace(grasp.Event{Kind: grasp.Received, Raw: raw, Peer: peer, Link: 2})
	raw[0] = 0xff
	from.trace(grasp.Event{Kind: grasp.Received, Raw: append([]byte{0x59, 0x27, 0x10}, make([]byte, 10_000)...)})
	from.trace(grasp.Event{Kind: grasp.Dropped, Reason: grasp.ReasonIdle})
	all := getJSON[[]Message](t, w.m, "/messages")
	require.Len(t, all, 3)
	require.Equal(t, "[0, 1]", all[0].Text)
	require.Equal(t, peer.String(), all[0].Peer)
	require.Equal(t, 10_003, all[1].Size)
	require.Equal(t, "h'592710"+strings.Repeat("00", keptBytes-3)+"' …", all[1].Text)
	require.Equal(t, Message{N: 3, Time: all[2].Time, Instance: "here", Kind: "dropped", Reason: "idle"}, all[2])
}

// However many come, so many are kept, in memory that is used again.
func TestMessagesAreBounded(t *testing.T) {
	w := newWatching(t)
	from := w.m.all()[0]
	raw := make([]byte, 60_000)
	for id := range uint32(3 * maxSubjects) {
		from.trace(grasp.Event{Kind: grasp.Received, Raw: raw, SessionID: id, Objective: "EX1"})
	}
	for _, kept := range w.m.messages.slots {
		require.Len(t, kept.event.Raw, keptBytes)
		require.Less(t, cap(kept.event.Raw), 2*keptBytes)
	}
	require.Len(t, getJSON[[]Message](t, w.m, "/messages"), keptMessages)
	r := newMessageReader(newRing[message](1), filter{}, 0)
	for id := range uint32(3 * maxSubjects) {
		require.Equal(t, "x", r.subject(&grasp.Event{SessionID: id + 1, Objective: "x"}))
		require.Equal(t, "x", r.subject(&grasp.Event{SessionID: id + 1}))
	}
	require.LessOrEqual(t, len(r.subjects), maxSubjects)
}
