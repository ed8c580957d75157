package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/fxamacker/cbor/v2"
	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/diag"
)

func floodCommand() cli.Command {
	var s struct {
		ttl, every time.Duration
		loops      uint
		at         string
	}
	var source *grasp.Locator
	return cli.Command{
		Name: "flood",
		About: "Floods an objective with a value to all nodes, once or again and again.\n" +
			"Mind that they all believe it.",
		Arguments: "objective value",
		Results:   true,
		Flags: func(f *flag.FlagSet) {
			f.DurationVar(&s.ttl, "ttl", time.Minute, "the value lives for this `time`; 0: for ever")
			f.DurationVar(&s.every, "every", 0, "flood it again after this `time`, until Ctrl-C; 0: once")
			f.StringVar(&s.at, "at", "", "the `locator` that the flood gives, such as [2001:db8::1]:443, [::]:443 for this node's address on each link, example.com:53/udp or coap://example.com")
			loopsFlag(f, &s.loops)
		},
		Check: checks(arguments(2, 2),
			func(cli.Options) error { return checkTimes(s.ttl, s.every) },
			func(cli.Options) error { return checkLoops(s.loops) },
			func(cli.Options) (err error) { source, err = parsePeer(s.at); return err },
			func(o cli.Options) error { _, err := diag.Value(o.Args[1]); return err }),
		Run: withASA(func(ctx context.Context, p *cli.Program, a *grasp.ASA) error {
			value, err := diag.Value(p.Args[1])
			if err != nil {
				return err
			}
			o := grasp.Objective{Name: p.Args[0], Synch: true, LoopCount: uint8(s.loops), Value: cbor.RawMessage(value)}
			if err := a.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}); err != nil { // who missed it may ask
				return err
			}
			return flood(ctx, p, a, grasp.TaggedObjective{Objective: o, Source: source}, s.ttl, s.every)
		}),
	}
}

// flood floods once, or until the context ends. Then only the first flood must not fail:
// a link that breaks may come back.
func flood(ctx context.Context, p *cli.Program, a *grasp.ASA, t grasp.TaggedObjective, ttl, every time.Duration) error {
	for first := true; ; first = false {
		links := a.Instance().Snapshot().Links
		if len(links) == 0 && every == 0 {
			return errors.New("there is no link to flood on")
		}
		switch err := a.Flood(ttl, t); {
		case err != nil && (first || errors.Is(err, net.ErrClosed)):
			return err
		case err != nil:
			fmt.Fprintln(p.Stderr, err)
			links = nil
		}
		for _, l := range links {
			if err := printFlooded(p, t.Objective, l.Name); err != nil {
				return err
			}
		}
		if every == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func printFlooded(p *cli.Program, o grasp.Objective, link string) error {
	if p.JSON {
		return printJSON(p.Stdout, struct {
			Objective string `json:"objective"`
			Link      string `json:"link"`
		}{o.Name, link})
	}
	_, err := fmt.Fprintf(p.Stdout, "%q flooded on %s\n", o.Name, link)
	return err
}
