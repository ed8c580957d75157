// Command gdaemon runs a node that is only a relay: it has no ASA of its own,
// and passes on what the nodes on its links discover and flood. Run it on the
// routers between, say, briggs and gray:
//
//	go run ./examples/gdaemon
//	go run ./examples/gdaemon -link eth0,eth1
//
// It tells when links come and go, and on Ctrl-C what it relayed. The flag -h
// shows the others.
package main

import (
	"context"
	"errors"
	"flag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() { command().Main() }

func command() cli.Command {
	var rate int
	return cli.Command{
		Daemon: true,
		Name:   "gdaemon",
		About: "gdaemon is a GRASP relay: it passes discoveries and floods on between its\n" +
			"links, and results back, and does nothing else.",
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&rate, "rate", 0, "relay at most `R` discoveries, and as many floods, to each link\nin a second; 0: 200")
		},
		Check: func(cli.Options) error {
			if rate < 0 {
				return errors.New("-rate must not be negative")
			}
			return nil
		},
		Run: func(ctx context.Context, p *cli.Program) error {
			g, err := p.NewInstance(p.RealLinks(), grasp.Config{Limits: grasp.Limits{RelayRate: rate}})
			if err != nil {
				return err
			}
			return relay(ctx, g, newTeller(p.Stdout, p.JSON, p.Silent()))
		},
	}
}
