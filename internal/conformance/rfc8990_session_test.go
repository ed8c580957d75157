package conformance

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.7: each discovery, flood and request has a new session ID,
// repeated ones included.
func TestS01NewSessionIDs(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		seen := make(map[uint32]bool)
		add := func(p bed.Packet) {
			require.False(b, seen[p.ID(b)], "%v", p)
			seen[p.ID(b)] = true
		}
		// Three rounds of one discovery: 600 ms, 1.2 s and 2.4 s.
		require.NoError(b, b.Discover(bed.Syn("EX2", nil), 4*time.Second, grasp.DiscoverOptions{}).Within(4*time.Second).Err)
		for _, p := range b.Peer.All() {
			add(p)
		}
		require.Len(b, seen, 3)
		for range 3 {
			require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1}))
			add(b.Peer.Only())
			call, s, request := b.Asked(ex3)
			add(request)
			s.Send(arr{6, request.ID(b), arr{101}})
			call.Ok()
			got := b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 0)
			s = b.Peer.Dialed()
			request = s.Next()
			add(request)
			s.Send(arr{8, request.ID(b), arr{"EX2", 5, 6, 1}})
			got.Ok()
		}
	})
}

// Section 2.7: all copies of a message, and every later message of the
// procedure, have its session ID.
func TestS02SessionIDStays(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1}))
		require.Equal(b, b.Peer.Only().Raw, b.Far.Only().Raw)
		call := b.Discover(bed.Syn("EX2", nil), 100*time.Millisecond, grasp.DiscoverOptions{})
		require.Equal(b, b.Peer.Only().Raw, b.Far.Only().Raw)
		call.Within(100 * time.Millisecond)

		// As initiator.
		call, s, request := b.Asked(ex3)
		id := request.ID(b)
		s.Send(arr{5, id, arr{"EX3", 3, 5, 2}})
		got := call.Ok()
		require.NoError(b, got.S.NegotiateWait(time.Second))
		require.Equal(b, id, s.Next().ID(b))
		call = b.Step(got.S, got.O, 0)
		require.Equal(b, id, s.Next().ID(b))
		s.Send(arr{5, id, arr{"EX3", 3, 3, 2}})
		require.NoError(b, call.Ok().S.EndNegotiate(true, ""))
		require.Equal(b, id, s.Next().ID(b))

		// As responder.
		session, o, s := b.Served(ex3, 4711, 1)
		require.NoError(b, session.NegotiateWait(time.Second))
		require.EqualValues(b, 4711, s.Next().ID(b))
		b.Step(session, o, 0)
		require.EqualValues(b, 4711, s.Next().ID(b))
		require.NoError(b, session.SendInvalid(nil))
		require.EqualValues(b, 4711, s.Next().ID(b))
	})
}

// A message with another session ID ends the session.
func TestS02OtherSessionID(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		call, s, request := b.Asked(ex3)
		s.Send(arr{6, request.ID(b) ^ 1, arr{101}})
		bed.IsCode(b, call.Done().Err, grasp.ErrNoValidStep)
		got := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), 0)
		s = b.Peer.Dialed()
		s.Send(arr{8, s.Next().ID(b) ^ 1, arr{"EX1", 5, 6, 1}})
		bed.IsCode(b, got.Done().Err, grasp.ErrNoValidSynch)
	})
}

// Section 2.7: a session is told apart by its ID together with the address of
// whoever started it.
func TestS06EqualIDsOfDifferentInitiators(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		b.Register(ex3)
		other := b.NewPeer("other", b.Links[0])

		one, _, oneStream := b.Served(ex3, 7, "one")
		call := b.Listen(ex3)
		otherStream := other.Dial(b.At())
		otherStream.Send(arr{3, 7, arr{"EX3", 3, 6, "other"}})
		two := call.Ok()
		require.Equal(b, "other", two.O.Value)
		require.NoError(b, one.EndNegotiate(false, "one"))
		require.NoError(b, two.S.EndNegotiate(false, "two"))
		oneStream.Next().Is(b, `[6, %d, [102, "one"]]`)
		otherStream.Next().Is(b, `[6, %d, [102, "two"]]`)

		// Discoveries: both are answered, with their own initiators.
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX2", nil), grasp.RegisterOptions{Discoverable: true}))
		for _, p := range []*bed.Peer{b.Peer, other} {
			m, ok := p.Discover(8, "EX2")
			require.True(b, ok)
			require.Equal(b, p.Addr(), m.Items(b)[2])
		}
		// Floods: both are heeded.
		for _, p := range []*bed.Peer{b.Peer, other} {
			p.Multicast(arr{9, 9, p.Addr(), 0, arr{arr{"EX1", 5, 6, 1}, p.Option()}})
		}
		values, err := b.ASA.GetFlood(bed.Syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, values, 2)

		// A response with the right ID and another initiator is none.
		found := b.Discover(bed.Syn("EX4", nil), time.Second, grasp.DiscoverOptions{})
		m := b.Peer.All()
		last := m[len(m)-1]
		b.Peer.Respond(last, arr{2, last.ID(b), other.Addr(), 60000, b.Peer.Option()})
		require.Empty(b, found.Within(time.Second).Found)
		b.WantDrop(grasp.ReasonUnsolicited, 1)
	})
}

