package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func linksCommand() cli.Command {
	return cli.Command{
		Name: "links",
		About: "Lists the interfaces of this host: which are links of GRASP, why the others are not, and\n" +
			"by which addresses this host is announced. With the URL of a monitor, such as\n" +
			defaultMonitor + ", those of the instances of a running program.\n" + tokenHelp,
		Arguments: "[url]",
		Results:   true,
		Daemon:    true, // it lists what is missing
		Check: checks(arguments(0, 1), noMonitor, func(o cli.Options) error {
			if len(o.Args) > 0 && o.Given("link", "plane") {
				return errors.New("--link and --plane: the program at the URL has its own")
			}
			_, err := snapshotURL(o.Args)
			return err
		}),
		Run: run(func(ctx context.Context, p *cli.Program) error {
			if len(p.Args) > 0 {
				return linksOf(ctx, p)
			}
			return links(ctx, p)
		}),
	}
}

// listed is what is known of the links of an endpoint or an instance.
type listed struct {
	Instance   string `json:",omitempty"`
	Interfaces []acp.Interface
	Trouble    string   `json:",omitempty"`
	Addresses  []string // by which the host is announced
}

// links lists the interfaces of this host, as an instance would see them.
func links(ctx context.Context, p *cli.Program) error {
	plane, err := p.Plane()
	if err != nil {
		return err
	}
	ep, err := plane.Open()
	if err != nil {
		return err
	}
	defer ep.Close()
	ctx, cancel := context.WithTimeout(ctx, cli.LinkTime)
	defer cancel()
	for waiting := true; waiting && awaited(ep); {
		select {
		case <-ep.Changed():
		case <-ctx.Done():
			waiting = false
		}
	}
	all, err := acp.Interfaces(ep)
	l := listed{Interfaces: all}
	if err != nil {
		l.Trouble = err.Error()
	}
	for _, on := range ep.Links() {
		l.Addresses = append(l.Addresses, fmt.Sprintf("on %s: %v", on.Name, acp.Addrs(ep, on.Index)))
	}
	if beyond := acp.Addrs(ep, 0); len(beyond) > 0 {
		l.Addresses = append(l.Addresses, fmt.Sprintf("beyond the links: %v", beyond))
	}
	if err := l.print(p); err != nil {
		return err
	}
	if len(ep.Links()) == 0 {
		return not("no link")
	}
	return nil
}

// awaited is true if an interface may soon be a link.
func awaited(ep acp.Endpoint) bool {
	all, _ := acp.Interfaces(ep)
	for _, i := range all {
		if i.State == acp.LinkTentative || i.State == acp.LinkNoAddress {
			return true
		}
	}
	return false
}

// linksOf lists those of the instances of a running program.
func linksOf(ctx context.Context, p *cli.Program) error {
	at, err := snapshotURL(p.Args)
	if err != nil {
		return err
	}
	s, _, err := fetchState(ctx, at)
	if err != nil {
		return err
	}
	found := false
	for _, i := range s.Instances {
		found = found || len(i.Snapshot.Links) > 0
		l := listed{Instance: i.Name, Interfaces: i.Snapshot.Interfaces, Trouble: i.Snapshot.LinkTrouble}
		if i.Snapshot.Address.IsValid() {
			l.Addresses = []string{fmt.Sprintf("beyond the links: [%v]", i.Snapshot.Address)}
		}
		if err := l.print(p); err != nil {
			return err
		}
	}
	if !found {
		return not("no link")
	}
	return nil
}

func (l listed) print(p *cli.Program) error {
	if p.JSON {
		return printJSON(p.Stdout, l)
	}
	return l.table(p.Stdout)
}

// advice says more of an interface: what the plane says or else what can be done.
func advice(i acp.Interface) string {
	switch {
	case i.Detail != "":
		return i.Detail
	case i.State == acp.LinkMissing:
		return "ip link lists those there are; it is used as soon as it is there"
	case i.State == acp.LinkDown:
		return "it is switched off: ip link set " + i.Name + " up"
	case i.State == acp.LinkNoCarrier:
		return "there is no cable, or the other end is switched off"
	case i.State == acp.LinkUnnamed:
		return "--link names others"
	case i.State == acp.LinkLoopback:
		return "it is used only if it is named: --link " + i.Name
	}
	return ""
}

// table prints it for people.
func (l listed) table(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	if l.Instance != "" {
		fmt.Fprintf(w, "Instance %q\n", l.Instance)
	}
	for _, i := range l.Interfaces {
		index := "-"
		if i.Index > 0 {
			index = fmt.Sprint(i.Index)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", index, i.Name, i.State, advice(i))
	}
	for _, a := range l.Addresses {
		fmt.Fprintln(w, "Announced "+a)
	}
	if l.Trouble != "" {
		fmt.Fprintln(w, "Trouble: "+l.Trouble)
	}
	return w.Flush()
}
