package main

import (
	"context"
	"fmt"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func discoverCommand() cli.Command {
	var s struct {
		timeout time.Duration
		loops   uint
		first   bool
	}
	return cli.Command{
		Name: "discover",
		About: "Discovers who has an objective, and prints their locators, one a line.\n" +
			"The exit status is 1 if nobody answers.",
		Arguments: "objective",
		Results:   true,
		Flags: func(f *flag.FlagSet) {
			f.DurationVar(&s.timeout, "timeout", 2*time.Second, "collect answers for this `time`")
			f.BoolVar(&s.first, "first", false, "stop at the first answer")
			loopsFlag(f, &s.loops)
		},
		Check: checks(arguments(1, 1), func(cli.Options) error { return checkTimes(s.timeout) }, func(cli.Options) error { return checkLoops(s.loops) }),
		Run: withASA(func(ctx context.Context, p *cli.Program, a *grasp.ASA) error {
			o := grasp.NewObjective(p.Args[0])
			o.LoopCount = uint8(s.loops)
			found, err := a.Discover(ctx, o, s.timeout, grasp.DiscoverOptions{First: s.first})
			if err != nil {
				return err
			}
			for _, l := range found {
				if err := printLocator(p, resultOf(o.Name, l)); err != nil {
					return err
				}
			}
			if len(found) == 0 {
				return not("%q: nobody answered", o.Name)
			}
			return nil
		}),
	}
}

func printLocator(p *cli.Program, r locatorResult) error {
	if p.JSON {
		return printJSON(p.Stdout, r)
	}
	diverted := ""
	if r.Diverted {
		diverted = "  diverted"
	}
	_, err := fmt.Fprintf(p.Stdout, "%s  link %s  ttl %ds%s\n", r.Locator, r.Link, r.Seconds, diverted)
	return err
}

// loopsFlag adds the flag for a loop count.
func loopsFlag(f *flag.FlagSet, loops *uint) {
	f.UintVar(loops, "loops", grasp.DefaultLoopCount, "the loop count `N`")
}

func checkLoops(loops uint) error {
	if loops < 1 || loops > 255 {
		return fmt.Errorf("--loops %d: it must be from 1 to 255", loops)
	}
	return nil
}

// checkTimes refuses a time that has passed.
func checkTimes(times ...time.Duration) error {
	for _, d := range times {
		if d < 0 {
			return fmt.Errorf("%v: a time must not be negative", d)
		}
	}
	return nil
}

// checks returns the first error of some checks.
func checks(all ...func(cli.Options) error) func(cli.Options) error {
	return func(o cli.Options) error {
		for _, check := range all {
			if err := check(o); err != nil {
				return err
			}
		}
		return nil
	}
}
