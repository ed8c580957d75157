package grasp

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

// Sections 2.5.6.1 and 2.8.6: M_REQ_SYN, with its objective and its loop count,
// goes to the locator; M_SYNCH comes back on the same connection.
func TestK01K02Synchronization(t *testing.T) {
	inBed(t, func(b *bed) {
		for loops, want := range map[uint8]string{6: `["EX1", 5, 6, null]`, 1: `["EX1", 5, 1, null]`, 255: `["EX1", 5, 255, null]`} {
			o := NewObjective("EX1")
			o.Synch, o.LoopCount = true, loops
			o.Value = "not sent"
			call := b.synchronize(o, b.peer.locator(), 0)
			s := b.peer.dialed()
			request := s.read()
			request.is(b, `[4, %d, `+want+`]`)
			s.send(arr{8, request.id(b), arr{"EX1", 5, 6, arr{"value", 1.5}}})
			require.Equal(b, []any{"value", 1.5}, call.ok().o.Value)
		}
		require.EqualValues(b, 6, NewObjective("EX1").LoopCount)
		// The peer is asked, whatever was flooded.
		b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "flooded"}, arr{}}})
		call := b.synchronize(syn("EX1", nil), b.peer.locator(), 0)
		s := b.peer.dialed()
		s.send(arr{8, s.read().id(b), arr{"EX1", 5, 6, "asked"}})
		require.Equal(b, "asked", call.ok().o.Value)
	})
}

// Section 2.8.6: a timer, 60 s by default, ends the wait.
func TestK03SynchronizationTimer(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second, time.Hour: time.Hour} {
		inBed(t, func(b *bed) {
			start := time.Now()
			call := b.synchronize(syn("EX1", nil), b.peer.locator(), timeout)
			s := b.peer.dialed()
			s.read()
			a := call.within(want)
			isCode(b, a.err, ErrNoSynchReply)
			require.Equal(b, want, a.at.Sub(start))
			s.closed()
		})
	}
}

// Section 2.5.6.1: repeats have a new session ID; that is the ASA's choice.
func TestK04RepeatedSynchronization(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.synchronize(syn("EX1", nil), b.peer.locator(), time.Second)
		one := b.peer.dialed().read()
		isCode(b, call.within(time.Second).err, ErrNoSynchReply)
		time.Sleep(time.Hour)
		b.peer.notDialed()
		call = b.synchronize(syn("EX1", nil), b.peer.locator(), time.Second)
		s := b.peer.dialed()
		two := s.read()
		require.NotEqual(b, one.id(b), two.id(b))
		s.send(arr{8, two.id(b), arr{"EX1", 5, 6, 1}})
		call.ok()
	})
}

// Section 2.5.6.1: after M_SYNCH the connection is closed, and a broken one is a
// failed synchronization.
func TestK05ConnectionOfSynchronization(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", 1)
		b.register(ex1)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		s := b.peer.dial(b.at())
		s.send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.read()
		s.closed()

		call := b.synchronize(syn("EX2", nil), b.peer.locator(), 0)
		s = b.peer.dialed()
		s.send(arr{8, s.read().id(b), arr{"EX2", 5, 6, 1}})
		call.ok()
		s.closed()

		call = b.synchronize(syn("EX2", nil), b.peer.locator(), 0)
		s = b.peer.dialed()
		half := encoded(b, arr{8, s.read().id(b), arr{"EX2", 5, 6, 1}})
		s.send(half[:5])
		require.NoError(b, s.Close())
		isCode(b, call.done().err, ErrCBORFail)

		dying := b.newPeer("dying", b.links[0])
		call = b.synchronize(syn("EX2", nil), dying.locator(), 0)
		dying.dialed().read()
		dying.node.Kill()
		isCode(b, call.done().err, ErrNoSynchReply)
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// Section 2.8.6: if no ASA listens the connection is closed at once.
func TestK06SynchronizationWithoutListener(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", 1)
		refused := 0
		closes := func(name string) {
			b.Helper()
			s := b.peer.dial(b.at())
			s.send(arr{4, 7, arr{name, 5, 6, nil}})
			s.closed()
			refused++
			b.wantDrop(ReasonNoListener, refused)
		}
		closes("EX1")
		b.register(ex1)
		closes("EX1")
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		closes("EX2")
		require.NoError(b, b.asa.StopSynchronize(ex1))
		closes("EX1")
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		require.NoError(b, b.asa.Deregister())
		closes("EX1")

		// What the initiator sees.
		other := newASA(b, b.g, "initiator")
		call := b.call(func() answer {
			_, err := other.Synchronize(b.Context(), ex1, b.peer.locator(), 0)
			return answer{err: err}
		})
		s := b.peer.dialed()
		s.read()
		require.NoError(b, s.Close())
		isCode(b, call.done().err, ErrNoListener)
	})
}

