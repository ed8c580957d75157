// Command briggs runs the ASA Briggs: a banker who gives out money by
// negotiation with GRASP, to any number of clients at the same time. Run gray,
// here or on another node of the link, to be his client. Either can be replaced
// by the Python prototype's ASA of that name.
//
//	go run ./examples/briggs
//
// The flag -h shows the others.
package main

import (
	"context"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/bank"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() {
	cli.Command{
		Name:   "briggs",
		About:  "Briggs is a banker: he gives out money by negotiation with GRASP.",
		Counts: "negotiations",
		Run:    run,
	}.Main()
}

func run(ctx context.Context, p *cli.Program) error {
	g, err := p.OnLinks(ctx, grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	b, err := bank.NewBriggs(g, bank.SettingsOf(p))
	if err != nil {
		return err
	}
	return b.Run(ctx)
}
