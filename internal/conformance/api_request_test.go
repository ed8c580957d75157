package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// without a peer, one is discovered; a cold request costs round trips and
// not the discovery's timeout.
func TestA28Cold(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Links[0].SetDelay(oneWay)
		other := b.Other("other")
		o := bed.Neg("EX1", 1)
		bed.Registered(b, o, b.ASA, other)
		accepting := b.ListenBy(other, o)
		start := time.Now()
		asked := b.Request(o, nil, 0)
		require.NoError(b, accepting.Within(time.Second).S.EndNegotiate(true, ""))
		// The multicast, a connection back and the response; a connection, the
		// request and the answer.
		require.Equal(b, 8*oneWay, asked.Within(time.Second).At.Sub(start))

		// Once it is known, only a connection, request and answer.
		accepting = b.ListenBy(other, o)
		start = time.Now()
		asked = b.Request(o, nil, 0)
		require.NoError(b, accepting.Within(time.Second).S.EndNegotiate(true, ""))
		require.Equal(b, 4*oneWay, asked.Within(time.Second).At.Sub(start))
	})
}

// oneWay is what it takes to cross a link that is given a delay.
const oneWay = 10 * time.Millisecond

// nobody there. The discovery is given the timeout, or seven times 100 ms
// for each loop count, which is three rounds.
func TestA28NoDiscReply(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		for timeout, want := range map[time.Duration]time.Duration{0: 4200 * time.Millisecond, time.Second: time.Second} {
			start := time.Now()
			a := b.Request(bed.Neg("EX1", 1), nil, timeout).Within(bed.Ever)
			bed.IsCode(b, a.Err, grasp.ErrNoDiscReply)
			require.Equal(b, want, a.At.Sub(start))
		}
		require.Len(b, b.Peer.All(), 3+2)
	})
}

// the first locator is used; if it cannot be connected to, the next.
func TestA28NextLocator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		call := b.Request(bed.Neg("EX1", 1), nil, 0)
		dead, refused := bed.IPv6("fd00::dead", 1), bed.IPv6(b.Peer.Node.Addr().String(), 1)
		b.RespondAll(60_000, dead, refused, b.Peer.Option(), bed.IPv6("fd00::beef", 1))
		s := b.Peer.Dialed()
		s.Send(arr{6, s.Next().ID(b), arr{101}})
		call.Ok()
		require.Equal(b, 2, len(bed.CachedIn(b.G, "EX1")), "what failed is forgotten, what was not tried is not")
	})
}

// What is cached may be out of date: then the network is asked once more.
func TestA28StaleCache(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		b.Learn(b.Peer, "EX1", 600_000, bed.IPv6("fd00::dead", 1))
		b.Peer.All()
		call := b.Request(bed.Neg("EX1", 1), nil, 0)
		b.RespondAll(60_000, b.Peer.Option())
		s := b.Peer.Dialed()
		s.Send(arr{6, s.Next().ID(b), arr{101}})
		call.Ok()

		// And if that is of no use either, it is an error once nobody else has
		// answered, either.
		b.Learn(b.Peer, "EX2", 600_000, bed.IPv6("fd00::dead", 1))
		b.Register(bed.Neg("EX2", 1))
		b.Peer.All()
		call = b.Request(bed.Neg("EX2", 1), nil, 0)
		b.RespondAll(60_000, bed.IPv6("fd00::dead", 2))
		bed.IsCode(b, call.Within(4200*time.Millisecond).Err, grasp.ErrSockErrNegRq)
	})
}

