//go:build linux

package grasp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
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
}

// meet runs a test twice: with unique local addresses, and with link-local
// ones only, where graspy puts a made-up address into multicasts.
func meet(t *testing.T, test func(m *meeting)) {
	t.Parallel()
	graspybed.Checkout(t)
	for _, kind := range []string{"ULA", "LinkLocal"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if !netbed.Enter(t) {
				return
			}
			m := &meeting{t: t, ula: kind == "ULA"}
			node := netbed.NewNode(t, "py")
			netbed.VethPair(t, "va0", "va1")
			node.MoveLink(t, "va1")
			if m.ula {
				netbed.AddAddr(t, "va0", goAddr+"/64")
				node.AddAddr(t, "va1", pyAddr+"/64")
			}
			m.link = netbed.Index(t, "va0")
			netbed.LinkLocal(t, "va0")
			m.g, m.asa, m.tape = newTaped(t)
			m.py = newGraspy(t, node, graspybed.Options{})
			test(m)
		})
	}
}

// newGraspy starts a graspy process, which must find no fault with what it is
// sent until the test is over.
func newGraspy(t *testing.T, node *netbed.Node, opt graspybed.Options) *graspybed.ASA {
	t.Helper()
	peer := graspybed.Start(t, node, node.String())
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
	tape := &tape{}
	cfg.Trace = tape.add
	g, err := grasp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, g.Close())
		assert.Empty(t, tape.faults())
	})
	a, err := g.RegisterASA("Go")
	require.NoError(t, err)
	return g, a, tape
}

// tape records what an instance sends, receives and drops.
type tape struct {
	mu     sync.Mutex // guards events
	events []grasp.Event
}

func (p *tape) add(e grasp.Event) {
	e.Raw = append([]byte(nil), e.Raw...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// count returns how many messages of a type were sent or received.
func (p *tape) count(kind grasp.EventKind, message string) int {
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
			grasp.ReasonUnexpected, grasp.ReasonIdle, grasp.ReasonBadLocator, grasp.ReasonLinkLocalSource,
			grasp.ReasonIDClash, grasp.ReasonSendFailed:
			out = append(out, fmt.Sprintf("%v %s: %v %.100x", e.Reason, e.Message, e.Err, e.Raw))
		}
	}
	return out
}

// initiator returns the initiator of the last message of a type.
func (p *tape) initiator(t *testing.T, kind grasp.EventKind, message string) netip.Addr {
	t.Helper()
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
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.events)
}

// checkSessions returns how many negotiations there were since an event, and
// checks their loop counts on the wire: they fall with every step of ours, and
// none is 0 (N-08, N-09).
func (p *tape) checkSessions(t *testing.T, since int) int {
	t.Helper()
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

const (
	short = time.Second      // a timeout that is to expire
	long  = 20 * time.Second // a timeout that is not
)

// reasons of declines.
var reasons = []string{"Insufficient funds", "Недостаточно средств", "½ 不够 🤑 \u0000", ""}

// encodedNZD is a value in Tag 24.
func encodedNZD(t *testing.T, n int64) grasp.EncodedCBOR {
	t.Helper()
	raw, err := cbor.Marshal(nzd(n))
	require.NoError(t, err)
	return raw
}

// scenario is a negotiation, or some of a kind, between an agent a that asks
// and an agent b that listens.
type scenario struct {
	name string
	run  func(t *testing.T, a, b agent)
}

// scenarios are the negotiations in which both sides can have either role.
var scenarios = []scenario{
	{"AcceptedAtOnce", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		require.Equal(t, ex3(nzd(100)), o)
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(100))
		require.Equal(t, grasp.ErrNoSession, tb.end(t, true, ""), "A-38")
	}},
	{"AcceptedByInitiator", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		pb := tb.step(with(o, nzd(50)), long)
		ta, _ := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.end(t, true, ""))
		accepted(t, pb, nzd(50))
	}},
	{"AcceptedAfterSteps", func(t *testing.T, a, b agent) {
		o := ex3(nzd(100))
		o.LoopCount = 20
		pa := a.ask(o, long)
		tb, o := heard(t, b)
		last := o.LoopCount
		for i := range int64(3) {
			pb := tb.step(with(o, nzd(50+i)), long)
			var ta talk
			ta, o = offered(t, pa, nzd(50+i))
			require.LessOrEqual(t, o.LoopCount, last)
			pa = ta.step(with(o, nzd(90-i)), long)
			last = o.LoopCount
			tb, o = offered(t, pb, nzd(90-i))
			require.LessOrEqual(t, o.LoopCount, last)
			last = o.LoopCount
		}
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(88))
	}},
	{"Declined", func(t *testing.T, a, b agent) {
		for _, reason := range reasons {
			pa := a.ask(ex3(nzd(100)), long)
			tb, _ := heard(t, b)
			require.Equal(t, grasp.OK, tb.end(t, false, reason))
			require.Equal(t, reason, failed(t, pa, grasp.ErrDeclined).reason)
		}
	}},
	{"DeclinedByInitiator", func(t *testing.T, a, b agent) {
		for _, reason := range reasons {
			pa := a.ask(ex3(nzd(100)), long)
			tb, o := heard(t, b)
			pb := tb.step(with(o, nzd(1)), long)
			ta, _ := offered(t, pa, nzd(1))
			require.Equal(t, grasp.OK, ta.end(t, false, reason))
			require.Equal(t, reason, failed(t, pb, grasp.ErrDeclined).reason)
		}
	}},
	{"DeclinedAfterSteps", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		pb := tb.step(with(o, nzd(1)), long)
		ta, o := offered(t, pa, nzd(1))
		pa = ta.step(with(o, nzd(90)), long)
		tb, _ = offered(t, pb, nzd(90))
		require.Equal(t, grasp.OK, tb.end(t, false, reasons[1]))
		require.Equal(t, reasons[1], failed(t, pa, grasp.ErrDeclined).reason)
	}},
	{"LoopExhausted", func(t *testing.T, a, b agent) {
		exhausted, _ := exhaust(t, a, b, long)
		require.Equal(t, grasp.OK, exhausted.talk.end(t, false, "loop count exhausted"))
		require.Equal(t, "loop count exhausted", failed(t, exhausted.peer, grasp.ErrDeclined).reason)
	}},
	{"LoopExhaustedSilently", func(t *testing.T, a, b agent) {
		exhausted, _ := exhaust(t, a, b, short)
		failed(t, exhausted.peer, grasp.ErrNoNegReply)
	}},
	{"Wait", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		tb, _ := heard(t, b)
		require.Equal(t, grasp.OK, tb.wait(t, long))
		time.Sleep(2 * short) // what the wait is for
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(100))
	}},
	{"WaitInSteps", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		tb, o := heard(t, b)
		require.Equal(t, grasp.OK, tb.wait(t, 2*short))
		time.Sleep(short / 2)
		require.Equal(t, grasp.OK, tb.wait(t, long), "again")
		time.Sleep(2 * short)
		pb := tb.step(with(o, nzd(50)), short)
		ta, o := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.wait(t, long), "by the initiator, A-36")
		time.Sleep(2 * short)
		pa = ta.step(with(o, nzd(60)), long)
		tb, _ = offered(t, pb, nzd(60))
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(60))
	}},
	{"WaitExpires", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, _ := heard(t, b)
		start := time.Now()
		require.Equal(t, grasp.OK, tb.wait(t, short))
		failed(t, pa, grasp.ErrNoNegReply)
		require.InDelta(t, short.Seconds(), time.Since(start).Seconds(), 0.5)
	}},
	{"Silence", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		heard(t, b)
		failed(t, pa, grasp.ErrNoNegReply)
	}},
	{"DryRun", func(t *testing.T, a, b agent) {
		o := ex3(nzd(100))
		o.Dry = true
		pa := a.ask(o, long)
		tb, o := heard(t, b)
		require.True(t, o.Dry)
		pb := tb.step(with(o, nzd(50)), long)
		ta, o := offered(t, pa, nzd(50))
		require.True(t, o.Dry)
		pa = ta.step(with(o, nzd(60)), long)
		tb, o = offered(t, pb, nzd(60))
		require.True(t, o.Dry)
		require.Equal(t, grasp.OK, tb.end(t, true, ""))
		accepted(t, pa, nzd(60))
	}},
	{"Tag24", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(encodedNZD(t, 100)), long)
		tb, o := heard(t, b)
		require.Equal(t, encodedNZD(t, 100), o.Value)
		pb := tb.step(with(o, encodedNZD(t, 50)), long)
		ta, o := offered(t, pa, encodedNZD(t, 50))
		pa = ta.step(with(o, encodedNZD(t, 60)), long)
		tb, o = offered(t, pb, encodedNZD(t, 60))
		tb.step(with(o, encodedNZD(t, 55)), long)
		ta, _ = offered(t, pa, encodedNZD(t, 55))
		require.Equal(t, grasp.OK, ta.end(t, true, ""))
	}},
	{"Invalid", func(t *testing.T, a, b agent) {
		for _, info := range []any{"Surprise! ☠", []byte{1, 2, 3}, []any{int64(5), nil}} {
			pa := a.ask(ex3(nzd(100)), long)
			tb, _ := heard(t, b)
			require.Equal(t, grasp.OK, tb.invalid(t, info))
			failed(t, pa, grasp.ErrNoValidStep)
			require.Equal(t, grasp.ErrNoSession, tb.end(t, false, ""))
		}
	}},
	{"InvalidByInitiator", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), long)
		tb, o := heard(t, b)
		pb := tb.step(with(o, nzd(50)), long)
		ta, _ := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.invalid(t, "Surprise! ☠"))
		failed(t, pb, grasp.ErrNoValidStep)
	}},
	{"Values", func(t *testing.T, a, b agent) {
		for _, v := range values {
			pa := a.ask(ex3(v), long)
			tb, o := heard(t, b)
			require.Equal(t, v, o.Value)
			pb := tb.step(o, long)
			ta, _ := offered(t, pa, v)
			require.Equal(t, grasp.OK, ta.end(t, true, ""))
			accepted(t, pb, v)
		}
	}},
	{"Sizes", func(t *testing.T, a, b agent) {
		for _, size := range []int{1170, 1198, 1199, 1200, 1201, 1202, 1424, 1440, 1500, 2020} {
			v := strings.Repeat("v", size-20) // and some twenty bytes around it
			pa := a.ask(ex3(v), long)
			tb, o := heard(t, b)
			require.Equal(t, v, o.Value)
			pb := tb.step(o, long)
			ta, o := offered(t, pa, v)
			pa = ta.step(o, long)
			tb, _ = offered(t, pb, v)
			require.Equal(t, grasp.OK, tb.end(t, false, v))
			require.Equal(t, v, failed(t, pa, grasp.ErrDeclined).reason)
		}
	}},
	{"Concurrently", func(t *testing.T, a, b agent) {
		// Three that a asks for and two that b asks for, all at once.
		type both struct {
			asking  <-chan outcome
			hearing talk
			o       grasp.Objective
		}
		var all []*both
		for i := range int64(5) {
			from, to := a, b
			if i%2 == 1 {
				from, to = b, a
			}
			n := &both{asking: from.ask(ex3(nzd(i)), long)}
			n.hearing, n.o = heard(t, to)
			require.Equal(t, nzd(i), n.o.Value)
			all = append(all, n)
		}
		var answers []<-chan outcome
		for i, n := range all {
			answers = append(answers, n.hearing.step(with(n.o, nzd(int64(10+i))), long))
		}
		for i := len(all) - 1; i >= 0; i-- {
			ta, o := offered(t, all[i].asking, nzd(int64(10+i)))
			all[i].asking = ta.step(with(o, nzd(int64(20+i))), long)
		}
		for i := range all {
			tb, _ := offered(t, answers[i], nzd(int64(20+i)))
			require.Equal(t, grasp.OK, tb.end(t, i%2 == 0, "no"))
		}
		for i, n := range all {
			if i%2 == 0 {
				accepted(t, n.asking, nzd(int64(20+i)))
			} else {
				failed(t, n.asking, grasp.ErrDeclined)
			}
		}
	}},
}

