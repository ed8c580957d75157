package bed

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// Forever is a context that nothing ends.
var Forever = context.Background()

// Other starts another instance, on a node of its own on the first link, and
// registers an ASA with it.
func (b *Bed) Other(name string, with ...func(*grasp.Config)) *grasp.ASA {
	b.Helper()
	n := b.Net.NewNode(name, b.Links[0])
	g := InstanceWith(b, n, with...)
	if b.Nodes == nil {
		b.Nodes = make(map[*grasp.Instance]*memory.Node)
	}
	b.Nodes[g] = n
	return NewASA(b, g, name)
}

// InstanceWith starts an instance with settings, which ends with the test.
func InstanceWith(t testing.TB, plane acp.Plane, with ...func(*grasp.Config)) *grasp.Instance {
	t.Helper()
	cfg := grasp.Config{Plane: plane}
	for _, set := range with {
		set(&cfg)
	}
	g, err := grasp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// Registered registers an objective for ASAs.
func Registered(t testing.TB, o grasp.Objective, asas ...*grasp.ASA) {
	t.Helper()
	for _, a := range asas {
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	}
}

// At is where an instance can be reached.
func At(g *grasp.Instance) *grasp.Locator {
	now := g.Snapshot()
	l := grasp.NewLocator(netip.AddrPortFrom(now.Address, now.Port))
	return &l
}

// RequestBy and listenBy are request and listen for any ASA.
func (b *Bed) RequestBy(a *grasp.ASA, o grasp.Objective, peer *grasp.Locator, timeout time.Duration) Pending {
	return b.Call(func() Answer {
		s, o, err := a.ReqNegotiate(Forever, o, peer, timeout)
		return Answer{S: s, O: o, Err: err}
	})
}

func (b *Bed) ListenBy(a *grasp.ASA, o grasp.Objective) Pending {
	return b.Call(func() Answer {
		s, o, err := a.ListenNegotiate(Forever, o)
		return Answer{S: s, O: o, Err: err}
	})
}

// talk is a negotiation under way: the ASA under test has asked and waits,
// the other has the request and owes the answer.
type talk struct {
	*Bed
	Asked   Pending
	Other   *grasp.ASA
	Session *grasp.Session // the other's
	Offer   grasp.Objective
}

// Talk starts a negotiation of an objective with another instance.
func (b *Bed) Talk(o grasp.Objective, with ...func(*grasp.Config)) talk {
	b.Helper()
	other := b.Other("other", with...)
	Registered(b, o, b.ASA, other)
	listening := b.ListenBy(other, o)
	asked := b.Request(o, At(other.Instance()), 0)
	got := listening.Ok()
	return talk{b, asked, other, got.S, got.O}
}

// Counter has the other make a counter-offer. It returns what the ASA under
// test got, whose turn it now is, and the other's call, which waits.
func (k talk) Counter(value any) (Answer, Pending) {
	k.Helper()
	o := k.Offer
	o.Value = value
	waiting := k.Step(k.Session, o, 0)
	got := k.Asked.Ok()
	require.NotNil(k, got.S, "a counter-offer")
	return got, waiting
}

// Tapped returns a function that returns how many multicasts were sent on the
// first link since.
func (b *Bed) Tapped() func() int {
	before := b.Links[0].Stats().Sent
	return func() int { return int(b.Links[0].Stats().Sent - before) }
}

// Took returns how long something takes.
func Took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// Message reads the next message of a connection as a type of package wire.
func Message[M wire.Message](t testing.TB, p Packet) M {
	t.Helper()
	m, err := wire.Parse(p.Raw, wire.Limits{})
	require.NoError(t, err, "%v", p)
	typed, ok := m.(M)
	require.True(t, ok, "%v", p)
	return typed
}

// Broken is a plane that cannot be opened.
type Broken struct{ acp.Plane }

var ErrBroken = errors.New("no sockets today")

func (Broken) Open() (acp.Endpoint, error) { return nil, ErrBroken }

// Must1 returns the value of a call that does not fail.
func Must1[T any](v T, err error) T {
	Must(err)
	return v
}

// NodeOf returns the node of another instance.
func (b *Bed) NodeOf(g *grasp.Instance) *memory.Node { return b.Nodes[g] }

// Flush has the instance of an ASA forget the cached locators of an objective.
func Flush(t testing.TB, a *grasp.ASA, name string) {
	t.Helper()
	_, err := a.Discover(Forever, grasp.NewObjective(name), 0, grasp.DiscoverOptions{Flush: true, CacheOnly: true})
	require.NoError(t, err)
}

// CachedIn returns the locators of an objective in an instance's cache.
func CachedIn(g *grasp.Instance, name string) []grasp.Locator {
	var out []grasp.Locator
	for _, l := range g.Snapshot().Locators {
		if l.Objective == name {
			out = append(out, l.Locator)
		}
	}
	return out
}

// Listens reports whether an ASA of the instance listens for an objective.
func Listens(g *grasp.Instance, name string) bool {
	for _, o := range g.Snapshot().Objectives {
		if o.Name == name {
			return o.Negotiating
		}
	}
	return false
}

func Texts(ls []grasp.Locator) []string {
	out := []string{}
	for _, l := range ls {
		out = append(out, l.String())
	}
	return out
}

// RespondAll has the peer answer each discovery that the ASA under test sends,
// with these locators and a lifetime in milliseconds.
func (b *Bed) RespondAll(ttl uint32, locators ...Arr) {
	b.Helper()
	for _, p := range b.Peer.All() {
		m := Message[*wire.Discovery](b, p)
		r := Arr{2, m.SessionID, m.Initiator.AsSlice(), ttl}
		for _, l := range locators {
			r = append(r, l)
		}
		b.Peer.Respond(p, r)
	}
}

func IPv6(addr string, port int) Arr { return Arr{103, IP(addr), 6, port} }

// RequestLong asks for an objective whose name is too long for a multicast.
func (b *Bed) RequestLong(name string) error {
	b.Helper()
	o := grasp.Objective{Name: name, Neg: true, LoopCount: 6}
	b.Register(o)
	return b.Request(o, nil, 0).Done().Err
}

// IsDone checks that a call has returned.
func (p Pending) IsDone() {
	p.b.Helper()
	require.NotEmpty(p.b, p.Ch, "the call waits")
}

// RequestTo has an ASA accept a request to a locator.
func (b *Bed) RequestTo(other *grasp.ASA, at *grasp.Locator) error {
	listening := b.ListenBy(other, Neg("EX1", 1))
	asked := b.Request(Neg("EX1", 1), at, 0)
	Must(listening.Ok().S.EndNegotiate(true, ""))
	return asked.Done().Err
}

// Transfer opens a session for Send and Recv between the ASA under test, which
// asked, and another one.
func (b *Bed) Transfer() (mine, theirs *grasp.Session, other *grasp.ASA) {
	b.Helper()
	o := Neg("EX1", "a first message")
	other = b.Other("other")
	Registered(b, o, b.ASA, other)
	listening := b.ListenBy(other, o)
	mine, err := b.ASA.OpenSession(Forever, o, At(other.Instance()), 0)
	require.NoError(b, err)
	got := listening.Ok()
	require.Equal(b, o, got.O)
	return mine, got.S, other
}

func (b *Bed) Recv(s *grasp.Session, timeout time.Duration) <-chan Received {
	c := make(chan Received, 1)
	go func() {
		v, err := s.Recv(Forever, timeout)
		c <- Received{v, err}
	}()
	synctest.Wait()
	return c
}

// Received is what Recv returned.
type Received struct {
	V   any
	Err error
}

// Second returns the error of a call with two results.
func Second[T any](_ T, err error) error { return err }

// Third returns the error of a call with three results.
func Third[S, T any](_ S, _ T, err error) error { return err }

// NothingLeft checks that no session and no stream is left, and no ID in use.
func (b *Bed) NothingLeft() {
	b.Helper()
	synctest.Wait()
	require.Empty(b, b.G.Snapshot().Sessions)
	require.Zero(b, b.G.Snapshot().Streams)
	require.Zero(b, b.G.Snapshot().SessionIDs)
	require.Zero(b, b.G.Snapshot().Searches)
}

// ServedBy is served for a listener that waits.
func (b *Bed) ServedBy(waiting Pending, id uint32) (*grasp.Session, grasp.Objective, *Stream) {
	b.Helper()
	s := b.Peer.Dial(b.At())
	s.Send(Arr{3, id, Arr{"EX1", 3, 6, nil}})
	a := waiting.Ok()
	return a.S, a.O, s
}

// ClosedWithin checks that the other end closes within a time.
func (s *Stream) ClosedWithin(d time.Duration) {
	s.T.Helper()
	p, err := s.NextWithin(d)
	require.ErrorContains(s.T, err, "EOF", "%v", p)
}

// Flood has a neighbour flood a value, with a locator of its own making.
func (p *Peer) Flood(id uint32, name string, tag int, value any) {
	p.t.Helper()
	p.Multicast(Arr{9, id, p.Addr(), 0, Arr{Arr{name, 5, 1, value}, IPv6("fd00::abcd", tag)}})
}

// Flood floods objectives of the ASA under test without locators.
func (b *Bed) Flood(ttl time.Duration, objs ...grasp.Objective) {
	b.Helper()
	var tagged []grasp.TaggedObjective
	for _, o := range objs {
		tagged = append(tagged, grasp.TaggedObjective{Objective: o})
	}
	require.NoError(b, b.ASA.Flood(ttl, tagged...))
}

// Flooded returns the flooded values of an objective.
func (b *Bed) Flooded(name string) (values []any) {
	b.Helper()
	all, err := b.ASA.GetFlood(Syn(name, nil))
	require.NoError(b, err)
	for _, f := range all {
		values = append(values, f.Objective.Value)
	}
	return values
}

// Answering has the ASA under test answer synchronization requests for EX1.
func (b *Bed) Answering(value any) {
	b.Helper()
	b.Register(Syn("EX1", nil))
	require.NoError(b, b.ASA.ListenSynchronize(Syn("EX1", value)))
}

var AskForEX1 = Arr{4, uint32(7), Arr{"EX1", 5, 6, nil}}

const AnswerOfEX1 = `[8, %d, ["EX1", 5, 6, 7]]`

// Nearby is where the instance's neighbour is on their link.
func (b *Bed) Nearby(p *Peer, protocol int) *grasp.Locator {
	at := LinkOf(p.Node, p.Link).Addr.WithZone(Zone(b.Index(p.Link)))
	return &grasp.Locator{IP: at, Protocol: protocol}
}

// CloseNow closes the stream at once.
func (s *Stream) CloseNow() {
	require.NoError(s.T, s.Close())
	synctest.Wait()
}

// Floods returns the floods of an objective that the ASA under test sees.
func (b *Bed) Floods(name string) []grasp.TaggedObjective {
	b.Helper()
	out, err := b.ASA.GetFlood(Syn(name, nil))
	require.NoError(b, err)
	return out
}

// Sized returns a text with which a message has a length.
func Sized(t testing.TB, length int, message func(string) any) string {
	t.Helper()
	for n := range length {
		if s := string(bytes.Repeat([]byte{'x'}, n)); len(Encoded(t, message(s))) == length {
			return s
		}
	}
	require.Fail(t, "no text gives the length", length)
	return ""
}

// Garbage is what is no message of GRASP.
var Garbage = map[string][]byte{
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
