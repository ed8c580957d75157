// Command gray runs the ASA Gray: a client who asks for money by negotiation
// with GRASP. Run briggs, here or on another node of the link, to be the
// banker. Either can be replaced by the Python prototype's ASA of that name.
//
//	go run ./examples/gray -n 5
//	go run ./examples/gray -n 1000 -c 100 --wait 0
//
// The second runs a hundred Grays at the same time, which do not pause. The
// flag -h shows all flags.
package main

import (
	"context"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/bank"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() {
	var grays int
	cli.Command{
		Name:   "gray",
		About:  "Gray is a client: it asks for money by negotiation with GRASP.",
		Counts: "negotiations",
		Flags:  func(f *flag.FlagSet) { bank.GraysFlag(f, &grays) },
		Run:    func(ctx context.Context, p *cli.Program) error { return run(ctx, p, grays) },
	}.Main()
}

func run(ctx context.Context, p *cli.Program, count int) error {
	g, err := p.OnLinks(ctx, grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	grays, err := bank.NewGrays(g, count, bank.SettingsOf(p))
	if err != nil {
		return err
	}
	return grays.Run(ctx)
}
