// Command proxy is the part that GRASP plays in a BRSKI join proxy (RFC 8995
// section 4): it hears of registrars in the secure network, and floods AN_Proxy to
// the pledges on its links. For that it has two GRASP instances: a secure one and
// a DULL one (RFC 8990 section 2.5.2).
//
//	go run ./examples/proxy
//	go run ./examples/proxy --link eth0 --pledges eth1
//
// The first has both instances on all links, which is for trying it out. Run
// registrar and pledge, here or on other nodes. Either can be replaced by the
// Python prototype's: Reggie and Pledji, who knows AN_Proxy by another name:
// --objective AN_proxy. The flag -h shows all flags.
package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/brski"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() { command().Main() }

func command() cli.Command {
	var x brski.Proxy
	var names string
	var pledges []string
	return cli.Command{
		Daemon: true,
		Name:   "proxy",
		About: "Proxy hears where there are BRSKI registrars, and floods to pledges on the link that\n" +
			"it is there, AN_Proxy of RFC 8995. " + brski.Only,
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&names, "pledges", "", "pledges, which have no security, are on these interfaces, and the secure network on those of --link: `name[,name]`")
			f.StringVar(&x.Objective, "objective", brski.ObjectiveProxy, "the `name` by which pledges know a proxy; the Python one has "+brski.ObjectivePrototype)
			f.IntVar(&x.Port, "port", 11800, "the `port` on which pledges are served")
			f.DurationVar(&x.Every, "every", time.Minute, "flood after this `time` again; a flood lives three times as long")
		},
		Check: func(o cli.Options) error {
			pledges = nil
			if names != "" {
				pledges = strings.Split(names, ",")
			}
			switch {
			case x.Objective != brski.ObjectiveProxy && x.Objective != brski.ObjectivePrototype:
				return errors.New("--objective must be " + brski.ObjectiveProxy + " or " + brski.ObjectivePrototype)
			case slices.Contains(pledges, ""):
				return errors.New("--pledges has an empty name")
			case len(pledges) > 0 && len(o.Links) == 0:
				return errors.New("--pledges needs --link: the secure instance must not speak to pledges")
			}
			return errors.Join(brski.CheckPorts(x.Port), brski.CheckEvery(x.Every))
		},
		Run: func(ctx context.Context, p *cli.Program) error {
			secure, err := p.OnLinks(ctx, grasp.Config{})
			if err != nil {
				return err
			}
			defer secure.Close()
			if pledges == nil {
				for _, l := range secure.Snapshot().Links {
					pledges = append(pledges, l.Name)
				}
			}
			var dull []*grasp.Instance
			for _, name := range pledges {
				g, err := p.NewDULL(&acp.Layer2{Links: []string{name}, IPv4: true}, x.Objective)
				if err != nil {
					return err
				}
				defer g.Close()
				dull = append(dull, g)
			}
			return x.Run(ctx, p, secure, dull...)
		},
	}
}
