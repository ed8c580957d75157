//go:build linux

package interop

import (
	"context"
	"errors"
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
const patience = 15 * time.Second

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
			t.Parallel()
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

// outcome is how a call of a negotiation ended, on either side: with code OK
// and no talk if the peer accepted.
type outcome struct {
	code      grasp.ErrorCode
	talk      talk
	objective grasp.Objective
	reason    string
	err       error // the test itself failed
}

// talk is one side of a negotiation under way.
type talk interface {
	// step sends an offer and returns at once. The channel gets what comes.
	step(o grasp.Objective, timeout time.Duration) <-chan outcome
	wait(t *testing.T, d time.Duration) grasp.ErrorCode
	end(t *testing.T, accept bool, reason string) grasp.ErrorCode
	invalid(t *testing.T, info any) grasp.ErrorCode
}

// request is what a listener got.
type request struct {
	talk      talk
	objective grasp.Objective
	err       error
}

// agent is an ASA that can ask its peer to negotiate, and listens: one of this
// library or one of graspy's.
type agent interface {
	ask(o grasp.Objective, timeout time.Duration) <-chan outcome
	heard() <-chan request
}

// goAgent is an agent of this library.
type goAgent struct {
	ctx  context.Context
	asa  *grasp.ASA
	peer *grasp.Locator
	in   chan request
}

type goTalk struct {
	ctx context.Context
	s   *grasp.Session
}

func newGoAgent(t *testing.T, asa *grasp.ASA, o grasp.Objective) *goAgent {
	t.Helper()
	require.NoError(t, asa.RegisterObj(o, grasp.RegisterOptions{}))
	a := &goAgent{ctx: t.Context(), asa: asa, in: make(chan request, 16)}
	go func() { // ends with the test
		for {
			s, o, err := asa.ListenNegotiate(a.ctx, o)
			if a.ctx.Err() != nil {
				return
			}
			a.in <- request{goTalk{a.ctx, s}, o, err}
			if err != nil {
				return
			}
		}
	}()
	return a
}

func (a *goAgent) heard() <-chan request { return a.in }

func (a *goAgent) ask(o grasp.Objective, timeout time.Duration) <-chan outcome {
	return goOutcome(a.ctx, func() (*grasp.Session, grasp.Objective, error) {
		return a.asa.ReqNegotiate(a.ctx, o, a.peer, timeout)
	})
}

func (s goTalk) step(o grasp.Objective, timeout time.Duration) <-chan outcome {
	return goOutcome(s.ctx, func() (*grasp.Session, grasp.Objective, error) {
		return s.s.NegotiateStep(s.ctx, o, timeout)
	})
}

func goOutcome(ctx context.Context, f func() (*grasp.Session, grasp.Objective, error)) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		s, o, err := f()
		out := outcome{code: grasp.Code(err), objective: o}
		if declined := new(grasp.DeclinedError); errors.As(err, &declined) {
			out.reason = declined.Reason
		}
		if s != nil {
			out.talk = goTalk{ctx, s}
		}
		c <- out
	}()
	return c
}

func (s goTalk) wait(_ *testing.T, d time.Duration) grasp.ErrorCode {
	return grasp.Code(s.s.NegotiateWait(d))
}

func (s goTalk) end(_ *testing.T, accept bool, reason string) grasp.ErrorCode {
	return grasp.Code(s.s.EndNegotiate(accept, reason))
}

func (s goTalk) invalid(_ *testing.T, info any) grasp.ErrorCode {
	return grasp.Code(s.s.SendInvalid(info))
}

// pyAgent is an agent of graspy.
type pyAgent struct {
	asa  *graspybed.ASA
	peer *graspybed.Locator
	in   chan request
}

type pyTalk struct {
	asa *graspybed.ASA
	s   *graspybed.Session
}

// ahead is how many calls of listen_negotiate wait at the same time: graspy
// refuses requests while none does.
const ahead = 4

func newPyAgent(t *testing.T, asa *graspybed.ASA, o grasp.Objective) *pyAgent {
	t.Helper()
	asa.RegisterObj(t, toPy(o), nil)
	a := &pyAgent{asa: asa, in: make(chan request, 16)}
	for range ahead {
		go func() { // ends with the process
			for {
				s, o, err := asa.ListenNegotiate(toPy(o)).Result(time.Hour)
				a.in <- request{pyTalk{asa, s}, fromPy(o), err}
				if err != nil {
					return
				}
			}
		}()
	}
	return a
}

func (a *pyAgent) heard() <-chan request { return a.in }

func (a *pyAgent) ask(o grasp.Objective, timeout time.Duration) <-chan outcome {
	return pyOutcome(a.asa, a.asa.ReqNegotiate(toPy(o), a.peer, timeout))
}

func (s pyTalk) step(o grasp.Objective, timeout time.Duration) <-chan outcome {
	return pyOutcome(s.asa, s.asa.NegotiateStep(s.s, toPy(o), timeout))
}

func pyOutcome(asa *graspybed.ASA, n graspybed.Negotiating) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		got, err := n.Result(time.Minute)
		out := outcome{code: grasp.ErrorCode(got.Code), reason: got.Reason, err: err}
		if got.Code == 0 {
			out.objective = fromPy(got.Objective)
		}
		if got.Session != nil {
			out.talk = pyTalk{asa, got.Session}
		}
		c <- out
	}()
	return c
}

func (s pyTalk) wait(t *testing.T, d time.Duration) grasp.ErrorCode {
	return grasp.ErrorCode(s.asa.NegotiateWait(t, s.s, d))
}

func (s pyTalk) end(t *testing.T, accept bool, reason string) grasp.ErrorCode {
	return grasp.ErrorCode(s.asa.EndNegotiate(t, s.s, accept, reason))
}

func (s pyTalk) invalid(t *testing.T, info any) grasp.ErrorCode {
	return grasp.ErrorCode(s.asa.SendInvalid(t, s.s, info))
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