// whereGoAsks is for graspy as the listener only. It takes one segment for one
// message, and a step right behind a wait would be lost on it.
var whereGoAsks = []scenario{
	{"WaitThenStep", func(t *testing.T, a, b agent) {
		pa := a.ask(ex3(nzd(100)), short)
		tb, o := heard(t, b)
		require.Equal(t, grasp.OK, tb.wait(t, long))
		pb := tb.step(with(o, nzd(50)), long)
		ta, _ := offered(t, pa, nzd(50))
		require.Equal(t, grasp.OK, ta.end(t, true, ""))
		accepted(t, pb, nzd(50))
	}},
}

// whereGraspyAsks is for graspy as the initiator only. It refuses half of the
// requests in a burst, whoever sends them.
var whereGraspyAsks = []scenario{
	{"Burst", func(t *testing.T, a, b agent) {
		var all []<-chan outcome
		for i := range int64(50) {
			all = append(all, a.ask(ex3(nzd(i)), long))
		}
		seen := make(map[any]bool)
		for range all {
			tb, o := heard(t, b)
			seen[o.Value.([]any)[1]] = true
			require.Equal(t, grasp.OK, tb.end(t, true, ""))
		}
		require.Len(t, seen, len(all))
		for i, pa := range all {
			accepted(t, pa, nzd(int64(i)))
		}
	}},
}

// values are values of every kind that graspy leaves as they are.
var values = []any{
	nil, true, false, int64(0), int64(-1), int64(1) << 40, -1.5, 0.1, "", "Ünïcode ☃",
	[]byte{}, []byte{0x61}, []any{}, []any{[]any{[]any{"deep"}}, nil},
	map[any]any{"a": int64(1), int64(2): []any{}},
	cbor.Tag{Number: 4711, Content: "tagged"},
}

// exhaustion is a negotiation whose loop count is used up.
type exhaustion struct {
	talk talk           // whose step failed
	peer <-chan outcome // the other side, which waits
}

// exhaust negotiates until the loop count is used up.
func exhaust(t *testing.T, a, b agent, timeout time.Duration) (exhaustion, int) {
	t.Helper()
	o := ex3(nzd(100))
	o.LoopCount = 5
	theirs := a.ask(o, timeout)
	own, o := heard(t, b)
	for steps := 0; ; steps++ {
		require.Less(t, steps, 5)
		ours := own.step(o, timeout)
		select {
		case failed := <-ours:
			require.NoError(t, failed.err)
			require.Equal(t, grasp.ErrLoopExhausted, failed.code)
			require.GreaterOrEqual(t, steps, 2)
			return exhaustion{own, theirs}, steps
		case next := <-theirs:
			require.NoError(t, next.err)
			require.Equal(t, grasp.OK, next.code)
			own, o, theirs = next.talk, next.objective, ours
		case <-time.After(patience):
			require.Fail(t, "no step")
		}
	}
}

