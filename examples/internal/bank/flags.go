package bank

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

// Options are the settings of a program: its flags.
type Options struct {
	N        int           // -n
	Seed     uint64        // -seed, drawn if it was not given
	JSON     bool          // -json
	Wait     time.Duration // -wait
	Dialogue bool          // -dialogue
	Links    []string      // -link; none: all
	Grays    int           // -c, 1 if there is no such flag
}

const (
	defaultWait = time.Second
	maxWait     = time.Hour
	maxGrays    = 1000 // no instance has more ASAs
)

// parse reads the command line. On error the user has been told.
func (c Command) parse(args []string, stderr io.Writer) (Options, error) {
	o := Options{Grays: 1}
	var links string
	f := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.N, "n", 0, "stop after `N` negotiations; 0: go on until Ctrl-C")
	f.Uint64Var(&o.Seed, "seed", 0, "make the random choices of seed `S` again; 0: new ones")
	f.BoolVar(&o.JSON, "json", false, "print outcomes on standard output, one JSON object per line,\nand the progress on standard error")
	f.DurationVar(&o.Wait, "wait", defaultWait, "the longest random delay `D`; the Python programs have 10s")
	f.BoolVar(&o.Dialogue, "dialogue", false, "ask how much to print, like the Python prototype")
	f.StringVar(&links, "link", "", "use these interfaces only: `name[,name]`"+c.memoryUsage())
	if c.ManyGrays {
		f.IntVar(&o.Grays, "c", 1, "run `C` Grays at the same time")
	}
	f.Usage = func() {
		fmt.Fprintf(stderr, "%s\n\nUsage: %s [flags]\n\n", c.About, c.Name)
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if links != "" {
		o.Links = strings.Split(links, ",")
	}
	if err := c.check(o, f.Args()); err != nil {
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

// check refuses what makes no sense.
func (c Command) check(o Options, rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.N < 0:
		return errors.New("-n must not be negative")
	case o.Wait < 0 || o.Wait > maxWait:
		return fmt.Errorf("-wait must be from 0 to %v", maxWait)
	case o.Grays < 1 || o.Grays > maxGrays:
		return fmt.Errorf("-c must be from 1 to %d", maxGrays)
	case slices.Contains(o.Links, ""):
		return errors.New("-link has an empty name")
	case slices.Contains(o.Links, Memory) && !c.Memory:
		return fmt.Errorf("-link %s: only pair can do that, with both sides in one process", Memory)
	case slices.Contains(o.Links, Memory) && len(o.Links) > 1:
		return fmt.Errorf("-link %s goes with no other link", Memory)
	}
	return nil
}
