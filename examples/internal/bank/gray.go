package bank

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

const (
	// discoveryTime is how long a Gray looks for a peer before it says that it
	// failed; searchTime how long it goes on trying if it is not to run for
	// ever.
	discoveryTime = time.Second
	searchTime    = 30 * time.Second
	// synchTime is how long a synchronization may take.
	synchTime = 2 * time.Second
	// maxFailures is after how many failures what is known of EX3's peers is
	// forgotten.
	maxFailures = 3
)

// The reasons that a Gray gives for declining, beside that of the library.
const (
	invalidOffer = "Invalid offer"
	tooMean      = "You are mean!"
)

// ErrNoPeer says that nobody was found to negotiate with.
var ErrNoPeer = errors.New("nobody found to negotiate EX3 with")

// Grays are clients who ask for money, all at the same time.
type Grays struct {
	all []*gray
}

// NewGrays registers clients, "Gray", "Gray-2" and so on.
func NewGrays(g *grasp.Instance, count int, set Settings) (*Grays, error) {
	all := &Grays{}
	started := new(atomic.Int64)
	for i := range count {
		name := "Gray"
		if i > 0 {
			name = fmt.Sprintf("Gray-%d", i+1)
		}
		y, err := newGray(g, name, set, started)
		if err != nil {
			for _, y := range all.all {
				_ = y.asa.Deregister() // the first error is the one to tell
			}
			return nil, err
		}
		all.all = append(all.all, y)
	}
	return all, nil
}

// Run makes the clients negotiate until together they have had as many negotiations
// as the settings say, or the context ends; then it deregisters them. With a number in
// the settings it returns [ErrNoPeer] if nobody is found in 30 seconds. It is called
// once.
func (all *Grays) Run(ctx context.Context) error {
	errs := make([]error, len(all.all))
	var running sync.WaitGroup
	for i, y := range all.all {
		running.Go(func() { errs[i] = y.run(ctx) })
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err // the others failed likewise, or not at all
		}
	}
	return nil
}

// gray is one client.
type gray struct {
	asa      *grasp.ASA
	set      Settings
	rng      *rand.Rand
	started  *atomic.Int64 // negotiations of all Grays
	failures int           // since the last flush
}

func newGray(g *grasp.Instance, name string, set Settings, started *atomic.Int64) (*gray, error) {
	a, err := g.RegisterASA(name)
	if err != nil {
		return nil, err
	}
	a.Tprint("ASA", name, "is starting up: a client who asks for money.")
	// Overlap: all Grays of an instance share the objective.
	if err := a.RegisterObj(ex3(), grasp.RegisterOptions{Overlap: true}); err != nil {
		_ = a.Deregister() // the first error is the one to tell
		return nil, err
	}
	a.Tprint("Objective EX3 registered OK")
	return &gray{asa: a, set: set, rng: newRand(set.Seed, name), started: started}, nil
}

func (y *gray) run(ctx context.Context) error {
	defer y.leave()
	y.trySynchronization(ctx)
	y.asa.Tprint("Ready to negotiate EX3 as requester")
	for ctx.Err() == nil && y.mayStart() {
		if err := y.negotiate(ctx, y.draw()); err != nil {
			return err
		}
		// To keep things calm, and for the flood to change now and then.
		if cli.Sleep(ctx, y.set.Wait/2) {
			y.tryFlood(ctx)
		}
	}
	return nil
}

// mayStart reports whether there is another negotiation to be.
func (y *gray) mayStart() bool {
	return y.started.Add(1) <= int64(y.set.N) || y.set.N == 0
}

func (y *gray) leave() {
	y.asa.Tprint(y.set.Outcomes.Summary(y.asa.Name()))
	y.asa.Tprint("ASA exiting")
	_ = y.asa.Deregister() // fails only if the instance was closed before
}

func (y *gray) trySynchronization(ctx context.Context) {
	y.asa.Tprint("Synchronization tests will start; some may fail.")
	nonsense := grasp.Objective{Name: "Nonsense", Synch: true, LoopCount: 4}
	y.synchronize(ctx, ex1(), "")
	y.synchronize(ctx, ex2(), "")
	// Nobody floods it or listens for it.
	y.synchronize(ctx, nonsense, "(should fail)")
	y.synchronize(ctx, ex2(), "")
	y.synchronize(ctx, ex1(), "")
}

func (y *gray) synchronize(ctx context.Context, o grasp.Objective, remark string) {
	if ctx.Err() != nil {
		return
	}
	name := o.Name
	if remark != "" {
		name += " " + remark
	}
	o, err := y.asa.Synchronize(ctx, o, nil, synchTime)
	if err != nil {
		y.asa.Tprint("Synch failed", name+":", grasp.Code(err))
		y.asa.Ttprint(err)
		return
	}
	y.asa.Tprint("Synchronized", name, o.Value)
}

// tryFlood reads the flooded value in both ways that there are.
func (y *gray) tryFlood(ctx context.Context) {
	y.synchronize(ctx, ex1(), "")
	flooded, err := y.asa.GetFlood(ex1())
	if err != nil {
		y.asa.Tprint("get_flood failed EX1:", grasp.Code(err))
	}
	for _, f := range flooded {
		source := f.Source.String()
		if f.Source.IsZero() { // Briggs floods without a locator
			source = "(no locator)"
		}
		y.asa.Tprint("Flooded EX1 from", source, "=", f.Objective.Value)
	}
}

