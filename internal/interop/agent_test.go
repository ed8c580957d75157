//go:build linux

package interop

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/graspybed"
)

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
