package conformance

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// Sections 2.5.6.1 and 2.8.6: M_REQ_SYN, with its objective and its loop count,
// goes to the locator; M_SYNCH comes back on the same connection.
func TestK01K02Synchronization(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for loops, want := range map[uint8]string{6: `["EX1", 5, 6, null]`, 1: `["EX1", 5, 1, null]`, 255: `["EX1", 5, 255, null]`} {
			o := grasp.NewObjective("EX1")
			o.Synch, o.LoopCount = true, loops
			o.Value = "not sent"
			call := b.Synchronize(o, b.Peer.Locator(), 0)
			s := b.Peer.Dialed()
			request := s.Next()
			request.Is(b, `[4, %d, `+want+`]`)
			s.Send(arr{8, request.ID(b), arr{"EX1", 5, 6, arr{"value", 1.5}}})
			require.Equal(b, []any{"value", 1.5}, call.Ok().O.Value)
		}
		require.EqualValues(b, 6, grasp.NewObjective("EX1").LoopCount)
		// The peer is asked, whatever was flooded.
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, "flooded"}, arr{}}})
		call := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), 0)
		s := b.Peer.Dialed()
		s.Send(arr{8, s.Next().ID(b), arr{"EX1", 5, 6, "asked"}})
		require.Equal(b, "asked", call.Ok().O.Value)
	})
}

// Section 2.8.6: a timer, 60 s by default, ends the wait.
func TestK03SynchronizationTimer(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second, time.Hour: time.Hour} {
		bed.In(t, func(b *bed.Bed) {
			start := time.Now()
			call := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), timeout)
			s := b.Peer.Dialed()
			s.Next()
			a := call.Within(want)
			bed.IsCode(b, a.Err, grasp.ErrNoSynchReply)
			require.Equal(b, want, a.At.Sub(start))
			s.Closed()
		})
	}
}

// Section 2.5.6.1: repeats have a new session ID; that is the ASA's choice.
func TestK04RepeatedSynchronization(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), time.Second)
		one := b.Peer.Dialed().Next()
		bed.IsCode(b, call.Within(time.Second).Err, grasp.ErrNoSynchReply)
		time.Sleep(time.Hour)
		b.Peer.NotDialed()
		call = b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), time.Second)
		s := b.Peer.Dialed()
		two := s.Next()
		require.NotEqual(b, one.ID(b), two.ID(b))
		s.Send(arr{8, two.ID(b), arr{"EX1", 5, 6, 1}})
		call.Ok()
	})
}

// Section 2.5.6.1: after M_SYNCH the connection is closed, and a broken one is a
// failed synchronization.
func TestK05ConnectionOfSynchronization(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", 1)
		b.Register(ex1)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		s := b.Peer.Dial(b.At())
		s.Send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.Next()
		s.Closed()

		call := b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 0)
		s = b.Peer.Dialed()
		s.Send(arr{8, s.Next().ID(b), arr{"EX2", 5, 6, 1}})
		call.Ok()
		s.Closed()

		call = b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 0)
		s = b.Peer.Dialed()
		half := bed.Encoded(b, arr{8, s.Next().ID(b), arr{"EX2", 5, 6, 1}})
		s.Send(half[:5])
		require.NoError(b, s.Close())
		bed.IsCode(b, call.Done().Err, grasp.ErrCBORFail)

		dying := b.NewPeer("dying", b.Links[0])
		call = b.Synchronize(bed.Syn("EX2", nil), dying.Locator(), 0)
		dying.Dialed().Next()
		dying.Node.Kill()
		bed.IsCode(b, call.Done().Err, grasp.ErrNoSynchReply)
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// Section 2.8.6: if no ASA listens the connection is closed at once.
func TestK06SynchronizationWithoutListener(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", 1)
		refused := 0
		closes := func(name string) {
			b.Helper()
			s := b.Peer.Dial(b.At())
			s.Send(arr{4, 7, arr{name, 5, 6, nil}})
			s.Closed()
			refused++
			b.WantDrop(grasp.ReasonNoListener, refused)
		}
		closes("EX1")
		b.Register(ex1)
		closes("EX1")
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		closes("EX2")
		require.NoError(b, b.ASA.StopSynchronize(ex1))
		closes("EX1")
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		require.NoError(b, b.ASA.Deregister())
		closes("EX1")

		// What the initiator sees.
		other := bed.NewASA(b, b.G, "initiator")
		call := b.Call(func() bed.Answer {
			_, err := other.Synchronize(b.Context(), ex1, b.Peer.Locator(), 0)
			return bed.Answer{Err: err}
		})
		s := b.Peer.Dialed()
		s.Next()
		require.NoError(b, s.Close())
		bed.IsCode(b, call.Done().Err, grasp.ErrNoListener)
	})
}

