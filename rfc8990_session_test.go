package grasp

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Section 2.7: each discovery, flood and request has a new session ID,
// repeated ones included.
func TestS01NewSessionIDs(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		seen := make(map[uint32]bool)
		add := func(p packet) {
			require.False(b, seen[p.id(b)], "%v", p)
			seen[p.id(b)] = true
		}
		// Three rounds of one discovery: 600 ms, 1.2 s and 2.4 s.
		require.NoError(b, b.discover(syn("EX2", nil), 4*time.Second, DiscoverOptions{}).within(4*time.Second).err)
		for _, p := range b.peer.all() {
			add(p)
		}
		require.Len(b, seen, 3)
		for range 3 {
			require.NoError(b, b.asa.Flood(0, TaggedObjective{Objective: ex1}))
			add(b.peer.only())
			call, s, request := b.asked(ex3)
			add(request)
			s.send(arr{6, request.id(b), arr{101}})
			call.ok()
			got := b.synchronize(syn("EX2", nil), b.peer.locator(), 0)
			s = b.peer.dialed()
			request = s.read()
			add(request)
			s.send(arr{8, request.id(b), arr{"EX2", 5, 6, 1}})
			got.ok()
		}
	})
}

// Section 2.7: all copies of a message, and every later message of the
// procedure, have its session ID.
func TestS02SessionIDStays(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.Flood(0, TaggedObjective{Objective: ex1}))
		require.Equal(b, b.peer.only().raw, b.far.only().raw)
		call := b.discover(syn("EX2", nil), 100*time.Millisecond, DiscoverOptions{})
		require.Equal(b, b.peer.only().raw, b.far.only().raw)
		call.within(100 * time.Millisecond)

		// As initiator.
		call, s, request := b.asked(ex3)
		id := request.id(b)
		s.send(arr{5, id, arr{"EX3", 3, 5, 2}})
		got := call.ok()
		require.NoError(b, got.s.NegotiateWait(time.Second))
		require.Equal(b, id, s.read().id(b))
		call = b.step(got.s, got.o, 0)
		require.Equal(b, id, s.read().id(b))
		s.send(arr{5, id, arr{"EX3", 3, 3, 2}})
		require.NoError(b, call.ok().s.EndNegotiate(true, ""))
		require.Equal(b, id, s.read().id(b))

		// As responder.
		session, o, s := b.served(ex3, 4711, 1)
		require.NoError(b, session.NegotiateWait(time.Second))
		require.EqualValues(b, 4711, s.read().id(b))
		b.step(session, o, 0)
		require.EqualValues(b, 4711, s.read().id(b))
		require.NoError(b, session.SendInvalid(nil))
		require.EqualValues(b, 4711, s.read().id(b))
	})
}

// A message with another session ID ends the session.
func TestS02OtherSessionID(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		call, s, request := b.asked(ex3)
		s.send(arr{6, request.id(b) ^ 1, arr{101}})
		isCode(b, call.done().err, ErrNoValidStep)
		got := b.synchronize(syn("EX1", nil), b.peer.locator(), 0)
		s = b.peer.dialed()
		s.send(arr{8, s.read().id(b) ^ 1, arr{"EX1", 5, 6, 1}})
		isCode(b, got.done().err, ErrNoValidSynch)
	})
}

// Section 2.7: a session is told apart by its ID together with the address of
// whoever started it.
func TestS06EqualIDsOfDifferentInitiators(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", nil)
		b.register(ex3)
		other := b.newPeer("other", b.links[0])

		one, _, oneStream := b.served(ex3, 7, "one")
		call := b.listen(ex3)
		otherStream := other.dial(b.at())
		otherStream.send(arr{3, 7, arr{"EX3", 3, 6, "other"}})
		two := call.ok()
		require.Equal(b, "other", two.o.Value)
		require.NoError(b, one.EndNegotiate(false, "one"))
		require.NoError(b, two.s.EndNegotiate(false, "two"))
		oneStream.read().is(b, `[6, %d, [102, "one"]]`)
		otherStream.read().is(b, `[6, %d, [102, "two"]]`)

		// Discoveries: both are answered, with their own initiators.
		require.NoError(b, b.asa.RegisterObj(neg("EX2", nil), RegisterOptions{Discoverable: true}))
		for _, p := range []*rawPeer{b.peer, other} {
			m, ok := p.discover(8, "EX2")
			require.True(b, ok)
			require.Equal(b, p.addr(), m.items(b)[2])
		}
		// Floods: both are heeded.
		for _, p := range []*rawPeer{b.peer, other} {
			p.multicast(arr{9, 9, p.addr(), 0, arr{arr{"EX1", 5, 6, 1}, p.option()}})
		}
		values, err := b.asa.GetFlood(syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, values, 2)

		// A response with the right ID and another initiator is none.
		found := b.discover(syn("EX4", nil), time.Second, DiscoverOptions{})
		m := b.peer.all()
		last := m[len(m)-1]
		b.peer.respond(last, arr{2, last.id(b), other.addr(), 60000, b.peer.option()})
		require.Empty(b, found.within(time.Second).found)
		b.wantDrop(ReasonUnsolicited, 1)
	})
}

