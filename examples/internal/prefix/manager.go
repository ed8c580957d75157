package prefix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// Settings are what a prefix manager needs to know.
type Settings struct {
	// Name is that of the ASA; "" means pfxm.
	Name string
	// Origin says that it is the one that all prefixes come from, which are in
	// its ledger. It delegates none itself.
	Origin bool
	// Params is what the origin floods.
	Params Params
	// Role is that of this device: PrefixManager.Params says what it asks for.
	Role string
	// Length6 and Length4 are the lengths of the prefixes to delegate; 0 is
	// for none of that family.
	Length6, Length4 int
	// Tagged says that it asks for PrefixManagerT, as the prototype's pfxm4 does, not for
	// PrefixManager. It answers to both.
	Tagged bool
	// Hold is how many prefixes are delegated at a time: then for each new
	// one the oldest comes back. 0 means any number.
	Hold int
	// Doubt is how long a prefix stays in doubt before it is put back in the
	// pool; 0 means until it is known whose it is.
	Doubt time.Duration

	// Interfaces are those that a prefix of each family is delegated to. Without any,
	// prefixes are delegated to nobody in particular, as if there were users.
	Interfaces []string
	// Hook, if it is set, is called when prefixes come to interfaces, change, or go.
	Hook Hook
	// Up returns the index of each interface of the host that is up, by name. Hook is
	// called again for one that was down or is another one now. nil: none ever is.
	Up func() (map[string]int, error)

	// N is how many prefixes to delegate or, for the origin, to give; 0 means
	// no end.
	N int
	// Seed decides what is left to chance, and Wait is the longest time from
	// one delegation to the next.
	Seed uint64
	Wait time.Duration
	// Outcomes is told how each negotiation ended.
	Outcomes *cli.Outcomes
}

// patience is how long a prefix manager waits for its peer's next step.
const patience = 5 * time.Second

// Manager is a prefix manager.
type Manager struct {
	asa    *grasp.ASA
	ledger *Ledger
	set    Settings
	rng    *rand.Rand // of the goroutine that delegates
	taker  taker

	// broken receives the failure of the ledger, without which nothing more
	// can be promised to anybody.
	broken chan error
	gave   chan netip.Prefix // receives what was given, if somebody listens
}

// New registers a prefix manager and its objectives.
func New(g *grasp.Instance, l *Ledger, set Settings) (*Manager, error) {
	a, err := g.RegisterASA(cmp.Or(set.Name, "pfxm"))
	if err != nil {
		return nil, err
	}
	m := &Manager{
		asa: a, ledger: l, set: set,
		rng:    rand.New(rand.NewPCG(set.Seed, 0)),
		taker:  newTaker(set.Seed),
		broken: make(chan error, 1),
		gave:   make(chan netip.Prefix),
	}
	if err := m.register(); err != nil {
		_ = a.Deregister() // the first error is the one to tell
		return nil, err
	}
	return m, nil
}

func (m *Manager) register() error {
	for _, name := range []string{objective, taggedObjective} {
		if err := m.asa.RegisterObj(negotiated(name), grasp.RegisterOptions{}); err != nil {
			return err
		}
	}
	if !m.set.Origin {
		return nil
	}
	if err := m.asa.RegisterObj(parameters(), grasp.RegisterOptions{}); err != nil {
		return err
	}
	return m.asa.ListenSynchronize(m.parameters())
}

// Run has the prefix manager work until it has delegated, or given, as many
// prefixes as the settings say, or the context ends; then it deregisters it.
// With a number in the settings it returns [ErrNobody] if for 30 seconds no
// prefix could be had. It is called once.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer m.leave()
	errs := make(chan error, 2)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { errs <- m.Serve(ctx) })
	if m.set.Doubt > 0 {
		running.Go(func() { m.expire(ctx) })
	}
	switch {
	case m.set.Origin:
		running.Go(func() { m.flood(ctx) })
		running.Go(func() { errs <- m.count(ctx) })
	case len(m.set.Interfaces) > 0:
		running.Go(func() { errs <- m.attach(ctx) })
	default:
		running.Go(func() { errs <- m.delegate(ctx) })
	}
	select {
	case err := <-errs:
		cancel(err)
		return err
	case err := <-m.broken:
		cancel(err)
		return err
	}
}

func (m *Manager) leave() {
	h := m.ledger.Holdings()
	few := h.Free[:min(len(h.Free), 8)]
	m.asa.Tprint("Prefixes in the pool:", few, "and", len(h.Free)-len(few), "more")
	if len(h.InDoubt) > 0 {
		m.asa.Tprint("Prefixes in doubt, which peers may have taken:", len(h.InDoubt))
	}
	if len(h.Claims) > 0 {
		m.asa.Tprint("Prefixes in doubt, which peers may have given:", len(h.Claims))
	}
	m.asa.Tprint(m.set.Outcomes.Summary(m.asa.Name()))
	m.asa.Tprint("ASA exiting")
	_ = m.asa.Deregister() // fails only if the instance was closed before
}

// count returns when the origin has given as many prefixes as it was told.
func (m *Manager) count(ctx context.Context) error {
	for n := 0; m.set.N == 0 || n < m.set.N; n++ {
		select {
		case <-m.gave:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// expire puts prefixes back in the pool that were in doubt for long enough.
func (m *Manager) expire(ctx context.Context) {
	for cli.Sleep(ctx, max(m.set.Doubt/10, time.Second)) {
		back, err := m.ledger.Expire(m.set.Doubt)
		m.check(err)
		for _, p := range back {
			m.asa.Tprint("In doubt for too long, back in the pool:", p)
		}
	}
}

// check returns an error of the ledger, and ends the prefix manager if it is
// not one of those that say what cannot be had.
func (m *Manager) check(err error) error {
	for _, harmless := range []error{nil, ErrNothing, ErrBusy, ErrWithdrawn, ErrHeld} {
		if errors.Is(err, harmless) {
			return err
		}
	}
	select {
	case m.broken <- err:
	default: // it was told before
	}
	return err
}

// address is what tells peers apart.
func address(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func (m *Manager) outcome(v fmt.Stringer) cli.Outcome {
	return cli.Outcome{ASA: m.asa.Name(), Asked: v.String(), Outcome: cli.Failed}
}
