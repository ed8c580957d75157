package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/diag"
)

func synchCommand() cli.Command {
	var s struct {
		timeout time.Duration
		peer    string
	}
	var peer *grasp.Locator
	return cli.Command{
		Name: "synch",
		About: "Asks for the value of an objective by synchronization, and prints it.\n" +
			"The exit status is 1 if nobody has it. A value that is flooded only is for watch.",
		Arguments: "objective",
		Results:   true,
		Flags: func(f *flag.FlagSet) {
			f.DurationVar(&s.timeout, "timeout", 5*time.Second, "the `time` to discover somebody, and again that for his answer")
			f.StringVar(&s.peer, "peer", "", peerFlag)
		},
		Check: checks(arguments(1, 1), func(cli.Options) error { return checkTimes(s.timeout) },
			func(cli.Options) (err error) { peer, err = parsePeer(s.peer); return err }),
		Run: withASA(func(ctx context.Context, p *cli.Program, a *grasp.ASA) error {
			o := grasp.NewObjective(p.Args[0])
			o.Synch = true
			o, err := a.Synchronize(ctx, o, peer, s.timeout)
			switch {
			case errors.Is(err, grasp.ErrNotFloodDisc):
				return not("%q: nobody answered", p.Args[0])
			case errors.Is(err, grasp.ErrNoListener):
				return not("%w", err)
			case err != nil:
				return err
			}
			return printValue(p, o)
		}),
	}
}

// parsePeer reads the flag --peer.
func parsePeer(s string) (*grasp.Locator, error) {
	if s == "" {
		return nil, nil
	}
	l, err := parseLocator(s)
	return &l, err
}

// valueResult is an objective with a value in JSON.
type valueResult struct {
	Objective string `json:"objective"`
	// Value is null if JSON has no such value: see Diagnostic.
	Value      json.RawMessage `json:"value"`
	Diagnostic string          `json:"diagnostic"`
	Outcome    cli.Result      `json:"outcome,omitempty"` // of a negotiation
	Reason     string          `json:"reason,omitempty"`  // of its failure
}

func valueOf(o grasp.Objective) (valueResult, error) {
	raw, err := grasp.Encode(o.Value)
	return valueResult{Objective: o.Name, Value: diag.JSON(raw), Diagnostic: diag.Format(raw)}, err
}

// printValue prints the value of an objective.
func printValue(p *cli.Program, o grasp.Objective) error {
	r, err := valueOf(o)
	switch {
	case err != nil:
	case p.JSON:
		err = printJSON(p.Stdout, r)
	default:
		_, err = fmt.Fprintln(p.Stdout, r.Diagnostic)
	}
	return err
}