// Section 2.8.6: a request whose session ID is active here is discarded: the
// peer runs into its timeout.
func TestS07SessionIDClash(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		listening := b.Listen(ex3)
		call, _, request := b.Asked(ex3)
		id := request.ID(b)

		s := b.Peer.Dial(b.At())
		s.Send(arr{3, id, arr{"EX3", 3, 6, "clash"}})
		bed.IsCode(b, listening.Done().Err, grasp.ErrIDClash)
		syn := b.Peer.Dial(b.At())
		syn.Send(arr{4, id, arr{"EX1", 5, 6, nil}})
		b.WantDrop(grasp.ReasonIDClash, 2)
		s.Silent(grasp.DefaultTimeout - time.Second)
		syn.Silent(bed.Soon)
		time.Sleep(2 * time.Second)
		s.Closed()
		syn.Closed()

		bed.IsCode(b, call.Done().Err, grasp.ErrNoNegReply)
	})
}

func TestS07ClashLeavesTheSessionAlone(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		call, own, request := b.Asked(ex3)
		id := request.ID(b)
		b.Peer.Dial(b.At()).Send(arr{3, id, arr{"EX3", 3, 6, "clash"}}) // nobody listens

		listening := b.Listen(ex3)
		b.Peer.Dial(b.At()).Send(arr{3, id, arr{"EX3", 3, 6, "clash"}})
		bed.IsCode(b, listening.Done().Err, grasp.ErrIDClash)
		own.Send(arr{6, id, arr{101}})
		call.Ok()

		// The same ID twice from one peer is a clash, too.
		session, o, s := b.Served(ex3, 7, 1)
		listening = b.Listen(ex3)
		b.Peer.Dial(b.At()).Send(arr{3, 7, arr{"EX3", 3, 6, "clash"}})
		bed.IsCode(b, listening.Done().Err, grasp.ErrIDClash)
		step := b.Step(session, o, 0)
		s.Next()
		s.Send(arr{6, 7, arr{101}})
		step.Ok()

		// Once it is over the ID is free again, whatever is remembered of it.
		_, _, _ = b.Served(ex3, 7, 1)
		_, _, _ = b.Served(ex3, id, 1)
	})
}

// Sections 2.8.4 and 2.5.4.4: the initiator is the sender's global address, and
// nothing is ever sent to it.
func TestS08InitiatorIsAnIdentifier(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		named := b.NewPeer("named", b.Links[0])
		require.NoError(b, named.Node.SetAddr(netip.MustParseAddr("2001:db8::66")))
		b.Peer.Multicast(arr{1, 7, named.Addr(), arr{"EX3", 3, 6, nil}})
		m := b.Peer.Dialed().Next()
		require.EqualValues(b, 7, m.ID(b))
		require.Equal(b, named.Addr(), m.Items(b)[2])
		named.NotDialed()
		// Made-up ones, of either family and of no use as addresses.
		for i, a := range []string{"2001:db8:f000:baaa:f000:baaa:1:2", "192.0.2.1", "::", "::1", "ff02::13", "255.255.255.255"} {
			b.Peer.Multicast(arr{1, 100 + i, bed.IP(a), arr{"EX3", 3, 6, nil}})
			require.Equal(b, bed.IP(a), b.Peer.Dialed().Next().Items(b)[2])
		}

		require.NoError(b, b.ASA.RegisterObj(bed.Syn("EX1", nil), grasp.RegisterOptions{}))
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", 1)}))
		found := b.Discover(bed.Syn("EX2", nil), 100*time.Millisecond, grasp.DiscoverOptions{})
		sent := b.Peer.All()
		require.Len(b, sent, 2)
		for _, p := range sent {
			require.Equal(b, b.Node.Addr().AsSlice(), p.Items(b)[2])
		}
		found.Within(time.Second)
	})
}

// Section 2.8.4: without a global address the initiator is a link-local one.
func TestS09InitiatorWithoutGlobalAddress(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		require.NoError(b, b.Node.SetAddr(netip.Addr{}))
		b.Register(bed.Syn("EX1", nil))
		call := b.Discover(bed.Syn("EX2", nil), 100*time.Millisecond, grasp.DiscoverOptions{})
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", 1)}))
		near, far := b.Peer.All(), b.Far.All()
		require.Len(b, near, 2)
		for i, p := range near {
			require.Equal(b, p.Raw, far[i].Raw)
			a, ok := netip.AddrFromSlice(p.Items(b)[2].([]byte))
			require.True(b, ok)
			require.True(b, a.IsLinkLocalUnicast(), a)
			link, _ := b.Node.Link(b.Links[0])
			require.Equal(b, link.Addr.WithZone(""), a)
		}
		// Responses are found by it.
		b.Far.Respond(far[0], arr{2, far[0].ID(b), far[0].Items(b)[2], 60000, b.Far.Option()})
		require.Len(b, call.Within(time.Second).Found, 1)
	})
}

