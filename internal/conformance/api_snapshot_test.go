package conformance

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
)

// A snapshot has all that the instance knows, and can be encoded as JSON and
// back.
func TestSnapshot(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		require.NoError(b, b.ASA.RegisterObj(bed.Syn("EX2", nil), grasp.RegisterOptions{Discoverable: true, TTL: time.Hour}))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX2", []any{"x", 1})))
		b.Served(bed.Neg("EX1", nil), 7, nil)
		b.Peer.Dial(b.At()).Send(arr{3, 8, arr{"EX1", 3, 6, nil}})
		_, err := b.ASA.OpenSession(bed.Forever, bed.Neg("EX1", nil), b.Peer.Locator(), 0)
		require.NoError(b, err)
		require.NoError(b, b.ASA.Flood(time.Minute, grasp.TaggedObjective{Objective: bed.Syn("EX2", 8), Source: bed.At(b.G)}))
		b.Learn(b.Peer, "EX3", 60_000, bed.IPv6("fd00::9", 9))
		b.Peer.Multicast([]byte{0xff})

		s := b.G.Snapshot()
		require.Equal(b, acp.Status{Secure: true, Assumed: true, Reason: b.Node.Status().Reason}, s.Status)
		require.Equal(b, b.G.Snapshot().Port, s.Port)
		require.Equal(b, b.Node.Addr(), s.Address)
		require.Equal(b, []acp.Link{bed.LinkOf(b.Node, b.Links[0])}, s.Links)
		require.Equal(b, []string{"ASA under test"}, s.ASAs)
		require.Equal(b, []grasp.ObjectiveState{
			{Name: "EX1", ASAs: s.ASAs, Neg: true, LoopCount: 6, TTL: grasp.DefaultTTL, Discoverable: true, Negotiating: true, Waiting: 1},
			{Name: "EX2", ASAs: s.ASAs, Synch: true, LoopCount: 6, TTL: time.Hour, Discoverable: true, Synchronizing: true, Value: `["x", 1]`},
		}, s.Objectives)
		require.Len(b, s.Locators, 1)
		require.Equal(b, "EX3", s.Locators[0].Objective)
		require.Equal(b, "[fd00::9]:9", s.Locators[0].Locator.String())
		require.Len(b, s.Floods, 1)
		require.Equal(b, "EX2", s.Floods[0].Objective)
		require.Equal(b, "8", s.Floods[0].Value)
		require.Equal(b, bed.At(b.G).String(), s.Floods[0].Source.String())
		require.Len(b, s.Sessions, 3)
		roles := map[string]int{}
		for _, n := range s.Sessions {
			require.Equal(b, "EX1", n.Objective)
			require.Equal(b, b.Peer.Node.Addr(), n.Peer.Addr())
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
		require.EqualValues(b, 1, s.Dropped[grasp.ReasonMalformed])

		raw, err := json.Marshal(s)
		require.NoError(b, err)
		var again grasp.Snapshot
		require.NoError(b, json.Unmarshal(raw, &again))
		raw2, err := json.Marshal(again)
		require.NoError(b, err)
		require.JSONEq(b, string(raw), string(raw2))
		// It is a copy.
		s.Links[0].Name = "changed"
		s.Objectives[0].ASAs[0] = "changed"
		s.Dropped[grasp.ReasonMalformed] = 99
		require.Equal(b, "ASA under test", b.G.Snapshot().Objectives[0].ASAs[0])
		require.NotEqual(b, "changed", b.G.Snapshot().Links[0].Name)
	})
}

// Each event says what is known of the message, and kinds and reasons have
// names.
func TestTraceEvents(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(bed.Neg("EX1", 1))
		require.NoError(b, k.Session.EndNegotiate(true, ""))
		k.Asked.Ok()
		synctest.Wait()
		var got []grasp.Event
		for _, e := range b.Traced() {
			require.NotEmpty(b, e.Raw, "%v", e)
			require.NotZero(b, e.SessionID)
			require.Equal(b, b.NodeOf(k.Other.Instance()).Addr(), e.Peer.Addr())
			got = append(got, grasp.Event{Kind: e.Kind, Message: e.Message, Objective: e.Objective})
		}
		require.Equal(b, []grasp.Event{
			{Kind: grasp.Sent, Message: "M_REQ_NEG", Objective: "EX1"}, {Kind: grasp.Received, Message: "M_END"},
		}, got)
	})
}

// WaitForLink returns when there is a link, at once if there is one already.
func TestWaitForLink(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.G.WaitForLink(bed.Forever))
		b.Links[0].Down()
		start := time.Now()
		waiting := []bed.Pending{
			b.Call(func() bed.Answer { return bed.Answer{Err: b.G.WaitForLink(bed.Forever)} }),
			b.Call(func() bed.Answer { return bed.Answer{Err: b.G.WaitForLink(bed.Forever)} }),
		}
		time.Sleep(time.Hour)
		for _, w := range waiting {
			w.Blocks()
		}
		ctx, cancel := context.WithTimeout(bed.Forever, time.Second)
		defer cancel()
		bed.IsCode(b, b.G.WaitForLink(ctx), grasp.ErrCancelled)
		start = start.Add(time.Second)
		b.Links[0].Up()
		for _, w := range waiting {
			require.LessOrEqual(b, w.Within(time.Second).At.Sub(start), time.Hour+time.Second)
		}
	})
}

// Close ends a session without a word: the peer's call finds nobody.
func TestSessionClose(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(bed.Neg("EX1", 1))
		for range 2 {
			require.NoError(b, k.Session.Close())
		}
		bed.IsCode(b, k.Asked.Done().Err, grasp.ErrNoPeer)
		bed.IsCode(b, k.Session.EndNegotiate(true, ""), grasp.ErrNoSession)
		var none *grasp.Session
		require.NoError(b, none.Close())

		got, err := b.ASA.OpenSession(bed.Forever, bed.Neg("EX1", 1), b.Peer.Locator(), 0)
		require.NoError(b, err)
		waiting := b.Recv(got, 0)
		require.NoError(b, got.Close())
		bed.IsCode(b, (<-waiting).Err, grasp.ErrNoSession)
	})
}
