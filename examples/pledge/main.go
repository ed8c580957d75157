// Command pledge is the part that GRASP plays in a BRSKI pledge (RFC 8995 section
// 4.1): it listens, without security, for proxies that flood AN_Proxy. Run proxy and
// registrar, here or on other nodes.
//
//	go run ./examples/pledge
//
// The Python prototype's Procksy will do as well. The flag -h shows all flags.
package main

import (
	"context"
	"strings"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp/examples/internal/brski"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() { command().Main() }

func command() cli.Command {
	var x brski.Pledge
	return cli.Command{
		Name: "pledge",
		About: "Pledge is a new device that looks for a BRSKI proxy on its links, AN_Proxy of RFC 8995,\n" +
			"and pretends to contact it. " + brski.Only,
		Counts: "contacts",
		Flags: func(f *flag.FlagSet) {
			f.Func("variations", "what of BRSKI it can do, the empty name being "+brski.VariationESTTLS+"; by default anything: `name[,name]`", func(s string) error {
				x.Variations = strings.Split(s, ",")
				return brski.CheckVariations(x.Variations)
			})
		},
		Run: func(ctx context.Context, p *cli.Program) error {
			g, err := p.NewDULL(p.RealLinks(), brski.ObjectiveProxy, brski.ObjectivePrototype)
			if err != nil {
				return err
			}
			defer g.Close()
			p.AwaitLink(ctx, g)
			return x.Run(ctx, p, g)
		},
	}
}