// Section 2.8.10: M_SYNCH has session ID and objective of the request, and the
// value of the moment. Its loop count means nothing.
func TestK07ValueOfTheMoment(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", "first")
		ex1.LoopCount = 9
		b.Register(ex1)
		ask := func() string {
			s := b.Peer.Dial(b.At())
			s.Send(arr{4, 4711, arr{"EX1", 5, 2, nil}})
			return s.Next().String()
		}
		for _, c := range []struct {
			value any
			sent  string
		}{
			{"first", `"first"`}, {"second", `"second"`}, {nil, "null"}, {[]any{}, "[]"}, {grasp.EncodedCBOR{0x01}, "24(h'01')"},
		} {
			ex1.Value = c.value
			require.NoError(b, b.ASA.ListenSynchronize(ex1))
			require.Equal(b, fmt.Sprintf(`[8, 4711, ["EX1", 5, 9, %s]]`, c.sent), ask())
		}
		// A connection that waited gets the value of when it asks.
		s := b.Peer.Dial(b.At())
		ex1.Value = "latest"
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		s.Send(arr{4, 4711, arr{"EX1", 5, 2, nil}})
		require.Equal(b, `[8, 4711, ["EX1", 5, 9, "latest"]]`, s.Next().String())

		// As initiator: another name is no answer, another loop count is one.
		for _, c := range []struct {
			o    arr
			code grasp.ErrorCode
		}{
			{arr{"EX2", 5, 255, "value"}, grasp.OK}, {arr{"EX2", 5, 0, "value"}, grasp.OK}, {arr{"EX2", 4, 6, "value"}, grasp.OK},
			{arr{"EX1", 5, 6, "value"}, grasp.ErrNoValidSynch}, {arr{"ex2", 5, 6, "value"}, grasp.ErrNoValidSynch},
		} {
			call := b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 0)
			s := b.Peer.Dialed()
			s.Send(arr{8, s.Next().ID(b), c.o})
			a := call.Done()
			require.Equal(b, c.code, grasp.Code(a.Err))
			if c.code == grasp.OK {
				require.Equal(b, "value", a.O.Value)
			}
		}
	})
}

// Section 2.10.3: objectives for synchronization travel in no messages for
// negotiation.
func TestK08SynchronizationObjectivesStayThere(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", 1)
		b.Register(ex1)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		bed.IsCode(b, b.Request(ex1, b.Peer.Locator(), 0).Done().Err, grasp.ErrNotNeg)
		b.Peer.NotDialed()
		s := b.Peer.Dial(b.At())
		s.Send(arr{3, 7, arr{"EX1", 5, 6, 1}})
		s.Closed()
		// M_REQ_SYN has no value, M_SYNCH has: see K-01 and K-07. Messages of a
		// negotiation do not answer M_REQ_SYN.
		for _, m := range []func(id uint32) arr{
			func(id uint32) arr { return arr{5, id, arr{"EX1", 5, 6, 1}} },
			func(id uint32) arr { return arr{6, id, arr{101}} },
			func(id uint32) arr { return arr{7, id, 1000} },
			func(id uint32) arr { return arr{2, id, b.Peer.Addr(), 1, b.Peer.Option()} },
		} {
			call := b.Synchronize(ex1, b.Peer.Locator(), 0)
			s := b.Peer.Dialed()
			s.Send(m(s.Next().ID(b)))
			bed.IsCode(b, call.Done().Err, grasp.ErrNoValidSynch)
		}
	})
}

// Sections 2.5.5.1, 2.5.6.3 and 2.8.5: rapid mode is off by default: a
// discovery with a value is an ordinary discovery.
func TestP01P08RapidModeIsOff(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", "value"), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		listening := b.Listen(ex3)
		for i, o := range []arr{{"EX1", 5, 6, "wanted"}, {"EX1", 5, 6, nil}, {"EX3", 3, 6, arr{"NZD", 100}}} {
			b.Peer.Multicast(arr{1, i, b.Peer.Addr(), o})
			s := b.Peer.Dialed()
			m := s.Next()
			require.EqualValues(b, 2, m.Items(b)[0])
			require.Len(b, m.Items(b), 5, "no objective: %v", m)
			s.Closed()
		}
		listening.Blocks()
	})
}