// A locator of another ASA of this instance that is of no use is an error, not
// a loop.
func TestA28UselessLocalLocator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		second := bed.NewASA(b, b.G, "second")
		for _, l := range []grasp.Locator{{IP: netip.MustParseAddr("fd00::dead"), Port: 1}, {IP: netip.MustParseAddr("fd00::dead"), Protocol: grasp.UDP, Port: 1}} {
			require.NoError(b, second.RegisterObj(bed.Syn("EX1", nil), grasp.RegisterOptions{Discoverable: true, Locators: []grasp.Locator{l}}))
			err := b.Synchronize(bed.Syn("EX1", nil), nil, 0).Within(time.Minute).Err
			require.Contains(b, []grasp.ErrorCode{grasp.ErrSockErrSynRq, grasp.ErrUnusableLocator}, grasp.Code(err))
			require.NoError(b, second.DeregisterObj(bed.Syn("EX1", nil)))
		}
	})
}

// Locators of every kind can be given, whoever found them.
func TestExplicitLocators(t *testing.T) {
	resolver := names{}
	bed.InLinks(t, 1, grasp.Config{Resolver: resolver}, func(b *bed.Bed) {
		other := b.Other("other")
		b.Register(bed.Neg("EX1", 1))
		bed.Registered(b, bed.Neg("EX1", 1), other)
		far, port := b.NodeOf(other.Instance()).Addr(), int(other.Instance().Snapshot().Port)
		link := b.Index(b.Links[0])
		linkLocal := bed.LinkOf(b.NodeOf(other.Instance()), b.Links[0]).Addr.WithZone("")
		resolver["other.example"] = []netip.Addr{far}
		for name, l := range map[string]grasp.Locator{
			"global":             {IP: far, Protocol: grasp.TCP, Port: port},
			"no protocol":        {IP: far, Port: port},
			"mapped":             {IP: far, Port: port, Diverted: true, Expire: time.Now().Add(-time.Hour)},
			"link-local, zone":   {IP: linkLocal.WithZone(bed.Zone(link)), Port: port},
			"link-local, index":  {IP: linkLocal, Port: port, IfIndex: link},
			"FQDN":               {FQDN: "other.example", Port: port},
			"URI":                {URI: "grasp://other.example/x", Port: port},
			"URI with its port":  {URI: fmt.Sprintf("grasp://other.example:%d/x", port)},
			"URI with addresses": {URI: fmt.Sprintf("grasp://[%v]:%d/x", far, port)},
		} {
			listening := b.ListenBy(other, bed.Neg("EX1", 1))
			asked := b.Request(bed.Neg("EX1", 1), &l, 0)
			require.NoError(b, listening.Ok().S.EndNegotiate(true, ""), name)
			require.NoError(b, asked.Done().Err, name)
		}
		require.Zero(b, b.Tapped()())
		for name, l := range map[string]grasp.Locator{
			"nothing":                 {},
			"no port":                 {IP: far},
			"port too large":          {IP: far, Port: 65536},
			"negative port":           {IP: far, Port: -1},
			"UDP":                     {IP: far, Protocol: grasp.UDP, Port: port},
			"another protocol":        {IP: far, Protocol: 41, Port: port},
			"link-local without link": {IP: linkLocal, Port: port},
			"unknown name":            {FQDN: "nowhere.example", Port: port},
			"no URI":                  {URI: "\x7f", Port: port},
			"URI without a port":      {URI: "grasp://other.example/x"},
		} {
			err := b.Request(bed.Neg("EX1", 1), &l, 0).Done().Err
			require.Equal(b, grasp.ErrUnusableLocator, grasp.Code(err), name)
			_, err = b.ASA.Synchronize(bed.Forever, bed.Syn("EX2", 1), &l, 0)
			require.Equal(b, grasp.ErrUnusableLocator, grasp.Code(err), name)
		}
		// Of the peer's other attributes nothing is changed, and it is not kept.
		peer := grasp.Locator{IP: far, Port: port}
		require.NoError(b, b.RequestTo(other, &peer))
		require.Equal(b, grasp.Locator{IP: far, Port: port}, peer)
	})
}

