package adversary

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/wire"
)

// What bad input gets. A malformed multicast is dropped, counted and traced
// with the reason, and the next one is handled.
func TestHostileMulticasts(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{Discoverable: true}))
		me, objective := b.Peer.Addr(), arr{"EX1", 3, 6, nil}
		deep := any(1)
		for range 40 {
			deep = arr{deep}
		}
		id := uint32(1000)
		for i, c := range []struct {
			name   string
			raw    any
			reason grasp.Reason
		}{
			{"nothing but a break", []byte{0xff}, grasp.ReasonMalformed},
			{"cut", bed.Encoded(b, arr{1, 7, me, objective})[:10], grasp.ReasonMalformed},
			{"trailing bytes", append(bed.Encoded(b, arr{1, 7, me, objective}), 0), grasp.ReasonMalformed},
			{"not UTF-8", []byte{0x84, 1, 7, 0x44, 1, 2, 3, 4, 0x83, 0x61, 0xff, 3, 6}, grasp.ReasonMalformed},
			{"no array", 7, grasp.ReasonInvalid},
			{"an empty array", arr{}, grasp.ReasonInvalid},
			{"a type that is no number", arr{"1", 7, me, objective}, grasp.ReasonInvalid},
			{"an unknown type", arr{50, 7, me, objective}, grasp.ReasonUnknownType},
			{"a type too large", arr{int64(1) << 40, 7}, grasp.ReasonUnknownType},
			{"a session ID that is no number", arr{1, "7", me, objective}, grasp.ReasonInvalid},
			{"a session ID too large", arr{1, int64(1) << 32, me, objective}, grasp.ReasonInvalid},
			{"a negative session ID", arr{1, -1, me, objective}, grasp.ReasonInvalid},
			{"no initiator", arr{1, 7}, grasp.ReasonInvalid},
			{"an initiator of 5 bytes", arr{1, 7, []byte("12345"), objective}, grasp.ReasonInvalid},
			{"an initiator that is text", arr{1, 7, "1234", objective}, grasp.ReasonInvalid},
			{"no objective", arr{1, 7, me}, grasp.ReasonInvalid},
			{"an objective of two items", arr{1, 7, me, arr{"EX1", 3}}, grasp.ReasonInvalid},
			{"an objective of five items", arr{1, 7, me, arr{"EX1", 3, 6, nil, nil}}, grasp.ReasonInvalid},
			{"a name that is bytes", arr{1, 7, me, arr{[]byte("EX1"), 3, 6, nil}}, grasp.ReasonInvalid},
			{"a loop count too large", arr{1, 7, me, arr{"EX1", 3, 256, nil}}, grasp.ReasonInvalid},
			{"flags that are null", arr{1, 7, me, arr{"EX1", nil, 6, nil}}, grasp.ReasonInvalid},
			{"a flood without objectives", arr{9, 7, me, 0}, grasp.ReasonInvalid},
			{"a flood with a bad locator", arr{9, 7, me, 0, arr{objective, arr{103, []byte{1}, 6, 1}}}, grasp.ReasonInvalid},
			{"a flood whose port is too large", arr{9, 7, me, 0, arr{objective, arr{105, "x", 6, 65536}}}, grasp.ReasonInvalid},
			{"a flood whose ttl is null", arr{9, 7, me, nil, arr{objective, arr{}}}, grasp.ReasonInvalid},
			{"a link-local initiator", arr{9, 7, bed.IP("fe80::1"), 0, arr{objective, arr{}}}, grasp.ReasonLinkLocalSource},
			{"nested too deep", arr{1, 7, me, arr{"EX1", 3, 6, deep}}, grasp.ReasonTooDeep},
			{"M_REQ_NEG", arr{3, 7, objective}, grasp.ReasonUnexpected},
			{"M_END", arr{6, 7, arr{101}}, grasp.ReasonUnexpected},
			{"M_RESPONSE", arr{2, 7, me, 1, bed.IPv6("fd00::1", 1)}, grasp.ReasonUnexpected},
			{"M_INVALID", arr{99, 7}, grasp.ReasonUnexpected},
		} {
			raw := bed.Encoded(b, c.raw)
			b.Peer.Multicast(raw)
			dropped := b.Dropped(c.reason)
			require.NotEmpty(b, dropped, "%s: %v", c.name, b.G.Snapshot().Dropped)
			last := dropped[len(dropped)-1]
			require.Equal(b, raw, last.Raw, c.name)
			require.Equal(b, b.Peer.Endpoint.Port(), last.Peer.Port(), c.name)
			require.Equal(b, b.Index(b.Links[0]), last.Link, c.name)
			var count uint64
			for _, n := range b.G.Snapshot().Dropped {
				count += n
			}
			require.EqualValues(b, i+1, count, "%s: each is counted once", c.name)
			b.Peer.NotDialed() // and gets no answer
			id++
			_, ok := b.Peer.Discover(id, "EX1")
			require.True(b, ok, "after %s", c.name)
		}
		b.Peer.Multicast(arr{0})
		b.Peer.Multicast([]byte{0x81, 0x00})
	})
}

