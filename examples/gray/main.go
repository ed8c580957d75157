// Command gray runs the ASA Gray: a client who asks for money by negotiation
// with GRASP. Run briggs, here or on another node of the link, to be the
// banker. Either can be replaced by the Python prototype's ASA of that name.
//
//	go run ./examples/gray -n 5
//	go run ./examples/gray -n 1000 -c 100 -wait 0
//
// The second runs a hundred Grays at the same time, which do not pause. The
// flag -h shows all flags.
package main

import (
	"context"

	"github.com/go-grasp/grasp/examples/internal/bank"
)

func main() {
	bank.Command{
		Name:      "gray",
		About:     "Gray is a client: it asks for money by negotiation with GRASP.",
		ManyGrays: true,
		Run:       run,
	}.Main()
}

func run(ctx context.Context, p *bank.Program) error {
	g, err := p.OnLinks(ctx)
	if err != nil {
		return err
	}
	defer g.Close()
	grays, err := bank.NewGrays(g, p.Grays, p.Settings())
	if err != nil {
		return err
	}
	return grays.Run(ctx)
}
