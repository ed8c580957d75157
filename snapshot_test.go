package grasp

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// A snapshot has all that the instance knows, and can be encoded as JSON and
// back.
func TestSnapshot(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		require.NoError(b, b.asa.RegisterObj(syn("EX2", nil), RegisterOptions{Discoverable: true, TTL: time.Hour}))
		require.NoError(b, b.asa.ListenSynchronize(syn("EX2", []any{"x", 1})))
		b.served(neg("EX1", nil), 7, nil)
		b.peer.dial(b.at()).send(arr{3, 8, arr{"EX1", 3, 6, nil}})
		_, err := b.asa.OpenSession(forever, neg("EX1", nil), b.peer.locator(), 0)
		require.NoError(b, err)
		require.NoError(b, b.asa.Flood(time.Minute, TaggedObjective{Objective: syn("EX2", 8), Source: at(b.g)}))
		b.learn(b.peer, "EX3", 60_000, ipv6("fd00::9", 9))
		b.peer.multicast([]byte{0xff})

		s := b.g.Snapshot()
		require.Equal(b, acp.Status{Secure: true, Reason: b.node.Status().Reason}, s.Status)
		require.Equal(b, b.g.ep.Port(), s.Port)
		require.Equal(b, b.node.Addr(), s.Address)
		require.Equal(b, []acp.Link{linkOf(b.node, b.links[0])}, s.Links)
		require.Equal(b, []string{"ASA under test"}, s.ASAs)
		require.Equal(b, []ObjectiveState{
			{Name: "EX1", ASAs: s.ASAs, Neg: true, LoopCount: 6, TTL: DefaultTTL, Discoverable: true, Negotiating: true, Waiting: 1},
			{Name: "EX2", ASAs: s.ASAs, Synch: true, LoopCount: 6, TTL: time.Hour, Discoverable: true, Synchronizing: true, Value: `["x", 1]`},
		}, s.Objectives)
		require.Len(b, s.Locators, 1)
		require.Equal(b, "EX3", s.Locators[0].Objective)
		require.Equal(b, "[fd00::9]:9", s.Locators[0].Locator.String())
		require.Len(b, s.Floods, 1)
		require.Equal(b, "EX2", s.Floods[0].Objective)
		require.Equal(b, "8", s.Floods[0].Value)
		require.Equal(b, at(b.g).String(), s.Floods[0].Source.String())
		require.Len(b, s.Sessions, 3)
		roles := map[string]int{}
		for _, n := range s.Sessions {
			require.Equal(b, "EX1", n.Objective)
			require.Equal(b, b.peer.node.Addr(), n.Peer.Addr())
			switch {
			case n.Initiator:
				roles["initiator"]++
			case n.ASA == "":
				roles["waiting"]++
			default:
				roles["responder"]++
			}
		}
		require.Equal(b, map[string]int{"initiator": 1, "waiting": 1, "responder": 1}, roles)
		require.Equal(b, 3, s.Streams)
		require.EqualValues(b, 1, s.Sent["M_FLOOD"])
		require.EqualValues(b, 1, s.Sent["M_REQ_NEG"])
		require.EqualValues(b, 2, s.Received["M_REQ_NEG"])
		require.EqualValues(b, 1, s.Dropped[ReasonMalformed.String()])

		raw, err := json.Marshal(s)
		require.NoError(b, err)
		var again Snapshot
		require.NoError(b, json.Unmarshal(raw, &again))
		raw2, err := json.Marshal(again)
		require.NoError(b, err)
		require.JSONEq(b, string(raw), string(raw2))
		// It is a copy.
		s.Links[0].Name = "changed"
		s.Objectives[0].ASAs[0] = "changed"
		s.Dropped[ReasonMalformed.String()] = 99
		require.Equal(b, "ASA under test", b.g.Snapshot().Objectives[0].ASAs[0])
		require.NotEqual(b, "changed", b.g.Snapshot().Links[0].Name)
	})
}

// Each event says what is known of the message, and kinds and reasons have
// names.
func TestTraceEvents(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(neg("EX1", 1))
		require.NoError(b, k.session.EndNegotiate(true, ""))
		k.asked.ok()
		synctest.Wait()
		var got []Event
		for _, e := range b.log.events {
			require.NotEmpty(b, e.Raw, "%v", e)
			require.NotZero(b, e.SessionID)
			require.Equal(b, b.nodeOf(k.other.g).Addr(), e.Peer.Addr())
			got = append(got, Event{Kind: e.Kind, Message: e.Message, Objective: e.Objective})
		}
		require.Equal(b, []Event{
			{Kind: Sent, Message: "M_REQ_NEG", Objective: "EX1"}, {Kind: Received, Message: "M_END"},
		}, got)
	})
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

// WaitForLink returns when there is a link, at once if there is one already.
func TestWaitForLink(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.g.WaitForLink(forever))
		b.links[0].Down()
		start := time.Now()
		waiting := []pending{
			b.call(func() answer { return answer{err: b.g.WaitForLink(forever)} }),
			b.call(func() answer { return answer{err: b.g.WaitForLink(forever)} }),
		}
		time.Sleep(time.Hour)
		for _, w := range waiting {
			w.blocks()
		}
		ctx, cancel := context.WithTimeout(forever, time.Second)
		defer cancel()
		isCode(b, b.g.WaitForLink(ctx), ErrCancelled)
		start = start.Add(time.Second)
		b.links[0].Up()
		for _, w := range waiting {
			require.LessOrEqual(b, w.within(time.Second).at.Sub(start), time.Hour+time.Second)
		}
	})
}

// Close ends a session without a word: the peer's call finds nobody.
func TestSessionClose(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(neg("EX1", 1))
		for range 2 {
			require.NoError(b, k.session.Close())
		}
		isCode(b, k.asked.done().err, ErrNoPeer)
		isCode(b, k.session.EndNegotiate(true, ""), ErrNoSession)
		var none *Session
		require.NoError(b, none.Close())

		got, err := b.asa.OpenSession(forever, neg("EX1", 1), b.peer.locator(), 0)
		require.NoError(b, err)
		waiting := b.recv(got, 0)
		require.NoError(b, got.Close())
		isCode(b, (<-waiting).err, ErrNoSession)
	})
}

// Encode gives what Tag 24 carries, and Decode takes it back.
func TestEncode(t *testing.T) {
	e, err := Encode([]any{"Example 2 value=", 200})
	require.NoError(t, err)
	var v []any
	require.NoError(t, Objective{Value: e}.Decode(&v))
	require.Equal(t, []any{"Example 2 value=", int64(200)}, v)
	_, err = Encode(make(chan int))
	isCode(t, err, ErrCBORFail)
}
