package grasp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
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
	return newASA(b, instanceWith(b, b.net.NewNode(name, b.links[0]), with...), name)
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

// nodeOf returns the node that an instance is on.
func nodeOf(g *Instance) *memory.Node { return g.cfg.Plane.(*memory.Node) }
