// Command pair runs the ASAs Briggs and Gray in one process, each in a GRASP
// instance of its own: the quickest way to see GRASP at work.
//
//	go run ./examples/pair -n 5
//
// They talk over the real links of this machine if there are any, and over a
// network in memory if not, or with --link memory. The flag -h shows all flags.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/bank"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() {
	var grays int
	cli.Command{
		Name: "pair",
		About: "Pair runs Briggs, a banker, and Gray, a client, who negotiate with GRASP,\n" +
			"over a real link if there is one.",
		Counts: "negotiations",
		Seed:   shownSeed,
		Memory: true,
		Flags:  func(f *flag.FlagSet) { bank.GraysFlag(f, &grays) },
		Run:    func(ctx context.Context, p *cli.Program) error { return run(ctx, p, grays) },
	}.Main()
}

// shownSeed is a seed with which the first five negotiations show what there is to see:
// a disagreement, agreements, a dry run and an error.
const shownSeed = 18

// expect tells a newcomer what is to come.
const expect = `Gray asks Briggs for money, and takes what he offers or does not. Some of what
they do is odd on purpose, to show what happens then: Gray asks for US dollars,
which Briggs does not have, sends values as CBOR within CBOR (tag 24), plays
negotiations through without meaning it (dry runs), and looks for Nonsense, which
nobody has; Briggs makes him wait (M_WAIT), now and then for too long.`

func run(ctx context.Context, p *cli.Program, count int) error {
	here, there, err := instances(ctx, p)
	if err != nil {
		return err
	}
	p.Say(expect)
	defer here.Close()
	defer there.Close()

	// Briggs serves as many as there are: it is the Grays who count.
	set := bank.SettingsOf(p)
	set.N = 0
	briggs, err := bank.NewBriggs(here, set)
	if err != nil {
		return err
	}
	grays, err := bank.NewGrays(there, count, bank.SettingsOf(p))
	if err != nil {
		return err
	}
	return runBoth(ctx, briggs, grays, p.Wait)
}

// runBoth runs the ASAs until the Grays are done, or one side fails.
func runBoth(ctx context.Context, briggs *bank.Briggs, grays *bank.Grays, wait time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var banker sync.WaitGroup
	var bankerErr error
	banker.Go(func() {
		if bankerErr = briggs.Run(ctx); bankerErr != nil {
			cancel() // without him the Grays would wait in vain
		}
	})
	err := grays.Run(ctx)

	// Let Briggs see the end of his negotiations, but not for ever: others on
	// the link may negotiate with him, too.
	briggs.Stop()
	defer time.AfterFunc(wait+drainTime, cancel).Stop()
	banker.Wait()
	return errors.Join(err, bankerErr)
}

const drainTime = 5 * time.Second

// instances starts an instance for Briggs and one for the Grays, on real links
// if there are any, else on a network in memory unless links were named, and
// says which.
func instances(ctx context.Context, p *cli.Program) (here, there *grasp.Instance, err error) {
	if slices.Contains(p.Links, cli.Memory) {
		p.Say("Running on an in-memory network")
		return inMemory(p)
	}
	if _, err := p.Protect(p.RealLinks()); err != nil {
		return nil, nil, err // such as a missing certificate: no other links would help
	}
	here, there, err = onLinks(ctx, p)
	if err != nil && len(p.Links) > 0 {
		return nil, nil, err // the user asked for these links
	}
	if err != nil {
		p.Say("No usable link: running on an in-memory network")
		p.Say("The reason:", err)
		return inMemory(p)
	}
	return here, there, nil
}

// onLinks starts instances on real links. It is an error if they cannot
// reach each other there.
func onLinks(ctx context.Context, p *cli.Program) (here, there *grasp.Instance, err error) {
	if here, there, err = both(p, p.RealLinks(), p.RealLinks()); err != nil {
		return nil, nil, err // a system without IP, for instance
	}
	links := cli.WaitForLink(ctx, here)
	cli.WaitForLink(ctx, there)
	if err = reach(ctx, here, there); err != nil {
		return nil, nil, errors.Join(err, here.Close(), there.Close())
	}
	p.SayLinks(links)
	return here, there, nil
}

// reach finds out whether one instance can discover what the other has.
func reach(ctx context.Context, here, there *grasp.Instance) error {
	for _, g := range []*grasp.Instance{here, there} {
		if s := g.Snapshot(); len(s.Links) == 0 {
			return fmt.Errorf("no usable link: %s", strings.Join(cli.NoLink(s.Interfaces, s.LinkTrouble), "; "))
		}
	}
	answering, err := here.RegisterASA("answering")
	if err != nil {
		return err
	}
	defer answering.Deregister()
	asking, err := there.RegisterASA("asking")
	if err != nil {
		return err
	}
	defer asking.Deregister()
	o := grasp.NewObjective("EX9")
	if err := answering.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}); err != nil {
		return err
	}
	found, err := asking.Discover(ctx, o, reachTime, grasp.DiscoverOptions{First: true})
	if err == nil && len(found) == 0 {
		err = errors.New("nothing sent on a link arrives: is there a firewall?")
	}
	return err
}

const reachTime = 2 * time.Second

// inMemory starts instances on two nodes of a network in memory.
func inMemory(p *cli.Program) (here, there *grasp.Instance, err error) {
	n := memory.NewNetwork(p.Seed)
	link := n.NewLink(memory.LinkConfig{})
	return both(p, n.NewNode("here", link), n.NewNode("there", link))
}

// both starts an instance on each of two planes' links.
func both(p *cli.Program, hereOn, thereOn acp.Plane) (here, there *grasp.Instance, err error) {
	if here, err = p.NewInstance(hereOn, grasp.Config{}); err != nil {
		return nil, nil, err
	}
	if there, err = p.NewInstance(thereOn, grasp.Config{}); err != nil {
		return nil, nil, errors.Join(err, here.Close())
	}
	return here, there, nil
}