// TestInteropNegotiation covers N-01 to N-18, Y-01, V-01 to V-04 and D-01 to
// D-11: agents discover each other and negotiate, in both roles.
func TestInteropNegotiation(t *testing.T) {
	meet(t, func(m *meeting) {
		goes := newGoAgent(m.t, m.asa, ex3(nil))
		pys := newPyAgent(m.t, m.py, ex3(nil))
		goes.peer, pys.peer = m.find(ex3(nil))

		for _, roles := range []struct {
			name string
			a, b agent
			more []scenario
		}{
			{"GoAsks", goes, pys, whereGoAsks},
			{"GraspyAsks", pys, goes, whereGraspyAsks},
		} {
			m.t.Run(roles.name, func(t *testing.T) {
				var table strings.Builder
				begun := m.tape.len()
				for _, s := range slices.Concat(scenarios, roles.more) {
					t.Run(s.name, func(t *testing.T) {
						before := m.tape.len()
						s.run(t, roles.a, roles.b)
						sessions := m.tape.checkSessions(t, before)
						fmt.Fprintf(&table, "%6d %s\n", sessions, s.name)
					})
				}
				t.Logf("%s: %d negotiations\n%s", roles.name, m.tape.checkSessions(t, begun), &table)
			})
		}
	})
}

// find has each side discover the other, which offers the objective.
func (m *meeting) find(o grasp.Objective) (*grasp.Locator, *graspybed.Locator) {
	m.t.Helper()
	o.Value = nil
	var py []grasp.Locator
	netbed.Eventually(m.t, patience, "graspy is found", func() bool {
		var err error
		py, err = m.asa.Discover(m.t.Context(), o, 0, grasp.DiscoverOptions{First: true})
		require.NoError(m.t, err)
		return len(py) > 0
	})
	var own []graspybed.Locator
	netbed.Eventually(m.t, patience, "graspy finds", func() bool {
		own = m.py.Discover(m.t, toPy(o), 0, true)
		return len(own) > 0
	})
	return &py[0], &own[0]
}

// isGraspy checks a locator of graspy that the instance found.
func (m *meeting) isGraspy(t *testing.T, l grasp.Locator) {
	t.Helper()
	require.Equal(t, m.link, l.IfIndex)
	require.Equal(t, grasp.TCP, l.Protocol)
	require.NotZero(t, l.Port)
	require.False(t, l.Diverted)
	if m.ula {
		require.Equal(t, netip.MustParseAddr(pyAddr), l.IP)
	} else {
		require.True(t, l.IP.IsLinkLocalUnicast())
		require.Equal(t, strconv.Itoa(m.link), l.IP.Zone())
	}
}

// isGo checks a locator of the instance that graspy found.
func (m *meeting) isGo(t *testing.T, l graspybed.Locator) {
	t.Helper()
	here := m.g.Snapshot()
	addr := here.Address
	if !m.ula {
		addr = here.Links[0].Addr.WithZone("")
	}
	require.Equal(t, "ip", l.Kind)
	require.Equal(t, addr.String(), l.Locator)
	require.Equal(t, new(int(here.Port)), l.Port)
	require.Equal(t, new(grasp.TCP), l.Protocol)
	require.NotZero(t, l.IfIndex)
	require.False(t, l.Diverted)
}

// synch is an objective for synchronization.
func synch(name string, value any) grasp.Objective {
	o := grasp.NewObjective(name)
	o.Synch, o.Value = true, value
	return o
}

// registered registers an objective with the instance.
func (m *meeting) registered(t *testing.T, o grasp.Objective, opt grasp.RegisterOptions) grasp.Objective {
	t.Helper()
	require.NoError(t, m.asa.RegisterObj(o, opt))
	return o
}

// discover has the instance discover, for at most two seconds.
func (m *meeting) discover(t *testing.T, o grasp.Objective, opt grasp.DiscoverOptions) []grasp.Locator {
	t.Helper()
	found, err := m.asa.Discover(t.Context(), o, 2*time.Second, opt)
	require.NoError(t, err)
	return found
}

// locators are one of each kind.
var locators = []grasp.Locator{
	{IP: netip.MustParseAddr("fd00:1::1"), Protocol: grasp.TCP, Port: 4001},
	{IP: netip.MustParseAddr("192.0.2.1"), Protocol: grasp.UDP, Port: 4002},
	{FQDN: "grasp.example.com", Protocol: grasp.TCP, Port: 4003},
	{URI: "coap://[2001:db8::1]:4004/g"},
	{URI: "https://example.com/ü", Protocol: grasp.TCP, Port: 4005},
}

// locatorToPy returns a locator as graspy takes and gives it.
func locatorToPy(l grasp.Locator) *graspybed.Locator {
	out := &graspybed.Locator{Protocol: new(l.Protocol), Port: new(l.Port)}
	switch {
	case l.IP.IsValid():
		out.Kind, out.Locator = "ip", l.IP.WithZone("").String()
	case l.FQDN != "":
		out.Kind, out.Locator = "fqdn", l.FQDN
	default:
		out.Kind, out.Locator = "uri", l.URI
		if l.Port == 0 {
			out.Protocol, out.Port = nil, nil
		}
	}
	return out
}

// plainPy returns a locator that graspy found without what differs by time
// and place.
func plainPy(l graspybed.Locator) graspybed.Locator {
	l.IfIndex, l.Expire = 0, 0
	return l
}

// plain does the same for a locator that the instance found.
func plain(l grasp.Locator) grasp.Locator {
	l.IfIndex, l.Expire = 0, time.Time{}
	return l
}

