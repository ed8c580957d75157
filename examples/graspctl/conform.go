package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/conform"
	"github.com/go-grasp/grasp/examples/internal/diag"
)

func conformCommand() cli.Command {
	var c struct {
		conform.Config
		value, target, junit string
		list, verbose        bool
	}
	return cli.Command{
		Name: "conform",
		About: "Judges whether a node obeys RFC 8990: plays a peer that is correct, difficult and, in parts,\n" +
			"hostile. The node must negotiate or synchronize an objective, and be on the link; on two links\n" +
			"it is judged as a relay too. Nothing is sent on other links, and no more than a few hundred\n" +
			"packets a second. The exit status is 1 if it fails a MUST.\n\n" +
			"Not supported: the TLS plane, and a node as the initiator of negotiations and floods.",
		Offline: true,
		Results: true,
		Flags: func(f *flag.FlagSet) {
			f.Func("link", "the links to the node, one or two: `name[,name]`", func(s string) error {
				c.Links = strings.Split(s, ",")
				return nil
			})
			f.StringVar(&c.Negotiate, "negotiate", "", "the `name` of an objective that the node negotiates")
			f.StringVar(&c.Synch, "synch", "", "the `name` of an objective that the node synchronizes")
			f.StringVar(&c.value, "value", "null", "the `value` to ask for when negotiating: one that the node does not accept at once")
			f.StringVar(&c.target, "target", "", "the `address` of the node, if others on the link answer too")
			f.BoolVar(&c.IPv4, "ipv4", false, "the links run over IPv4")
			f.StringVar(&c.Password, "password", "", "the `password` of the QUADS domain that the node is in")
			f.BoolVar(&c.DULL, "dull", false, "the node is a DULL instance")
			f.Func("only", "run these `checks` only: IDs, names, or parts of names, with commas between", patterns(&c.Only))
			f.Func("skip", "do not run these `checks`", patterns(&c.Skip))
			f.BoolVar(&c.Slow, "slow", false, "also run checks that wait in real time, for some ten minutes in all")
			f.BoolVar(&c.Serial, "serial", false, "run one check after another")
			f.DurationVar(&c.Patience, "patience", 0, "the `time` in which an answer must come; 0: 3s")
			f.DurationVar(&c.Quiet, "quiet", 0, "the `time` for which nothing may come where nothing must; 0: 500ms")
			f.StringVar(&c.junit, "junit", "", "also write the results to this `file`, in the XML of JUnit")
			f.BoolVar(&c.list, "list", false, "list the checks, and run none")
			f.BoolVarP(&c.verbose, "verbose", "v", false, "print also what passes, and the bytes of what fails")
		},
		Check: func(cli.Options) error {
			if c.list {
				return nil
			}
			if len(c.Links) == 0 {
				return errors.New("--link must name the link to the node: nothing is sent on any other")
			}
			if c.Negotiate == "" && c.Synch == "" {
				return errors.New("--negotiate or --synch must name an objective of the node")
			}
			var err, err2 error
			c.Value, err = diag.Value(c.value)
			if c.target != "" {
				c.Target, err2 = netip.ParseAddr(c.target)
			}
			return errors.Join(err, err2)
		},
		Run: run(func(ctx context.Context, p *cli.Program) error {
			if c.list {
				return listChecks(p.Stdout, c.Only, c.Skip)
			}
			if !p.JSON && isTerminal(p.Stderr) {
				c.Each = progress(p.Stderr)
			}
			r, err := conform.Run(ctx, c.Config)
			if err != nil {
				return err
			}
			if p.JSON {
				err = r.JSON(p.Stdout)
			} else {
				conform.Printer{W: p.Stdout, Colours: isTerminal(p.Stdout), Brief: !c.verbose}.Print(r)
			}
			if c.junit != "" {
				err = errors.Join(err, writeFile(c.junit, r.JUnit))
			}
			if n := r.Count(conform.Must, conform.Fail); n > 0 && err == nil {
				return not("%d checks of what the RFC says MUST be have failed", n)
			}
			return err
		}),
	}
}

// patterns splits a list of patterns.
func patterns(into *[]string) func(string) error {
	return func(s string) error {
		*into = append(*into, strings.Split(s, ",")...)
		return nil
	}
}

// listChecks prints what is checked.
func listChecks(w io.Writer, only, skip []string) error {
	for _, c := range conform.Checks() {
		if len(only) > 0 && !c.Matches(only) || c.Matches(skip) {
			continue
		}
		slow := ""
		if c.Slow() {
			slow = " (slow)"
		}
		if _, err := fmt.Fprintf(w, "%-5s %-6s %-38s §%-8s %s%s\n", c.ID, c.Strength, c.Name, c.Section, c.Demand, slow); err != nil {
			return err
		}
	}
	return nil
}

// progress prints how many checks have run, over and over on one line.
func progress(w io.Writer) func(conform.Result) {
	done, failed := 0, 0
	return func(x conform.Result) {
		done++
		if x.Verdict == conform.Fail {
			failed++
		}
		fmt.Fprintf(w, "\r%d of %d checks, %d failed \r", done, len(conform.Checks()), failed)
	}
}

// isTerminal reports whether a person reads what is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0
}

// writeFile makes a file.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
