//go:build linux

package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// These tests have this library meet the prototype by the author of GRASP,
// graspy, each in a network namespace of its own: see package graspybed. They
// are skipped if the environment variable GRASPY names no checkout of it.

// patience bounds the wait for what must happen soon.
const patience = 30 * time.Second

// The addresses of nodes that have any but link-local ones.
const (
	goAddr = "fd00::1"
	pyAddr = "fd00::2"
)

// meeting is an instance and a graspy process, on one link.
type meeting struct {
	t    *testing.T
	ula  bool // they have more than link-local addresses
	g    *grasp.Instance
	asa  *grasp.ASA
	tape *tape
	link int // of the instance

	py *graspybed.ASA

	// What further instances and processes are to have.
	plane    acp.Plane
	settings []graspybed.Setting
}

// password is that of the QUADS domain.
const password = "Пароль of the domain ☃"

// meet runs a test three times: with unique local addresses, with link-local
// ones only, where graspy puts a made-up address into multicasts, and in a
// QUADS domain.
func meet(t *testing.T, test func(m *meeting)) {
	t.Parallel()
	graspybed.Checkout(t)
	for _, kind := range []string{"ULA", "LinkLocal", "QUADS"} {
		t.Run(kind, func(t *testing.T) {
			if !netbed.Enter(t) {
				return
			}
			m := &meeting{t: t, ula: kind != "LinkLocal"}
			node := netbed.NewNode(t, "py")
			netbed.VethPair(t, "va0", "va1")
			node.MoveLink(t, "va1")
			if m.ula {
				netbed.AddAddr(t, "va0", goAddr+"/64")
				node.AddAddr(t, "va1", pyAddr+"/64")
			}
			m.link = netbed.Index(t, "va0")
			netbed.LinkLocal(t, "va0")
			m.plane = &acp.Layer2{}
			if kind == "QUADS" {
				m.plane = &quads.Plane{Password: password}
				m.settings = append(m.settings, graspybed.QUADS(password))
			}
			m.g, m.asa, m.tape = newTapedWith(t, grasp.Config{Plane: m.plane})
			m.py = newGraspy(t, node, graspybed.Options{}, m.settings...)
			test(m)
		})
	}
}

// newGraspy starts a graspy process, which must find no fault with what it is
// sent until the test is over.
func newGraspy(t *testing.T, node *netbed.Node, opt graspybed.Options, settings ...graspybed.Setting) *graspybed.ASA {
	t.Helper()
	peer := graspybed.Start(t, node, node.String(), settings...)
	t.Cleanup(func() { assert.Empty(t, peer.Output.Complaints()) })
	return peer.RegisterASA(t, "peer", opt)
}

// newTaped starts an instance with an ASA, which must find no fault either.
func newTaped(t *testing.T, links ...string) (*grasp.Instance, *grasp.ASA, *tape) {
	t.Helper()
	return newTapedWith(t, grasp.Config{Plane: &acp.Layer2{Links: links}})
}

func newTapedWith(t *testing.T, cfg grasp.Config) (*grasp.Instance, *grasp.ASA, *tape) {
	t.Helper()
	cfg.Dialogue.Silent = true
	g, err := grasp.New(cfg)
	require.NoError(t, err)
	tape := &tape{caughtUp: make(chan struct{}, 1)}
	g.Observe(grasp.Observer{Trace: tape.add, Words: func(string, string) { tape.caughtUp <- struct{}{} }})
	t.Cleanup(func() {
		require.NoError(t, g.Close())
		assert.Empty(t, tape.faults())
	})
	a, err := g.RegisterASA("Go")
	require.NoError(t, err)
	tape.asa = a
	return g, a, tape
}

// tape records what an instance sends, receives and drops.
type tape struct {
	asa      *grasp.ASA
	caughtUp chan struct{} // one slot: the tape was told of a line

	mu     sync.Mutex // guards events
	events []grasp.Event
}

// catchUp waits until the tape was told of all that happened before: it is told
// of events and lines in one order.
func (p *tape) catchUp() {
	p.asa.Tprint("so far")
	<-p.caughtUp
}

func (p *tape) add(e grasp.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// count returns how many messages of a type were sent or received.
func (p *tape) count(kind grasp.EventKind, message string) int {
	p.catchUp()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, e := range p.events {
		if e.Kind == kind && e.Message == message {
			n++
		}
	}
	return n
}

// faults returns what was dropped as if graspy did not speak GRASP.
func (p *tape) faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.events {
		switch e.Reason {
		case grasp.ReasonMalformed, grasp.ReasonInvalid, grasp.ReasonUnknownType, grasp.ReasonTooLong,
			grasp.ReasonUnexpected, grasp.ReasonForeign, grasp.ReasonIdle, grasp.ReasonBadLocator, grasp.ReasonLinkLocalSource,
			grasp.ReasonIDClash, grasp.ReasonSendFailed:
			out = append(out, fmt.Sprintf("%v %s: %v %.100x", e.Reason, e.Message, e.Err, e.Raw))
		}
	}
	return out
}