// The instance's own addresses lead to it without the network.
func TestExplicitLocatorsOfOurselves(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		second := bed.NewASA(b, b.G, "second")
		bed.Registered(b, bed.Syn("EX1", nil), second)
		require.NoError(b, second.ListenSynchronize(bed.Syn("EX1", 7)))
		port := int(b.G.Snapshot().Port)
		for _, l := range []grasp.Locator{
			*bed.At(b.G),
			{IP: bed.LinkOf(b.Node, b.Links[0]).Addr, Port: port},
			{IP: netip.IPv6Loopback(), Port: port},
			{IP: netip.MustParseAddr("127.0.0.1"), Port: port},
		} {
			o, err := b.ASA.Synchronize(bed.Forever, bed.Syn("EX1", nil), &l, 0)
			require.NoError(b, err, "%v", l)
			require.EqualValues(b, 7, o.Value)
		}
	})
}

// Too long a message is refused before anything is sent, and a session goes on
// with a shorter one.
func TestTooLongIsRefusedBeforeItIsSent(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		// The longest that is sent: 2048 bytes.
		overhead := len(bed.Encoded(b, arr{3, uint32(1 << 31), arr{"EX1", 3, 6, strings.Repeat("x", 1000)}})) - 1000
		o.Value = strings.Repeat("x", 2048-overhead+1)
		sent := b.Tapped()
		bed.IsCode(b, b.Request(o, b.Peer.Locator(), 0).Done().Err, grasp.ErrTooLong)
		bed.IsCode(b, b.Request(o, nil, 0).Done().Err, grasp.ErrTooLong)
		_, err := b.ASA.OpenSession(bed.Forever, o, b.Peer.Locator(), 0)
		bed.IsCode(b, err, grasp.ErrTooLong)
		b.Peer.NotDialed()
		require.Zero(b, sent())
		require.Zero(b, b.G.Snapshot().SessionIDs, "no session is left")
		o.Value = strings.Repeat("x", 2048-overhead-8)
		_, _, m := b.Asked(o)
		require.InDelta(b, 2048, len(m.Raw), 13)

		s, got, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
		got.Value = strings.Repeat("x", 2048)
		bed.IsCode(b, b.Step(s, got, 0).Done().Err, grasp.ErrTooLong)
		bed.IsCode(b, s.EndNegotiate(false, strings.Repeat("x", 2048)), grasp.ErrTooLong)
		bed.IsCode(b, s.SendInvalid(strings.Repeat("x", 2048)), grasp.ErrTooLong)
		conn.Silent(time.Second)
		require.NoError(b, s.EndNegotiate(false, "short"))
		conn.Next().Is(b, `[6, %d, [102, "short"]]`)
	})
}

// Tag 24 in requests and steps, nested too, both ways.
func TestA06Tag24InNegotiation(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		raw, err := cbor.Marshal([]any{"Example 2 value=", 200})
		require.NoError(b, err)
		nested := []any{"x", grasp.EncodedCBOR(raw), map[any]any{"k": grasp.EncodedCBOR(raw)}}
		k := b.Talk(bed.Neg("EX2", grasp.EncodedCBOR(raw)))
		require.Equal(b, grasp.EncodedCBOR(raw), k.Offer.Value)
		var inside []any
		require.NoError(b, k.Offer.Decode(&inside))
		require.Equal(b, []any{"Example 2 value=", int64(200)}, inside)
		got, waiting := k.Counter(nested)
		require.Equal(b, nested, got.O.Value)
		mine := b.Step(got.S, got.O, 0)
		require.Equal(b, nested, waiting.Ok().O.Value)
		require.NoError(b, k.Session.EndNegotiate(true, ""))
		require.Equal(b, nested, mine.Ok().O.Value)

		// On the wire it is the tag around a byte string.
		b.Register(bed.Neg("EX3", nil))
		_, _, m := b.Asked(bed.Neg("EX3", grasp.EncodedCBOR(raw)))
		m.Is(b, `[3, %d, ["EX3", 3, 6, 24(`+bed.Hex(raw)+`)]]`)
	})
}

