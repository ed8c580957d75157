package grasp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// What bad input gets. A malformed multicast is dropped, counted and traced
// with the reason, and the next one is handled.
func TestHostileMulticasts(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX1", nil), RegisterOptions{Discoverable: true}))
		me, objective := b.peer.addr(), arr{"EX1", 3, 6, nil}
		deep := any(1)
		for range 40 {
			deep = arr{deep}
		}
		id := uint32(1000)
		for i, c := range []struct {
			name   string
			raw    any
			reason Reason
		}{
			{"nothing but a break", []byte{0xff}, ReasonMalformed},
			{"cut", encoded(b, arr{1, 7, me, objective})[:10], ReasonMalformed},
			{"trailing bytes", append(encoded(b, arr{1, 7, me, objective}), 0), ReasonMalformed},
			{"not UTF-8", []byte{0x84, 1, 7, 0x44, 1, 2, 3, 4, 0x83, 0x61, 0xff, 3, 6}, ReasonMalformed},
			{"no array", 7, ReasonInvalid},
			{"an empty array", arr{}, ReasonInvalid},
			{"a type that is no number", arr{"1", 7, me, objective}, ReasonInvalid},
			{"an unknown type", arr{50, 7, me, objective}, ReasonUnknownType},
			{"a type too large", arr{int64(1) << 40, 7}, ReasonUnknownType},
			{"a session ID that is no number", arr{1, "7", me, objective}, ReasonInvalid},
			{"a session ID too large", arr{1, int64(1) << 32, me, objective}, ReasonInvalid},
			{"a negative session ID", arr{1, -1, me, objective}, ReasonInvalid},
			{"no initiator", arr{1, 7}, ReasonInvalid},
			{"an initiator of 5 bytes", arr{1, 7, []byte("12345"), objective}, ReasonInvalid},
			{"an initiator that is text", arr{1, 7, "1234", objective}, ReasonInvalid},
			{"no objective", arr{1, 7, me}, ReasonInvalid},
			{"an objective of two items", arr{1, 7, me, arr{"EX1", 3}}, ReasonInvalid},
			{"an objective of five items", arr{1, 7, me, arr{"EX1", 3, 6, nil, nil}}, ReasonInvalid},
			{"a name that is bytes", arr{1, 7, me, arr{[]byte("EX1"), 3, 6, nil}}, ReasonInvalid},
			{"a loop count too large", arr{1, 7, me, arr{"EX1", 3, 256, nil}}, ReasonInvalid},
			{"flags that are null", arr{1, 7, me, arr{"EX1", nil, 6, nil}}, ReasonInvalid},
			{"a flood without objectives", arr{9, 7, me, 0}, ReasonInvalid},
			{"a flood with a bad locator", arr{9, 7, me, 0, arr{objective, arr{103, []byte{1}, 6, 1}}}, ReasonInvalid},
			{"a flood whose port is too large", arr{9, 7, me, 0, arr{objective, arr{105, "x", 6, 65536}}}, ReasonInvalid},
			{"a flood whose ttl is null", arr{9, 7, me, nil, arr{objective, arr{}}}, ReasonInvalid},
			{"a link-local initiator", arr{9, 7, ip("fe80::1"), 0, arr{objective, arr{}}}, ReasonLinkLocalSource},
			{"nested too deep", arr{1, 7, me, arr{"EX1", 3, 6, deep}}, ReasonTooDeep},
			{"M_REQ_NEG", arr{3, 7, objective}, ReasonUnexpected},
			{"M_END", arr{6, 7, arr{101}}, ReasonUnexpected},
			{"M_RESPONSE", arr{2, 7, me, 1, ipv6("fd00::1", 1)}, ReasonUnexpected},
			{"M_INVALID", arr{99, 7}, ReasonUnexpected},
		} {
			raw := encoded(b, c.raw)
			b.peer.multicast(raw)
			dropped := b.log.dropped(c.reason)
			require.NotEmpty(b, dropped, "%s: %v", c.name, b.g.Snapshot().Dropped)
			last := dropped[len(dropped)-1]
			require.Equal(b, raw, last.Raw, c.name)
			require.Equal(b, b.peer.ep.Port(), last.Peer.Port(), c.name)
			require.Equal(b, b.index(b.links[0]), last.Link, c.name)
			var count uint64
			for _, n := range b.g.Snapshot().Dropped {
				count += n
			}
			require.EqualValues(b, i+1, count, "%s: each is counted once", c.name)
			b.peer.notDialed() // and gets no answer
			id++
			_, ok := b.peer.discover(id, "EX1")
			require.True(b, ok, "after %s", c.name)
		}
		b.peer.multicast(arr{0})
		b.peer.multicast([]byte{0x81, 0x00})
	})
}