// TestInteropDiscovery covers D-06 to D-11, D-16 to D-20, O-03 and O-08.
func TestInteropDiscovery(t *testing.T) {
	meet(t, func(m *meeting) {
		m.t.Run("D06GoFinds", func(t *testing.T) {
			for _, o := range []grasp.Objective{synch("EX1", "value"), with(ex3(nil), nil)} {
				m.py.RegisterObj(t, toPy(o), nil)
				require.Empty(t, m.discover(t, o, grasp.DiscoverOptions{}), "registered, but nobody listens")
				if o.Synch {
					m.py.ListenSynchronize(t, toPy(o))
				} else {
					m.py.ListenNegotiate(toPy(o))
				}
				var found []grasp.Locator
				netbed.Eventually(t, patience, "found", func() bool {
					found = m.discover(t, o, grasp.DiscoverOptions{First: true})
					return len(found) > 0
				})
				require.Len(t, found, 1)
				m.isGraspy(t, found[0])
				require.InDelta(t, 600, time.Until(found[0].Expire).Seconds(), 10)

				sent := m.tape.count(grasp.Sent, "M_DISCOVERY")
				require.Equal(t, found, m.discover(t, o, grasp.DiscoverOptions{}), "cached")
				require.Equal(t, sent, m.tape.count(grasp.Sent, "M_DISCOVERY"))
				found = m.discover(t, o, grasp.DiscoverOptions{Flush: true})
				require.Len(t, found, 1)
				require.Equal(t, sent+1, m.tape.count(grasp.Sent, "M_DISCOVERY"))
			}
		})
		m.t.Run("D06GraspyFinds", func(t *testing.T) {
			for _, o := range []grasp.Objective{synch("EX4", "value"), neg("EX5")} {
				m.registered(t, o, grasp.RegisterOptions{})
				if o.Neg { // graspy demands it of whoever discovers
					m.py.RegisterObj(t, toPy(o), nil)
				}
				require.Empty(t, m.py.Discover(t, toPy(o), 0, false), "registered, but nobody listens")
				if o.Synch {
					require.NoError(t, m.asa.ListenSynchronize(o))
				} else {
					go m.asa.ListenNegotiate(t.Context(), o)
				}
				var found []graspybed.Locator
				netbed.Eventually(t, patience, "found", func() bool {
					found = m.py.Discover(t, toPy(o), 0, false)
					return len(found) > 0
				})
				require.Len(t, found, 1)
				m.isGo(t, found[0])
			}
			// Without an address graspy has an initiator of its own making.
			initiator := m.tape.initiator(t, grasp.Received, "M_DISCOVERY")
			if m.ula {
				require.Equal(t, netip.MustParseAddr(pyAddr), initiator)
			} else {
				require.Equal(t, netip.MustParsePrefix("2001:db8:f000:baaa:f000:baaa::/96"), netip.PrefixFrom(initiator, 96).Masked())
			}
		})
		m.t.Run("D17Lifetime", func(t *testing.T) {
			o := synch("EX6", "value")
			m.py.RegisterObj(t, toPy(o), graspybed.KW{"ttl": 1000, "discoverable": true})
			require.Len(t, m.discover(t, o, grasp.DiscoverOptions{First: true}), 1)
			require.Len(t, m.discover(t, o, grasp.DiscoverOptions{CacheOnly: true}), 1)
			netbed.Eventually(t, patience, "it has expired", func() bool {
				return len(m.discover(t, o, grasp.DiscoverOptions{CacheOnly: true})) == 0
			})
		})
		m.t.Run("O03Local", func(t *testing.T) {
			py, own := synch("EX7", "value"), synch("EX8", "value")
			m.py.RegisterObj(t, toPy(py), graspybed.KW{"local": true, "discoverable": true})
			found := m.discover(t, py, grasp.DiscoverOptions{})
			require.Len(t, found, 1)
			require.True(t, found[0].IP.IsLinkLocalUnicast())
			require.Equal(t, strconv.Itoa(m.link), found[0].IP.Zone())

			m.registered(t, own, grasp.RegisterOptions{Local: true, Discoverable: true})
			seen := m.py.Discover(t, toPy(own), 0, false)
			require.Len(t, seen, 1)
			require.Equal(t, m.g.Snapshot().Links[0].Addr.WithZone("").String(), seen[0].Locator)
		})
		m.t.Run("D09LocatorsOfASAs", func(t *testing.T) {
			own := m.registered(t, synch("EX9", "value"), grasp.RegisterOptions{Discoverable: true, Locators: locators})
			var want, seen []graspybed.Locator
			for _, l := range locators {
				want = append(want, *locatorToPy(l))
			}
			for _, l := range m.py.Discover(t, toPy(own), 0, false) {
				seen = append(seen, plainPy(l))
			}
			require.Equal(t, want, seen)

			// graspy gives IPv6 ones only.
			six := []grasp.Locator{
				locators[0],
				{IP: netip.MustParseAddr("fd00:1::2"), Protocol: grasp.UDP, Port: 4006},
			}
			py := synch("EX0", "value")
			m.py.RegisterObj(t, toPy(py), graspybed.KW{
				"discoverable": true,
				"locators":     []any{locatorToPy(six[0]), locatorToPy(six[1])},
			})
			var found []grasp.Locator
			for _, l := range m.discover(t, py, grasp.DiscoverOptions{}) {
				found = append(found, plain(l))
			}
			require.Equal(t, six, found)
		})
		m.t.Run("O07Divert", func(t *testing.T) {
			// What graspy has found it gives away, with URIs cut short.
			o := m.registered(t, synch("example.com:divert", nil), grasp.RegisterOptions{Discoverable: true, Locators: locators})
			require.Len(t, m.py.Discover(t, toPy(o), 0, false), len(locators))
			require.NoError(t, m.asa.DeregisterObj(o))
			var found []grasp.Locator
			for _, l := range m.discover(t, o, grasp.DiscoverOptions{}) {
				require.True(t, l.Diverted)
				l.Diverted = false
				found = append(found, plain(l))
			}
			require.Equal(t, []grasp.Locator{locators[0], locators[2]}, found, "graspy diverts to IPv6 and FQDN only")
		})
		m.t.Run("DiscoveryOnly", func(t *testing.T) {
			o := grasp.NewObjective("example.com:here")
			m.py.RegisterObj(t, toPy(o), graspybed.KW{"discoverable": true})
			found := m.discover(t, o, grasp.DiscoverOptions{})
			require.Len(t, found, 1)
			require.Zero(t, found[0].Port, "graspy has none to give")
			o = m.registered(t, grasp.NewObjective("example.com:there"), grasp.RegisterOptions{Discoverable: true})
			require.Len(t, m.py.Discover(t, toPy(o), 0, false), 1)
		})
		m.t.Run("D15Nobody", func(t *testing.T) {
			require.Empty(t, m.discover(t, synch("example.com:no", nil), grasp.DiscoverOptions{}))
			require.Empty(t, m.py.Discover(t, toPy(synch("example.com:no", nil)), 0, false))
		})
		m.t.Run("N01Undirected", func(t *testing.T) {
			// Without a locator each side discovers by itself.
			py, own := neg("example.com:py"), neg("example.com:go")
			for _, o := range []grasp.Objective{py, own} {
				m.registered(t, o, grasp.RegisterOptions{})
				m.py.RegisterObj(t, toPy(o), graspybed.KW{"discoverable": true})
			}
			listening := m.py.ListenNegotiate(toPy(py))
			var asked <-chan outcome
			netbed.Eventually(t, patience, "it listens", func() bool {
				asked = goOutcome(t.Context(), func() (*grasp.Session, grasp.Objective, error) {
					return m.asa.ReqNegotiate(t.Context(), py, nil, short)
				})
				time.Sleep(200 * time.Millisecond)
				return len(asked) == 0
			})
			s, _, err := listening.Result(patience)
			require.NoError(t, err)
			require.Zero(t, m.py.EndNegotiate(t, s, true, ""))
			accepted(t, asked, nil)

			// In rapid mode it asks with the discovery. To graspy that is
			// a discovery like others (P-08).
			rapid := m.registered(t, neg("example.com:rapid"), grasp.RegisterOptions{Rapid: true})
			m.py.RegisterObj(t, toPy(rapid), nil)
			pys := newListening(m, rapid)
			asked = goOutcome(t.Context(), func() (*grasp.Session, grasp.Objective, error) {
				return m.asa.ReqNegotiate(t.Context(), with(rapid, nzd(1)), nil, long)
			})
			r := <-pys
			require.NoError(t, r.err)
			require.Equal(t, nzd(1), r.objective.Value)
			require.Equal(t, grasp.OK, r.talk.end(t, true, ""))
			accepted(t, asked, nzd(1))

			go func() {
				s, _, err := m.asa.ListenNegotiate(t.Context(), own)
				if assert.NoError(t, err) {
					assert.NoError(t, s.EndNegotiate(true, ""))
				}
			}()
			netbed.Eventually(t, patience, "it listens", func() bool {
				o, err := m.py.ReqNegotiate(toPy(own), nil, short).Result(patience)
				return err == nil && o.Code == 0
			})
		})
	})
}

// neg is an objective for negotiation.
func neg(name string) grasp.Objective {
	o := grasp.NewObjective(name)
	o.Neg = true
	return o
}

