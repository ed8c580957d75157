package bank

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

const (
	floodInterval = 60 * time.Second
	// floodTTL is a little less, so that a value never outlives the next one.
	floodTTL = 59 * time.Second

	// maxNegotiators bounds the negotiations at the same time. More requests
	// than that wait in the library's queue, and are refused when it is full.
	maxNegotiators = 1000

	// raise is how much more Briggs offers with each step.
	raise = 10
	// grace is what an M_WAIT announces on top of the wait, for the answer to
	// be sent, to travel and to be read.
	grace = time.Second
)

// The reasons that Briggs gives for declining, beside that of the library.
const (
	invalidRequest  = "Invalid request"
	invalidCurrency = "Invalid currency"
	noFunds         = "Insufficient funds"
	noFundsRussian  = "Недостаточно средств"
)

// Briggs is the banker. He floods EX1, answers requests for EX2, and
// negotiates EX3 with any number of clients at the same time: who asks for up
// to half of his reserves gets it, with others he bargains.
type Briggs struct {
	asa     *grasp.ASA
	set     Settings
	rng     *rand.Rand
	stopped context.Context // ends with Stop
	stop    context.CancelFunc
}

// NewBriggs registers Briggs and his objectives. From now on he answers
// requests for synchronization; Run does all else.
func NewBriggs(g *grasp.Instance, set Settings) (*Briggs, error) {
	a, err := g.RegisterASA("Briggs")
	if err != nil {
		return nil, err
	}
	a.Tprint("ASA Briggs is starting up: a banker who gives out money.")
	b := &Briggs{asa: a, set: set, rng: newRand(set.Seed, a.Name())}
	b.stopped, b.stop = context.WithCancel(context.Background())
	if err := b.register(); err != nil {
		_ = a.Deregister() // the first error is the one to tell
		return nil, err
	}
	return b, nil
}

func (b *Briggs) register() error {
	if err := b.asa.RegisterObj(ex1(), grasp.RegisterOptions{}); err != nil {
		return err
	}
	b.asa.Tprint("Objective EX1 registered OK")

	// Rapid: the value travels with the response to the discovery.
	if err := b.asa.RegisterObj(ex2(), grasp.RegisterOptions{Rapid: true}); err != nil {
		return err
	}
	b.asa.Tprint("Objective EX2 registered OK")
	o := ex2()
	o.Value = []any{1, "two", 3}
	if err := b.asa.ListenSynchronize(o); err != nil {
		return err
	}
	b.asa.Tprint("Listening for synch requests for EX2")

	o = ex3()
	o.Dry = true
	// Overlap: another ASA in this instance may give out money, too.
	if err := b.asa.RegisterObj(o, grasp.RegisterOptions{Overlap: true}); err != nil {
		return err
	}
	b.asa.Tprint("Objective EX3 registered OK")
	return nil
}

// Run makes Briggs negotiate until he has had as many negotiations as the settings
// say, Stop is called or the context ends; then it deregisters him. Only the end of
// the context breaks off negotiations that are under way. It is called once.
func (b *Briggs) Run(ctx context.Context) error {
	defer b.leave()
	flooding, stopFlooding := context.WithCancel(ctx)
	var flooder sync.WaitGroup
	defer flooder.Wait()
	defer stopFlooding()
	flooder.Go(func() { b.floodForEver(flooding) })
	return b.negotiateForEver(ctx)
}

// Stop makes Run return after the negotiations under way are over. It does not wait
// for that, and may be called more than once.
func (b *Briggs) Stop() { b.stop() }

func (b *Briggs) leave() {
	b.asa.Tprint(b.set.Outcomes.Summary(b.asa.Name()))
	b.asa.Tprint("ASA exiting")
	_ = b.asa.Deregister() // fails only if the instance was closed before
}