// Section 2.8.6: a request whose session ID is active here is discarded: the
// peer runs into its timeout.
func TestS07SessionIDClash(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		listening := b.listen(ex3)
		call, _, request := b.asked(ex3)
		id := request.id(b)

		s := b.peer.dial(b.at())
		s.send(arr{3, id, arr{"EX3", 3, 6, "clash"}})
		isCode(b, listening.done().err, ErrIDClash)
		syn := b.peer.dial(b.at())
		syn.send(arr{4, id, arr{"EX1", 5, 6, nil}})
		b.wantDrop(ReasonIDClash, 2)
		s.silent(DefaultTimeout - time.Second)
		syn.silent(soon)
		time.Sleep(2 * time.Second)
		s.closed()
		syn.closed()

		isCode(b, call.done().err, ErrNoNegReply)
	})
}

func TestS07ClashLeavesTheSessionAlone(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		call, own, request := b.asked(ex3)
		id := request.id(b)
		b.peer.dial(b.at()).send(arr{3, id, arr{"EX3", 3, 6, "clash"}}) // nobody listens

		listening := b.listen(ex3)
		b.peer.dial(b.at()).send(arr{3, id, arr{"EX3", 3, 6, "clash"}})
		isCode(b, listening.done().err, ErrIDClash)
		own.send(arr{6, id, arr{101}})
		call.ok()

		// The same ID twice from one peer is a clash, too.
		session, o, s := b.served(ex3, 7, 1)
		listening = b.listen(ex3)
		b.peer.dial(b.at()).send(arr{3, 7, arr{"EX3", 3, 6, "clash"}})
		isCode(b, listening.done().err, ErrIDClash)
		step := b.step(session, o, 0)
		s.read()
		s.send(arr{6, 7, arr{101}})
		step.ok()

		// Once it is over the ID is free again, whatever is remembered of it.
		_, _, _ = b.served(ex3, 7, 1)
		_, _, _ = b.served(ex3, id, 1)
	})
}

// Sections 2.8.4 and 2.5.4.4: the initiator is the sender's global address, and
// nothing is ever sent to it.
func TestS08InitiatorIsAnIdentifier(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		named := b.newPeer("named", b.links[0])
		require.NoError(b, named.node.SetAddr(netip.MustParseAddr("2001:db8::66")))
		b.peer.multicast(arr{1, 7, named.addr(), arr{"EX3", 3, 6, nil}})
		m := b.peer.dialed().read()
		require.EqualValues(b, 7, m.id(b))
		require.Equal(b, named.addr(), m.items(b)[2])
		named.notDialed()
		// Made-up ones, of either family and of no use as addresses.
		for i, a := range []string{"2001:db8:f000:baaa:f000:baaa:1:2", "192.0.2.1", "::", "::1", "ff02::13", "255.255.255.255"} {
			b.peer.multicast(arr{1, 100 + i, ip(a), arr{"EX3", 3, 6, nil}})
			require.Equal(b, ip(a), b.peer.dialed().read().items(b)[2])
		}

		require.NoError(b, b.asa.RegisterObj(syn("EX1", nil), RegisterOptions{}))
		require.NoError(b, b.asa.Flood(0, TaggedObjective{Objective: syn("EX1", 1)}))
		found := b.discover(syn("EX2", nil), 100*time.Millisecond, DiscoverOptions{})
		sent := b.peer.all()
		require.Len(b, sent, 2)
		for _, p := range sent {
			require.Equal(b, b.node.Addr().AsSlice(), p.items(b)[2])
		}
		found.within(time.Second)
	})
}

// Section 2.8.4: without a global address the initiator is a link-local one.
func TestS09InitiatorWithoutGlobalAddress(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		require.NoError(b, b.node.SetAddr(netip.Addr{}))
		b.register(syn("EX1", nil))
		call := b.discover(syn("EX2", nil), 100*time.Millisecond, DiscoverOptions{})
		require.NoError(b, b.asa.Flood(0, TaggedObjective{Objective: syn("EX1", 1)}))
		near, far := b.peer.all(), b.far.all()
		require.Len(b, near, 2)
		for i, p := range near {
			require.Equal(b, p.raw, far[i].raw)
			a, ok := netip.AddrFromSlice(p.items(b)[2].([]byte))
			require.True(b, ok)
			require.True(b, a.IsLinkLocalUnicast(), a)
			link, _ := b.node.Link(b.links[0])
			require.Equal(b, link.Addr.WithZone(""), a)
		}
		// Responses are found by it.
		b.far.respond(far[0], arr{2, far[0].id(b), far[0].items(b)[2], 60000, b.far.option()})
		require.Len(b, call.within(time.Second).found, 1)
	})
}