// A multicast that is longer than any may be is seen as such.
func TestHostileMulticastTooLong(t *testing.T) {
	inBed(t, func(b *bed) {
		raw := encoded(b, arr{9, 7, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, make([]byte, 2100)}, arr{}}})
		b.g.takeMulticast(raw[:b.g.limits.Bytes+1], acp.Origin{})
		b.wantDrop(ReasonTooLong, 1)
		require.Empty(b, flooded(b, "EX1"))
	})
}

// A malformed message at the beginning of a connection: it is closed, with
// M_INVALID if its session ID could be read, and never in answer to M_INVALID.
func TestHostileFirstMessages(t *testing.T) {
	objective := arr{"EX1", 3, 6, nil}
	for _, c := range []struct {
		name    string
		raw     any
		reason  Reason
		invalid bool
	}{
		{"a break", []byte{0xff}, ReasonMalformed, false},
		{"no array", 7, ReasonInvalid, false},
		{"an unknown type", arr{50, 7}, ReasonUnknownType, true},
		{"a session ID too large", arr{3, int64(1) << 32, objective}, ReasonInvalid, false},
		{"no session ID", arr{3}, ReasonInvalid, false},
		{"no objective", arr{3, 7}, ReasonInvalid, true},
		{"an objective that is none", arr{3, 7, "EX1"}, ReasonInvalid, true},
		{"a loop count too large", arr{3, 7, arr{"EX1", 3, 256, nil}}, ReasonInvalid, true},
		{"M_END with neither", arr{6, 7, arr{}}, ReasonInvalid, true},
		{"M_INVALID", arr{99, 7}, ReasonUnexpected, false},
		{"M_INVALID without a session", arr{99}, ReasonInvalid, false},
		{"M_INVALID, malformed", []byte{0x83, 0x18, 99, 7, 0xff}, ReasonMalformed, false},
		{"M_FLOOD", arr{9, 7, ip("fd00::1"), 0, arr{objective, arr{}}}, ReasonUnexpected, false},
		{"M_NEGOTIATE", arr{5, 7, objective}, ReasonUnsolicited, false},
		{"M_RESPONSE", arr{2, 7, ip("fd00::1"), 1, ipv6("fd00::1", 1)}, ReasonUnsolicited, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.register(neg("EX1", nil))
				session, _, other := b.served(neg("EX1", nil), 1, nil)
				waiting := b.listen(neg("EX1", nil))
				s := b.peer.dial(b.at())
				s.send(c.raw)
				if c.invalid {
					require.True(b, strings.HasPrefix(s.read().String(), "[99, 7, "), "the session ID of the bad message")
				}
				s.closed()
				b.wantDrop(c.reason, 1)
				// Nothing else is disturbed.
				waiting.blocks()
				require.NoError(b, session.EndNegotiate(true, ""))
				other.read().is(b, `[6, %d, [101]]`)
				b.peer.dial(b.at()).send(arr{3, 2, objective})
				waiting.ok()
			})
		})
	}
}

// The same in a session: it ends with the right code on our side.
func TestHostileAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		raw     func(id uint32) any
		code    ErrorCode
		invalid bool
	}{
		{"no CBOR", func(uint32) any { return []byte{0xff} }, ErrCBORFail, false},
		{"no array", func(uint32) any { return 7 }, ErrNoValidStep, false},
		{"unknown type", func(id uint32) any { return arr{50, id} }, ErrNoValidStep, true},
		{"no objective", func(id uint32) any { return arr{5, id} }, ErrNoValidStep, true},
		{"neither accept nor decline", func(id uint32) any { return arr{6, id, arr{103}} }, ErrInvalidEnd, true},
		{"a wait too long", func(id uint32) any { return arr{7, id, int64(1) << 32} }, ErrNoValidStep, true},
		{"M_INVALID", func(id uint32) any { return arr{99, id} }, ErrNoValidStep, false},
		{"M_INVALID of no session", func(uint32) any { return arr{99} }, ErrNoValidStep, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.register(neg("EX1", nil))
				call, s, m := b.asked(neg("EX1", nil))
				s.send(c.raw(m.id(b)))
				isCode(b, call.done().err, c.code)
				if c.invalid {
					require.True(b, strings.HasPrefix(s.read().String(), fmt.Sprintf("[99, %d, ", m.id(b))))
				}
				s.closed()
				require.Empty(b, b.g.Snapshot().Sessions)
			})
		})
	}
}