// N-17: sessions run concurrently, with one peer and about one objective, and
// do not mix.
func TestSessionsDoNotMix(t *testing.T) {
	const n = 50
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		o := bed.Neg("EX1", nil)
		bed.Registered(b, o, b.ASA, other)
		served := make(chan error, n)
		for range n {
			go func() {
				s, o, err := other.ListenNegotiate(bed.Forever, o)
				for err == nil && s != nil {
					o.Value = o.Value.(int64) + 1
					s, o, err = s.NegotiateStep(bed.Forever, o, 0)
				}
				if errors.Is(err, grasp.ErrDeclined) {
					err = nil
				}
				served <- err
			}()
		}
		synctest.Wait()
		asked := make(chan error, n)
		for i := range n {
			go func() {
				asked <- func() error {
					o := o
					o.Value = 1000 * i
					s, o, err := b.ASA.ReqNegotiate(bed.Forever, o, bed.At(other.Instance()), 0)
					for range i % 2 {
						o.Value = o.Value.(int64) + 1
						s, o, err = s.NegotiateStep(bed.Forever, o, 0)
					}
					if err != nil {
						return err
					}
					if want := int64(1000*i + 1 + i%2*2); o.Value != want {
						return fmt.Errorf("session %d: %v, not %d", i, o.Value, want)
					}
					return s.EndNegotiate(false, "")
				}()
			}()
		}
		for range n {
			require.NoError(b, <-asked)
			require.NoError(b, <-served)
		}
	})
}

// RFC 8991 2.2.2: two sessions at once between the same two ASAs, each of which
// started one.
func TestSessionsBothWays(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		o := bed.Neg("EX1", 1)
		bed.Registered(b, o, b.ASA, other)
		mine, theirs := b.Listen(o), b.ListenBy(other, o)
		a1, a2 := b.Request(o, bed.At(other.Instance()), 0), b.RequestBy(other, o, bed.At(b.G), 0)
		s1, s2 := theirs.Ok().S, mine.Ok().S
		require.NoError(b, s1.EndNegotiate(false, "one"))
		a2.Blocks()
		require.NoError(b, s2.EndNegotiate(false, "two"))
		require.ErrorContains(b, a1.Done().Err, "one")
		require.ErrorContains(b, a2.Done().Err, "two")
	})
}

// the session's source is the other ASA, on either side.
func TestA43Source(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(bed.Neg("EX1", 1))
		got, _ := k.Counter(2)
		require.Equal(b, netip.AddrPortFrom(b.NodeOf(k.Other.Instance()).Addr(), k.Other.Instance().Snapshot().Port), got.S.Source())
		require.Equal(b, b.Node.Addr(), k.Session.Source().Addr())
	})
}

// A call that waits is the only one: a second one at the same time is refused,
// sends nothing and does no harm.
func TestOneCallAtATime(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		s, o, conn := b.Served(bed.Neg("EX1", 1), 7, nil)
		waiting := b.Step(s, o, 0)
		conn.Next()
		bed.IsCode(b, bed.Second(s.Recv(bed.Forever, 0)), grasp.ErrUnspec)
		bed.IsCode(b, b.Step(s, o, 0).Done().Err, grasp.ErrUnspec)
		conn.Silent(time.Second)
		waiting.Blocks()
		conn.Send(arr{6, 7, arr{101}})
		waiting.Ok()
	})
}

// With a context that is over nobody is asked.
func TestRequestWithAContextThatIsOver(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		ctx, cancel := context.WithCancel(bed.Forever)
		cancel()
		sent := b.Tapped()
		for _, peer := range []*grasp.Locator{nil, b.Peer.Locator()} {
			_, _, err := b.ASA.ReqNegotiate(ctx, bed.Neg("EX1", 1), peer, 0)
			bed.IsCode(b, err, grasp.ErrCancelled)
		}
		b.Peer.NotDialed()
		require.Zero(b, sent())
	})
}
