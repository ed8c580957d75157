package cli

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	flag "github.com/spf13/pflag"
)

// Memory is what --link takes, where a program allows it, for a network in
// memory instead of a real link.
const Memory = "memory"

// Options are the settings of a program: the flags that all have.
type Options struct {
	N        int           // --number
	Seed     uint64        // --seed, drawn if it was not given
	JSON     bool          // --json
	Wait     time.Duration // --wait
	Dialogue bool          // --dialogue
	Links    []string      // --link; none: all
	// PlaneName is --plane.
	PlaneName string
	Password  string   // --password, or from the environment
	Domain    string   // --domain
	Member    string   // --member
	Monitor   string   // --monitor
	Announce  string   // --announce
	Args      []string // what is no flag

	given map[string]bool // names of flags
}

// Given reports whether the command line has one of these flags, if only to say what holds
// without it.
func (o Options) Given(flags ...string) bool {
	return slices.ContainsFunc(flags, func(name string) bool { return o.given[name] })
}

const (
	defaultWait = time.Second
	maxWait     = time.Hour
)

// flagSets are the flags of a command.
type flagSets struct {
	own    *flag.FlagSet
	shared *flag.FlagSet // those of all that open links
}

// all returns the flags in one set.
func (s flagSets) all() *flag.FlagSet {
	all := newFlagSet()
	all.AddFlagSet(s.own)
	all.AddFlagSet(s.shared)
	return all
}

func newFlagSet() *flag.FlagSet {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {} // the callers of Parse print it
	return f
}

// flags returns the flags of the command, which set the options.
func (c Command) flags(o *Options) flagSets {
	*o = Options{PlaneName: PlaneLayer2}
	s := flagSets{newFlagSet(), newFlagSet()}
	if c.Counts != "" {
		s.own.IntVarP(&o.N, "number", "n", 0, "stop after `N` "+c.Counts+"; 0: go on until Ctrl-C")
		s.own.Uint64Var(&o.Seed, "seed", c.Seed, "draw random numbers from seed `S`, which makes the same run again; 0: from another one each time")
		s.own.DurationVar(&o.Wait, "wait", defaultWait, "wait for `D` at most, at random, between steps; the Python programs have 10s")
	}
	if c.Flags != nil {
		c.Flags(s.own)
	}
	s.own.BoolVar(&o.JSON, "json", false, c.jsonUsage())
	if !c.Offline && !c.Results {
		s.own.BoolVar(&o.Dialogue, "dialogue", false, "ask how much to print, like the Python prototype")
	}
	if c.sharedHelp == "" { // else the whole program has it
		VersionFlag(s.own)
	}
	if c.Offline {
		return s
	}
	s.shared.Func(linkFlag, "use these interfaces only"+c.memoryUsage()+": `name[,name]`", func(names string) error {
		o.Links = nil
		if names != "" {
			o.Links = strings.Split(names, ",")
		}
		return nil
	})
	o.planeFlags(s.shared, c.Memory)
	s.shared.StringVar(&o.Monitor, "monitor", "", "show what happens on a page at `address:port`, such as localhost:8990, until Ctrl-C; a token of your own for it is put into the environment as "+TokenVariable)
	s.shared.StringVar(&o.Announce, "announce", "", "tell the network under this `name` where the monitor is, for graspctl monitor --find")
	return s
}

// jsonUsage says what --json does.
func (c Command) jsonUsage() string {
	switch {
	case c.JSON != "":
		return c.JSON
	case c.Results:
		return "print each result as a JSON object on a line"
	}
	return "print outcomes on standard output, one JSON object per line, and the progress on standard error"
}

const linkFlag = "link"

// errTold is the error of a command line that only asks for help or the version.
var errTold = errors.New("the user has been told")

// parse reads the command line, in which flags may also follow arguments. On
// error the user has been told.
func (c Command) parse(args []string, stdout, stderr io.Writer) (Options, error) {
	var o Options
	s := c.flags(&o)
	f := s.all()
	err := ParseFlags(f, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.help(stdout, s)
		return o, errTold
	case err != nil:
		TellFlagError(stderr, c.Name, err)
		return o, err
	}
	if asked, _ := f.GetBool(versionFlag); asked {
		fmt.Fprintln(stdout, Version(c.Name))
		return o, errTold
	}
	o.Args, o.given = f.Args(), make(map[string]bool)
	f.Visit(func(x *flag.Flag) { o.given[x.Name] = true })
	if err := errors.Join(o.checkPlane(c.Memory), c.check(o)); err != nil {
		fmt.Fprintf(stderr, "%s: %v", c.Name, err)
		if _, ok := errors.AsType[UsageError](err); ok {
			fmt.Fprintf(stderr, "; usage: %s", c.usage())
		}
		fmt.Fprintln(stderr)
		return o, err
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	return o, nil
}

// ParseFlags parses a command line in the manner of GNU: --name value, --name=value,
// and -n value for a flag that has a letter. The name of a flag may also follow a
// single minus.
func ParseFlags(f *flag.FlagSet, args []string) error {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if isLong(f, arg) {
			args[i] = "-" + arg
		}
	}
	return f.Parse(args)
}

// isLong reports whether a word that begins with a single minus is the name of a
// flag, or else cannot be letters of flags.
func isLong(f *flag.FlagSet, word string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(word, "-"), "=")
	if len(name) < 2 || !strings.HasPrefix(word, "-") || strings.HasPrefix(name, "-") {
		return false
	}
	letter := f.ShorthandLookup(name[:1])
	return f.Lookup(name) != nil || letter == nil && 'a' <= name[0] && name[0] <= 'z'
}

// UsageError is an error of which the way out is how the program is used.
type UsageError string

// Error returns what is wrong.
func (e UsageError) Error() string { return string(e) }

// TellFlagError says in one line what is wrong with a command line, and where help is.
func TellFlagError(stderr io.Writer, name string, err error) {
	fmt.Fprintf(stderr, "%s: %v; `%s --help` lists the flags\n", name, err, name)
}

func (c Command) memoryUsage() string {
	if c.Memory {
		return ", or \"" + Memory + "\" for a network in memory"
	}
	return ""
}

// check refuses what makes no sense.
func (c Command) check(o Options) error {
	switch {
	case len(o.Args) > 0 && c.Arguments == "":
		return UsageError(fmt.Sprintf("unexpected argument %q", o.Args[0]))
	case o.N < 0:
		return errors.New("--number must not be negative")
	case o.Wait < 0 || o.Wait > maxWait:
		return fmt.Errorf("--wait must be from 0 to %v", maxWait)
	case slices.Contains(o.Links, ""):
		return errors.New("--link has an empty name")
	case slices.Contains(o.Links, Memory) && !c.Memory:
		return fmt.Errorf("--link %s: only programs with both sides in one process can do that", Memory)
	case slices.Contains(o.Links, Memory) && len(o.Links) > 1:
		return fmt.Errorf("--link %s goes with no other link", Memory)
	case o.Announce != "" && o.Monitor == "":
		return errors.New("--announce goes with --monitor")
	}
	if c.Check != nil {
		return c.Check(o)
	}
	return nil
}