// A multicast that is longer than any may be is seen as such.
func TestHostileMulticastTooLong(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		log := &bed.EventLog{}
		raw := bed.Encoded(b, arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, make([]byte, 2100)}, arr{}}})
		a := bed.NewASA(b, bed.InstanceWith(b, shouted{b.Net.NewNode("deafened", b.Links[0]), raw}, func(c *grasp.Config) { c.Trace = log.Add }), "deafened")
		synctest.Wait()
		require.Len(b, log.Dropped(grasp.ReasonTooLong), 1)
		require.Empty(b, bed.Must1(a.GetFlood(bed.Syn("EX1", nil))))
	})
}

// A malformed message at the beginning of a connection: it is closed, with
// M_INVALID if its session ID could be read, and never in answer to M_INVALID.
func TestHostileFirstMessages(t *testing.T) {
	objective := arr{"EX1", 3, 6, nil}
	for _, c := range []struct {
		name    string
		raw     any
		reason  grasp.Reason
		invalid bool
	}{
		{"a break", []byte{0xff}, grasp.ReasonMalformed, false},
		{"no array", 7, grasp.ReasonInvalid, false},
		{"an unknown type", arr{50, 7}, grasp.ReasonUnknownType, true},
		{"a session ID too large", arr{3, int64(1) << 32, objective}, grasp.ReasonInvalid, false},
		{"no session ID", arr{3}, grasp.ReasonInvalid, false},
		{"no objective", arr{3, 7}, grasp.ReasonInvalid, true},
		{"an objective that is none", arr{3, 7, "EX1"}, grasp.ReasonInvalid, true},
		{"a loop count too large", arr{3, 7, arr{"EX1", 3, 256, nil}}, grasp.ReasonInvalid, true},
		{"M_END with neither", arr{6, 7, arr{}}, grasp.ReasonInvalid, true},
		{"M_INVALID", arr{99, 7}, grasp.ReasonUnexpected, false},
		{"M_INVALID without a session", arr{99}, grasp.ReasonInvalid, false},
		{"M_INVALID, malformed", []byte{0x83, 0x18, 99, 7, 0xff}, grasp.ReasonMalformed, false},
		{"M_FLOOD", arr{9, 7, bed.IP("fd00::1"), 0, arr{objective, arr{}}}, grasp.ReasonUnexpected, false},
		{"M_NEGOTIATE", arr{5, 7, objective}, grasp.ReasonUnsolicited, false},
		{"M_RESPONSE", arr{2, 7, bed.IP("fd00::1"), 1, bed.IPv6("fd00::1", 1)}, grasp.ReasonUnsolicited, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil))
				session, _, other := b.Served(bed.Neg("EX1", nil), 1, nil)
				waiting := b.Listen(bed.Neg("EX1", nil))
				s := b.Peer.Dial(b.At())
				s.Send(c.raw)
				if c.invalid {
					require.True(b, strings.HasPrefix(s.Next().String(), "[99, 7, "), "the session ID of the bad message")
				}
				s.Closed()
				b.WantDrop(c.reason, 1)
				// Nothing else is disturbed.
				waiting.Blocks()
				require.NoError(b, session.EndNegotiate(true, ""))
				other.Next().Is(b, `[6, %d, [101]]`)
				b.Peer.Dial(b.At()).Send(arr{3, 2, objective})
				waiting.Ok()
			})
		})
	}
}

// The same in a session: it ends with the right code on our side.
func TestHostileAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		raw     func(id uint32) any
		code    grasp.ErrorCode
		invalid bool
	}{
		{"no CBOR", func(uint32) any { return []byte{0xff} }, grasp.ErrCBORFail, false},
		{"no array", func(uint32) any { return 7 }, grasp.ErrNoValidStep, false},
		{"unknown type", func(id uint32) any { return arr{50, id} }, grasp.ErrNoValidStep, true},
		{"no objective", func(id uint32) any { return arr{5, id} }, grasp.ErrNoValidStep, true},
		{"neither accept nor decline", func(id uint32) any { return arr{6, id, arr{103}} }, grasp.ErrInvalidEnd, true},
		{"a wait too long", func(id uint32) any { return arr{7, id, int64(1) << 32} }, grasp.ErrNoValidStep, true},
		{"M_INVALID", func(id uint32) any { return arr{99, id} }, grasp.ErrNoValidStep, false},
		{"M_INVALID of no session", func(uint32) any { return arr{99} }, grasp.ErrNoValidStep, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil))
				call, s, m := b.Asked(bed.Neg("EX1", nil))
				s.Send(c.raw(m.ID(b)))
				bed.IsCode(b, call.Done().Err, c.code)
				if c.invalid {
					require.True(b, strings.HasPrefix(s.Next().String(), fmt.Sprintf("[99, %d, ", m.ID(b))))
				}
				s.Closed()
				require.Empty(b, b.G.Snapshot().Sessions)
			})
		})
	}
}

