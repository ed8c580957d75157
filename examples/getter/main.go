// Command getter runs the ASA getter, which gets files from a pusher on the
// link, or behind relays, by negotiation with GRASP. Either can be replaced by
// the Python prototype's ASA of that name.
//
//	go run ./examples/getter getter/main.go
//
// Without names it asks for some, one a line. Each file is put into a directory
// under the last part of its name.
package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/mvfile"
)

func main() { command().Main() }

// defaultMax is the size of the largest file, if the user does not say.
const defaultMax = 1 << 30

func command() cli.Command {
	var dir string
	set := mvfile.GetterSettings{}
	return cli.Command{
		Name:      "getter",
		About:     "getter gets files by negotiation with GRASP.",
		Arguments: "[file...]",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&dir, "dir", ".", "put the files into this `directory`")
			f.BoolVar(&set.Replace, "replace", false, "replace files that are there already")
			f.Int64Var(&set.Max, "max", defaultMax, "take files of at most `N` bytes")
		},
		Check: func(cli.Options) error {
			if set.Max < 0 {
				return errors.New("--max must not be negative")
			}
			return nil
		},
		Run: func(ctx context.Context, p *cli.Program) error { return run(ctx, p, dir, set) },
	}
}

func run(ctx context.Context, p *cli.Program, dir string, set mvfile.GetterSettings) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	g, err := p.OnLinks(ctx, grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	getter, err := mvfile.NewGetter(g, root, set, p.Outcomes)
	if err != nil {
		return err
	}
	defer getter.Close()
	failed := 0
	for name := range names(ctx, p) {
		if ctx.Err() != nil {
			return nil
		}
		if err := getter.Get(ctx, name); err != nil && ctx.Err() == nil {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of the files could not be had", failed)
	}
	return nil
}

// names goes through the names of the files to get, until there are no more or
// the context ends.
func names(ctx context.Context, p *cli.Program) iter.Seq[string] {
	if len(p.Args) > 0 {
		return slices.Values(p.Args)
	}
	lines := p.Lines(ctx)
	return func(yield func(string) bool) {
		for {
			p.Say("File name:")
			select {
			case name, ok := <-lines:
				if !ok || !yield(name) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