// Sections 2.5.4.5 and 2.5.5.1: a discovery with a complete objective counts as
// a request: the ASA gets the value and decides, the answer takes the place of
// M_RESPONSE, and the session goes on on its connection.
func TestP02P04P05RapidResponder(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		require.NoError(b, b.ASA.RegisterObj(ex3, grasp.RegisterOptions{Rapid: true}))
		ask := func(id uint32) (bed.Answer, *bed.Stream) {
			call := b.Listen(ex3)
			b.Peer.Multicast(arr{1, id, bed.IP("2001:db8::1"), arr{"EX3", 3, 6, arr{"NZD", 100}}})
			a := call.Ok()
			require.Equal(b, []any{"NZD", int64(100)}, a.O.Value)
			require.EqualValues(b, 6, a.O.LoopCount)
			s := b.Peer.Dialed() // at the port of the discovery
			s.Silent(bed.Soon)
			return a, s
		}
		a, s := ask(7)
		require.NoError(b, a.S.EndNegotiate(true, ""))
		require.Equal(b, `[6, 7, [101]]`, s.Next().String())
		s.Closed()

		a, s = ask(8)
		a.O.Value = []any{"NZD", 50}
		step := b.Step(a.S, a.O, 0)
		require.Equal(b, `[5, 8, ["EX3", 3, 5, ["NZD", 50]]]`, s.Next().String())
		s.Send(arr{5, 8, arr{"EX3", 3, 4, arr{"NZD", 75}}})
		require.Equal(b, []any{"NZD", int64(75)}, step.Ok().O.Value)
		require.NoError(b, a.S.EndNegotiate(false, "no"))
		require.Equal(b, `[6, 8, [102, "no"]]`, s.Next().String())

		// Null is no request, nor is a value that nobody listens for (P-08).
		b.Peer.Multicast(arr{1, 9, b.Peer.Addr(), arr{"EX3", 3, 6, nil}})
		require.EqualValues(b, 2, b.Peer.Dialed().Next().Items(b)[0])
		require.NoError(b, b.ASA.StopNegotiate(ex3))
		b.Peer.Multicast(arr{1, 10, b.Peer.Addr(), arr{"EX3", 3, 6, 1}})
		b.Peer.NotDialed()
	})
}

// Section 2.8.4: the sender of a rapid request starts loop count and timer as
// for M_REQ_NEG; P-04, the other side: M_NEGOTIATE or M_END come instead of
// M_RESPONSE.
func TestP03P04RapidInitiator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", "wanted")
		ex3.LoopCount = 9
		require.NoError(b, b.ASA.RegisterObj(ex3, grasp.RegisterOptions{Rapid: true}))
		ask := func() (bed.Pending, bed.Packet, *bed.Stream) {
			call := b.Request(ex3, nil, 0)
			m := b.Peer.Only()
			m.Is(b, `[1, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, ["EX3", 3, 9, "wanted"]]`)
			return call, m, b.Peer.Dial(m.From)
		}
		call, m, s := ask()
		s.Send(arr{6, m.ID(b), arr{101}})
		require.Equal(b, "wanted", call.Ok().O.Value)
		s.Closed()

		call, m, s = ask()
		s.Send(arr{5, m.ID(b), arr{"EX3", 3, 8, "offered"}})
		a := call.Ok()
		require.Equal(b, "offered", a.O.Value)
		start := time.Now()
		step := b.Step(a.S, a.O, 0)
		require.Equal(b, fmt.Sprintf(`[5, %d, ["EX3", 3, 7, "offered"]]`, m.ID(b)), s.Next().String())
		a = step.Within(grasp.DefaultTimeout)
		bed.IsCode(b, a.Err, grasp.ErrNoNegReply)
		require.Equal(b, grasp.DefaultTimeout, a.At.Sub(start))

		call, m, s = ask()
		s.Send(arr{6, m.ID(b), arr{102, "no"}})
		bed.IsCode(b, call.Done().Err, grasp.ErrDeclined)
		b.Peer.NotDialed()
		// The next round asks for ordinary answers: a relay may have dropped a
		// rapid one.
		b.Request(ex3, nil, 0)
		time.Sleep(900 * time.Millisecond)
		sent := b.Peer.All()
		require.Len(b, sent, 2)
		require.Equal(b, arr{"EX3", uint64(3), uint64(9), nil}, sent[1].Items(b)[3])
	})
}

// Section 2.5.6.3: instead of M_RESPONSE a responder may answer M_SYNCH, which
// is taken, but not sent (P-07 is).
func TestP06SynchInsteadOfResponse(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Synchronize(bed.Syn("EX2", nil), nil, 0)
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{8, m.ID(b), arr{"EX2", 5, 6, "rapid"}})
		require.Equal(b, "rapid", call.Ok().O.Value)
		b.Peer.NotDialed()
		ex1 := bed.Syn("EX1", "value")
		require.NoError(b, b.ASA.RegisterObj(ex1, grasp.RegisterOptions{Rapid: true}))
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		answer, ok := b.Peer.Discover(7, "EX1")
		require.True(b, ok)
		require.EqualValues(b, 2, answer.Items(b)[0])
	})
}