// S-07: a request with an ID in use is discarded: the listener is told, the
// peer runs into its timeout, and the session it clashes with goes on.
func TestHostileIDClash(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		session, _, conn := b.Served(o, 7, nil)
		waiting := b.Listen(o)
		clash := b.Peer.Dial(b.At())
		clash.Send(arr{3, 7, arr{"EX1", 3, 6, "clash"}})
		bed.IsCode(b, waiting.Done().Err, grasp.ErrIDClash)
		b.WantDrop(grasp.ReasonIDClash, 1)
		waiting = b.Listen(o)
		start := time.Now()
		clash.Silent(59 * time.Second)
		waiting.Blocks()
		clash.ClosedWithin(time.Minute)
		require.LessOrEqual(b, time.Since(start), 61*time.Second)
		require.NoError(b, session.EndNegotiate(true, ""))
		conn.Next().Is(b, `[6, %d, [101]]`)

		// A clash while nobody waits is told to nobody.
		session, _, _ = b.ServedBy(waiting, 8)
		clash = b.Peer.Dial(b.At())
		clash.Send(arr{3, 8, arr{"EX1", 3, 6, "clash"}})
		b.WantDrop(grasp.ReasonIDClash, 2)
		waiting = b.Listen(o)
		waiting.Blocks()
		require.NoError(b, session.EndNegotiate(true, ""))
		// Now the ID is free.
		b.ServedBy(waiting, 8)
	})
}

// Responses that nobody asked for, or for somebody else, are dropped.
func TestHostileResponses(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Discover(bed.Neg("EX1", nil), time.Second, grasp.DiscoverOptions{})
		heard := b.Peer.Only()
		m := bed.Message[*wire.Discovery](b, heard)
		me := m.Initiator.AsSlice()
		for i, r := range []arr{
			{2, m.SessionID + 1, me, 1000, bed.IPv6("fd00::1", 1)},
			{2, m.SessionID, bed.IP("fd00::1234"), 1000, bed.IPv6("fd00::2", 1)},
			{2, m.SessionID, me[:4], 1000, bed.IPv6("fd00::3", 1)},
		} {
			b.Peer.Respond(heard, r)
			b.WantDrop(grasp.ReasonUnsolicited, i+1)
		}
		a := call.Within(time.Second)
		require.Empty(b, a.Found)
		b.Peer.Respond(heard, arr{2, m.SessionID, me, 1000, bed.IPv6("fd00::4", 1)})
		b.WantDrop(grasp.ReasonUnsolicited, 4)
		require.Empty(b, b.G.Snapshot().Locators)
	})
}

// Of a response with locators of no use the others are taken.
func TestHostileLocators(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Discover(bed.Neg("EX1", nil), time.Second, grasp.DiscoverOptions{})
		heard := b.Peer.Only()
		m := bed.Message[*wire.Discovery](b, heard)
		b.Peer.Respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 1000,
			bed.IPv6("::", 1), bed.IPv6("ff02::13", 1), bed.IPv6("::1", 1), arr{104, bed.IP("127.0.0.1"), 6, 1}, arr{104, bed.IP("0.0.0.0"), 6, 1},
			bed.IPv6("fd00::1", 1),
			arr{100, bed.IPv6("fe80::1", 1), bed.IPv6("::1", 1), bed.IPv6("fd00::2", 1)},
			arr{103, []byte{1, 2, 3}, 6, 1}, arr{106, "coap://x"}, arr{107, "unknown"},
			arr{105, "example.com", 6, 1},
		})
		require.Equal(b, []string{"[fd00::1]:1", "example.com:1", "[fd00::2]:1"}, bed.Texts(call.Within(time.Second).Found))
		b.WantDrop(grasp.ReasonBadLocator, 7)

		// A name that stands for this host is of no use either.
		b.Register(bed.Neg("EX1", nil))
		for _, l := range []grasp.Locator{
			{FQDN: "127.0.0.1", Port: int(b.G.Snapshot().Port)}, {FQDN: "::1", Port: int(b.G.Snapshot().Port)},
			{URI: fmt.Sprintf("http://[::1]:%d/", b.G.Snapshot().Port)}, {FQDN: "ff02::13", Port: 1},
		} {
			bed.IsCode(b, b.Request(bed.Neg("EX1", nil), &l, 0).Done().Err, grasp.ErrUnusableLocator)
		}
	})
}

