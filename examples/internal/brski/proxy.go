package brski

import (
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
	Port      int    // on which it would serve them
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
	o := grasp.Objective{Name: x.Objective, Synch: true, LoopCount: 1, Value: ""}
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
		registrars, err := floods(hearing, ObjectiveRegistrar)
		if err != nil {
			return err
		}
		now := locators(registrars)
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

// floods returns the flooded values of an objective that say where somebody is.
func floods(a *grasp.ASA, name string) ([]grasp.TaggedObjective, error) {
	all, err := a.GetFlood(grasp.Objective{Name: name, Synch: true})
	return slices.DeleteFunc(all, func(f grasp.TaggedObjective) bool { return !usable(f) }), err
}

// locators returns where they are, in order.
func locators(all []grasp.TaggedObjective) []string {
	var out []string
	for _, f := range all {
		out = append(out, f.Source.String())
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

// flood tells the pledges on each link of the proxy, by its address there, for
// each transport that a registrar has.
func (x Proxy) flood(tell teller, speaking []*grasp.ASA, o grasp.Objective, registrars []grasp.TaggedObjective) error {
	var done []int
	for _, r := range registrars {
		protocol := r.Source.Protocol
		if slices.Contains(done, protocol) || protocol != grasp.TCP && protocol != grasp.UDP {
			continue
		}
		done = append(done, protocol)
		f := grasp.TaggedObjective{Objective: o, Source: &grasp.Locator{
			IP: netip.IPv6Unspecified(), Protocol: protocol, Port: x.Port,
		}}
		for _, a := range speaking {
			if err := a.Flood(lifetimes*x.Every, f); err != nil {
				return err
			}
		}
		e := eventOf("flooded", f)
		if err := tell.tell(e, "Flooding", o.Name, "to pledges, port", x.Port, e.Method); err != nil {
			return err
		}
	}
	return nil
}