// TestInteropN13K06NobodyListens: a request for which nobody listens is
// refused by closing, and each side says so.
func TestInteropN13K06NobodyListens(t *testing.T) {
	meet(t, func(m *meeting) {
		negotiated, synchronized := ex3(nil), synch("EX2", nil)
		for _, o := range []grasp.Objective{negotiated, synchronized} {
			m.registered(m.t, o, grasp.RegisterOptions{Discoverable: true})
			m.py.RegisterObj(m.t, toPy(o), graspybed.KW{"discoverable": true})
			py, own := m.find(o)
			if o.Neg {
				_, _, err := m.asa.ReqNegotiate(m.t.Context(), o, py, 0)
				require.ErrorIs(m.t, err, grasp.ErrNoPeer)
				out, err := m.py.ReqNegotiate(toPy(o), own, patience).Result(patience)
				require.NoError(m.t, err)
				require.Equal(m.t, int(grasp.ErrNoPeer), out.Code)
			} else {
				_, err := m.asa.Synchronize(m.t.Context(), o, py, 0)
				require.ErrorIs(m.t, err, grasp.ErrNoListener)
				code, _ := m.py.Synchronize(m.t, toPy(o), own, patience)
				require.Equal(m.t, int(grasp.ErrNoListener), code)
			}
		}
	})
}

// TestInteropSynchronization covers K-01 to K-08 and P-07.
func TestInteropSynchronization(t *testing.T) {
	meet(t, func(m *meeting) {
		all := append([]any{encodedNZD(m.t, 7), strings.Repeat("v", 1180), strings.Repeat("v", 2000)}, values...)
		m.t.Run("K01GoAsks", func(t *testing.T) {
			o := synch("EX2", "first")
			m.py.RegisterObj(t, toPy(o), nil)
			m.py.ListenSynchronize(t, toPy(o))
			got, err := m.asa.Synchronize(t.Context(), with(o, nil), nil, 0)
			require.NoError(t, err)
			require.Equal(t, o, got)
			for _, v := range all {
				m.py.ListenSynchronize(t, toPy(with(o, v)))
				got, err := m.asa.Synchronize(t.Context(), with(o, nil), nil, 0)
				require.NoError(t, err)
				require.Equal(t, v, got.Value)
			}
		})
		m.t.Run("K01GraspyAsks", func(t *testing.T) {
			o := m.registered(t, synch("EX4", "first"), grasp.RegisterOptions{})
			require.NoError(t, m.asa.ListenSynchronize(o))
			for _, v := range append([]any{"first"}, all...) {
				require.NoError(t, m.asa.ListenSynchronize(with(o, v)))
				code, got := m.py.Synchronize(t, toPy(with(o, nil)), nil, short)
				require.Zero(t, code)
				require.Equal(t, v, fromPy(got).Value)
			}
		})
		m.t.Run("P07GoAsks", func(t *testing.T) {
			for i, v := range []any{nzd(1), encodedNZD(t, 2), "text"} {
				o := synch(fmt.Sprintf("example.com:py%d", i), v)
				m.py.RegisterObj(t, toPy(o), graspybed.KW{"rapid": true})
				m.py.ListenSynchronize(t, toPy(o))
				requests := m.tape.count(grasp.Sent, "M_REQ_SYN")
				got, err := m.asa.Synchronize(t.Context(), with(o, nil), nil, 0)
				require.NoError(t, err)
				require.Equal(t, o, got)
				require.Equal(t, requests, m.tape.count(grasp.Sent, "M_REQ_SYN"), "the value came with the locator")
			}
		})
		m.t.Run("P07GraspyAsks", func(t *testing.T) {
			for i, v := range []any{nzd(1), "text", int64(5)} {
				o := m.registered(t, synch(fmt.Sprintf("example.com:go%d", i), v), grasp.RegisterOptions{Rapid: true})
				require.NoError(t, m.asa.ListenSynchronize(o))
				requests := m.tape.count(grasp.Received, "M_REQ_SYN")
				code, got := m.py.Synchronize(t, toPy(with(o, nil)), nil, short)
				require.Zero(t, code)
				require.Equal(t, v, fromPy(got).Value)
				require.Equal(t, requests, m.tape.count(grasp.Received, "M_REQ_SYN"), "the value came with the locator")
			}
		})
	})
}

