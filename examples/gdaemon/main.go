// Command gdaemon runs a node that is only a relay: it has no ASA of its own,
// and passes on what the nodes on its links discover and flood. Run it on the
// routers between, say, briggs and gray:
//
//	go run ./examples/gdaemon
//	go run ./examples/gdaemon -link eth0,eth1
//
// It tells when links come and go, and on Ctrl-C what it relayed. The flag -h
// shows the others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	os.Exit(execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the settings: the flags.
type options struct {
	links    []string
	json     bool
	dialogue bool
	rate     int
}

const about = `gdaemon is a GRASP relay: it passes discoveries and floods on between its
links, and results back, and does nothing else.

Usage: gdaemon [flags]
`

// parse reads the command line. On error the user has been told.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var links string
	f := flag.NewFlagSet("gdaemon", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&links, "link", "", "relay between these interfaces only: `name[,name]`;\nby default between all")
	f.IntVar(&o.rate, "rate", 0, "relay at most `R` discoveries, and as many floods, to each link\nin a second; 0: 200")
	f.BoolVar(&o.json, "json", false, "print one JSON object per line")
	f.BoolVar(&o.dialogue, "dialogue", false, "ask how much to print, like the Python prototype")
	f.Usage = func() {
		fmt.Fprint(stderr, about+"\n")
		f.PrintDefaults()
	}
	err := f.Parse(args)
	if err != nil {
		return o, err
	}
	if links != "" {
		o.links = strings.Split(links, ",")
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case slices.Contains(o.links, ""):
		err = errors.New("-link has an empty name")
	case o.rate < 0:
		err = errors.New("-rate must not be negative")
	}
	if err != nil {
		fmt.Fprintln(stderr, "gdaemon:", err)
	}
	return o, err
}

// execute runs the command and returns its exit status: 0 if it ran, 1 if it
// could not, 2 if its flags were wrong.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	cfg := grasp.Config{Plane: &acp.Layer2{Links: o.links}, RelayRate: o.rate}
	if o.dialogue {
		cfg.Dialogue, err = grasp.AskDialogue(stdin, stderr)
	}
	if err == nil {
		cfg.Dialogue.Output = stdout
		if o.json {
			cfg.Dialogue.Output = stderr
		}
		err = relay(ctx, cfg, newTeller(stdout, o.json, cfg.Dialogue.Silent))
	}
	if err != nil {
		fmt.Fprintln(stderr, "gdaemon:", err)
		return 1
	}
	return 0
}
