package main

import (
	"context"
	"errors"
	"time"

	"github.com/fxamacker/cbor/v2"
	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/diag"
)

// haggle is how a negotiation is to go.
type haggle struct {
	timeout, think time.Duration
	peer           *grasp.Locator
	dry            bool
	counters       []string // offers to make, as values of the command line
	accept         bool     // what comes after them
	decline        *string  // or decline it for this reason
}

func negotiateCommand() cli.Command {
	var h haggle
	var peer string
	return cli.Command{
		Name: "negotiate",
		About: "Negotiates an objective: asks for a value, and shows what the peer offers.\n" +
			"Each offer is answered from standard input, with a line: accept, decline [reason],\n" +
			"or a value, which is a counter-offer. With --accept, --decline or --counter it is\n" +
			"answered by these. The exit status is 1 if either side declines.",
		Arguments: "objective value",
		Results:   true,
		Flags: func(f *flag.FlagSet) {
			f.DurationVar(&h.timeout, "timeout", 10*time.Second, "the `time` to discover somebody, and again that for each of his answers")
			f.DurationVar(&h.think, "think", time.Minute, "while standard input is waited for, ask the peer for this much `time` again and again (M_WAIT); 0: do not")
			f.StringVar(&peer, "peer", "", peerFlag)
			f.BoolVar(&h.dry, "dry", false, "a dry run: agree on nothing")
			f.BoolVar(&h.accept, "accept", false, "accept what is offered")
			f.Func("decline", "decline what is offered, for this `reason`", func(s string) error { h.decline = &s; return nil })
			f.Func("counter", "answer the first offer with this `value`, and the next one with that of the next --counter; then as above", func(s string) error {
				_, err := diag.Value(s)
				h.counters = append(h.counters, s)
				return err
			})
		},
		Check: checks(arguments(2, 2),
			func(cli.Options) error { return checkTimes(h.timeout, h.think) },
			func(cli.Options) (err error) { h.peer, err = parsePeer(peer); return err },
			func(o cli.Options) error { _, err := diag.Value(o.Args[1]); return err },
			func(cli.Options) error {
				if h.accept && h.decline != nil {
					return errors.New("--accept goes not with --decline")
				}
				return nil
			}),
		Run: withASA(func(ctx context.Context, p *cli.Program, a *grasp.ASA) error {
			value, err := diag.Value(p.Args[1])
			if err != nil {
				return err
			}
			o := grasp.NewObjective(p.Args[0])
			o.Neg, o.Dry, o.Value = true, h.dry, cbor.RawMessage(value)
			if err := a.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
				return err
			}
			in, stop := newInput(p.Stdin)
			defer stop()
			return h.run(ctx, p, a, o, in)
		}),
	}
}

// run negotiates.
func (h *haggle) run(ctx context.Context, p *cli.Program, a *grasp.ASA, o grasp.Objective, in *input) error {
	s, o, err := a.ReqNegotiate(ctx, o, h.peer, h.timeout)
	for err == nil && s != nil {
		var offer valueResult
		if offer, err = valueOf(o); err != nil {
			break
		}
		p.Say("The peer", s.Source(), "offers", offer.Diagnostic, "with loop count", o.LoopCount)
		var x answer
		if x, err = h.answer(ctx, p, s, in); err != nil {
			break
		}
		switch x.kind {
		case accepted:
			if err = s.EndNegotiate(true, ""); err == nil {
				return h.agreed(p, o)
			}
		case declined:
			return errors.Join(s.EndNegotiate(false, x.reason), h.declined(p, o, "declined by us: "+x.reason))
		case countered:
			o.Value = cbor.RawMessage(x.value)
			s, o, err = s.NegotiateStep(ctx, o, h.timeout)
		}
	}
	var refused *grasp.DeclinedError
	switch {
	case err == nil:
		return h.agreed(p, o)
	case errors.As(err, &refused):
		return h.declined(p, grasp.Objective{Name: refused.Objective}, refused.Error())
	case errors.Is(err, grasp.ErrNoDiscReply):
		return not("%w", err)
	case errors.Is(err, grasp.ErrLoopExhausted): // and the session lives
		return errors.Join(s.EndNegotiate(false, grasp.ErrLoopExhausted.Error()), h.declined(p, grasp.Objective{Name: p.Args[0]}, err.Error()))
	}
	return err
}

// answer returns the answer to an offer.
func (h *haggle) answer(ctx context.Context, p *cli.Program, s *grasp.Session, in *input) (answer, error) {
	switch {
	case len(h.counters) > 0:
		value, err := diag.Value(h.counters[0])
		h.counters = h.counters[1:]
		return answer{kind: countered, value: value}, err
	case h.accept:
		return answer{kind: accepted}, nil
	case h.decline != nil:
		return answer{kind: declined, reason: *h.decline}, nil
	}
	return in.ask(ctx, p, func() error {
		if h.think == 0 {
			return nil
		}
		return s.NegotiateWait(h.think)
	}, h.think/2)
}

func (h *haggle) agreed(p *cli.Program, o grasp.Objective) error {
	r, err := valueOf(o)
	switch {
	case err != nil:
		return err
	case p.JSON:
		r.Outcome = cli.Agreed
		return printJSON(p.Stdout, r)
	}
	return printValue(p, o)
}

// declined ends the program with the status for it.
func (h *haggle) declined(p *cli.Program, o grasp.Objective, reason string) error {
	if p.JSON {
		r, err := valueOf(o)
		r.Outcome, r.Reason = cli.Declined, reason
		if err = errors.Join(err, printJSON(p.Stdout, r)); err != nil {
			return err
		}
	}
	return not("%s", reason)
}
