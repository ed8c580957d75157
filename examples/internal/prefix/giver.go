package prefix

import (
	"context"
	"errors"
	"net/netip"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// maxSessions bounds the negotiations at the same time. More requests than
// that wait in the library's queue, and are refused when it is full.
const maxSessions = 1000

// The reasons that a giver has for declining.
const (
	invalidRequest = "Invalid request"
	outOfRange     = "Prefix length out of range"
	noDryRun       = "Dry run not supported"
	noPrefix       = "No prefix available"
	notGiven       = "Prefix was not given"
	notOffered     = "Not what was offered"
	withdrawn      = "Offer withdrawn"
)

// negotiated returns the objective by one of the names.
func negotiated(name string) grasp.Objective {
	return grasp.Objective{Name: name, Neg: true, LoopCount: grasp.DefaultLoopCount}
}

// Serve gives prefixes to whoever asks, by either name of the objective, until the
// context ends. Negotiations under way are broken off then.
func (m *Manager) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 2)
	for _, name := range []string{objective, taggedObjective} {
		m.asa.Tprint("Ready to negotiate", name, "as listener")
		go func() { errs <- cli.Serve(ctx, m.asa, negotiated(name), maxSessions, m.serve) }()
	}
	err := <-errs
	cancel()
	return errors.Join(err, <-errs)
}

// serve negotiates with one peer.
func (m *Manager) serve(ctx context.Context, s *grasp.Session, o grasp.Objective) {
	peer := address(s.Source().Addr())
	asked, err := parseValue(o)
	if err == nil && asked.prefix == nobodys {
		_ = s.EndNegotiate(false, notGiven) // else it asks again
		return
	}
	out := m.outcome(asked)
	switch {
	case errors.Is(err, errLength):
		m.decline(s, &out, outOfRange)
	case err != nil:
		out.Asked = nil
		m.decline(s, &out, invalidRequest)
	case o.Dry:
		m.decline(s, &out, noDryRun)
	case asked.prefix.IsValid():
		m.confirm(s, asked.prefix, peer, &out)
	default:
		m.asa.Tprint("Got request for", asked, "from", peer)
		m.offer(ctx, s, o, asked, peer, &out)
	}
	m.set.Outcomes.Add(out)
}

func (m *Manager) decline(s *grasp.Session, out *cli.Outcome, reason string) {
	out.Outcome, out.Reason = cli.Declined, reason
	_ = s.EndNegotiate(false, reason) // a peer that is gone need not be told
	m.asa.Tprint("Declining:", reason)
}

// confirm answers a peer that does not know whether a prefix is its own.
func (m *Manager) confirm(s *grasp.Session, p netip.Prefix, peer netip.Addr, out *cli.Outcome) {
	yours, err := m.ledger.IsYours(p, peer)
	switch {
	case m.check(err) != nil:
		out.Reason = err.Error()
		_ = s.Close() // whatever it is, it is not known here any more
	case yours:
		out.Outcome, out.Value = cli.Agreed, p.String()
		_ = s.EndNegotiate(true, "") // else it asks again
		m.asa.Tprint("Confirmed", p, "to", peer)
	default:
		m.decline(s, out, notGiven)
	}
}

// offer offers a prefix, and gives it if the peer wants it.
func (m *Manager) offer(ctx context.Context, s *grasp.Session, o grasp.Objective, asked value, peer netip.Addr, out *cli.Outcome) {
	offer, err := m.ledger.Offer(asked.family, asked.length, asked.family.Bits(), peer)
	switch {
	case errors.Is(err, ErrNothing) || errors.Is(err, ErrBusy):
		m.decline(s, out, noPrefix)
		return
	case m.check(err) != nil:
		out.Reason = err.Error()
		_ = s.Close()
		return
	}
	m.asa.Tprint("Offering", offer.Prefix)
	out.Steps++
	if err := asked.of(offer.Prefix).put(&o); err != nil {
		m.withdraw(s, offer, out, err.Error())
		return
	}
	next, answer, err := s.NegotiateStep(ctx, o, patience)
	switch {
	case errors.Is(err, grasp.ErrDeclined):
		m.withdraw(s, offer, out, err.Error())
	case errors.Is(err, grasp.ErrLoopExhausted): // nothing was sent
		m.withdraw(s, offer, out, grasp.ErrLoopExhausted.Error())
	case err != nil:
		m.ledger.Doubt(offer)
		out.Reason = grasp.Code(err).Error()
		m.asa.Tprint("Whether", peer, "took", offer.Prefix, "is not known:", grasp.Code(err))
	case next == nil:
		m.give(s, offer, false, out)
	default:
		out.Steps++
		if wanted, err := parseValue(answer); err != nil || wanted.prefix != offer.Prefix {
			m.withdraw(s, offer, out, notOffered)
			return
		}
		m.give(s, offer, true, out)
	}
}

// give gives the peer what it was offered and, if it waits for that, says so.
func (m *Manager) give(s *grasp.Session, offer *Offer, confirm bool, out *cli.Outcome) {
	err := m.check(m.ledger.Give(offer, confirm))
	switch {
	case errors.Is(err, ErrWithdrawn):
		m.decline(s, out, withdrawn)
		return
	case err != nil:
		out.Reason = err.Error()
		_ = s.Close()
		return
	case confirm:
		_ = s.EndNegotiate(true, "") // if it does not hear that, it asks
	}
	out.Outcome, out.Value = cli.Agreed, offer.Prefix.String()
	m.asa.Tprint("Gave", offer.Prefix, "to", offer.Peer)
	select {
	case m.gave <- offer.Prefix:
	default:
	}
}

// withdraw puts a prefix back in the pool that the peer will not have.
func (m *Manager) withdraw(s *grasp.Session, offer *Offer, out *cli.Outcome, reason string) {
	if err := m.check(m.ledger.Withdraw(offer)); err != nil {
		out.Reason = err.Error()
		_ = s.Close()
		return
	}
	m.decline(s, out, reason)
}