// TestInteropFlood covers F-01 to F-07, F-15, O-08 and T-08.
func TestInteropFlood(t *testing.T) {
	meet(t, func(m *meeting) {
		m.t.Run("F04GoFloods", func(t *testing.T) {
			o := m.registered(t, synch("EX1", nil), grasp.RegisterOptions{})
			seen := func(n int) []graspybed.Tagged {
				t.Helper()
				var got []graspybed.Tagged
				netbed.Eventually(t, patience, "flooded", func() bool {
					got = m.py.GetFlood(t, toPy(o))
					return len(got) >= n
				})
				require.Len(t, got, n)
				return got
			}
			flood := func(ttl time.Duration, objs ...grasp.TaggedObjective) {
				t.Helper()
				require.NoError(t, m.asa.Flood(ttl, objs...))
			}
			all := []grasp.TaggedObjective{{Objective: with(o, int64(0))}}
			for i, l := range locators {
				all = append(all, grasp.TaggedObjective{Objective: with(o, int64(i+1)), Source: &l})
			}
			flood(0, all...)
			for i, f := range seen(len(all)) {
				require.Equal(t, int64(i), f.Objective.Value)
				require.Zero(t, f.Source.Expire, "for ever")
				if i == 0 {
					require.Empty(t, f.Source.Kind)
					require.Empty(t, f.Source.Locator)
				} else {
					require.Equal(t, *locatorToPy(locators[i-1]), plainPy(*f.Source))
				}
			}
			// The same tag: replaced, and the youngest.
			flood(time.Minute, grasp.TaggedObjective{Objective: with(o, "new"), Source: &locators[0]})
			netbed.Eventually(t, patience, "replaced", func() bool {
				got := seen(len(all))
				return got[len(all)-1].Objective.Value == "new"
			})
			require.NotZero(t, seen(len(all))[len(all)-1].Source.Expire)
			discoveries := m.tape.count(grasp.Received, "M_DISCOVERY")
			code, first := m.py.Synchronize(t, toPy(o), nil, short)
			require.Zero(t, code)
			require.Equal(t, int64(0), first.Value)
			require.Equal(t, discoveries, m.tape.count(grasp.Received, "M_DISCOVERY"))
		})
		m.t.Run("F04GraspyFloods", func(t *testing.T) {
			o := synch("EX2", nil)
			m.py.RegisterObj(t, toPy(o), nil)
			seen := func(n int) []grasp.TaggedObjective {
				t.Helper()
				var got []grasp.TaggedObjective
				netbed.Eventually(t, patience, "flooded", func() bool {
					var err error
					got, err = m.asa.GetFlood(o)
					require.NoError(t, err)
					return len(got) >= n
				})
				require.Len(t, got, n)
				return got
			}
			all := []graspybed.Tagged{{Objective: toPy(with(o, int64(0)))}}
			for i, l := range locators {
				all = append(all, graspybed.Tagged{Objective: toPy(with(o, int64(i+1))), Source: locatorToPy(l)})
			}
			m.py.Flood(t, 0, all...)
			for i, f := range seen(len(all)) {
				require.Equal(t, int64(i), f.Objective.Value)
				require.True(t, f.Source.Expire.IsZero(), "for ever")
				require.Equal(t, m.link, f.Source.IfIndex)
				if i == 0 {
					require.True(t, f.Source.IsZero())
				} else {
					require.Equal(t, locators[i-1], plain(*f.Source))
				}
			}
			m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: toPy(with(o, "new")), Source: locatorToPy(locators[0])})
			netbed.Eventually(t, patience, "replaced", func() bool {
				got := seen(len(all))
				return got[len(all)-1].Objective.Value == "new"
			})
			last := seen(len(all))[len(all)-1]
			require.InDelta(t, 60, time.Until(last.Source.Expire).Seconds(), 5)
			sent := m.tape.count(grasp.Sent, "M_DISCOVERY")
			first, err := m.asa.Synchronize(t.Context(), o, nil, 0)
			require.NoError(t, err)
			require.Equal(t, int64(0), first.Value)
			require.Equal(t, sent, m.tape.count(grasp.Sent, "M_DISCOVERY"))

			require.NoError(t, m.asa.ExpireFlood(last))
			require.Len(t, seen(len(all)-1), len(all)-1)
		})
		m.t.Run("F15Unspecified", func(t *testing.T) {
			own, py := m.registered(t, synch("EX4", "go"), grasp.RegisterOptions{}), synch("EX5", "py")
			require.NoError(t, m.asa.Flood(time.Minute, grasp.TaggedObjective{
				Objective: own, Source: &grasp.Locator{IP: netip.IPv6Unspecified(), Protocol: grasp.UDP, Port: 4711},
			}))
			var seen []graspybed.Tagged
			netbed.Eventually(t, patience, "flooded", func() bool {
				seen = m.py.GetFlood(t, toPy(own))
				return len(seen) > 0
			})
			require.Equal(t, 1, seen[0].Objective.LoopCount)
			require.Equal(t, m.g.Snapshot().Links[0].Addr.WithZone("").String(), seen[0].Source.Locator)
			require.Equal(t, new(4711), seen[0].Source.Port)
			require.Equal(t, new(grasp.UDP), seen[0].Source.Protocol)

			m.py.RegisterObj(t, toPy(py), nil)
			m.py.Flood(t, time.Minute, graspybed.Tagged{
				Objective: toPy(py), Source: &graspybed.Locator{Kind: "ip", Locator: "::", Protocol: new(6), Port: new(4711)},
			})
			var got []grasp.TaggedObjective
			netbed.Eventually(t, patience, "flooded", func() bool {
				got, _ = m.asa.GetFlood(py)
				return len(got) > 0
			})
			require.Equal(t, uint8(1), got[0].Objective.LoopCount)
			require.True(t, got[0].Source.IP.IsLinkLocalUnicast())
			require.Equal(t, strconv.Itoa(m.link), got[0].Source.IP.Zone())
			require.Equal(t, 4711, got[0].Source.Port)
		})
		m.t.Run("O09OddLocators", func(t *testing.T) {
			odd := []*graspybed.Locator{
				{Kind: "ip", Locator: "fd00:1::1", Protocol: new(41)}, // as in RFC 8995
				{Kind: "ip", Locator: "fd00:1::2", Protocol: new(256), Port: new(443)},
			}
			o := synch("EX0", nil)
			m.py.RegisterObj(t, toPy(o), nil)
			for _, l := range odd {
				flags := toPy(with(o, l.Locator))
				flags.Discoverable = false // O-11
				m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: flags, Source: l})
			}
			var got []grasp.TaggedObjective
			netbed.Eventually(t, patience, "flooded", func() bool {
				got, _ = m.asa.GetFlood(o)
				return len(got) == len(odd)
			})
			require.Equal(t, grasp.Locator{IP: netip.MustParseAddr("fd00:1::1"), Protocol: 41}, plain(*got[0].Source))
			require.Equal(t, grasp.Locator{IP: netip.MustParseAddr("fd00:1::2"), Protocol: 256, Port: 443}, plain(*got[1].Source))
		})
		m.t.Run("F07Lifetime", func(t *testing.T) {
			own, py := m.registered(t, synch("EX6", "go"), grasp.RegisterOptions{}), synch("EX7", "py")
			m.py.RegisterObj(t, toPy(py), nil)
			require.NoError(t, m.asa.Flood(2*time.Second, grasp.TaggedObjective{Objective: own}))
			m.py.Flood(t, 2*time.Second, graspybed.Tagged{Objective: toPy(py)})
			netbed.Eventually(t, patience, "flooded", func() bool {
				got, _ := m.asa.GetFlood(py)
				return len(got) > 0 && len(m.py.GetFlood(t, toPy(own))) > 0
			})
			netbed.Eventually(t, patience, "expired", func() bool {
				got, _ := m.asa.GetFlood(py)
				return len(got) == 0 && len(m.py.GetFlood(t, toPy(own))) == 0
			})
			// And by hand.
			require.NoError(t, m.asa.Flood(time.Minute, grasp.TaggedObjective{Objective: own}))
			var seen []graspybed.Tagged
			netbed.Eventually(t, patience, "flooded", func() bool {
				seen = m.py.GetFlood(t, toPy(own))
				return len(seen) > 0
			})
			m.py.ExpireFlood(t, seen[0])
			require.Empty(t, m.py.GetFlood(t, toPy(own)))
		})
		m.t.Run("C10Values", func(t *testing.T) {
			own, py := m.registered(t, synch("EX8", nil), grasp.RegisterOptions{}), synch("EX9", nil)
			m.py.RegisterObj(t, toPy(py), nil)
			for _, v := range append([]any{encodedNZD(t, 5), strings.Repeat("v", 1150)}, values...) {
				require.NoError(t, m.asa.Flood(time.Minute, grasp.TaggedObjective{Objective: with(own, v)}))
				m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: toPy(with(py, v))})
				netbed.Eventually(t, patience, fmt.Sprintf("both have %v", v), func() bool {
					seen := m.py.GetFlood(t, toPy(own))
					got, _ := m.asa.GetFlood(py)
					return len(seen) == 1 && assert.ObjectsAreEqual(v, fromPy(seen[0].Objective).Value) &&
						len(got) == 1 && assert.ObjectsAreEqual(v, got[0].Objective.Value)
				})
			}
			// graspy sends what it likes, and relies on fragmentation: T-07.
			v := strings.Repeat("v", 1900)
			m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: toPy(with(py, v))})
			netbed.Eventually(t, patience, "the large one came", func() bool {
				got, _ := m.asa.GetFlood(py)
				return len(got) == 1 && got[0].Objective.Value == v
			})
		})
	})
}

// TestInteropSendReceive: gsend and grecv, in both roles.
func TestInteropSendReceive(t *testing.T) {
	meet(t, func(m *meeting) {
		o := ex3(nil)
		m.registered(m.t, o, grasp.RegisterOptions{Discoverable: true})
		m.py.RegisterObj(m.t, toPy(o), graspybed.KW{"discoverable": true})
		py, own := m.find(o)
		things := append([]any{
			strings.Repeat("s", 1195), strings.Repeat("s", 1199), strings.Repeat("s", 2048), strings.Repeat("s", 60_000),
		}, values...)
		exchange := func(t *testing.T, s *grasp.Session, p *graspybed.Session) {
			for _, v := range things {
				require.NoError(t, s.Send(v))
				code, got := m.py.Recv(t, p, patience)
				require.Zero(t, code)
				require.Equal(t, v, got)
				m.py.Send(t, p, v)
				back, err := s.Recv(t.Context(), patience)
				require.NoError(t, err)
				require.Equal(t, v, back)
			}
		}
		m.t.Run("GoOpens", func(t *testing.T) {
			pys := newListening(m, o)
			s, err := m.asa.OpenSession(t.Context(), with(o, "hello"), py, 0)
			require.NoError(t, err)
			p := <-pys
			require.NoError(t, p.err)
			require.Equal(t, "hello", p.objective.Value)
			exchange(t, s, p.talk.(pyTalk).s)
			// Several in one segment.
			for _, v := range things {
				m.py.Send(t, p.talk.(pyTalk).s, v)
			}
			for _, v := range things {
				got, err := s.Recv(t.Context(), patience)
				require.NoError(t, err)
				require.Equal(t, v, got)
			}
			require.NoError(t, s.EndNegotiate(true, ""))
			code, v := m.py.Recv(t, p.talk.(pyTalk).s, patience)
			require.Zero(t, code, "M_END is an item like others to it")
			require.IsType(t, []any{}, v)
		})
		m.t.Run("GraspyOpens", func(t *testing.T) {
			c := make(chan request, 1)
			go func() {
				s, o, err := m.asa.ListenNegotiate(t.Context(), o)
				c <- request{goTalk{t.Context(), s}, o, err}
			}()
			var p *graspybed.Session
			netbed.Eventually(t, patience, "it listens", func() bool {
				states := m.g.Snapshot().Objectives
				return len(states) > 0 && states[0].Negotiating
			})
			p = m.py.OpenSession(t, toPy(with(o, "hello")), own)
			r := <-c
			require.NoError(t, r.err)
			require.Equal(t, "hello", r.objective.Value)
			s := r.talk.(goTalk).s
			exchange(t, s, p)
			require.Zero(t, m.py.EndNegotiate(t, p, true, ""))
			v, err := s.Recv(t.Context(), patience)
			require.NoError(t, err)
			require.IsType(t, []any{}, v)
			_, err = s.Recv(t.Context(), patience)
			require.ErrorIs(t, err, grasp.ErrNoPeer)
		})
	})
}