// initiator returns the initiator of the last message of a type.
func (p *tape) initiator(t *testing.T, kind grasp.EventKind, message string) netip.Addr {
	t.Helper()
	p.catchUp()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range slices.Backward(p.events) {
		if e.Kind == kind && e.Message == message {
			var m []any
			require.NoError(t, cbor.Unmarshal(e.Raw, &m))
			addr, ok := netip.AddrFromSlice(m[2].([]byte))
			require.True(t, ok)
			return addr
		}
	}
	require.Fail(t, "no "+message)
	panic("not reached")
}

func (p *tape) len() int {
	p.catchUp()
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.events)
}

// checkSessions returns how many negotiations there were since an event, and
// checks their loop counts on the wire: they fall with every step of ours, and
// none is 0 (N-08, N-09).
func (p *tape) checkSessions(t *testing.T, since int) int {
	t.Helper()
	p.catchUp()
	p.mu.Lock()
	defer p.mu.Unlock()
	last := make(map[uint32]int)
	for _, e := range p.events[since:] {
		if e.Message != "M_REQ_NEG" && e.Message != "M_NEGOTIATE" {
			continue
		}
		var m []any
		require.NoError(t, cbor.Unmarshal(e.Raw, &m))
		loops := int(m[2].([]any)[2].(uint64))
		before, begun := last[e.SessionID]
		last[e.SessionID] = loops
		require.NotZero(t, loops)
		switch {
		case !begun:
			require.Equal(t, "M_REQ_NEG", e.Message)
		case e.Kind == grasp.Sent:
			require.Equal(t, before-1, loops, "we send one less than we received")
		default:
			require.Contains(t, []int{before, before - 1}, loops, "graspy sends one less than it received, or what it was asked with")
		}
	}
	return len(last)
}

// toPy returns an objective as graspy takes it.
func toPy(o grasp.Objective) graspybed.Objective {
	if raw, ok := o.Value.(grasp.EncodedCBOR); ok {
		o.Value = []byte(raw)
	}
	return graspybed.Objective{
		Name: o.Name, Neg: o.Neg, Dry: o.Dry, Synch: o.Synch, LoopCount: int(o.LoopCount),
		Discoverable: true, Value: o.Value,
	}
}

// fromPy is the opposite. graspy does not tell byte strings that happen to be
// CBOR from Tag 24: here they are all taken for that.
func fromPy(o graspybed.Objective) grasp.Objective {
	if raw, ok := o.Value.([]byte); ok && cbor.Wellformed(raw) == nil {
		o.Value = grasp.EncodedCBOR(raw)
	}
	return grasp.Objective{
		Name: o.Name, Neg: o.Neg, Dry: o.Dry, Synch: o.Synch, LoopCount: uint8(o.LoopCount), Value: o.Value,
	}
}

// got waits for the outcome of a call.
func got(t *testing.T, c <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-c:
		require.NoError(t, o.err)
		return o
	case <-time.After(patience):
		require.Fail(t, "the call has not returned")
		panic("not reached")
	}
}

// heard waits for a request.
func heard(t *testing.T, a agent) (talk, grasp.Objective) {
	t.Helper()
	select {
	case r := <-a.heard():
		require.NoError(t, r.err)
		return r.talk, r.objective
	case <-time.After(patience):
		require.Fail(t, "no request came")
		panic("not reached")
	}
}

// ex3 is the objective that is negotiated.
func ex3(value any) grasp.Objective {
	o := grasp.NewObjective("EX3")
	o.Neg, o.Value = true, value
	return o
}

func nzd(n int64) []any { return []any{"NZD", n} }

// with returns the objective with another value.
func with(o grasp.Objective, value any) grasp.Objective {
	o.Value = value
	return o
}

// offered checks that an offer came and returns it.
func offered(t *testing.T, c <-chan outcome, value any) (talk, grasp.Objective) {
	t.Helper()
	o := got(t, c)
	require.Equal(t, grasp.OK, o.code)
	require.NotNil(t, o.talk, "the peer accepted")
	require.Equal(t, value, o.objective.Value)
	return o.talk, o.objective
}

// accepted checks that the peer accepted a value.
func accepted(t *testing.T, c <-chan outcome, value any) {
	t.Helper()
	o := got(t, c)
	require.Equal(t, grasp.OK, o.code)
	require.Nil(t, o.talk, "the peer made an offer")
	require.Equal(t, value, o.objective.Value)
}

// failed checks that a call failed with a code, and that the session is over.
func failed(t *testing.T, c <-chan outcome, code grasp.ErrorCode) outcome {
	t.Helper()
	o := got(t, c)
	require.Equal(t, code, o.code)
	require.Nil(t, o.talk)
	return o
}
