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
	Port  int           // of its TCP
	Loops int           // the loop count of its floods
	Every time.Duration // the time between them
}

// valueESTTLS is the value for a registrar that speaks EST over TLS.
const valueESTTLS = "EST-TLS"

// Run floods until the context ends.
func (r Registrar) Run(ctx context.Context, p *cli.Program, g *grasp.Instance) error {
	a, err := g.RegisterASA("Registrar")
	if err != nil {
		return err
	}
	defer a.Deregister()
	o := grasp.Objective{Name: ObjectiveRegistrar, Synch: true, LoopCount: uint8(r.Loops), Value: valueESTTLS}
	if err := a.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		return err
	}
	every := time.NewTicker(r.Every)
	defer every.Stop()
	for {
		source := grasp.NewLocator(netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(r.Port)))
		if addr := g.Snapshot().Address; addr.IsValid() {
			source.IP = addr
		} else {
			a.Tprint("There is no address for nodes beyond the link: only neighbours will hear")
		}
		f := grasp.TaggedObjective{Objective: o, Source: &source}
		if err := a.Flood(lifetimes*r.Every, f); err != nil {
			return err
		}
		if err := (teller{p, a}).tell(eventOf("flooded", f), "Flooding", o.Name, valueESTTLS, "at", source); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}
