package grasp

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// The tests of the API use the bed of helpers_rfc_test.go, and with it other
// instances where two ASAs are to talk.

// forever is a context that nothing ends.
var forever = context.Background()

// other starts another instance, on a node of its own on the first link, and
// registers an ASA with it.
func (b *bed) other(name string, with ...func(*Config)) *ASA {
	b.Helper()
	n := b.net.NewNode(name, b.links[0])
	g := instanceWith(b, n, with...)
	if b.nodes == nil {
		b.nodes = make(map[*Instance]*memory.Node)
	}
	b.nodes[g] = n
	return newASA(b, g, name)
}

// instanceWith starts an instance with settings, which ends with the test.
func instanceWith(t testing.TB, plane acp.Plane, with ...func(*Config)) *Instance {
	t.Helper()
	cfg := Config{Plane: plane}
	for _, set := range with {
		set(&cfg)
	}
	g, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// registered registers an objective for ASAs.
func registered(t testing.TB, o Objective, asas ...*ASA) {
	t.Helper()
	for _, a := range asas {
		require.NoError(t, a.RegisterObj(o, RegisterOptions{}))
	}
}

// at is where an instance can be reached.
func at(g *Instance) *Locator {
	l := NewLocator(netip.AddrPortFrom(g.ep.Addr(), g.ep.Port()))
	return &l
}

// requestBy and listenBy are request and listen for any ASA.
func (b *bed) requestBy(a *ASA, o Objective, peer *Locator, timeout time.Duration) pending {
	return b.call(func() answer {
		s, o, err := a.ReqNegotiate(forever, o, peer, timeout)
		return answer{s: s, o: o, err: err}
	})
}

func (b *bed) listenBy(a *ASA, o Objective) pending {
	return b.call(func() answer {
		s, o, err := a.ListenNegotiate(forever, o)
		return answer{s: s, o: o, err: err}
	})
}

// talk is a negotiation under way: the ASA under test has asked and waits,
// the other has the request and owes the answer.
type talk struct {
	*bed
	asked   pending
	other   *ASA
	session *Session // the other's
	offer   Objective
}

// talk starts a negotiation of an objective with another instance.
func (b *bed) talk(o Objective, with ...func(*Config)) talk {
	b.Helper()
	other := b.other("other", with...)
	registered(b, o, b.asa, other)
	listening := b.listenBy(other, o)
	asked := b.request(o, at(other.g), 0)
	got := listening.ok()
	return talk{b, asked, other, got.s, got.o}
}

// counter has the other make a counter-offer. It returns what the ASA under
// test got, whose turn it now is, and the other's call, which waits.
func (k talk) counter(value any) (answer, pending) {
	k.Helper()
	o := k.offer
	o.Value = value
	waiting := k.step(k.session, o, 0)
	got := k.asked.ok()
	require.NotNil(k, got.s, "a counter-offer")
	return got, waiting
}

// tapped returns a function that returns how many multicasts were sent on the
// first link since.
func (b *bed) tapped() func() int {
	before := b.links[0].Stats().Sent
	return func() int { return int(b.links[0].Stats().Sent - before) }
}

// took returns how long something takes.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// message reads the next message of a connection as a type of package wire.
func message[M wire.Message](t testing.TB, p packet) M {
	t.Helper()
	m, err := wire.Parse(p.raw, wire.Limits{})
	require.NoError(t, err, "%v", p)
	typed, ok := m.(M)
	require.True(t, ok, "%v", p)
	return typed
}

// broken is a plane that cannot be opened.
type broken struct{ acp.Plane }

var errBroken = errors.New("no sockets today")

func (broken) Open() (acp.Endpoint, error) { return nil, errBroken }

// must1 returns the value of a call that does not fail.
func must1[T any](v T, err error) T {
	must(err)
	return v
}

// nodeOf returns the node of another instance.
func (b *bed) nodeOf(g *Instance) *memory.Node { return b.nodes[g] }

// flush has the instance of an ASA forget the cached locators of an objective.
func flush(t testing.TB, a *ASA, name string) {
	t.Helper()
	_, err := a.Discover(forever, NewObjective(name), 0, DiscoverOptions{Flush: true, CacheOnly: true})
	require.NoError(t, err)
}

// CachedIn returns the locators of an objective in an instance's cache.
func CachedIn(g *Instance, name string) []Locator {
	var out []Locator
	for _, l := range g.Snapshot().Locators {
		if l.Objective == name {
			out = append(out, l.Locator)
		}
	}
	return out
}

// Listens says that an ASA of the instance listens for an objective.
func Listens(g *Instance, name string) bool {
	for _, o := range g.Snapshot().Objectives {
		if o.Name == name {
			return o.Negotiating
		}
	}
	return false
}

func texts(ls []Locator) []string {
	out := []string{}
	for _, l := range ls {
		out = append(out, l.String())
	}
	return out
}

// respondAll has the peer answer each discovery that the ASA under test sends,
// with these locators and a lifetime in milliseconds.
func (b *bed) respondAll(ttl uint32, locators ...arr) {
	b.Helper()
	for _, p := range b.peer.all() {
		m := message[*wire.Discovery](b, p)
		r := arr{2, m.SessionID, m.Initiator.AsSlice(), ttl}
		for _, l := range locators {
			r = append(r, l)
		}
		b.peer.respond(p, r)
	}
}

func ipv6(addr string, port int) arr { return arr{103, ip(addr), 6, port} }

// requestLong asks for an objective whose name is too long for a multicast.
func (b *bed) requestLong(name string) error {
	b.Helper()
	o := Objective{Name: name, Neg: true, LoopCount: 6}
	b.register(o)
	return b.request(o, nil, 0).done().err
}

// isDone checks that a call has returned.
func (p pending) isDone() {
	p.b.Helper()
	require.NotEmpty(p.b, p.ch, "the call waits")
}

// requestTo has an ASA accept a request to a locator.
func (b *bed) requestTo(other *ASA, at *Locator) error {
	listening := b.listenBy(other, neg("EX1", 1))
	asked := b.request(neg("EX1", 1), at, 0)
	must(listening.ok().s.EndNegotiate(true, ""))
	return asked.done().err
}

// transfer opens a session for Send and Recv between the ASA under test, which
// asked, and another one.
func (b *bed) transfer() (mine, theirs *Session, other *ASA) {
	b.Helper()
	o := neg("EX1", "a first message")
	other = b.other("other")
	registered(b, o, b.asa, other)
	listening := b.listenBy(other, o)
	mine, err := b.asa.OpenSession(forever, o, at(other.g), 0)
	require.NoError(b, err)
	got := listening.ok()
	require.Equal(b, o, got.o)
	return mine, got.s, other
}

func (b *bed) recv(s *Session, timeout time.Duration) <-chan received {
	c := make(chan received, 1)
	go func() {
		v, err := s.Recv(forever, timeout)
		c <- received{v, err}
	}()
	synctest.Wait()
	return c
}

// received is what Recv returned.
type received struct {
	v   any
	err error
}

// second returns the error of a call with two results.
func second[T any](_ T, err error) error { return err }

// third returns the error of a call with three results.
func third[S, T any](_ S, _ T, err error) error { return err }

// nothingLeft checks that no session and no stream is left, and no ID in use.
func (b *bed) nothingLeft() {
	b.Helper()
	synctest.Wait()
	require.Empty(b, b.g.Snapshot().Sessions)
	require.Zero(b, b.g.Snapshot().Streams)
	require.Zero(b, b.g.Snapshot().SessionIDs)
	require.Zero(b, b.g.Snapshot().Searches)
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

// flood has a neighbour flood a value, with a locator of its own making.
func (p *rawPeer) flood(id uint32, name string, tag int, value any) {
	p.t.Helper()
	p.multicast(arr{9, id, p.addr(), 0, arr{arr{name, 5, 1, value}, ipv6("fd00::abcd", tag)}})
}

// flood floods objectives of the ASA under test without locators.
func (b *bed) flood(ttl time.Duration, objs ...Objective) {
	b.Helper()
	var tagged []TaggedObjective
	for _, o := range objs {
		tagged = append(tagged, TaggedObjective{Objective: o})
	}
	require.NoError(b, b.asa.Flood(ttl, tagged...))
}

// flooded returns the flooded values of an objective.
func (b *bed) flooded(name string) (values []any) {
	b.Helper()
	all, err := b.asa.GetFlood(syn(name, nil))
	require.NoError(b, err)
	for _, f := range all {
		values = append(values, f.Objective.Value)
	}
	return values
}

// answering has the ASA under test answer synchronization requests for EX1.
func (b *bed) answering(value any) {
	b.Helper()
	b.register(syn("EX1", nil))
	require.NoError(b, b.asa.ListenSynchronize(syn("EX1", value)))
}

var askForEX1 = arr{4, uint32(7), arr{"EX1", 5, 6, nil}}

const answerOfEX1 = `[8, %d, ["EX1", 5, 6, 7]]`

// nearby is where the instance's neighbour is on their link.
func (b *bed) nearby(p *rawPeer, protocol int) *Locator {
	at := linkOf(p.node, p.link).Addr.WithZone(zone(b.index(p.link)))
	return &Locator{IP: at, Protocol: protocol}
}

// closeNow closes the stream at once.
func (s *rawStream) closeNow() {
	require.NoError(s.t, s.Close())
	synctest.Wait()
}

// floods returns the floods of an objective that the ASA under test sees.
func (b *bed) floods(name string) []TaggedObjective {
	b.Helper()
	out, err := b.asa.GetFlood(syn(name, nil))
	require.NoError(b, err)
	return out
}

// sized returns a text with which a message has a length.
func sized(t testing.TB, length int, message func(string) any) string {
	t.Helper()
	for n := range length {
		if s := string(bytes.Repeat([]byte{'x'}, n)); len(encoded(t, message(s))) == length {
			return s
		}
	}
	require.Fail(t, "no text gives the length", length)
	return ""
}

// garbage is what is no message of GRASP.
var garbage = map[string][]byte{
	"nothing":                {},
	"not CBOR":               {0xff, 0xfe, 0xfd},
	"no array":               {0x01},
	"text":                   {0x63, 'h', 'e', 'y'},
	"empty array":            {0x80},
	"reserved head":          {0x84, 0x1c},
	"array without items":    {0x84, 0x09, 0x07},
	"type is text":           {0x82, 0x61, '9', 0x07},
	"name is not UTF-8":      {0x83, 0x03, 0x07, 0x84, 0x62, 0xc3, 0x28, 0x03, 0x06, 0xf6},
	"no initiator":           {0x83, 0x01, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0xf6},
	"loop count beyond 255":  {0x83, 0x03, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x19, 0x01, 0x00, 0xf6},
	"session beyond 32 bits": {0x83, 0x03, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0xf6},
	"two items":              {0x81, 0x00, 0x81, 0x00},
	"nested without end":     bytes.Repeat([]byte{0x81}, 1000),
}

// Must is for calls that do not fail.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}
