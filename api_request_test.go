package grasp

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
)

// without a peer, one is discovered; a cold request costs round trips and
// not the discovery's timeout.
func TestA28Cold(t *testing.T) {
	inBed(t, func(b *bed) {
		b.links[0].SetDelay(oneWay)
		other := b.other("other")
		o := neg("EX1", 1)
		registered(b, o, b.asa, other)
		accepting := b.listenBy(other, o)
		start := time.Now()
		asked := b.request(o, nil, 0)
		require.NoError(b, accepting.within(time.Second).s.EndNegotiate(true, ""))
		// The multicast, a connection back and the response; a connection, the
		// request and the answer.
		require.Equal(b, 8*oneWay, asked.within(time.Second).at.Sub(start))

		// Once it is known, only a connection, request and answer.
		accepting = b.listenBy(other, o)
		start = time.Now()
		asked = b.request(o, nil, 0)
		require.NoError(b, accepting.within(time.Second).s.EndNegotiate(true, ""))
		require.Equal(b, 4*oneWay, asked.within(time.Second).at.Sub(start))
	})
}

// oneWay is what it takes to cross a link that is given a delay.
const oneWay = 10 * time.Millisecond

// nobody there. The discovery is given the timeout, or seven times 100 ms
// for each loop count, which is three rounds.
func TestA28NoDiscReply(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		for timeout, want := range map[time.Duration]time.Duration{0: 4200 * time.Millisecond, time.Second: time.Second} {
			start := time.Now()
			a := b.request(neg("EX1", 1), nil, timeout).within(ever)
			isCode(b, a.err, ErrNoDiscReply)
			require.Equal(b, want, a.at.Sub(start))
		}
		require.Len(b, b.peer.all(), 3+2)
	})
}

// the first locator is used; if it cannot be connected to, the next.
func TestA28NextLocator(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		call := b.request(neg("EX1", 1), nil, 0)
		dead, refused := ipv6("fd00::dead", 1), ipv6(b.peer.node.Addr().String(), 1)
		b.respondAll(60_000, dead, refused, b.peer.option(), ipv6("fd00::beef", 1))
		s := b.peer.dialed()
		s.send(arr{6, s.read().id(b), arr{101}})
		call.ok()
		require.Equal(b, 2, len(b.g.locators.get("EX1")), "what failed is forgotten, what was not tried is not")
	})
}

// What is cached may be out of date: then the network is asked once more.
func TestA28StaleCache(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		b.learn(b.peer, "EX1", 600_000, ipv6("fd00::dead", 1))
		b.peer.all()
		call := b.request(neg("EX1", 1), nil, 0)
		b.respondAll(60_000, b.peer.option())
		s := b.peer.dialed()
		s.send(arr{6, s.read().id(b), arr{101}})
		call.ok()

		// And if that is of no use either, it is an error, not a loop.
		b.learn(b.peer, "EX2", 600_000, ipv6("fd00::dead", 1))
		b.register(neg("EX2", 1))
		b.peer.all()
		call = b.request(neg("EX2", 1), nil, 0)
		b.respondAll(60_000, ipv6("fd00::dead", 2))
		isCode(b, call.done().err, ErrSockErrNegRq)
	})
}

// A locator of another ASA of this instance that is of no use is an error, not
// a loop.
func TestA28UselessLocalLocator(t *testing.T) {
	inBed(t, func(b *bed) {
		second := newASA(b, b.g, "second")
		for _, l := range []Locator{{IP: netip.MustParseAddr("fd00::dead"), Port: 1}, {IP: netip.MustParseAddr("fd00::dead"), Protocol: UDP, Port: 1}} {
			require.NoError(b, second.RegisterObj(syn("EX1", nil), RegisterOptions{Discoverable: true, Locators: []Locator{l}}))
			err := b.synchronize(syn("EX1", nil), nil, 0).within(time.Minute).err
			require.Contains(b, []ErrorCode{ErrSockErrSynRq, ErrUnusableLocator}, Code(err))
			require.NoError(b, second.DeregisterObj(syn("EX1", nil)))
		}
	})
}

