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
type Pledge struct {
	// Variations are those of BRSKI that it can do; none: it takes any.
	Variations []string
}

// can reports whether the pledge can do what a proxy is there for.
func (x Pledge) can(f grasp.TaggedObjective) bool {
	return len(x.Variations) == 0 || slices.Contains(x.Variations, variationOf(f))
}

// failing is how many contacts there are for one that fails.
const failing = 4

// Run goes on until the context ends, or until it has chosen -n proxies.
func (x Pledge) Run(ctx context.Context, p *cli.Program, g *grasp.Instance) error {
	a, err := g.RegisterASA("Pledge")
	if err != nil {
		return err
	}
	defer a.Deregister()
	tell := teller{p, a}
	random := rand.New(rand.NewPCG(p.Seed, 0))
	a.Tprint("Looking for a proxy, which floods about once a minute")
	var known []string
	for chosen := 0; p.N == 0 || chosen < p.N; {
		proxies, err := floods(a, ObjectiveProxy, ObjectivePrototype)
		if err != nil {
			return err
		}
		proxies = slices.DeleteFunc(proxies, func(f grasp.TaggedObjective) bool { return !x.can(f) })
		for _, f := range proxies {
			e := eventOf("found", f)
			if slices.Contains(known, place(f)) {
				continue
			}
			if err := tell.tell(e, "Found", e.Objective, "at", e.Locator, "by", e.Method, e.Value); err != nil {
				return err
			}
		}
		known = places(proxies)
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

// contact pretends to contact a proxy. One that cannot be reached is forgotten, until
// it floods again.
func contact(tell teller, random *rand.Rand, proxy grasp.TaggedObjective) error {
	e := eventOf("chosen", proxy)
	if err := tell.tell(e, "Pretending to contact the proxy at", e.Locator); err != nil {
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
