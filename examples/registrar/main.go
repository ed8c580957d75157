// Command registrar is the part that GRASP plays in a BRSKI registrar (RFC 8995
// section 4.3): it floods AN_join_registrar through the network. Run proxy and
// pledge, here or on other nodes, to hear it.
//
//	go run ./examples/registrar
//
// Either can be replaced by the Python prototype's: Procksy and Pledji. Procksy
// heeds only what is flooded with the loop count 1: --loops 1. The flag -h shows
// all flags.
package main

import (
	"context"
	"errors"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/brski"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() { command().Main() }

func command() cli.Command {
	var r brski.Registrar
	return cli.Command{
		Daemon: true,
		Name:   "registrar",
		About: "Registrar floods to all nodes where there is a BRSKI registrar, AN_join_registrar\n" +
			"of RFC 8995, for proxies to hear. " + brski.Only,
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&r.Port, "port", 8443, "the TCP `port` of the registrar")
			f.Func("variations", "what of BRSKI it does over TCP, by default "+brski.VariationESTTLS+": `name[,name]`", func(s string) error {
				r.Variations = strings.Split(s, ",")
				return brski.CheckVariations(r.Variations)
			})
			f.IntVar(&r.UDP, "udp", 0, "the UDP `port` for constrained BRSKI; 0: none")
			f.IntVar(&r.Stateless, "stateless", 0, "the UDP `port` for stateless proxies; 0: none")
			f.IntVar(&r.Loops, "loops", 255, "the loop count `N`; the Python proxy heeds 1 only")
			f.DurationVar(&r.Every, "every", time.Minute, "flood after this `time` again; a flood lives three times as long")
		},
		Check: func(cli.Options) error {
			if r.Loops < 1 || r.Loops > 255 {
				return errors.New("--loops must be from 1 to 255")
			}
			for _, port := range []int{r.UDP, r.Stateless} {
				if port != 0 {
					if err := brski.CheckPort(port); err != nil {
						return err
					}
				}
			}
			return errors.Join(brski.CheckPort(r.Port), brski.CheckEvery(r.Every))
		},
		Run: func(ctx context.Context, p *cli.Program) error {
			g, err := p.OnLinks(ctx, grasp.Config{})
			if err != nil {
				return err
			}
			defer g.Close()
			return r.Run(ctx, p, g)
		},
	}
}
