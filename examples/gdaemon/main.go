// Command gdaemon runs a node that is only a relay: it has no ASA of its own,
// and passes on what the nodes on its links discover and flood. Run it on the
// routers between, say, briggs and gray:
//
//	go run ./examples/gdaemon
//	go run ./examples/gdaemon --link eth0,eth1
//
// It tells when links come and go, and on Ctrl-C what it relayed. As a daemon it
// has a configuration file, which it reads again on SIGHUP, and which may name
// programs to run beside, such as ASAs:
//
//	gdaemon --config /etc/grasp/gdaemon.toml
//
// The page docs/running-a-relay.md tells more; the flag -h shows all flags.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/supervise"
)

func main() {
	supervise.Main()
	command().Main()
}

// options are the program's own flags.
type options struct {
	rate   int
	config string
	check  bool
}

func command() cli.Command {
	var o options
	return cli.Command{
		Daemon: true,
		Name:   "gdaemon",
		About: "gdaemon is a GRASP relay: it passes discoveries and floods on between its\n" +
			"links, and results back. It can also run programs, such as ASAs.",
		JSON: "print the log as JSON objects, one per line",
		Notes: `With --config the file says all that the other flags would, and these are refused,
but for --json, which wins over its log, --check and --dialogue. SIGHUP has the file
read again; if it is wrong, the old settings stay.
Exit status: 0 after SIGTERM or Ctrl-C, 1 if it cannot run, 2 if the command line is wrong.`,
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&o.rate, "rate", 0, "relay at most `R` discoveries, and as many floods, to each link in a second; 0: 200")
			f.StringVar(&o.config, "config", "", "read links, plane, rate, monitor, log and the programs to run from this `file`, and again on SIGHUP")
			f.BoolVar(&o.check, "check", false, "say whether the file of --config is correct, and end")
		},
		Check: o.refuse,
		Run: func(ctx context.Context, p *cli.Program) error {
			if o.check {
				return check(p, o.config)
			}
			return run(ctx, p, o)
		},
	}
}

// refuse refuses flags that make no sense.
func (o *options) refuse(all cli.Options) error {
	switch {
	case o.rate < 0:
		return errors.New("--rate must not be negative")
	case o.check && o.config == "":
		return errors.New("--check goes with --config")
	case o.config == "":
		return nil
	}
	for _, name := range inFile {
		if all.Given(name) {
			return fmt.Errorf("--%s: the file of --config says it, not the command line", name)
		}
	}
	return nil
}

// inFile are the flags whose place a configuration file takes.
var inFile = []string{"link", "plane", "password", "domain", "member", "monitor", "announce", "rate"}

// check says whether a configuration file is correct.
func check(p *cli.Program, file string) error {
	c, err := load(file)
	if err != nil {
		return err
	}
	programs := fmt.Sprintf("%d programs", len(c.Programs))
	if len(c.Programs) == 1 {
		programs = "1 program"
	}
	p.Say(fmt.Sprintf("%s is correct: plane %s, %s", file, c.Plane, programs))
	return nil
}

func run(ctx context.Context, p *cli.Program, o options) error {
	d := &daemon{
		tell:   newTeller(p.Stdout, p.Silent()),
		system: newNotifier(),
		open: func(c config) (*grasp.Instance, func(), error) {
			// Without a configuration file the flags say all, and the monitor is there.
			with, end := p, func() error { return nil }
			if o.config != "" {
				var err error
				if with, end, err = p.With(c.options(p.Options)); err != nil {
					return nil, nil, err
				}
			}
			g, err := with.NewInstance(with.RealLinks(), grasp.Config{Limits: grasp.Limits{RelayRate: c.Rate}})
			if err != nil {
				return nil, nil, errors.Join(err, end())
			}
			return g, func() { _ = end() }, nil // it only showed something
		},
		load: func() (config, error) { return settings(p.Options, o) },
	}
	if o.config != "" {
		hangup := make(chan os.Signal, 1)
		stop := notifyHangup(hangup)
		defer stop()
		d.reload = hangup
	}
	return d.run(ctx)
}

// settings returns what the configuration file says, or else the flags. Of the log the flag
// decides if it is given.
func settings(all cli.Options, o options) (config, error) {
	c := config{Log: logText, nodeConfig: nodeConfig{Rate: o.rate}}
	if o.config != "" {
		var err error
		if c, err = load(o.config); err != nil {
			return c, err
		}
	}
	switch {
	case all.JSON:
		c.Log = logJSON
	case all.Given("json"):
		c.Log = logText
	}
	return c, nil
}
