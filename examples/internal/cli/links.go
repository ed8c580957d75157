package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// Plane is the plane on the links that the user chose, protected as he chose.
func (p *Program) Plane() (acp.Plane, error) { return p.Protect(p.RealLinks()) }

// RealLinks is a plane on the links that the user chose.
func (p *Program) RealLinks() acp.Plane { return &acp.Layer2{Links: p.Links, IPv4: true} }

// LinkTime is how long to wait for the first link: duplicate address
// detection takes most of two seconds on a new one.
const LinkTime = 2500 * time.Millisecond

// OnLinks starts an instance with these settings on the links that the user chose, waits a
// little for one to be usable and says which are. None is no error: the
// instance will use links when they come.
func (p *Program) OnLinks(ctx context.Context, cfg grasp.Config) (*grasp.Instance, error) {
	g, err := p.NewInstance(p.RealLinks(), cfg)
	if err != nil {
		return nil, err
	}
	p.AwaitLink(ctx, g)
	return g, nil
}

// AwaitLink waits a little for an instance to have a link and says which it has,
// or why there is none.
func (p *Program) AwaitLink(ctx context.Context, g *grasp.Instance) {
	if !p.SayLinks(WaitForLink(ctx, g)) {
		s := g.Snapshot()
		p.SayNoLink(s.Interfaces, s.LinkTrouble)
	}
}

// WaitForLink waits until an instance has a link, for [LinkTime] at most, and
// returns those it has.
func WaitForLink(ctx context.Context, g *grasp.Instance) []acp.Link {
	ctx, cancel := context.WithTimeout(ctx, LinkTime)
	defer cancel()
	_ = g.WaitForLink(ctx) // that there is none yet shows in the links
	return g.Snapshot().Links
}

// SayLinks prints which links are in use, and returns false if there are none.
func (p *Program) SayLinks(links []acp.Link) bool {
	var names []string
	for _, l := range links {
		names = append(names, fmt.Sprintf("%s (%v)", l.Name, l.Addr.WithZone("")))
	}
	if len(names) > 0 {
		p.Say("Link:", strings.Join(names, ", "))
	}
	return len(names) > 0
}

// SayNoLink prints that there is no link yet, and why.
func (p *Program) SayNoLink(all []acp.Interface, trouble string) {
	p.Say("No usable link yet: waiting for one")
	for _, line := range NoLink(all, trouble) {
		p.Say("  " + line)
	}
}

// NoLink says in lines why interfaces are no links: those that were named, or
// else all but loopbacks.
func NoLink(all []acp.Interface, trouble string) []string {
	var lines []string
	for _, i := range all {
		switch i.State {
		case acp.LinkInUse, acp.LinkUnnamed, acp.LinkLoopback:
		default:
			lines = append(lines, i.String())
		}
	}
	if trouble != "" {
		lines = append(lines, trouble)
	}
	if len(lines) == 0 {
		lines = []string{"there is no interface but the loopback"}
	}
	return lines
}

// checkNames tells of names that no interface has. It is an error, with status 2,
// unless the program can wait for them.
func (p *Program) checkNames(all []acp.Interface) error {
	var errs []error
	for _, i := range all {
		if i.State != acp.LinkMissing {
			continue
		}
		errs = append(errs, errors.New(i.String()))
		if p.daemon {
			p.Say(i.String() + ", yet: waiting for it")
		}
	}
	if p.daemon || len(errs) == 0 {
		return nil
	}
	return &ExitError{Status: statusUsage, Err: errors.Join(errs...)}
}

// statusUsage is the status of a program whose command line makes no sense.
const statusUsage = 2

// SayLinksOf prints which links an endpoint has, or why it has none. It is an
// error, with status 2, that one which was named does not exist.
func (p *Program) SayLinksOf(ep acp.Endpoint) error {
	all, err := acp.Interfaces(ep)
	if err := p.checkNames(all); err != nil {
		return err
	}
	if p.SayLinks(ep.Links()) {
		return nil
	}
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	p.SayNoLink(all, trouble)
	return nil
}
