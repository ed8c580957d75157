// Command pusher runs the ASA pusher, which sends the files below a directory
// to whoever asks for them, by negotiation with GRASP. Run getter, here or on
// another node of the link, to get one. Either can be replaced by the Python
// prototype's ASA of that name.
//
//	go run ./examples/pusher --dir examples
//
// Whoever is in the network gets whatever is in the directory, but nothing
// else: links that lead out of it are not followed.
package main

import (
	"context"
	"errors"
	"os"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/mvfile"
)

func main() { command().Main() }

func command() cli.Command {
	var dir string
	return cli.Command{
		Name:  "pusher",
		About: "pusher sends files to whoever asks for them, by negotiation with GRASP.",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&dir, "dir", "", "send the files below this `directory`, and no others")
		},
		Check: func(cli.Options) error {
			if dir == "" {
				return errors.New("--dir is missing: the directory with the files to send")
			}
			return nil
		},
		Run: func(ctx context.Context, p *cli.Program) error { return run(ctx, p, dir) },
	}
}

func run(ctx context.Context, p *cli.Program, dir string) error {
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
	pusher, err := mvfile.NewPusher(g, root, p.Outcomes)
	if err != nil {
		return err
	}
	return pusher.Run(ctx)
}
