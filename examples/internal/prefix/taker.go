package prefix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

// Errors of Obtain, beside those of the ledger and the library's.
var (
	// ErrNobody says that there is nobody to ask.
	ErrNobody = errors.New("nobody found who has prefixes to give")
	// ErrUnsettled says that the peer has not yet said whether an earlier
	// prefix was given.
	ErrUnsettled = errors.New("an earlier negotiation with the peer is not settled")
)

// The reasons that a taker has for declining.
const (
	invalidOffer = "Invalid offer"
	insufficient = "Insufficient offer"
	heldAlready  = "Prefix is held already"
	onlyThat     = "Asked for just that prefix"
)

// discoveryTime is how long a taker looks for peers.
const discoveryTime = time.Second

// maxRemembered bounds what a taker remembers of peers.
const maxRemembered = 1000

// taker is what a prefix manager knows of those whom it asks.
type taker struct {
	busy chan struct{} // holds a value while it negotiates: once at a time
	rng  *rand.Rand
	// flush says that what discovery has cached is of no use.
	flush bool
	// good had a prefix the last time, refused had none.
	good    *grasp.Locator
	refused map[netip.AddrPort]bool
	// confirms says of peers whether offers are to be confirmed to them, or
	// just accepted.
	confirms map[netip.AddrPort]bool
}

func newTaker(seed uint64) taker {
	return taker{
		busy:     make(chan struct{}, 1),
		rng:      rand.New(rand.NewPCG(seed, 1)),
		refused:  make(map[netip.AddrPort]bool),
		confirms: make(map[netip.AddrPort]bool),
	}
}

func at(l grasp.Locator) netip.AddrPort { return netip.AddrPortFrom(l.IP, uint16(l.Port)) }

func remember(in map[netip.AddrPort]bool, l grasp.Locator, what bool) {
	if len(in) >= maxRemembered {
		clear(in)
	}
	in[at(l)] = what
}

