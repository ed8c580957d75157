package bank

import (
	"context"
	"errors"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// deal is a negotiation as one side sees it, up to its outcome. Both ASAs
// are built on it. It says nothing: what there is to tell is for the ASAs.
type deal struct {
	asa     *grasp.ASA
	session *grasp.Session
	tag24   bool // values are sent as encoded CBOR
	out     cli.Outcome
	agreed  sum  // what was agreed on
	refused bool // it was this side that declined
}

func newDeal(a *grasp.ASA) *deal { return &deal{asa: a, out: cli.Outcome{ASA: a.Name()}} }

// step makes an offer and waits for the answer to it. It returns false when
// that was the end of the deal.
func (d *deal) step(ctx context.Context, o grasp.Objective, offer sum) (grasp.Objective, bool) {
	if d.out.Steps >= maxSteps {
		d.decline(grasp.ErrLoopExhausted.Error())
		return o, false
	}
	var err error
	if o.Value, err = offer.value(d.tag24); err != nil {
		d.fail(err)
		return o, false
	}
	session, answer, err := d.session.NegotiateStep(ctx, o, patience)
	if errors.Is(err, grasp.ErrLoopExhausted) {
		// Nothing was sent, and the peer is still waiting for our step.
		d.decline(grasp.ErrLoopExhausted.Error())
		return o, false
	}
	d.out.Steps++
	return answer, d.answered(session, err, offer)
}

// answered takes what the library says about the peer's answer to an offer or
// request. It returns false when that was the end of the deal.
func (d *deal) answered(s *grasp.Session, err error, offer sum) bool {
	switch {
	case err != nil:
		d.fail(err)
		return false
	case s == nil: // no session is left: the peer accepted
		d.agree(offer)
		return false
	default:
		d.session = s
		d.out.Steps++
		return true
	}
}

// accept ends the deal by accepting the peer's last offer.
func (d *deal) accept(offer sum) {
	if err := d.session.EndNegotiate(true, ""); err != nil {
		d.fail(err)
		return
	}
	d.agree(offer)
}

// decline ends the deal by declining the peer's last offer.
func (d *deal) decline(reason string) {
	d.refused = true
	d.out.Outcome, d.out.Reason = cli.Declined, reason
	// A peer that is gone need not be told.
	if err := d.session.EndNegotiate(false, reason); err != nil && !errors.Is(err, grasp.ErrNoSession) {
		d.asa.Tprint("end_negotiate error:", grasp.Code(err))
	}
}

func (d *deal) agree(on sum) {
	d.out.Outcome, d.out.Value, d.agreed = cli.Agreed, on.amount, on
}

// fail is the end of a deal by an error: the peer declined, or something went
// wrong.
func (d *deal) fail(err error) {
	d.asa.Ttprint(err)
	if d.session != nil {
		// Most errors have ended the session. If not, this does.
		_ = d.session.EndNegotiate(false, grasp.Code(err).Error())
	}
	d.out.Outcome, d.out.Reason = cli.Failed, grasp.Code(err).Error()
	var declined *grasp.DeclinedError
	if errors.As(err, &declined) {
		d.out.Outcome = cli.Declined
		if declined.Reason != "" {
			d.out.Reason = declined.Reason
		}
	}
}
