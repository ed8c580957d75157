// Command graspctl asks a network that speaks GRASP from the shell, as dig asks
// the DNS:
//
//	go run ./examples/graspctl discover EX3
//	go run ./examples/graspctl synch EX2
//	go run ./examples/graspctl negotiate EX3 '["NZD", 100]'
//	go run ./examples/graspctl flood EX1 '"hello"'
//	go run ./examples/graspctl watch
//	go run ./examples/graspctl links
//	go run ./examples/graspctl monitor localhost:8990
//	go run ./examples/graspctl decode capture.pcap
//	go run ./examples/graspctl conform --link eth0 --negotiate EX3
//
// Its commands, flags and exit statuses are told by help.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() { commands().Main() }

func commands() cli.Commands {
	return cli.Commands{
		Name:  "graspctl",
		About: "graspctl asks a network that speaks GRASP (RFC 8990).",
		Notes: `Values, which must not be taken apart by the shell, are JSON or CBOR's
diagnostic notation, such as '["NZD", 100]' or "h'0102'", or encoded CBOR in
hexadecimal digits: hex:82634e5a441864. So are those that are printed. Arguments
that begin with a minus follow "--".

Exit status:
  0  found, agreed, sent, or nothing wrong
  1  not found, declined, or something is wrong with a message
  2  the command line makes no sense
  3  anything else, such as no link, no answer in time, or a broken connection`,
		List: []cli.Command{
			discoverCommand(), synchCommand(), negotiateCommand(), floodCommand(), watchCommand(), decodeCommand(),
			dumpCommand(), monitorCommand(), linksCommand(), conformCommand(),
		},
	}
}

// The exit statuses beside 0, and 2 of package cli.
const (
	statusNot    = 1 // not found, declined, wrong
	statusFailed = 3
)

// not ends the program with the status that says "no".
func not(format string, args ...any) error {
	return &cli.ExitError{Status: statusNot, Err: fmt.Errorf(format, args...)}
}

// run returns what a command does, with the exit status for its error.
func run(do func(context.Context, *cli.Program) error) func(context.Context, *cli.Program) error {
	return func(ctx context.Context, p *cli.Program) error {
		err := do(ctx, p)
		if _, ok := errors.AsType[*cli.ExitError](err); ok || err == nil {
			return err
		}
		return &cli.ExitError{Status: statusFailed, Err: err}
	}
}

// withASA runs a function with an ASA on the links that the user chose.
func withASA(do func(context.Context, *cli.Program, *grasp.ASA) error) func(context.Context, *cli.Program) error {
	return run(func(ctx context.Context, p *cli.Program) error {
		g, err := p.OnLinks(ctx, grasp.Config{})
		if err != nil {
			return err
		}
		defer g.Close()
		a, err := g.RegisterASA("graspctl")
		if err != nil {
			return err
		}
		err = do(ctx, p, a)
		if err != nil && len(g.Snapshot().Links) == 0 {
			return fmt.Errorf("%w; there is no usable link: `graspctl links` says why", err)
		}
		return err
	})
}

// arguments checks how many arguments there are.
func arguments(least, most int) func(cli.Options) error {
	return func(o cli.Options) error {
		switch n := len(o.Args); {
		case n < least:
			return cli.UsageError("an argument is missing")
		case n > most:
			return cli.UsageError(fmt.Sprintf("unexpected argument %q", o.Args[most]))
		}
		return nil
	}
}

// noMonitor refuses a monitor for a command without an instance.
func noMonitor(o cli.Options) error {
	if o.Monitor != "" || o.Announce != "" {
		return errors.New("--monitor and --announce: this command runs no instance that a monitor could show")
	}
	return nil
}

// printJSON prints a line with an object.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
