package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Memory is what -link takes, where a program allows it, for a network in
// memory instead of a real link.
const Memory = "memory"

// Options are the settings of a program: the flags that all have.
type Options struct {
	N        int           // -n
	Seed     uint64        // -seed, drawn if it was not given
	JSON     bool          // -json
	Wait     time.Duration // -wait
	Dialogue bool          // -dialogue
	Links    []string      // -link; none: all
	// PlaneName is -plane.
	PlaneName string
	Password  string   // -password, or from the environment
	Domain    string   // -domain
	Member    string   // -member
	Monitor   string   // -monitor
	Args      []string // what follows the flags
}

const (
	defaultWait = time.Second
	maxWait     = time.Hour
)

// flags returns the flags of the command, which set the options.
func (c Command) flags(o *Options) *flag.FlagSet {
	*o = Options{PlaneName: PlaneLayer2}
	f := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	if c.Counts != "" {
		f.IntVar(&o.N, "n", 0, "stop after `N` "+c.Counts+"; 0: go on until Ctrl-C")
		f.Uint64Var(&o.Seed, "seed", 0, "make the random choices of seed `S` again; 0: new ones")
		f.DurationVar(&o.Wait, "wait", defaultWait, "the longest random delay `D`; the Python programs have 10s")
	}
	f.BoolVar(&o.JSON, "json", false, "print outcomes on standard output, one JSON object per line,\nand the progress on standard error")
	if !c.Offline {
		f.BoolVar(&o.Dialogue, "dialogue", false, "ask how much to print, like the Python prototype")
		f.Func(linkFlag, "use these interfaces only: `name[,name]`"+c.memoryUsage(), func(names string) error {
			o.Links = nil
			if names != "" {
				o.Links = strings.Split(names, ",")
			}
			return nil
		})
		o.planeFlags(f, c.Memory)
		f.StringVar(&o.Monitor, "monitor", "", "show what happens on a page at `address:port`, such as localhost:8990,\nuntil Ctrl-C")
	}
	if c.Flags != nil {
		c.Flags(f)
	}
	return f
}

const linkFlag = "link"

// parse reads the command line, in which flags may also follow arguments. On
// error the user has been told.
func (c Command) parse(args []string, stderr io.Writer) (Options, error) {
	var o Options
	f := c.flags(&o)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintf(stderr, "%s\n\nUsage: %s [flags]%s\n\n", c.About, c.Name, c.argumentsUsage())
		f.PrintDefaults()
	}
	for rest := args; ; rest = f.Args()[1:] {
		if err := f.Parse(rest); err != nil {
			return o, err
		}
		if f.NArg() == 0 {
			break
		}
		if at := len(rest) - f.NArg(); at > 0 && rest[at-1] == "--" {
			o.Args = append(o.Args, f.Args()...)
			break
		}
		o.Args = append(o.Args, f.Arg(0))
	}
	if err := errors.Join(o.checkPlane(c.Memory), c.check(o)); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", c.Name, err)
		return o, err
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	return o, nil
}

func (c Command) memoryUsage() string {
	if c.Memory {
		return ",\nor \"" + Memory + "\" for a network in memory"
	}
	return ""
}

func (c Command) argumentsUsage() string {
	if c.Arguments != "" {
		return " " + c.Arguments
	}
	return ""
}

// check refuses what makes no sense.
func (c Command) check(o Options) error {
	switch {
	case len(o.Args) > 0 && c.Arguments == "":
		return fmt.Errorf("unexpected argument %q", o.Args[0])
	case o.N < 0:
		return errors.New("-n must not be negative")
	case o.Wait < 0 || o.Wait > maxWait:
		return fmt.Errorf("-wait must be from 0 to %v", maxWait)
	case slices.Contains(o.Links, ""):
		return errors.New("-link has an empty name")
	case slices.Contains(o.Links, Memory) && !c.Memory:
		return fmt.Errorf("-link %s: only programs with both sides in one process can do that", Memory)
	case slices.Contains(o.Links, Memory) && len(o.Links) > 1:
		return fmt.Errorf("-link %s goes with no other link", Memory)
	}
	if c.Check != nil {
		return c.Check(o)
	}
	return nil
}