// Locators of every kind can be given, whoever found them.
func TestExplicitLocators(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		b.register(neg("EX1", 1))
		registered(b, neg("EX1", 1), other)
		far, port := nodeOf(other.g).Addr(), int(other.g.ep.Port())
		link := b.index(b.links[0])
		linkLocal := linkOf(nodeOf(other.g), b.links[0]).Addr.WithZone("")
		b.g.cfg.Resolver = names{"other.example": {far}}
		for name, l := range map[string]Locator{
			"global":             {IP: far, Protocol: TCP, Port: port},
			"no protocol":        {IP: far, Port: port},
			"mapped":             {IP: far, Port: port, Diverted: true, Expire: time.Now().Add(-time.Hour)},
			"link-local, zone":   {IP: linkLocal.WithZone(zone(link)), Port: port},
			"link-local, index":  {IP: linkLocal, Port: port, IfIndex: link},
			"FQDN":               {FQDN: "other.example", Port: port},
			"URI":                {URI: "grasp://other.example/x", Port: port},
			"URI with its port":  {URI: fmt.Sprintf("grasp://other.example:%d/x", port)},
			"URI with addresses": {URI: fmt.Sprintf("grasp://[%v]:%d/x", far, port)},
		} {
			listening := b.listenBy(other, neg("EX1", 1))
			asked := b.request(neg("EX1", 1), &l, 0)
			require.NoError(b, listening.ok().s.EndNegotiate(true, ""), name)
			require.NoError(b, asked.done().err, name)
		}
		require.Zero(b, b.tapped()())
		for name, l := range map[string]Locator{
			"nothing":                 {},
			"no port":                 {IP: far},
			"port too large":          {IP: far, Port: 65536},
			"negative port":           {IP: far, Port: -1},
			"UDP":                     {IP: far, Protocol: UDP, Port: port},
			"another protocol":        {IP: far, Protocol: 41, Port: port},
			"link-local without link": {IP: linkLocal, Port: port},
			"unknown name":            {FQDN: "nowhere.example", Port: port},
			"no URI":                  {URI: "\x7f", Port: port},
			"URI without a port":      {URI: "grasp://other.example/x"},
		} {
			err := b.request(neg("EX1", 1), &l, 0).done().err
			require.Equal(b, ErrUnusableLocator, Code(err), name)
			_, err = b.asa.Synchronize(forever, syn("EX2", 1), &l, 0)
			require.Equal(b, ErrUnusableLocator, Code(err), name)
		}
		// Of the peer's other attributes nothing is changed, and it is not kept.
		peer := Locator{IP: far, Port: port}
		require.NoError(b, b.requestTo(other, &peer))
		require.Equal(b, Locator{IP: far, Port: port}, peer)
	})
}

// requestTo has an ASA accept a request to a locator.
func (b *bed) requestTo(other *ASA, at *Locator) error {
	listening := b.listenBy(other, neg("EX1", 1))
	asked := b.request(neg("EX1", 1), at, 0)
	must(listening.ok().s.EndNegotiate(true, ""))
	return asked.done().err
}

// The instance's own addresses lead to it without the network.
func TestExplicitLocatorsOfOurselves(t *testing.T) {
	inBed(t, func(b *bed) {
		second := newASA(b, b.g, "second")
		registered(b, syn("EX1", nil), second)
		require.NoError(b, second.ListenSynchronize(syn("EX1", 7)))
		port := int(b.g.ep.Port())
		for _, l := range []Locator{
			*at(b.g),
			{IP: linkOf(b.node, b.links[0]).Addr, Port: port},
			{IP: netip.IPv6Loopback(), Port: port},
			{IP: netip.MustParseAddr("127.0.0.1"), Port: port},
		} {
			o, err := b.asa.Synchronize(forever, syn("EX1", nil), &l, 0)
			require.NoError(b, err, "%v", l)
			require.EqualValues(b, 7, o.Value)
		}
	})
}

// Too long a message is refused before anything is sent, and a session goes on
// with a shorter one.
func TestTooLongIsRefusedBeforeItIsSent(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		// The longest that is sent: 2048 bytes.
		overhead := len(encoded(b, arr{3, uint32(1 << 31), arr{"EX1", 3, 6, strings.Repeat("x", 1000)}})) - 1000
		o.Value = strings.Repeat("x", 2048-overhead+1)
		sent := b.tapped()
		isCode(b, b.request(o, b.peer.locator(), 0).done().err, ErrTooLong)
		isCode(b, b.request(o, nil, 0).done().err, ErrTooLong)
		_, err := b.asa.OpenSession(forever, o, b.peer.locator(), 0)
		isCode(b, err, ErrTooLong)
		b.peer.notDialed()
		require.Zero(b, sent())
		require.Zero(b, b.g.sessions.Len(), "no session is left")
		o.Value = strings.Repeat("x", 2048-overhead-8)
		_, _, m := b.asked(o)
		require.InDelta(b, 2048, len(m.raw), 13)

		s, got, conn := b.served(neg("EX1", nil), 7, nil)
		got.Value = strings.Repeat("x", 2048)
		isCode(b, b.step(s, got, 0).done().err, ErrTooLong)
		isCode(b, s.EndNegotiate(false, strings.Repeat("x", 2048)), ErrTooLong)
		isCode(b, s.SendInvalid(strings.Repeat("x", 2048)), ErrTooLong)
		conn.silent(time.Second)
		require.NoError(b, s.EndNegotiate(false, "short"))
		conn.read().is(b, `[6, %d, [102, "short"]]`)
	})
}