// Section 2.8.10: M_SYNCH has session ID and objective of the request, and the
// value of the moment. Its loop count means nothing.
func TestK07ValueOfTheMoment(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", "first")
		ex1.LoopCount = 9
		b.register(ex1)
		ask := func() string {
			s := b.peer.dial(b.at())
			s.send(arr{4, 4711, arr{"EX1", 5, 2, nil}})
			return s.read().String()
		}
		for _, value := range []any{"first", "second", nil, []any{}, EncodedCBOR{0x01}} {
			ex1.Value = value
			require.NoError(b, b.asa.ListenSynchronize(ex1))
			raw, err := encodeValue(value)
			require.NoError(b, err)
			require.Equal(b, fmt.Sprintf(`[8, 4711, ["EX1", 5, 9, %s]]`, diagnose(raw)), ask())
		}
		// A connection that waited gets the value of when it asks.
		s := b.peer.dial(b.at())
		ex1.Value = "latest"
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		s.send(arr{4, 4711, arr{"EX1", 5, 2, nil}})
		require.Equal(b, `[8, 4711, ["EX1", 5, 9, "latest"]]`, s.read().String())

		// As initiator: another name is no answer, another loop count is one.
		for _, c := range []struct {
			o    arr
			code ErrorCode
		}{
			{arr{"EX2", 5, 255, "value"}, OK}, {arr{"EX2", 5, 0, "value"}, OK}, {arr{"EX2", 4, 6, "value"}, OK},
			{arr{"EX1", 5, 6, "value"}, ErrNoValidSynch}, {arr{"ex2", 5, 6, "value"}, ErrNoValidSynch},
		} {
			call := b.synchronize(syn("EX2", nil), b.peer.locator(), 0)
			s := b.peer.dialed()
			s.send(arr{8, s.read().id(b), c.o})
			a := call.done()
			require.Equal(b, c.code, Code(a.err))
			if c.code == OK {
				require.Equal(b, "value", a.o.Value)
			}
		}
	})
}

// Section 2.10.3: objectives for synchronization travel in no messages for
// negotiation.
func TestK08SynchronizationObjectivesStayThere(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", 1)
		b.register(ex1)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		isCode(b, b.request(ex1, b.peer.locator(), 0).done().err, ErrNotNeg)
		b.peer.notDialed()
		s := b.peer.dial(b.at())
		s.send(arr{3, 7, arr{"EX1", 5, 6, 1}})
		s.closed()
		// M_REQ_SYN has no value, M_SYNCH has: see K-01 and K-07. Messages of a
		// negotiation do not answer M_REQ_SYN.
		for _, m := range []func(id uint32) arr{
			func(id uint32) arr { return arr{5, id, arr{"EX1", 5, 6, 1}} },
			func(id uint32) arr { return arr{6, id, arr{101}} },
			func(id uint32) arr { return arr{7, id, 1000} },
			func(id uint32) arr { return arr{2, id, b.peer.addr(), 1, b.peer.option()} },
		} {
			call := b.synchronize(ex1, b.peer.locator(), 0)
			s := b.peer.dialed()
			s.send(m(s.read().id(b)))
			isCode(b, call.done().err, ErrNoValidSynch)
		}
	})
}

// Sections 2.5.5.1, 2.5.6.3 and 2.8.5: rapid mode is off by default: a
// discovery with a value is an ordinary discovery.
func TestP01P08RapidModeIsOff(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", "value"), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		listening := b.listen(ex3)
		for i, o := range []arr{{"EX1", 5, 6, "wanted"}, {"EX1", 5, 6, nil}, {"EX3", 3, 6, arr{"NZD", 100}}} {
			b.peer.multicast(arr{1, i, b.peer.addr(), o})
			s := b.peer.dialed()
			m := s.read()
			require.EqualValues(b, 2, m.items(b)[0])
			require.Len(b, m.items(b), 5, "no objective: %v", m)
			s.closed()
		}
		listening.blocks()
	})
}