// Section 2.8.12: M_INVALID may answer a unicast message that is not valid,
// with its session ID and diagnostic data.
func TestV01V02V03InvalidMessagesAreAnswered(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for _, m := range []arr{
			{3, 4711},
			{3, 4711, arr{"EX3", 3, 256, 1}},
			{4, 4711, "no objective"},
			{2, 4711, "no initiator", 1, arr{}},
			{42, 4711, "unknown type"},
		} {
			s := b.Peer.Dial(b.At())
			s.Send(m)
			answer := s.Next()
			require.Regexp(b, `^\[99, 4711, "[^"]+"\]$`, answer.String(), "%v", m)
			require.Less(b, len(answer.Raw), 2048)
			s.Closed()
		}
		// Without a session ID there is nothing to answer with.
		for _, m := range []any{arr{3}, arr{3, "text", 1}, []byte{0xff}, "text"} {
			s := b.Peer.Dial(b.At())
			s.Send(m)
			s.Closed()
		}
		// The same in a session.
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		call, s, request := b.Asked(ex3)
		s.Send(arr{5, request.ID(b), arr{"EX3", 3, 256, 1}})
		bed.IsCode(b, call.Done().Err, grasp.ErrNoValidStep)
		require.Regexp(b, `^\[99, \d+, "[^"]+"\]$`, s.Next().String())
		s.Closed()
	})
}

// Section 2.8.12: what an ASA finds invalid it says so with.
func TestV02V03SendInvalid(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		for want, info := range map[string]any{
			`[99, 7, "No information"]`: "No information",
			`[99, 7, null]`:             nil,
			`[99, 7, h'83']`:            []byte{0x83},
			`[99, 7, [1, "two"]]`:       arr{1, "two"},
		} {
			session, _, s := b.Served(ex3, 7, 1)
			require.NoError(b, session.SendInvalid(info))
			require.Equal(b, want, s.Next().String())
			s.Closed()
		}
	})
}

// Sections 2.8.12 and 2.8.2: M_INVALID is never the answer to an M_INVALID, nor
// to a multicast.
func TestV05NoAnswerToInvalid(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		notUTF8 := []byte{0x83, 0x18, 0x63, 0x07, 0x62, 0xc3, 0x28} // which otherwise would be answered
		for _, m := range []any{arr{99}, arr{99, 7}, arr{99, 7, "text"}, arr{99, "text"}, arr{99, 7, 1, 2, 3}, notUTF8} {
			s := b.Peer.Dial(b.At())
			s.Send(m)
			s.Closed()
			b.Peer.Multicast(m)
		}
		for _, m := range []any{arr{3, 7}, arr{42, 7}, arr{1, 7}, arr{9, 7, 1}, []byte{0xff}} {
			b.Peer.Multicast(m)
		}
		b.Peer.None()
		b.Peer.NotDialed()
	})
}

// Section 2.8.12: M_INVALID may be ignored; here it ends the session, as the
// ASA that sent it has ended it.
func TestV04InvalidEndsTheSession(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		for _, info := range []arr{{}, {nil}, {"No information"}} {
			call, s, request := b.Asked(ex3)
			s.Send(append(arr{99, request.ID(b)}, info...))
			bed.IsCode(b, call.Done().Err, grasp.ErrNoValidStep)
			s.Closed() // and nothing is said to it
			got := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), 0)
			s = b.Peer.Dialed()
			s.Send(append(arr{99, s.Next().ID(b)}, info...))
			bed.IsCode(b, got.Done().Err, grasp.ErrNoValidSynch)
			s.Closed()
		}
	})
}

// Section 2.8.13: M_NOOP may come at any time and is ignored silently.
func TestV06NoopIsIgnored(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		b.Peer.Multicast(arr{0})
		b.Peer.Multicast(arr{0, 1, 2})
		b.Peer.None()

		call := b.Listen(ex3)
		s := b.Peer.Dial(b.At())
		s.Send(arr{0})
		s.Silent(time.Second)
		s.Send(arr{0}, arr{3, 7, arr{"EX3", 3, 6, 1}}, arr{0})
		got := call.Ok()
		call = b.Step(got.S, got.O, 0)
		s.Next()
		s.Send(arr{0}, arr{0}, arr{6, 7, arr{101}})
		call.Ok()

		s = b.Peer.Dial(b.At())
		s.Send(arr{0}, arr{4, 7, arr{"EX1", 5, 6, nil}})
		require.EqualValues(b, 8, s.Next().Items(b)[0])

		sync := b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 0)
		s = b.Peer.Dialed()
		id := s.Next().ID(b)
		s.Send(arr{0}, arr{8, id, arr{"EX2", 5, 6, "value"}})
		require.Equal(b, "value", sync.Ok().O.Value)
		synctest.Wait()
		require.Empty(b, b.G.Snapshot().Dropped)
	})
}

// Nor does it give an idle connection more time.
func TestV06NoopIsNoRequest(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		s := b.Peer.Dial(b.At())
		start := time.Now()
		for range 100 {
			_, err := s.Write([]byte{0x81, 0x00})
			if err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		require.LessOrEqual(b, time.Since(start), (10+2)*time.Second)
		b.WantDrop(grasp.ReasonIdle, 1)
	})
}