// Obtain asks a peer for a prefix of a length and puts what it gives in the
// pool: the same, a larger one, or a smaller one that is not longer than max.
// First it settles what earlier negotiations left open. It blocks until one
// peer has answered, for some seconds at most, or until the context ends.
func (m *Manager) Obtain(ctx context.Context, f prefixpool.Family, length, max int) (netip.Prefix, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	defer leave()
	if err := m.settle(ctx); err != nil {
		return netip.Prefix{}, err
	}
	peer, err := m.findPeer(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, from := range m.ledger.Claims() {
		if from == address(peer.IP) {
			m.forget(peer, ErrUnsettled)
			return netip.Prefix{}, ErrUnsettled
		}
	}
	p, err := m.ask(ctx, peer, value{family: f, length: length}, max)
	if err != nil {
		m.forget(peer, err)
		return netip.Prefix{}, err
	}
	m.taker.good = &peer
	return p, nil
}

// enter waits until no other goroutine negotiates, and returns what lets the next one.
func (m *Manager) enter(ctx context.Context) (leave func(), err error) {
	select {
	case m.taker.busy <- struct{}{}:
		return func() { <-m.taker.busy }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// settleClaims settles what earlier negotiations left open, as far as it can now, and
// returns true if nothing is left.
func (m *Manager) settleClaims(ctx context.Context) bool {
	if len(m.ledger.Claims()) == 0 {
		return true
	}
	leave, err := m.enter(ctx)
	if err != nil {
		return false
	}
	defer leave()
	if err := m.settle(ctx); err != nil {
		m.asa.Tprint("What peers may have given is not settled:", grasp.Code(err))
	}
	return len(m.ledger.Claims()) == 0
}

// forget has another peer asked the next time. If it failed, what discovery
// has cached may be out of date.
func (m *Manager) forget(peer grasp.Locator, why error) {
	m.taker.good, m.taker.flush = nil, !errors.Is(why, grasp.ErrDeclined)
	remember(m.taker.refused, peer, true)
}

// asks returns the objective by which it asks.
func (m *Manager) asks() grasp.Objective {
	if m.set.Tagged {
		return negotiated(taggedObjective)
	}
	return negotiated(objective)
}

// form returns a value in the form that a peer reads. The prototype needs the bytes
// that RFC 9164 has left out.
func (m *Manager) form(v value, peer grasp.Locator) value {
	v.tagged = m.set.Tagged
	v.padded = v.tagged && !m.taker.confirms[at(peer)]
	return v
}

// peers returns whoever supports the objective.
func (m *Manager) peers(ctx context.Context) ([]grasp.Locator, error) {
	found, err := m.asa.Discover(ctx, m.asks(), discoveryTime, grasp.DiscoverOptions{Flush: m.taker.flush})
	m.taker.flush = err != nil
	return found, err
}

// findPeer returns the peer that gave the last time, or one of the others.
func (m *Manager) findPeer(ctx context.Context) (grasp.Locator, error) {
	if m.taker.good != nil {
		return *m.taker.good, nil
	}
	found, err := m.peers(ctx)
	if err != nil {
		return grasp.Locator{}, err
	}
	var fresh []grasp.Locator
	for _, l := range found {
		if !m.taker.refused[at(l)] {
			fresh = append(fresh, l)
		}
	}
	if len(fresh) == 0 {
		// All have refused: begin again.
		clear(m.taker.refused)
		fresh, m.taker.flush = found, true
	}
	if len(fresh) == 0 {
		return grasp.Locator{}, ErrNobody
	}
	return fresh[m.taker.rng.IntN(len(fresh))], nil
}

// ask asks one peer.
func (m *Manager) ask(ctx context.Context, peer grasp.Locator, wanted value, max int) (p netip.Prefix, err error) {
	out := m.outcome(wanted)
	defer func() {
		switch {
		case err == nil:
			out.Outcome, out.Value = cli.Agreed, p.String()
			m.asa.Tprint("Obtained", p)
		case out.Outcome != cli.Declined:
			m.failed(&out, err)
		}
		m.set.Outcomes.Add(out)
	}()
	m.asa.Tprint("Asking for", wanted, "at", peer)
	confirms, err := m.confirms(ctx, peer)
	if err != nil {
		return p, err
	}
	o := m.asks()
	if err := m.form(wanted, peer).put(&o); err != nil {
		return p, err
	}
	s, answer, err := m.asa.ReqNegotiate(ctx, o, &peer, patience)
	switch {
	case err != nil:
		return p, err
	case s == nil:
		return p, fmt.Errorf("%w: no prefix in it", errNotAValue)
	}
	out.Steps++
	refuse := func(reason string) (netip.Prefix, error) {
		_ = s.EndNegotiate(false, reason) // a peer that is gone need not be told
		out.Outcome, out.Reason = cli.Declined, reason
		m.asa.Tprint("Declining:", reason)
		return netip.Prefix{}, errors.New(reason)
	}
	offer, err := parseValue(answer)
	switch {
	case err != nil || !offer.prefix.IsValid() || offer.family != wanted.family:
		return refuse(invalidOffer)
	case offer.length > max:
		return refuse(insufficient)
	}
	p = offer.prefix
	switch err := m.check(m.ledger.Claim(p, address(peer.IP))); {
	case errors.Is(err, ErrHeld):
		return refuse(heldAlready)
	case err != nil:
		_ = s.Close()
		return p, err
	}
	out.Steps++
	if confirms {
		return p, m.claim(ctx, s, answer, p, peer)
	}
	return p, m.accept(s, p, peer)
}

// failed tells why there was no agreement.
func (m *Manager) failed(out *cli.Outcome, err error) {
	out.Reason = grasp.Code(err).Error()
	var declined *grasp.DeclinedError
	if errors.As(err, &declined) {
		out.Outcome, out.Reason = cli.Declined, declined.Reason
	}
	m.asa.Tprint("Failed:", out.Reason)
	m.asa.Ttprint(err)
}

// claim confirms that an offer is wanted, and waits to hear that it is given.
func (m *Manager) claim(ctx context.Context, s *grasp.Session, offer grasp.Objective, p netip.Prefix, peer grasp.Locator) error {
	next, _, err := s.NegotiateStep(ctx, offer, patience)
	switch {
	case errors.Is(err, grasp.ErrDeclined):
	case errors.Is(err, grasp.ErrLoopExhausted): // nothing was sent
		_ = s.EndNegotiate(false, grasp.ErrLoopExhausted.Error())
	case err != nil:
		m.asa.Tprint("Whether", peer, "gave", p, "is not known:", grasp.Code(err))
		return err
	case next != nil:
		_ = s.EndNegotiate(false, insufficient)
		err = errNotAValue
	default:
		return m.check(m.ledger.Got(p, address(peer.IP)))
	}
	return errors.Join(err, m.check(m.ledger.Drop(p)))
}

// accept accepts an offer of a peer that expects just that.
func (m *Manager) accept(s *grasp.Session, p netip.Prefix, peer grasp.Locator) error {
	if err := s.EndNegotiate(true, ""); err != nil {
		return errors.Join(err, m.check(m.ledger.Drop(p)))
	}
	return m.check(m.ledger.Got(p, address(peer.IP)))
}

// settle asks those who may have given a prefix whether they did.
func (m *Manager) settle(ctx context.Context) error {
	claims := m.ledger.Claims()
	if len(claims) == 0 {
		return nil
	}
	peers, err := m.peers(ctx)
	if err != nil {
		return err
	}
	for p, from := range claims {
		var yes, no, unknown int
		for _, peer := range peers {
			if address(peer.IP) != from {
				continue
			}
			switch mine, err := m.isMine(ctx, p, peer); {
			case err != nil:
				unknown++
				m.taker.flush = true
			case mine:
				yes++
			default:
				no++
			}
		}
		switch {
		case yes > 0:
			m.asa.Tprint("Confirmed:", p)
			err = m.check(m.ledger.Got(p, from))
		case unknown > 0 || no == 0:
			m.taker.flush = true
			continue
		default:
			m.asa.Tprint("Not given:", p)
			err = m.check(m.ledger.Drop(p))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isMine asks a peer whether it gave a prefix.
func (m *Manager) isMine(ctx context.Context, p netip.Prefix, peer grasp.Locator) (bool, error) {
	s, err := m.askFor(ctx, p, peer)
	switch {
	case errors.Is(err, grasp.ErrDeclined):
		return false, nil
	case err != nil:
		return false, err
	case s != nil:
		// It offers another one: a peer that gives nothing but by M_END.
		return false, s.EndNegotiate(false, onlyThat)
	}
	return true, nil
}

// askFor asks a peer for just this prefix.
func (m *Manager) askFor(ctx context.Context, p netip.Prefix, peer grasp.Locator) (*grasp.Session, error) {
	o := m.asks()
	if err := m.form(value{}.of(p), peer).put(&o); err != nil {
		return nil, err
	}
	s, _, err := m.asa.ReqNegotiate(ctx, o, &peer, patience)
	return s, err
}

// nobodys is a prefix that nobody gives: the one of RFC 6666, whose packets are
// discarded.
var nobodys = netip.MustParsePrefix("100::/64")

// confirms finds out whether offers are to be confirmed to a peer: whether it
// understands the question that goes with that. The prototype cannot be left to
// find out by itself: if an IPv4 prefix is not accepted its pool is damaged.
func (m *Manager) confirms(ctx context.Context, peer grasp.Locator) (bool, error) {
	if yes, known := m.taker.confirms[at(peer)]; known {
		return yes, nil
	}
	s, err := m.askFor(ctx, nobodys, peer)
	var declined *grasp.DeclinedError
	yes := errors.As(err, &declined) && declined.Reason == notGiven
	switch {
	case err != nil && declined == nil:
		return false, err
	case s != nil:
		_ = s.EndNegotiate(false, onlyThat) // a peer that is gone need not be told
	}
	remember(m.taker.confirms, peer, yes)
	return yes, nil
}