// Tag 24 in requests and steps, nested too, both ways.
func TestA06Tag24InNegotiation(t *testing.T) {
	inBed(t, func(b *bed) {
		raw, err := cbor.Marshal([]any{"Example 2 value=", 200})
		require.NoError(b, err)
		nested := []any{"x", EncodedCBOR(raw), map[any]any{"k": EncodedCBOR(raw)}}
		k := b.talk(neg("EX2", EncodedCBOR(raw)))
		require.Equal(b, EncodedCBOR(raw), k.offer.Value)
		var inside []any
		require.NoError(b, k.offer.Decode(&inside))
		require.Equal(b, []any{"Example 2 value=", int64(200)}, inside)
		got, waiting := k.counter(nested)
		require.Equal(b, nested, got.o.Value)
		mine := b.step(got.s, got.o, 0)
		require.Equal(b, nested, waiting.ok().o.Value)
		require.NoError(b, k.session.EndNegotiate(true, ""))
		require.Equal(b, nested, mine.ok().o.Value)

		// On the wire it is the tag around a byte string.
		b.register(neg("EX3", nil))
		_, _, m := b.asked(neg("EX3", EncodedCBOR(raw)))
		m.is(b, `[3, %d, ["EX3", 3, 6, 24(`+hx(raw)+`)]]`)
	})
}

// N-17: sessions run concurrently, with one peer and about one objective, and
// do not mix.
func TestSessionsDoNotMix(t *testing.T) {
	const n = 50
	inBed(t, func(b *bed) {
		other := b.other("other")
		o := neg("EX1", nil)
		registered(b, o, b.asa, other)
		served := make(chan error, n)
		for range n {
			go func() {
				s, o, err := other.ListenNegotiate(forever, o)
				for err == nil && s != nil {
					o.Value = o.Value.(int64) + 1
					s, o, err = s.NegotiateStep(forever, o, 0)
				}
				if errors.Is(err, ErrDeclined) {
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
					s, o, err := b.asa.ReqNegotiate(forever, o, at(other.g), 0)
					for range i % 2 {
						o.Value = o.Value.(int64) + 1
						s, o, err = s.NegotiateStep(forever, o, 0)
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
	inBed(t, func(b *bed) {
		other := b.other("other")
		o := neg("EX1", 1)
		registered(b, o, b.asa, other)
		mine, theirs := b.listen(o), b.listenBy(other, o)
		a1, a2 := b.request(o, at(other.g), 0), b.requestBy(other, o, at(b.g), 0)
		s1, s2 := theirs.ok().s, mine.ok().s
		require.NoError(b, s1.EndNegotiate(false, "one"))
		a2.blocks()
		require.NoError(b, s2.EndNegotiate(false, "two"))
		require.ErrorContains(b, a1.done().err, "one")
		require.ErrorContains(b, a2.done().err, "two")
	})
}

// the session's source is the other ASA, on either side.
func TestA43Source(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(neg("EX1", 1))
		got, _ := k.counter(2)
		require.Equal(b, netip.AddrPortFrom(nodeOf(k.other.g).Addr(), k.other.g.ep.Port()), got.s.Source())
		require.Equal(b, b.node.Addr(), k.session.Source().Addr())
	})
}

// A call that waits is the only one: a second one at the same time is refused,
// sends nothing and does no harm.
func TestOneCallAtATime(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		s, o, conn := b.served(neg("EX1", 1), 7, nil)
		waiting := b.step(s, o, 0)
		conn.read()
		isCode(b, second(s.Recv(forever, 0)), ErrUnspec)
		isCode(b, b.step(s, o, 0).done().err, ErrUnspec)
		conn.silent(time.Second)
		waiting.blocks()
		conn.send(arr{6, 7, arr{101}})
		waiting.ok()
	})
}

// With a context that is over nobody is asked.
func TestRequestWithAContextThatIsOver(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		ctx, cancel := context.WithCancel(forever)
		cancel()
		sent := b.tapped()
		for _, peer := range []*Locator{nil, b.peer.locator()} {
			_, _, err := b.asa.ReqNegotiate(ctx, neg("EX1", 1), peer, 0)
			isCode(b, err, ErrCancelled)
		}
		b.peer.notDialed()
		require.Zero(b, sent())
	})
}