// A response can bring more locators than are kept. One peer cannot crowd out
// what others respond.
func TestHostileManyLocators(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		honest, late := b.NewPeer("honest", b.Links[0]), b.NewPeer("late", b.Links[0])
		call := b.Discover(bed.Neg("EX1", nil), time.Minute, grasp.DiscoverOptions{})
		heard := b.Peer.Only()
		m := bed.Message[*wire.Discovery](b, heard)
		honest.Respond(honest.Only(), arr{2, m.SessionID, m.Initiator.AsSlice(), 100_000, honest.Option()})
		for i := range 50 {
			r := arr{2, m.SessionID, m.Initiator.AsSlice(), 100_000}
			for j := range 50 {
				r = append(r, bed.IPv6(fmt.Sprintf("fd00::%x:%x", i, j), 1))
			}
			b.Peer.Respond(heard, r)
		}
		late.Respond(late.Only(), arr{2, m.SessionID, m.Initiator.AsSlice(), 100_000, late.Option()})
		cached := bed.Texts(bed.CachedIn(b.G, "EX1"))
		require.Len(b, cached, 64)
		found := bed.Texts(call.Within(time.Minute).Found)
		require.Len(b, found, 256/4+2)
		for _, p := range []*bed.Peer{honest, late} {
			require.Contains(b, cached, p.Locator().String())
			require.Contains(b, found, p.Locator().String())
		}
		b.WantDrop(grasp.ReasonTooManyFound, 2500-64)
		b.WantDrop(grasp.ReasonCacheFull, 2500+2-64)
	})
}

// Whatever comes, from wherever, the instance goes on. Random damage to valid
// messages, as multicasts and on connections.
func TestHostileDamage(t *testing.T) {
	rounds := 3000
	if !longtest.On() {
		rounds = 300
	}
	bed.In(t, func(b *bed.Bed) {
		b.Answering(7)
		b.Register(bed.Neg("EX2", nil))
		go func() {
			for {
				s, _, err := b.ASA.ListenNegotiate(bed.Forever, bed.Neg("EX2", nil))
				if grasp.Code(err) == grasp.ErrNoASA {
					return
				}
				if err == nil {
					_ = s.EndNegotiate(true, "")
				}
			}
		}()
		rnd := rand.New(rand.NewPCG(5, 6))
		valid := [][]byte{
			bed.Encoded(b, arr{1, 7, b.Peer.Addr(), arr{"EX1", 5, 6, nil}}),
			bed.Encoded(b, arr{2, 7, b.Peer.Addr(), 1000, bed.IPv6("fd00::1", 1), arr{100, bed.IPv6("fd00::2", 2)}, arr{"EX1", 5, 6, 7}}),
			bed.Encoded(b, arr{3, 7, arr{"EX2", 3, 6, arr{1, "x"}}}),
			bed.Encoded(b, bed.AskForEX1),
			bed.Encoded(b, arr{6, 7, arr{102, "no"}}),
			bed.Encoded(b, arr{9, 7, b.Peer.Addr(), 1000, arr{arr{"EX1", 5, 6, 7}, bed.IPv6("fd00::1", 1)}}),
			bed.Encoded(b, arr{99, 7, "what?"}),
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
				b.Peer.Multicast(raw)
				continue
			}
			s := b.Peer.Dial(b.At())
			_, err := s.Write(raw)
			require.NoError(b, err)
			require.NoError(b, s.Close())
		}
		synctest.Wait()
		s := b.Peer.Dial(b.At())
		s.Send(bed.AskForEX1)
		s.Next().Is(b, bed.AnswerOfEX1)
		time.Sleep(2 * time.Minute)
		require.Zero(b, b.G.Snapshot().Streams)
		require.Empty(b, b.G.Snapshot().Sessions)
		require.NoError(b, b.ASA.Deregister())
	})
}

// shouted is a plane on which one multicast comes that is longer than any that can
// be sent.
type shouted struct {
	acp.Plane
	raw []byte
}

func (p shouted) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return &shoutedEndpoint{Endpoint: ep, raw: p.raw}, err
}

type shoutedEndpoint struct {
	acp.Endpoint
	raw []byte
}

func (e *shoutedEndpoint) Receive(buf []byte) (int, acp.Origin, error) {
	if raw := e.raw; raw != nil {
		e.raw = nil
		return copy(buf, raw), acp.Origin{}, nil
	}
	return e.Endpoint.Receive(buf)
}