// Sections 2.5.4.5 and 2.5.5.1: a discovery with a complete objective counts as
// a request: the ASA gets the value and decides, the answer takes the place of
// M_RESPONSE, and the session goes on on its connection.
func TestP02P04P05RapidResponder(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", nil)
		require.NoError(b, b.asa.RegisterObj(ex3, RegisterOptions{Rapid: true}))
		ask := func(id uint32) (answer, *rawStream) {
			call := b.listen(ex3)
			b.peer.multicast(arr{1, id, ip("2001:db8::1"), arr{"EX3", 3, 6, arr{"NZD", 100}}})
			a := call.ok()
			require.Equal(b, []any{"NZD", int64(100)}, a.o.Value)
			require.EqualValues(b, 6, a.o.LoopCount)
			s := b.peer.dialed() // at the port of the discovery
			s.silent(soon)
			return a, s
		}
		a, s := ask(7)
		require.NoError(b, a.s.EndNegotiate(true, ""))
		require.Equal(b, `[6, 7, [101]]`, s.read().String())
		s.closed()

		a, s = ask(8)
		a.o.Value = []any{"NZD", 50}
		step := b.step(a.s, a.o, 0)
		require.Equal(b, `[5, 8, ["EX3", 3, 5, ["NZD", 50]]]`, s.read().String())
		s.send(arr{5, 8, arr{"EX3", 3, 4, arr{"NZD", 75}}})
		require.Equal(b, []any{"NZD", int64(75)}, step.ok().o.Value)
		require.NoError(b, a.s.EndNegotiate(false, "no"))
		require.Equal(b, `[6, 8, [102, "no"]]`, s.read().String())

		// Null is no request, nor is a value that nobody listens for (P-08).
		b.peer.multicast(arr{1, 9, b.peer.addr(), arr{"EX3", 3, 6, nil}})
		require.EqualValues(b, 2, b.peer.dialed().read().items(b)[0])
		require.NoError(b, b.asa.StopNegotiate(ex3))
		b.peer.multicast(arr{1, 10, b.peer.addr(), arr{"EX3", 3, 6, 1}})
		b.peer.notDialed()
	})
}

// Section 2.8.4: the sender of a rapid request starts loop count and timer as
// for M_REQ_NEG; P-04, the other side: M_NEGOTIATE or M_END come instead of
// M_RESPONSE.
func TestP03P04RapidInitiator(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", "wanted")
		ex3.LoopCount = 9
		require.NoError(b, b.asa.RegisterObj(ex3, RegisterOptions{Rapid: true}))
		ask := func() (pending, packet, *rawStream) {
			call := b.request(ex3, nil, 0)
			m := b.peer.only()
			m.is(b, `[1, %d, `+hx(b.node.Addr().AsSlice())+`, ["EX3", 3, 9, "wanted"]]`)
			return call, m, b.peer.dial(m.from)
		}
		call, m, s := ask()
		s.send(arr{6, m.id(b), arr{101}})
		require.Equal(b, "wanted", call.ok().o.Value)
		s.closed()

		call, m, s = ask()
		s.send(arr{5, m.id(b), arr{"EX3", 3, 8, "offered"}})
		a := call.ok()
		require.Equal(b, "offered", a.o.Value)
		start := time.Now()
		step := b.step(a.s, a.o, 0)
		require.Equal(b, fmt.Sprintf(`[5, %d, ["EX3", 3, 7, "offered"]]`, m.id(b)), s.read().String())
		a = step.within(DefaultTimeout)
		isCode(b, a.err, ErrNoNegReply)
		require.Equal(b, DefaultTimeout, a.at.Sub(start))

		call, m, s = ask()
		s.send(arr{6, m.id(b), arr{102, "no"}})
		isCode(b, call.done().err, ErrDeclined)
		b.peer.notDialed()
		// The next round asks for ordinary answers: a relay may have dropped a
		// rapid one.
		b.request(ex3, nil, 0)
		time.Sleep(900 * time.Millisecond)
		sent := b.peer.all()
		require.Len(b, sent, 2)
		require.Equal(b, arr{"EX3", uint64(3), uint64(9), nil}, sent[1].items(b)[3])
	})
}

// Section 2.5.6.3: instead of M_RESPONSE a responder may answer M_SYNCH, which
// is taken, but not sent (P-07 is).
func TestP06SynchInsteadOfResponse(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.synchronize(syn("EX2", nil), nil, 0)
		m := b.peer.only()
		b.peer.respond(m, arr{8, m.id(b), arr{"EX2", 5, 6, "rapid"}})
		require.Equal(b, "rapid", call.ok().o.Value)
		b.peer.notDialed()
		ex1 := syn("EX1", "value")
		require.NoError(b, b.asa.RegisterObj(ex1, RegisterOptions{Rapid: true}))
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		answer, ok := b.peer.discover(7, "EX1")
		require.True(b, ok)
		require.EqualValues(b, 2, answer.items(b)[0])
	})
}

