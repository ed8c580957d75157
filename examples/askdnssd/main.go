// Command askdnssd runs the ASA AskDNSSD, which finds services by DNS-SD
// through a getdnssd on the link, or behind relays. Either can be replaced by
// the Python prototype's ASA of that name, GetDNSSD2 and AskDNSSD2.
//
//	go run ./examples/askdnssd http._tcp dns-sd.org
//
// It prints a line for each place at which an instance of the service is to be
// found.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/dnssd"
)

func main() { command().Main() }

func command() cli.Command {
	return cli.Command{
		Name:      "askdnssd",
		About:     "askdnssd finds services by DNS-SD, by negotiation with GRASP.",
		Arguments: "service domain",
		Results:   true,
		Check: func(o cli.Options) error {
			if len(o.Args) != 2 {
				return errors.New("two arguments are needed: a service, such as printer._tcp, and a domain")
			}
			return nil
		},
		Run: run,
	}
}

func run(ctx context.Context, p *cli.Program) error {
	g, err := p.OnLinks(ctx, grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	a, err := dnssd.NewAsker(g, p.Outcomes)
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.Ask(ctx, strings.TrimPrefix(p.Args[0], "_"), p.Args[1])
	if err != nil || p.JSON {
		return err
	}
	return print(p.Stdout, all)
}

// print prints services, a line for each of their places.
func print(w io.Writer, all []dnssd.Service) error {
	for _, s := range all {
		var text []string
		for _, key := range slices.Sorted(maps.Keys(s.Text)) {
			text = append(text, key)
			if s.Text[key] != true {
				text[len(text)-1] += fmt.Sprint("=", s.Text[key])
			}
		}
		at := s.At
		if len(at) == 0 {
			at = []dnssd.Place{{Host: "nowhere"}}
		}
		for _, p := range at {
			host := strconv.Quote(cmp.Or(p.Host, p.Addr.String())) // it comes from others
			host = host[1 : len(host)-1]
			_, err := fmt.Fprintf(w, "%q %s %d priority %d weight %d %q\n", s.Instance, host, p.Port, s.Priority, s.Weight, text)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