// Section 2.8.12: M_INVALID may answer a unicast message that is not valid,
// with its session ID and diagnostic data.
func TestV01V02V03InvalidMessagesAreAnswered(t *testing.T) {
	inBed(t, func(b *bed) {
		for _, m := range []arr{
			{3, 4711},
			{3, 4711, arr{"EX3", 3, 256, 1}},
			{4, 4711, "no objective"},
			{2, 4711, "no initiator", 1, arr{}},
			{42, 4711, "unknown type"},
		} {
			s := b.peer.dial(b.at())
			s.send(m)
			answer := s.read()
			require.Regexp(b, `^\[99, 4711, "[^"]+"\]$`, answer.String(), "%v", m)
			require.Less(b, len(answer.raw), 2048)
			s.closed()
		}
		// Without a session ID there is nothing to answer with.
		for _, m := range []any{arr{3}, arr{3, "text", 1}, []byte{0xff}, "text"} {
			s := b.peer.dial(b.at())
			s.send(m)
			s.closed()
		}
		// The same in a session.
		ex3 := neg("EX3", 1)
		b.register(ex3)
		call, s, request := b.asked(ex3)
		s.send(arr{5, request.id(b), arr{"EX3", 3, 256, 1}})
		isCode(b, call.done().err, ErrNoValidStep)
		require.Regexp(b, `^\[99, \d+, "[^"]+"\]$`, s.read().String())
		s.closed()
	})
}

// Section 2.8.12: what an ASA finds invalid it says so with.
func TestV02V03SendInvalid(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		for want, info := range map[string]any{
			`[99, 7, "No information"]`: "No information",
			`[99, 7, null]`:             nil,
			`[99, 7, h'83']`:            []byte{0x83},
			`[99, 7, [1, "two"]]`:       arr{1, "two"},
		} {
			session, _, s := b.served(ex3, 7, 1)
			require.NoError(b, session.SendInvalid(info))
			require.Equal(b, want, s.read().String())
			s.closed()
		}
	})
}

// Sections 2.8.12 and 2.8.2: M_INVALID is never the answer to an M_INVALID, nor
// to a multicast.
func TestV05NoAnswerToInvalid(t *testing.T) {
	inBed(t, func(b *bed) {
		notUTF8 := []byte{0x83, 0x18, 0x63, 0x07, 0x62, 0xc3, 0x28} // which otherwise would be answered
		for _, m := range []any{arr{99}, arr{99, 7}, arr{99, 7, "text"}, arr{99, "text"}, arr{99, 7, 1, 2, 3}, notUTF8} {
			s := b.peer.dial(b.at())
			s.send(m)
			s.closed()
			b.peer.multicast(m)
		}
		for _, m := range []any{arr{3, 7}, arr{42, 7}, arr{1, 7}, arr{9, 7, 1}, []byte{0xff}} {
			b.peer.multicast(m)
		}
		b.peer.none()
		b.peer.notDialed()
	})
}

// Section 2.8.12: M_INVALID may be ignored; here it ends the session, as the
// ASA that sent it has ended it.
func TestV04InvalidEndsTheSession(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		for _, info := range []arr{{}, {nil}, {"No information"}} {
			call, s, request := b.asked(ex3)
			s.send(append(arr{99, request.id(b)}, info...))
			isCode(b, call.done().err, ErrNoValidStep)
			s.closed() // and nothing is said to it
			got := b.synchronize(syn("EX1", nil), b.peer.locator(), 0)
			s = b.peer.dialed()
			s.send(append(arr{99, s.read().id(b)}, info...))
			isCode(b, got.done().err, ErrNoValidSynch)
			s.closed()
		}
	})
}

// Section 2.8.13: M_NOOP may come at any time and is ignored silently.
func TestV06NoopIsIgnored(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		b.peer.multicast(arr{0})
		b.peer.multicast(arr{0, 1, 2})
		b.peer.none()

		call := b.listen(ex3)
		s := b.peer.dial(b.at())
		s.send(arr{0})
		s.silent(time.Second)
		s.send(arr{0}, arr{3, 7, arr{"EX3", 3, 6, 1}}, arr{0})
		got := call.ok()
		call = b.step(got.s, got.o, 0)
		s.read()
		s.send(arr{0}, arr{0}, arr{6, 7, arr{101}})
		call.ok()

		s = b.peer.dial(b.at())
		s.send(arr{0}, arr{4, 7, arr{"EX1", 5, 6, nil}})
		require.EqualValues(b, 8, s.read().items(b)[0])

		sync := b.synchronize(syn("EX2", nil), b.peer.locator(), 0)
		s = b.peer.dialed()
		id := s.read().id(b)
		s.send(arr{0}, arr{8, id, arr{"EX2", 5, 6, "value"}})
		require.Equal(b, "value", sync.ok().o.Value)
		synctest.Wait()
		require.Empty(b, b.g.Snapshot().Dropped)
	})
}

// Nor does it give an idle connection more time.
func TestV06NoopIsNoRequest(t *testing.T) {
	inBed(t, func(b *bed) {
		s := b.peer.dial(b.at())
		start := time.Now()
		for range 100 {
			_, err := s.Write([]byte{0x81, 0x00})
			if err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		require.LessOrEqual(b, time.Since(start), b.g.cfg.IdleTimeout+2*time.Second)
		b.wantDrop(ReasonIdle, 1)
	})
}
