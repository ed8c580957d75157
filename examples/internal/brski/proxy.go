package brski

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// Proxy hears of registrars and floods to pledges that there is a proxy.
type Proxy struct {
	Objective string // under which pledges find it
	Port      int    // on which it would serve them; further variations have the ports after it
	Every     time.Duration
}

// Run does so until the context ends: secure is the instance that hears of
// registrars, and dull are those that pledges hear, one for each of their links.
func (x Proxy) Run(ctx context.Context, p *cli.Program, secure *grasp.Instance, dull ...*grasp.Instance) error {
	hearing, err := secure.RegisterASA("Proxy")
	if err != nil {
		return err
	}
	defer hearing.Deregister()
	o := grasp.Objective{Name: x.Objective, Synch: true, NoDisc: true, LoopCount: 1, Value: ""}
	var speaking []*grasp.ASA
	for _, g := range dull {
		a, err := g.RegisterASA("Proxy")
		if err != nil {
			return err
		}
		defer a.Deregister()
		if err := a.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
			return err
		}
		speaking = append(speaking, a)
	}
	tell := teller{p, hearing}
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	var known []string // registrars
	var flooded time.Time
	for first := true; ; first = false {
		registrars, err := floods(hearing, ObjectiveRegistrar, ObjectiveStateless)
		if err != nil {
			return err
		}
		now := places(registrars)
		if news := !slices.Equal(now, known); news || first || time.Since(flooded) >= x.Every {
			if news || first {
				err = tellRegistrars(tell, registrars)
			}
			if err == nil {
				err = x.flood(tell, speaking, o, registrars)
			}
			if err != nil {
				return err
			}
			known, flooded = now, time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// floods returns the flooded values of objectives that say where somebody is.
func floods(a *grasp.ASA, names ...string) ([]grasp.TaggedObjective, error) {
	var all []grasp.TaggedObjective
	for _, name := range names {
		some, err := a.GetFlood(grasp.Objective{Name: name, Synch: true})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return slices.DeleteFunc(all, func(f grasp.TaggedObjective) bool { return !usable(f) }), nil
}

// place is where somebody is, and what he can do there.
func place(f grasp.TaggedObjective) string {
	return f.Objective.Name + " " + f.Source.String() + " " + variationOf(f)
}

// places returns those of all, in order.
func places(all []grasp.TaggedObjective) []string {
	var out []string
	for _, f := range all {
		out = append(out, place(f))
	}
	slices.Sort(out)
	return out
}

func tellRegistrars(tell teller, registrars []grasp.TaggedObjective) error {
	for _, r := range registrars {
		e := eventOf("found", r)
		if err := tell.tell(e, "Found a registrar at", e.Locator, "by", e.Method, e.Value); err != nil {
			return err
		}
	}
	if len(registrars) > 0 {
		return nil
	}
	return tell.tell(Event{Event: "none", Objective: ObjectiveRegistrar}, "No registrar has flooded yet; they do it about once a minute")
}

// service is what a proxy passes on to registrars.
type service struct {
	protocol  int
	variation string
}

// services returns what registrars can do, whoever of them, whether this program knows
// it or not: a proxy need not. A registrar for stateless proxies looks like
// any other to a pledge.
func services(registrars []grasp.TaggedObjective) []service {
	var out []service
	for _, r := range registrars {
		s := service{r.Source.Protocol, variationOf(r)}
		if (s.protocol == grasp.TCP || s.protocol == grasp.UDP) && len(s.variation) <= maxVariation && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b service) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.variation, b.variation))
	})
	return out[:min(len(out), maxVariations)]
}

// flood tells the pledges on each link of the proxy, by its address there, for
// each transport and variation that a registrar has. Each has a port of its own, so
// that the proxy knows what a pledge wants.
func (x Proxy) flood(tell teller, speaking []*grasp.ASA, o grasp.Objective, registrars []grasp.TaggedObjective) error {
	ports := make(map[int]int)
	for _, s := range services(registrars) {
		o.Value = s.variation
		f := grasp.TaggedObjective{Objective: o, Source: &grasp.Locator{
			IP: netip.IPv6Unspecified(), Protocol: s.protocol, Port: x.Port + ports[s.protocol],
		}}
		ports[s.protocol]++
		for _, a := range speaking {
			if err := a.Flood(lifetimes*x.Every, f); err != nil {
				return err
			}
		}
		e := eventOf("flooded", f)
		if err := tell.tell(e, "Flooding", o.Name, "to pledges, port", f.Source.Port, e.Method, e.Value); err != nil {
			return err
		}
	}
	return nil
}
