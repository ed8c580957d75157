// Package cli is what the example programs have in common: their flags, what
// they print and where, and how they end.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/monitor"
)

// Command is one of the example programs.
type Command struct {
	Name  string
	About string // what it does, a sentence or two
	// Arguments are for the usage text what follows the flags; without it
	// nothing may.
	Arguments string
	// JSON says what --json does, if it does not print outcomes or results.
	JSON string
	// Notes are for the end of its help, such as which files it has.
	Notes string
	// Counts is what --number counts, in the plural. Without it there are no
	// --number, --seed and --wait.
	Counts string
	// Seed is the seed without --seed; 0: a new one each time.
	Seed uint64
	// Memory allows the network in memory.
	Memory bool
	// Offline is for a program that opens no link: it has none of the
	// flags for links.
	Offline bool
	// Daemon is for a program that runs on when a link that was named does not
	// exist yet. Others end with status 2.
	Daemon bool
	// Results is for a program that prints results on standard output with or
	// without --json, and so its progress on standard error.
	Results bool
	// Flags adds the program's own flags, and Check refuses wrong ones. Both
	// may be nil.
	Flags func(*flag.FlagSet)
	Check func(Options) error
	// Run is the program proper. It ends when the context does, or before. Its
	// error may be an [*ExitError].
	Run func(context.Context, *Program) error

	sharedHelp string // where help on flags is that others have as well; "": in that of this one
}

// Program is a running command.
type Program struct {
	Options
	Outcomes  *Outcomes
	Stdout    io.Writer // of the process; with --json for objects only
	Stdin     io.Reader
	Stderr    io.Writer
	dialogue  grasp.Dialogue
	own       *domain.Domain // without a directory of one; nil: not made yet
	members   int            // of it
	name      string
	daemon    bool
	monitor   *monitor.Monitor // nil without --monitor
	announced bool             // where it is
}

// ExitError is an error with which a program ends with another status than 1.
type ExitError struct {
	Status int
	Err    error
}

// Error returns the text of the cause.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// Main runs the command and ends the process: with status 0 if it ran, however
// the negotiations ended, 1 if it could not, 2 if its flags were wrong, or with
// that of an [ExitError]. Ctrl-C has it end in good order, a second one at once.
func (c Command) Main() { processMain(c.Execute) }

// processMain executes a program as the process that this is.
func processMain(execute func(context.Context, []string, io.Reader, io.Writer, io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Execute is Main without the end of the process: it returns the status.
func (c Command) Execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if hidden, ok := c.hidden(args); ok {
		return printed(stdout, hidden)
	}
	o, err := c.parse(args, stdout, stderr)
	switch {
	case errors.Is(err, errTold):
		return 0
	case err != nil:
		return 2
	}
	p, err := c.start(o, stdin, stdout, stderr)
	if err == nil {
		if c.Counts != "" {
			p.Say("Seed:", p.Seed)
		}
		err = errors.Join(c.Run(ctx, p), p.Outcomes.Err())
		err = errors.Join(err, p.endMonitor(ctx, err == nil))
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", c.Name, err)
		if exit, ok := errors.AsType[*ExitError](err); ok {
			return exit.Status
		}
		return 1
	}
	return 0
}

func (c Command) start(o Options, stdin io.Reader, stdout, stderr io.Writer) (*Program, error) {
	p := &Program{name: c.Name, daemon: c.Daemon, Options: o, Outcomes: NewOutcomes(nil), Stdout: stdout, Stdin: stdin, Stderr: stderr}
	if o.Dialogue {
		var err error
		if p.dialogue, err = grasp.AskDialogue(stdin, stderr); err != nil {
			return nil, err
		}
	}
	p.setOutput(c.Results)
	if o.JSON {
		p.Outcomes = NewOutcomes(stdout)
	}
	return p, p.startMonitor()
}

// setOutput says where the progress goes.
func (p *Program) setOutput(results bool) {
	p.dialogue.Output = p.Stdout
	if p.JSON || results {
		p.dialogue.Output = p.Stderr
	}
}

// With returns the program with other options, such as those of a configuration file,
// and a monitor of its own if they ask for one. end closes that one.
func (p *Program) With(o Options) (with *Program, end func() error, err error) {
	q := *p
	q.Options = o
	q.setOutput(false)
	end = func() error { return nil }
	if o.Monitor != "" {
		if err := q.startMonitor(); err != nil {
			return nil, nil, err
		}
		end = q.monitor.Close
	}
	return &q, end, nil
}

// Silent reports whether the user wants no progress.
func (p *Program) Silent() bool { return p.dialogue.Silent }

// Say prints a line about the program as a whole.
func (p *Program) Say(things ...any) {
	if !p.dialogue.Silent {
		fmt.Fprintln(p.dialogue.Output, things...)
	}
}

// NewInstance starts an instance with these settings, on the links of a plane,
// protected and printing as the user chose.
func (p *Program) NewInstance(links acp.Plane, cfg grasp.Config) (*grasp.Instance, error) {
	plane, err := p.Protect(links)
	if err != nil {
		return nil, err
	}
	cfg.Plane = plane
	g, err := p.newInstance(cfg)
	if err != nil {
		return nil, err
	}
	if err := p.announce(g); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (p *Program) newInstance(cfg grasp.Config) (*grasp.Instance, error) {
	cfg.Dialogue = p.dialogue
	g, err := grasp.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := p.checkNames(g.Snapshot().Interfaces); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if p.monitor != nil {
		p.monitor.Watch(p.name, g)
	}
	return g, nil
}

// NewDULL starts a DULL instance (RFC 8990 section 2.5.2) for these objectives.
// It takes the links of a plane as they are, whatever protection --plane gives to others.
func (p *Program) NewDULL(links acp.Plane, objectives ...string) (*grasp.Instance, error) {
	return p.newInstance(grasp.Config{Plane: memory.Insecure{Plane: links}, DULL: true, DULLObjectives: objectives})
}