// S-07: a request with an ID in use is discarded: the listener is told, the
// peer runs into its timeout, and the session it clashes with goes on.
func TestHostileIDClash(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		session, _, conn := b.served(o, 7, nil)
		waiting := b.listen(o)
		clash := b.peer.dial(b.at())
		clash.send(arr{3, 7, arr{"EX1", 3, 6, "clash"}})
		isCode(b, waiting.done().err, ErrIDClash)
		b.wantDrop(ReasonIDClash, 1)
		waiting = b.listen(o)
		start := time.Now()
		clash.silent(59 * time.Second)
		waiting.blocks()
		clash.closedWithin(time.Minute)
		require.LessOrEqual(b, time.Since(start), 61*time.Second)
		require.NoError(b, session.EndNegotiate(true, ""))
		conn.read().is(b, `[6, %d, [101]]`)

		// A clash while nobody waits is told to nobody.
		session, _, _ = b.servedBy(waiting, 8)
		clash = b.peer.dial(b.at())
		clash.send(arr{3, 8, arr{"EX1", 3, 6, "clash"}})
		b.wantDrop(ReasonIDClash, 2)
		waiting = b.listen(o)
		waiting.blocks()
		require.NoError(b, session.EndNegotiate(true, ""))
		// Now the ID is free.
		b.servedBy(waiting, 8)
	})
}

// servedBy is served for a listener that waits.
func (b *bed) servedBy(waiting pending, id uint32) (*Session, Objective, *rawStream) {
	b.Helper()
	s := b.peer.dial(b.at())
	s.send(arr{3, id, arr{"EX1", 3, 6, nil}})
	a := waiting.ok()
	return a.s, a.o, s
}

// closedWithin checks that the other end closes within a time.
func (s *rawStream) closedWithin(d time.Duration) {
	s.t.Helper()
	p, err := s.next(d)
	require.ErrorContains(s.t, err, "EOF", "%v", p)
}

// Responses that nobody asked for, or for somebody else, are dropped.
func TestHostileResponses(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.discover(neg("EX1", nil), time.Second, DiscoverOptions{})
		heard := b.peer.only()
		m := message[*wire.Discovery](b, heard)
		me := m.Initiator.AsSlice()
		for i, r := range []arr{
			{2, m.SessionID + 1, me, 1000, ipv6("fd00::1", 1)},
			{2, m.SessionID, ip("fd00::1234"), 1000, ipv6("fd00::2", 1)},
			{2, m.SessionID, me[:4], 1000, ipv6("fd00::3", 1)},
		} {
			b.peer.respond(heard, r)
			b.wantDrop(ReasonUnsolicited, i+1)
		}
		a := call.within(time.Second)
		require.Empty(b, a.found)
		b.peer.respond(heard, arr{2, m.SessionID, me, 1000, ipv6("fd00::4", 1)})
		b.wantDrop(ReasonUnsolicited, 4)
		require.Empty(b, b.g.Snapshot().Locators)
	})
}

// Of a response with locators of no use the others are taken.
func TestHostileLocators(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.discover(neg("EX1", nil), time.Second, DiscoverOptions{})
		heard := b.peer.only()
		m := message[*wire.Discovery](b, heard)
		b.peer.respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 1000,
			ipv6("::", 1), ipv6("ff02::13", 1), ipv6("::1", 1), arr{104, ip("127.0.0.1"), 6, 1}, arr{104, ip("0.0.0.0"), 6, 1},
			ipv6("fd00::1", 1),
			arr{100, ipv6("fe80::1", 1), ipv6("::1", 1), ipv6("fd00::2", 1)},
			arr{103, []byte{1, 2, 3}, 6, 1}, arr{106, "coap://x"}, arr{107, "unknown"},
			arr{105, "example.com", 6, 1},
		})
		require.Equal(b, []string{"[fd00::1]:1", "example.com:1", "[fd00::2]:1"}, texts(call.within(time.Second).found))
		b.wantDrop(ReasonBadLocator, 7)

		// A name that stands for this host is of no use either.
		b.register(neg("EX1", nil))
		for _, l := range []Locator{
			{FQDN: "127.0.0.1", Port: int(b.g.ep.Port())}, {FQDN: "::1", Port: int(b.g.ep.Port())},
			{URI: fmt.Sprintf("http://[::1]:%d/", b.g.ep.Port())}, {FQDN: "ff02::13", Port: 1},
		} {
			isCode(b, b.request(neg("EX1", nil), &l, 0).done().err, ErrUnusableLocator)
		}
	})
}