// Sections 2.5.5.1 and 2.5.6.3: if M_RESPONSE comes first, rapid mode does not
// happen: what comes later is dropped.
func TestP08LateRapidAnswers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", "wanted")
		require.NoError(b, b.ASA.RegisterObj(ex3, grasp.RegisterOptions{Rapid: true}))
		call := b.Request(ex3, nil, 0)
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		s := b.Peer.Dialed()
		request := s.Next()
		request.Is(b, `[3, %d, ["EX3", 3, 6, "wanted"]]`)
		late := b.Peer.Dial(m.From)
		late.Send(arr{5, m.ID(b), arr{"EX3", 3, 5, "late"}})
		late.Closed()
		b.WantDrop(grasp.ReasonUnsolicited, 1)
		call.Blocks()
		s.Send(arr{6, request.ID(b), arr{101}})
		require.Equal(b, "wanted", call.Ok().O.Value)
		// Answers to an ordinary discovery are none at all.
		b.Register(bed.Neg("EX4", 1))
		call = b.Request(bed.Neg("EX4", 1), nil, 0)
		m = b.Peer.Only()
		m.Is(b, `[1, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, ["EX4", 3, 6, null]]`)
		for _, rapid := range []arr{{5, m.ID(b), arr{"EX4", 3, 5, 1}}, {6, m.ID(b), arr{101}}} {
			s := b.Peer.Dial(m.From)
			s.Send(rapid)
			s.Closed()
		}
		call.Blocks()
	})
}

// graspy's rapid synchronization, which section 2.8.5 allows: the response has
// the objective with its value.
func TestP07ValueInTheResponse(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", "first")
		require.NoError(b, b.ASA.RegisterObj(ex1, grasp.RegisterOptions{Rapid: true}))
		_, ok := b.Peer.Discover(7, "EX1")
		require.False(b, ok, "nobody listens")
		for _, value := range []string{"first", "second"} {
			ex1.Value = value
			require.NoError(b, b.ASA.ListenSynchronize(ex1))
			m, ok := b.Peer.Discover(7, "EX1")
			require.True(b, ok)
			require.Equal(b, fmt.Sprintf(`[2, 7, %s, 60000, [103, %s, 6, %d], ["EX1", 5, 6, %q]]`,
				bed.Hex(b.Peer.Addr()), bed.Hex(b.Node.Addr().AsSlice()), b.At().Port(), value), m.String())
		}
	})
}

// The other side of it: the value is taken, while it lives, without a request.
func TestP07ValueFromTheResponse(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex2 := bed.Syn("EX2", nil)
		call := b.Synchronize(ex2, nil, 0)
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option(), arr{"EX2", 5, 6, "rapid"}})
		require.Equal(b, "rapid", call.Ok().O.Value)
		b.Peer.NotDialed()
		time.Sleep(time.Minute - bed.Soon)
		require.Equal(b, "rapid", b.Synchronize(ex2, nil, 0).Ok().O.Value)
		b.Peer.NotDialed()
		time.Sleep(bed.Soon)
		call = b.Synchronize(ex2, nil, time.Second)
		require.EqualValues(b, wire.TypeDiscovery, b.Peer.Only().Items(b)[0])
		bed.IsCode(b, call.Within(time.Second).Err, grasp.ErrNotFloodDisc)
		b.Peer.All()

		// No value, another objective's, or one that is not for synchronization:
		// the peer is asked.
		for _, o := range []arr{{"EX2", 5, 6}, {"EX2", 5, 6, nil}, {"EX1", 5, 6, "other"}, {"EX2", 3, 6, "other"}} {
			bed.Flush(b, b.ASA, "EX2")
			call := b.Synchronize(ex2, nil, 0)
			m := b.Peer.Only()
			b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option(), o})
			s := b.Peer.Dialed()
			s.Send(arr{8, s.Next().ID(b), arr{"EX2", 5, 6, "asked"}})
			require.Equal(b, "asked", call.Ok().O.Value)
		}
		// A value in a Divert is not the responder's own.
		bed.Flush(b, b.ASA, "EX2")
		call = b.Synchronize(ex2, nil, 0)
		m = b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, arr{100, b.Peer.Option()}, arr{"EX2", 5, 6, "hearsay"}})
		s := b.Peer.Dialed()
		s.Send(arr{8, s.Next().ID(b), arr{"EX2", 5, 6, "asked"}})
		require.Equal(b, "asked", call.Ok().O.Value)
	})
}
