// Command getdnssd runs the ASA GetDNSSD, which looks up services by DNS-SD
// for nodes that have GRASP only. Run askdnssd, here or on another node of the
// link, to ask it. Either can be replaced by the Python prototype's ASA of that
// name, GetDNSSD2 and AskDNSSD2.
//
//	go run ./examples/getdnssd
//	go run ./examples/getdnssd --server 192.0.2.53 --mdns eth1
//
// Whoever is in the network can have it look up any name.
package main

import (
	"context"
	"net/netip"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/dnssd"
)

func main() { command("/etc/resolv.conf").Main() }

// command is the program. It asks the server of a resolver's configuration if the
// user names none.
func command(resolv string) cli.Command {
	var dns dnssd.Both
	return cli.Command{
		Name:  "getdnssd",
		About: "getdnssd looks up services by DNS-SD for whoever asks by negotiation with GRASP.",
		Flags: func(f *flag.FlagSet) {
			f.Func("server", "ask this DNS server, an `address` or address:port, instead of the first one in "+resolv, func(s string) (err error) {
				dns.DNS.Server, err = server(s)
				return err
			})
			f.StringVar(&dns.Link.Link, "mdns", "", "look names below local. up by multicast DNS on this `link`")
		},
		Run: func(ctx context.Context, p *cli.Program) error { return run(ctx, p, dns, resolv) },
	}
}

// server reads an address with or without a port.
func server(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(addr, dnssd.Port), nil
	}
	return netip.ParseAddrPort(s)
}

func run(ctx context.Context, p *cli.Program, dns dnssd.Both, resolv string) error {
	if !dns.DNS.Server.IsValid() {
		var err error
		if dns.DNS.Server, err = dnssd.SystemServer(resolv); err != nil {
			return err
		}
	}
	g, err := p.OnLinks(ctx, grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	a, err := dnssd.NewAnswerer(g, dns, p.Outcomes)
	if err != nil {
		return err
	}
	p.Say("DNS server:", dns.DNS.Server)
	return a.Run(ctx)
}
