package brski

import (
	"context"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// Registrar floods that there is a registrar.
type Registrar struct {
	Port       int           // of its TCP
	Variations []string      // that it can do there; none: EST-TLS
	UDP        int           // the port of constrained BRSKI over UDP; 0: none
	Stateless  int           // that for stateless proxies; 0: none
	Loops      int           // the loop count of its floods
	Every      time.Duration // the time between them
}

// flooded returns what is flooded in each message, of a registrar at an address.
func (r Registrar) flooded(at netip.Addr) []grasp.TaggedObjective {
	var out []grasp.TaggedObjective
	add := func(name, variation string, protocol, port int) {
		out = append(out, grasp.TaggedObjective{
			Objective: grasp.Objective{Name: name, Synch: true, NoDisc: true, LoopCount: uint8(r.Loops), Value: variation},
			Source:    &grasp.Locator{IP: at, Protocol: protocol, Port: port},
		})
	}
	variations := r.Variations
	if len(variations) == 0 {
		variations = []string{VariationESTTLS}
	}
	for _, v := range variations {
		add(ObjectiveRegistrar, v, grasp.TCP, r.Port)
	}
	if r.UDP != 0 {
		add(ObjectiveRegistrar, VariationRRM, grasp.UDP, r.UDP)
	}
	if r.Stateless != 0 {
		add(ObjectiveStateless, VariationRRM, grasp.UDP, r.Stateless)
	}
	return out
}

// earlyPauses follow the first floods: a flood may be lost, and who joins the network with
// the registrar should not wait a minute for the next one.
var earlyPauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// Run floods until the context ends: a few times at once, then again and again.
func (r Registrar) Run(ctx context.Context, p *cli.Program, g *grasp.Instance) error {
	a, err := g.RegisterASA("Registrar")
	if err != nil {
		return err
	}
	defer a.Deregister()
	served := make(map[string]bool)
	for _, f := range r.flooded(netip.Addr{}) {
		if served[f.Objective.Name] {
			continue
		}
		served[f.Objective.Name] = true
		if err := a.RegisterObj(f.Objective, grasp.RegisterOptions{}); err != nil {
			return err
		}
		// Who missed the floods may ask (RFC 8990 section 2.5.6.2), and is told of the
		// first variation.
		if err := a.ListenSynchronize(f.Objective); err != nil {
			return err
		}
	}
	early := earlyPauses
	for {
		at := g.Snapshot().Address
		if !at.IsValid() {
			at = netip.IPv6Unspecified()
			a.Tprint("There is no address for nodes beyond the link: only neighbours will hear")
		}
		all := r.flooded(at)
		if err := a.Flood(lifetimes*r.Every, all...); err != nil {
			return err
		}
		for _, f := range all {
			if err := (teller{p, a}).tell(eventOf("flooded", f), "Flooding", f.Objective.Name, f.Objective.Value, "at", f.Source); err != nil {
				return err
			}
		}
		pause := r.Every
		if len(early) > 0 {
			pause, early = min(early[0], r.Every), early[1:]
		}
		if !cli.Sleep(ctx, pause) {
			return nil
		}
	}
}
