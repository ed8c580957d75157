package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/monitor"
)

// watching is what graspctl monitor is to show, and where.
type watching struct {
	listen string
	allow  []netip.Prefix // from which monitors are found; none: none are
	find   string
}

func monitorCommand() cli.Command {
	var w watching
	return cli.Command{
		Name: "monitor",
		About: "Shows a network on a page: what is wrong, a map of nodes and links, what lives where.\n" +
			"It asks the monitors of programs, which they have with --monitor: those of which the\n" +
			"URLs are given, perhaps under a name, and with --find those that announce themselves,\n" +
			"which they do with --announce. Those beyond localhost have a token, which is in the URL\n" +
			"that the program prints; a token that all are to have is in " + cli.TokenVariable + ".",
		Arguments: "[[name=]url]...",
		Results:   true,
		Daemon:    true,
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&w.listen, "listen", defaultMonitor, "serve the page at `address:port`")
			f.StringVar(&w.find, "find", "", "ask also those that announce themselves with addresses of these `prefixes`, such as fd00::/8,fe80::/10")
		},
		Check: func(o cli.Options) error {
			if o.JSON {
				return errors.New("--json: this command serves a page and prints no results; the page has them as JSON at /network")
			}
			w.allow = nil
			for _, s := range list(w.find) {
				p, err := netip.ParsePrefix(s)
				if err != nil {
					return fmt.Errorf("--find: %q is no prefix, such as fd00::/8", s)
				}
				w.allow = append(w.allow, p)
			}
			if len(w.allow) == 0 && len(o.Args) == 0 {
				return errors.New("nothing to show: give URLs of monitors, or --find with prefixes")
			}
			if len(w.allow) == 0 && o.Given("link", "plane", "monitor") {
				return errors.New("--link, --plane and --monitor go with --find: what is at a URL is asked by HTTP")
			}
			return nil
		},
		Run: run(w.run),
	}
}

// run serves the page until the context ends.
func (w *watching) run(ctx context.Context, p *cli.Program) error {
	m := monitor.New(monitor.Config{Caption: "network", Token: cli.Token()})
	defer m.Close()
	for _, arg := range p.Args {
		name, url, found := strings.Cut(arg, "=")
		if !found || strings.ContainsAny(name, ":/") { // a URL may have a parameter
			name, url = "", arg
		}
		if _, err := m.Follow(name, url); err != nil {
			return err
		}
	}
	if len(w.allow) > 0 {
		g, err := p.OnLinks(ctx, grasp.Config{})
		if err != nil {
			return err
		}
		defer g.Close()
		if _, err := m.Find(g, w.allow); err != nil {
			return err
		}
	}
	url, err := m.Listen(w.listen)
	if err != nil {
		return err
	}
	p.Say("Network:", url+"#network")
	<-ctx.Done()
	return nil
}