// newListening has graspy listen for one request, and returns once it does.
func newListening(m *meeting, o grasp.Objective) <-chan request {
	m.t.Helper()
	c := make(chan request, 1)
	l := m.py.ListenNegotiate(toPy(o))
	go func() {
		s, o, err := l.Result(time.Minute)
		c <- request{pyTalk{m.py, s}, fromPy(o), err}
	}()
	time.Sleep(300 * time.Millisecond) // graspy has no call that tells
	return c
}

// flooded waits until an ASA has one flooded value of an objective.
func flooded(t *testing.T, a *grasp.ASA, name string) grasp.TaggedObjective {
	t.Helper()
	var got []grasp.TaggedObjective
	netbed.Eventually(t, patience, name+" is flooded", func() bool {
		var err error
		got, err = a.GetFlood(synch(name, nil))
		require.NoError(t, err)
		return len(got) > 0
	})
	require.Len(t, got, 1)
	return got[0]
}

// floodedPy is flooded for graspy.
func floodedPy(t *testing.T, a *graspybed.ASA, name string) graspybed.Tagged {
	t.Helper()
	var got []graspybed.Tagged
	netbed.Eventually(t, patience, name+" is flooded", func() bool {
		got = a.GetFlood(t, toPy(synch(name, nil)))
		return len(got) > 0
	})
	require.Len(t, got, 1)
	return got[0]
}

// TestInteropT12SharedPort: two instances and a graspy process share port 7017
// on a node; all hear a node beside it, and each other.
func TestInteropT12SharedPort(t *testing.T) {
	meet(t, func(m *meeting) {
		far, first := m.py, m.asa
		near := newGraspy(m.t, nil, graspybed.Options{Selfing: true})
		_, second, _ := newTaped(m.t) // graspy has the port already
		floodGo := func(t *testing.T, a *grasp.ASA, name string) {
			t.Helper()
			o := synch(name, "value of "+name)
			require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
			require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
		}
		floodPy := func(t *testing.T, a *graspybed.ASA, name string) {
			t.Helper()
			o := toPy(synch(name, "value of "+name))
			a.RegisterObj(t, o, nil)
			a.Flood(t, time.Minute, graspybed.Tagged{Objective: o})
		}
		m.t.Run("Floods", func(t *testing.T) {
			floodPy(t, far, "EX0")
			floodPy(t, near, "EX1")
			floodGo(t, first, "EX2")
			floodGo(t, second, "EX4")
			for _, name := range []string{"EX0", "EX1", "EX2", "EX4"} {
				for _, a := range []*grasp.ASA{first, second} {
					require.Equal(t, "value of "+name, flooded(t, a, name).Objective.Value)
				}
				for _, a := range []*graspybed.ASA{near, far} {
					if name != "EX0" || a != far { // it does not hear itself
						require.Equal(t, "value of "+name, floodedPy(t, a, name).Objective.Value)
					}
				}
			}
		})
		m.t.Run("Discovery", func(t *testing.T) {
			for i, a := range []*grasp.ASA{first, second} {
				o := synch(fmt.Sprint("example.com:go", i), i)
				require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
				require.Len(t, far.Discover(t, toPy(o), short, false), 1)
				require.Len(t, near.Discover(t, toPy(o), short, false), 1)
			}
			py := synch("example.com:py", nil)
			near.RegisterObj(t, toPy(py), graspybed.KW{"discoverable": true})
			require.Len(t, far.Discover(t, toPy(py), short, false), 1)

			// One that everybody has: far and near, and the other instance.
			all := synch("example.com:all", nil)
			for _, a := range []*graspybed.ASA{near, far} {
				a.RegisterObj(t, toPy(all), graspybed.KW{"discoverable": true})
			}
			require.NoError(t, second.RegisterObj(all, grasp.RegisterOptions{Discoverable: true}))
			found, err := first.Discover(t.Context(), all, 2*time.Second, grasp.DiscoverOptions{})
			require.NoError(t, err)
			require.Len(t, found, 3)
		})
		m.t.Run("Negotiation", func(t *testing.T) {
			here := &meeting{t: t, asa: second, py: near}
			goes, pys := newGoAgent(t, second, ex3(nil)), newPyAgent(t, near, ex3(nil))
			goes.peer, pys.peer = here.find(ex3(nil))
			for _, s := range scenarios[:3] {
				s.run(t, goes, pys)
				s.run(t, pys, goes)
			}
		})
	})
}

// TestInteropF09R08InstanceRelays: two graspy processes with an instance
// between them, which relays (R-02 to, F-08 to F-10, O-01).
func TestInteropF09R08InstanceRelays(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	var ends []*graspybed.ASA
	for _, x := range []string{"a", "b"} {
		node := netbed.NewNode(t, x)
		netbed.VethPair(t, "v"+x+"0", "v"+x+"1")
		node.MoveLink(t, "v"+x+"1")
		netbed.AddAddr(t, "v"+x+"0", "fd00:"+x+"::1/64")
		node.AddAddr(t, "v"+x+"1", "fd00:"+x+"::2/64")
		node.IP(t, "route", "add", "default", "via", "fd00:"+x+"::1")
		netbed.LinkLocal(t, "v"+x+"0")
		ends = append(ends, newGraspy(t, node, graspybed.Options{}))
	}
	newTaped(t)
	a, b := ends[0], ends[1]

	far, near := toPy(synch("EX1", "far")), toPy(synch("EX2", "near"))
	near.LoopCount = 1
	for _, o := range []graspybed.Objective{far, near} {
		a.RegisterObj(t, o, nil)
	}
	a.Flood(t, time.Minute, graspybed.Tagged{Objective: near})
	a.Flood(t, time.Minute, graspybed.Tagged{Objective: far, Source: graspybed.NewLocator(netip.MustParseAddrPort("[fd00:a::2]:4711"), 0)})
	got := floodedPy(t, b, "EX1")
	require.Equal(t, far.LoopCount-1, got.Objective.LoopCount)
	require.Equal(t, "far", got.Objective.Value)
	require.Equal(t, "fd00:a::2", got.Source.Locator)
	require.Empty(t, b.GetFlood(t, near), "a loop count of 1")

	agents := []*pyAgent{newPyAgent(t, a, ex3(nil)), newPyAgent(t, b, ex3(nil))}
	synchronized := synch("EX4", "unicast")
	a.RegisterObj(t, toPy(synchronized), nil)
	a.ListenSynchronize(t, toPy(synchronized))
	var found []graspybed.Locator
	netbed.Eventually(t, patience, "b finds a", func() bool {
		found = b.Discover(t, toPy(synchronized), short, true)
		return len(found) > 0
	})
	require.Len(t, found, 1)
	require.True(t, found[0].Diverted)
	require.Equal(t, "fd00:a::2", found[0].Locator)
	code, o := b.Synchronize(t, toPy(with(synchronized, nil)), nil, short)
	require.Zero(t, code)
	require.Equal(t, "unicast", o.Value)

	// Both listen for EX3, so that a's discovery finds b.
	netbed.Eventually(t, patience, "a finds b", func() bool {
		found = a.Discover(t, toPy(ex3(nil)), short, true)
		return len(found) > 0
	})
	agents[0].peer = &found[0]
	scenarios[0].run(t, agents[0], agents[1])
}