// floodForEver floods EX1 at once, and again every minute.
func (b *Briggs) floodForEver(ctx context.Context) {
	b.asa.Tprint("Flooding EX1 for ever")
	every := time.NewTicker(floodInterval)
	defer every.Stop()
	for {
		if err := b.flood(); err != nil {
			b.asa.Tprint("Flood failure:", grasp.Code(err))
			b.asa.Ttprint(err)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Briggs) flood() error {
	o := ex1()
	o.Value = time.Now().UTC().Format("2006-01-02 15:04 UTC") + " from Briggs"
	// Who floods an objective should answer requests for it as well (RFC 8990
	// section 2.5.6.2): for those who missed the flood.
	if err := b.asa.ListenSynchronize(o); err != nil {
		return err
	}
	return b.asa.Flood(floodTTL, grasp.TaggedObjective{Objective: o})
}

// negotiateForEver takes requests, each in a goroutine of its own, and returns
// when all of them are dealt with.
func (b *Briggs) negotiateForEver(ctx context.Context) error {
	b.asa.Tprint("Ready to negotiate EX3 as listener")
	var negotiators sync.WaitGroup
	defer negotiators.Wait()
	// When no more requests are taken, those in the queue are refused.
	defer func() { _ = b.asa.StopNegotiate(ex3()) }()

	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.stopped, cancel)()
	free := make(chan struct{}, maxNegotiators)
	for number := 1; b.set.N == 0 || number <= b.set.N; number++ {
		select {
		case free <- struct{}{}:
		case <-listening.Done():
			return nil
		}
		t := b.draw(number)
		s, o, err := cli.Listen(listening, b.asa, ex3())
		if s == nil {
			return err
		}
		negotiators.Go(func() {
			defer func() { <-free }()
			d := newDeal(b.asa)
			d.session = s
			b.serve(ctx, d, o, t)
			b.report(d, t)
		})
	}
	return nil
}

// terms are what Briggs has drawn for one negotiation, whoever it is with.
type terms struct {
	number   int // tells the lines of negotiations at the same time apart
	reserves int64
	wait     time.Duration // what M_WAIT announces
	rng      *rand.Rand
}

func (b *Briggs) draw(number int) terms {
	t := terms{
		number:   number,
		reserves: int64(between(b.rng, 100, 400)),
		wait:     drawWait(b.rng, b.set.Wait),
		rng:      rand.New(rand.NewPCG(b.rng.Uint64(), b.rng.Uint64())),
	}
	b.say(t, "Reserves: $", t.reserves, "Wait:", t.wait.Milliseconds(), "ms")
	return t
}

// drawWait returns what M_WAIT announces before a nap. It is 0.9 to 2 times
// as long, as in the prototype: in one case of eleven Briggs wakes up when the
// peer has given up, to see how it takes that.
func drawWait(rng *rand.Rand, nap time.Duration) time.Duration {
	const whole = 10_000
	portion := between(rng, whole*9/10, whole*2)
	announced := nap * time.Duration(portion) / whole
	if portion >= whole || nap == 0 {
		announced += grace
	}
	return max(announced, time.Millisecond)
}

func (t terms) limit() int64 { return t.reserves * 6 / 10 }

func (t terms) refusal() string {
	if t.reserves%2 != 0 {
		return noFunds
	}
	return noFundsRussian
}

// say prints what happens in one of the negotiations.
func (b *Briggs) say(t terms, things ...any) {
	b.asa.Tprint(append([]any{fmt.Sprintf("#%d", t.number)}, things...)...)
}

// serve negotiates with one client.
func (b *Briggs) serve(ctx context.Context, d *deal, o grasp.Objective, t terms) {
	wanted, err := parseSum(o)
	if err != nil {
		b.say(t, "Got a request that makes no sense:", err)
		d.decline(invalidRequest)
		return
	}
	d.out.Asked = wanted.amount
	if d.tag24 = isTag24(o); d.tag24 {
		b.say(t, "CBOR value decoded")
	}
	b.say(t, "Got request for", wanted)
	if o.Dry {
		b.say(t, "Dry run")
	}
	switch {
	case wanted.currency != currency:
		d.decline(invalidCurrency)
	case wanted.amount > t.reserves/2:
		b.bargain(ctx, d, o, t)
	default:
		b.say(t, "Request accepted")
		d.accept(wanted)
	}
}

// bargain makes offers until one side has enough of it.
func (b *Briggs) bargain(ctx context.Context, d *deal, o grasp.Objective, t terms) {
	b.say(t, "Starting negotiation")
	offer := sum{currency, t.reserves / 2}
	for {
		b.say(t, "Offering", offer)
		answer, goesOn := d.step(ctx, o, offer)
		if !goesOn {
			return
		}
		wanted, reason := check(answer)
		if reason != "" {
			d.decline(reason)
			return
		}
		b.say(t, "Loop count", answer.LoopCount, "request", wanted.amount)
		if wanted.amount <= offer.amount {
			d.accept(wanted)
			return
		}
		b.mayWait(ctx, d, t)
		if offer.amount >= t.limit() {
			d.decline(t.refusal())
			return
		}
		// Always be a little mean.
		offer.amount = min(offer.amount+raise, wanted.amount-1)
		o = answer
	}
}

// check returns the sum that a client asks for, or why it cannot have it.
func check(o grasp.Objective) (wanted sum, reason string) {
	wanted, err := parseSum(o)
	switch {
	case err != nil:
		return sum{}, invalidRequest
	case wanted.currency != currency:
		return sum{}, invalidCurrency
	default:
		return wanted, ""
	}
}

// mayWait makes the client wait, for no particular reason.
func (b *Briggs) mayWait(ctx context.Context, d *deal, t terms) {
	if t.rng.IntN(2) == 0 {
		return
	}
	b.say(t, "Tried wait:", grasp.Code(d.session.NegotiateWait(t.wait)))
	if t.wait < b.set.Wait {
		b.say(t, "It will take longer, on purpose: the client gives up")
	}
	if cli.Sleep(ctx, b.set.Wait) {
		b.say(t, "Woke up")
	}
}

// report tells how a negotiation ended.
func (b *Briggs) report(d *deal, t terms) {
	switch {
	case d.out.Outcome == cli.Agreed:
		b.say(t, "Negotiation succeeded")
	case d.refused:
		b.say(t, "Declining:", d.out.Reason)
	case d.out.Outcome == cli.Declined:
		b.say(t, "Declined:", d.out.Reason)
	default:
		b.say(t, "Failed:", d.out.Reason)
	}
	b.set.Outcomes.Add(d.out)
}