// request is what a Gray asks for: all that is left to chance about it.
type request struct {
	sum       sum
	loopCount uint8
	dry       bool
	tag24     bool
}

func (y *gray) draw() request {
	amount := int64(between(y.rng, 10, 500))
	r := request{
		sum:       sum{currency, amount},
		loopCount: uint8(between(y.rng, 4, 20)),
		dry:       amount&4 != 0,
		tag24:     amount&8 != 0,
	}
	if amount%7 == 0 {
		r.sum.currency = "USD" // an error on purpose
	}
	return r
}

// words says what is asked for, and what is odd about it on purpose.
func (r request) words() []any {
	words := []any{"Asking for", r.sum}
	if r.dry {
		words = append(words, "in a dry run")
	}
	if r.sum.currency != currency {
		words = append(words, "- on purpose: to be declined")
	}
	return words
}

// negotiate finds a peer, negotiates with it and reports the outcome. The
// error is one that makes it useless to go on.
func (y *gray) negotiate(ctx context.Context, r request) error {
	y.asa.Tprint(r.words()...)
	peer, err := y.findPeer(ctx)
	if peer == nil {
		return err
	}
	d := newDeal(y.asa)
	d.tag24 = r.tag24
	d.out.Asked = r.sum.amount
	if offer, goesOn := y.ask(ctx, d, r, peer); goesOn {
		y.bargain(ctx, d, offer, r.sum)
	}
	y.report(d, r.sum.currency)
	return nil
}

// findPeer looks for a peer until there is one, or it is time to leave: then
// it returns none.
func (y *gray) findPeer(ctx context.Context) (*grasp.Locator, error) {
	for start := time.Now(); ; {
		flush := y.failures >= maxFailures
		if flush {
			y.failures = 0
			y.asa.Tprint("Flushing EX3 discovery")
		}
		found, err := y.asa.Discover(ctx, ex3(), discoveryTime, grasp.DiscoverOptions{Flush: flush, First: true})
		switch {
		case errors.Is(err, grasp.ErrCancelled):
			return nil, nil
		case err != nil:
			return nil, err
		case len(found) > 0:
			y.asa.Ttprint("Discovered locator", found[0])
			return &found[0], nil
		}
		y.asa.Tprint("Discovery failed")
		y.failures++
		if y.set.N > 0 && time.Since(start) >= searchTime {
			return nil, fmt.Errorf("%w in %v", ErrNoPeer, searchTime)
		}
	}
}

// ask makes the request. It returns the peer's first offer, or false when
// the peer accepted, declined or failed.
func (y *gray) ask(ctx context.Context, d *deal, r request, peer *grasp.Locator) (grasp.Objective, bool) {
	o := ex3()
	o.LoopCount, o.Dry = r.loopCount, r.dry
	var err error
	if o.Value, err = r.sum.value(r.tag24); err != nil {
		d.fail(err)
		return o, false
	}
	if r.tag24 {
		y.asa.Tprint("Testing Tag 24")
	}
	session, offer, err := y.asa.ReqNegotiate(ctx, o, peer, 0)
	return offer, d.answered(session, err, r.sum)
}

// bargain asks for less with each step until the peer offers as much, or it
// would be too little.
func (y *gray) bargain(ctx context.Context, d *deal, answer grasp.Objective, asked sum) {
	limit := asked.amount * 7 / 10
	for first := true; ; first = false {
		offer, err := parseSum(answer)
		if err != nil || offer.currency != asked.currency {
			d.decline(invalidOffer)
			return
		}
		if first {
			y.asa.Tprint("Peer offered", offer.amount)
		} else {
			y.asa.Tprint("Loop count", answer.LoopCount, "offered", offer.amount)
		}
		asked.amount = asked.amount * 9 / 10
		if offer.amount >= asked.amount {
			d.accept(offer)
			return
		}
		if asked.amount < limit {
			y.asa.Tprint("Rejecting unacceptable offer")
			d.decline(tooMean)
			return
		}
		y.asa.Tprint("Asking for", asked.amount)
		var goesOn bool
		if answer, goesOn = d.step(ctx, answer, asked); !goesOn {
			return
		}
	}
}

// report tells how a negotiation ended. Those that ended with the request
// count as failures, as in the prototype: so that flushing gets its turn.
func (y *gray) report(d *deal, currency string) {
	switch {
	case d.out.Outcome == cli.Agreed:
		y.asa.Tprint("Negotiation succeeded", sum{currency, d.agreed.amount})
	case d.refused:
		y.asa.Tprint("Declining:", d.out.Reason)
	case d.session == nil:
		y.failures++
		y.asa.Tprint("request_negotiate error:", d.out.Reason)
		y.asa.Tprint("Fail count", y.failures)
	case d.out.Outcome == cli.Declined:
		y.asa.Tprint("Peer reject:", d.out.Reason)
	default:
		y.asa.Tprint("Failed:", d.out.Reason)
	}
	y.set.Outcomes.Add(d.out)
}