// A response can bring more locators than are kept. One peer cannot crowd out
// what others respond.
func TestHostileManyLocators(t *testing.T) {
	inBed(t, func(b *bed) {
		honest, late := b.newPeer("honest", b.links[0]), b.newPeer("late", b.links[0])
		call := b.discover(neg("EX1", nil), time.Minute, DiscoverOptions{})
		heard := b.peer.only()
		m := message[*wire.Discovery](b, heard)
		honest.respond(honest.only(), arr{2, m.SessionID, m.Initiator.AsSlice(), 100_000, honest.option()})
		for i := range 50 {
			r := arr{2, m.SessionID, m.Initiator.AsSlice(), 100_000}
			for j := range 50 {
				r = append(r, ipv6(fmt.Sprintf("fd00::%x:%x", i, j), 1))
			}
			b.peer.respond(heard, r)
		}
		late.respond(late.only(), arr{2, m.SessionID, m.Initiator.AsSlice(), 100_000, late.option()})
		cached := texts(b.g.locators.get("EX1"))
		require.Len(b, cached, 64)
		found := texts(call.within(time.Minute).found)
		require.Len(b, found, 256/4+2)
		for _, p := range []*rawPeer{honest, late} {
			require.Contains(b, cached, p.locator().String())
			require.Contains(b, found, p.locator().String())
		}
		b.wantDrop(ReasonTooManyFound, 2500-64)
		b.wantDrop(ReasonCacheFull, 2500+2-64)
	})
}

// Whatever comes, from wherever, the instance goes on. Random damage to valid
// messages, as multicasts and on connections.
func TestHostileDamage(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	inBed(t, func(b *bed) {
		b.answering(7)
		b.register(neg("EX2", nil))
		go func() {
			for {
				s, _, err := b.asa.ListenNegotiate(forever, neg("EX2", nil))
				if Code(err) == ErrNoASA {
					return
				}
				if err == nil {
					_ = s.EndNegotiate(true, "")
				}
			}
		}()
		rnd := rand.New(rand.NewPCG(5, 6))
		valid := [][]byte{
			encoded(b, arr{1, 7, b.peer.addr(), arr{"EX1", 5, 6, nil}}),
			encoded(b, arr{2, 7, b.peer.addr(), 1000, ipv6("fd00::1", 1), arr{100, ipv6("fd00::2", 2)}, arr{"EX1", 5, 6, 7}}),
			encoded(b, arr{3, 7, arr{"EX2", 3, 6, arr{1, "x"}}}),
			encoded(b, askForEX1),
			encoded(b, arr{6, 7, arr{102, "no"}}),
			encoded(b, arr{9, 7, b.peer.addr(), 1000, arr{arr{"EX1", 5, 6, 7}, ipv6("fd00::1", 1)}}),
			encoded(b, arr{99, 7, "what?"}),
		}
		for i := range rounds {
			raw := bytes.Clone(valid[rnd.IntN(len(valid))])
			for range 1 + rnd.IntN(3) {
				switch at := rnd.IntN(len(raw)); rnd.IntN(3) {
				case 0:
					raw[at] = byte(rnd.Uint32())
				case 1:
					raw[at] ^= 1 << rnd.IntN(8)
				default:
					raw = append(raw[:at], raw[min(len(raw), at+1+rnd.IntN(3)):]...)
					raw = append(raw, byte(rnd.Uint32()))
				}
			}
			if i%2 == 0 {
				b.peer.multicast(raw)
				continue
			}
			s := b.peer.dial(b.at())
			_, err := s.Write(raw)
			require.NoError(b, err)
			require.NoError(b, s.Close())
		}
		synctest.Wait()
		s := b.peer.dial(b.at())
		s.send(askForEX1)
		s.read().is(b, answerOfEX1)
		time.Sleep(2 * time.Minute)
		require.Zero(b, b.g.Snapshot().Streams)
		require.Empty(b, b.g.Snapshot().Sessions)
		require.NoError(b, b.asa.Deregister())
	})
}