// TestInteropF09R08GraspyRelays: two instances with a graspy process between
// them. It keeps what it finds to itself until it is asked again.
func TestInteropF09R08GraspyRelays(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	relay := netbed.NewNode(t, "relay")
	var ends []*grasp.ASA
	var tapes []*tape
	for _, x := range []string{"a", "b"} {
		netbed.VethPair(t, "v"+x+"0", "v"+x+"1")
		relay.MoveLink(t, "v"+x+"1")
		netbed.AddAddr(t, "v"+x+"0", "fd00:"+x+"::1/64")
		relay.AddAddr(t, "v"+x+"1", "fd00:"+x+"::2/64")
		netbed.LinkLocal(t, "v"+x+"0")
	}
	newGraspy(t, relay, graspybed.Options{})
	for _, x := range []string{"a", "b"} {
		_, asa, tape := newTaped(t, "v"+x+"0")
		ends, tapes = append(ends, asa), append(tapes, tape)
	}
	a, b := ends[0], ends[1]
	far, near := synch("EX1", encodedNZD(t, 1)), synch("EX2", "near")
	near.LoopCount = 1
	for _, o := range []grasp.Objective{far, near} {
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	}
	require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: near}))
	require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: far, Source: &locators[0]}))
	got := flooded(t, b, "EX1")
	require.Equal(t, far.LoopCount-1, got.Objective.LoopCount)
	require.Equal(t, encodedNZD(t, 1), got.Objective.Value)
	require.Equal(t, locators[0], plain(*got.Source))
	none, err := b.GetFlood(near)
	require.NoError(t, err)
	require.Empty(t, none, "a loop count of 1")

	synchronized := synch("EX4", "unicast")
	require.NoError(t, a.RegisterObj(synchronized, grasp.RegisterOptions{}))
	require.NoError(t, a.ListenSynchronize(synchronized))
	found, err := b.Discover(t.Context(), synchronized, 3*time.Second, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.True(t, found[0].Diverted)
	require.Equal(t, netip.MustParseAddr("fd00:a::1"), found[0].IP)
	require.GreaterOrEqual(t, tapes[1].count(grasp.Sent, "M_DISCOVERY"), 2)
	o, err := b.Synchronize(t.Context(), with(synchronized, nil), nil, 0)
	require.NoError(t, err)
	require.Equal(t, "unicast", o.Value)
}

// TestInteropD18StaleLocator: graspy is restarted, and what the instance knows
// of it has not expired.
func TestInteropD18StaleLocator(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	node := netbed.NewNode(t, "py")
	netbed.VethPair(t, "va0", "va1")
	node.MoveLink(t, "va1")
	netbed.LinkLocal(t, "va0")
	_, asa, _ := newTaped(t)
	o := neg("EX3")
	require.NoError(t, asa.RegisterObj(o, grasp.RegisterOptions{}))
	for range 2 {
		peer := graspybed.Start(t, node, "py")
		newPyAgent(t, peer.RegisterASA(t, "peer", graspybed.Options{}), o)
		netbed.Eventually(t, patience, "it answers", func() bool {
			s, _, err := asa.ReqNegotiate(t.Context(), with(o, "hello"), nil, short)
			require.Nil(t, s)
			return grasp.Code(err) == grasp.ErrNoNegReply // it was heard
		})
		peer.Stop()
	}
	_, _, err := asa.ReqNegotiate(t.Context(), o, nil, short)
	require.ErrorIs(t, err, grasp.ErrNoDiscReply)
}

// TestInteropL02DULL: DULL instances find each other and flood, on the link
// only, and do nothing else (L-01 to L-07).
func TestInteropL02DULL(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	node := netbed.NewNode(t, "py")
	netbed.VethPair(t, "va0", "va1")
	node.MoveLink(t, "va1")
	netbed.AddAddr(t, "va0", goAddr+"/64")
	node.AddAddr(t, "va1", pyAddr+"/64")
	addr := netbed.LinkLocal(t, "va0")
	_, asa, _ := newTapedWith(t, grasp.Config{
		Plane: &acp.Layer2{Links: []string{"va0"}}, DULL: true, DULLObjectives: []string{"AN_ACP", "AN_Proxy", "EX3"},
	})
	py := newGraspy(t, node, graspybed.Options{DULL: true})

	own, theirs := synch("AN_ACP", "IKEv2"), synch("AN_Proxy", "")
	require.NoError(t, asa.RegisterObj(own, grasp.RegisterOptions{Discoverable: true}))
	py.RegisterObj(t, toPy(theirs), graspybed.KW{"discoverable": true})
	at := grasp.Locator{IP: netip.IPv6Unspecified(), Protocol: grasp.UDP, Port: 15000}
	require.NoError(t, asa.Flood(time.Minute, grasp.TaggedObjective{Objective: own, Source: &at}))
	seen := floodedPy(t, py, own.Name)
	require.Equal(t, "IKEv2", seen.Objective.Value)
	require.Equal(t, 1, seen.Objective.LoopCount)
	require.Equal(t, addr.WithZone("").String(), seen.Source.Locator)
	require.Equal(t, new(15000), seen.Source.Port)
	code, o := py.Synchronize(t, toPy(with(own, nil)), nil, short)
	require.Zero(t, code)
	require.Equal(t, "IKEv2", o.Value)

	py.Flood(t, time.Minute, graspybed.Tagged{
		Objective: toPy(theirs), Source: &graspybed.Locator{Kind: "ip", Locator: "::", Protocol: new(6), Port: new(4443)},
	})
	got := flooded(t, asa, theirs.Name)
	require.Equal(t, uint8(1), got.Objective.LoopCount)
	require.True(t, got.Source.IP.IsLinkLocalUnicast())
	require.Equal(t, addr.Zone(), got.Source.IP.Zone())

	found := py.Discover(t, toPy(own), short, false)
	require.Len(t, found, 1)
	require.Equal(t, addr.WithZone("").String(), found[0].Locator)
	answers, err := asa.Discover(t.Context(), theirs, 0, grasp.DiscoverOptions{})
	require.NoError(t, err)
	require.Len(t, answers, 1)
	require.True(t, answers[0].IP.IsLinkLocalUnicast())

	n := neg("EX3")
	require.NoError(t, asa.RegisterObj(n, grasp.RegisterOptions{}))
	py.RegisterObj(t, toPy(n), nil)
	_, _, err = asa.ReqNegotiate(t.Context(), n, &answers[0], 0)
	require.ErrorIs(t, err, grasp.ErrNoSecurity)
	out, err := py.ReqNegotiate(toPy(n), &found[0], short).Result(patience)
	require.NoError(t, err)
	require.Equal(t, int(grasp.ErrNoSecurity), out.Code)
}
