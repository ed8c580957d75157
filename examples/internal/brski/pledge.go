package brski

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// Pledge looks for proxies, and pretends to contact one after the other.
type Pledge struct{}

// failing is how many contacts there are for one that fails.
const failing = 4

// Run goes on until the context ends, or until it has chosen -n proxies.
func (Pledge) Run(ctx context.Context, p *cli.Program, g *grasp.Instance) error {
	a, err := g.RegisterASA("Pledge")
	if err != nil {
		return err
	}
	defer a.Deregister()
	tell := teller{p, a}
	random := rand.New(rand.NewPCG(p.Seed, 0))
	a.Tprint("Looking for a proxy")
	var known []string
	for chosen := 0; p.N == 0 || chosen < p.N; {
		proxies, err := allProxies(a)
		if err != nil {
			return err
		}
		for _, f := range proxies {
			e := eventOf("found", f)
			if slices.Contains(known, e.Locator) {
				continue
			}
			if err := tell.tell(e, "Found", e.Objective, "at", e.Locator, "by", e.Method); err != nil {
				return err
			}
		}
		known = locators(proxies)
		pause := lookAgain
		if len(proxies) > 0 {
			chosen++
			if err := contact(tell, random, proxies[random.IntN(len(proxies))]); err != nil {
				return err
			}
			pause = time.Duration(random.Int64N(int64(p.Wait) + 1))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	return nil
}

// allProxies returns those that are flooded, whatever the spelling.
func allProxies(a *grasp.ASA) ([]grasp.TaggedObjective, error) {
	var all []grasp.TaggedObjective
	for _, name := range []string{ObjectiveProxy, ObjectivePrototype} {
		some, err := floods(a, name)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// contact pretends to contact a proxy. One that cannot be reached is forgotten, until
// it floods again.
func contact(tell teller, random *rand.Rand, proxy grasp.TaggedObjective) error {
	e := eventOf("chosen", proxy)
	if err := tell.tell(e, "Chose the proxy at", e.Locator, "and pretend to contact it"); err != nil {
		return err
	}
	if random.IntN(failing) > 0 {
		return nil
	}
	if err := tell.a.ExpireFlood(proxy); err != nil {
		return err
	}
	return tell.tell(eventOf("failed", proxy), "Pretend that it cannot be reached, and forget it")
}