// Sections 2.5.5.1 and 2.5.6.3: if M_RESPONSE comes first, rapid mode does not
// happen: what comes later is dropped.
func TestP08LateRapidAnswers(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", "wanted")
		require.NoError(b, b.asa.RegisterObj(ex3, RegisterOptions{Rapid: true}))
		call := b.request(ex3, nil, 0)
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		s := b.peer.dialed()
		request := s.read()
		request.is(b, `[3, %d, ["EX3", 3, 6, "wanted"]]`)
		late := b.peer.dial(m.from)
		late.send(arr{5, m.id(b), arr{"EX3", 3, 5, "late"}})
		late.closed()
		b.wantDrop(ReasonUnsolicited, 1)
		call.blocks()
		s.send(arr{6, request.id(b), arr{101}})
		require.Equal(b, "wanted", call.ok().o.Value)
		// Answers to an ordinary discovery are none at all.
		b.register(neg("EX4", 1))
		call = b.request(neg("EX4", 1), nil, 0)
		m = b.peer.only()
		m.is(b, `[1, %d, `+hx(b.node.Addr().AsSlice())+`, ["EX4", 3, 6, null]]`)
		for _, rapid := range []arr{{5, m.id(b), arr{"EX4", 3, 5, 1}}, {6, m.id(b), arr{101}}} {
			s := b.peer.dial(m.from)
			s.send(rapid)
			s.closed()
		}
		call.blocks()
	})
}

// graspy's rapid synchronization, which section 2.8.5 allows: the response has
// the objective with its value.
func TestP07ValueInTheResponse(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", "first")
		require.NoError(b, b.asa.RegisterObj(ex1, RegisterOptions{Rapid: true}))
		_, ok := b.peer.discover(7, "EX1")
		require.False(b, ok, "nobody listens")
		for _, value := range []string{"first", "second"} {
			ex1.Value = value
			require.NoError(b, b.asa.ListenSynchronize(ex1))
			m, ok := b.peer.discover(7, "EX1")
			require.True(b, ok)
			require.Equal(b, fmt.Sprintf(`[2, 7, %s, 60000, [103, %s, 6, %d], ["EX1", 5, 6, %q]]`,
				hx(b.peer.addr()), hx(b.node.Addr().AsSlice()), b.at().Port(), value), m.String())
		}
	})
}

// The other side of it: the value is taken, while it lives, without a request.
func TestP07ValueFromTheResponse(t *testing.T) {
	inBed(t, func(b *bed) {
		ex2 := syn("EX2", nil)
		call := b.synchronize(ex2, nil, 0)
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option(), arr{"EX2", 5, 6, "rapid"}})
		require.Equal(b, "rapid", call.ok().o.Value)
		b.peer.notDialed()
		time.Sleep(time.Minute - soon)
		require.Equal(b, "rapid", b.synchronize(ex2, nil, 0).ok().o.Value)
		b.peer.notDialed()
		time.Sleep(soon)
		call = b.synchronize(ex2, nil, time.Second)
		require.EqualValues(b, wire.TypeDiscovery, b.peer.only().items(b)[0])
		isCode(b, call.within(time.Second).err, ErrNotFloodDisc)
		b.peer.all()

		// No value, another objective's, or one that is not for synchronization:
		// the peer is asked.
		for _, o := range []arr{{"EX2", 5, 6}, {"EX2", 5, 6, nil}, {"EX1", 5, 6, "other"}, {"EX2", 3, 6, "other"}} {
			b.g.locators.flush("EX2")
			call := b.synchronize(ex2, nil, 0)
			m := b.peer.only()
			b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option(), o})
			s := b.peer.dialed()
			s.send(arr{8, s.read().id(b), arr{"EX2", 5, 6, "asked"}})
			require.Equal(b, "asked", call.ok().o.Value)
		}
		// A value in a Divert is not the responder's own.
		b.g.locators.flush("EX2")
		call = b.synchronize(ex2, nil, 0)
		m = b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, arr{100, b.peer.option()}, arr{"EX2", 5, 6, "hearsay"}})
		s := b.peer.dialed()
		s.send(arr{8, s.read().id(b), arr{"EX2", 5, 6, "asked"}})
		require.Equal(b, "asked", call.ok().o.Value)
	})
}
