// Command bench measures GRASP between two processes, on one host or on two
// nodes of a link, as a ratio to what cannot be undercut: the same bytes on
// bare connections, by plain system calls, or in bare datagrams.
//
//	go run ./examples/bench serve                 # at one end
//	go run ./examples/bench --floor neg 20000 64   # at the other
//
// Each prints one JSON line. The flag -h shows what else there is.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp/examples/internal/cli"
)

const about = `Bench measures GRASP between two processes, each printing one JSON line:

  serve               the other end of all that follows but flood, until Ctrl-C
  neg N [C]           N negotiations with a known peer that accepts at once,
                      C at a time
  syn N [C]           N synchronizations with a known peer
  disc N              N discoveries that the network is asked for, one by one
  cold N              N negotiations with a peer that has to be discovered
  rapid N             N negotiations in rapid mode
  open N              N negotiations open at the same time, and what memory
                      they take at this end and the other
  flood N             N floods, at most --rate of them a second
  floodsink SECONDS   the other end of flood, until nothing has come for so long:
                      ok is how many of the n floods came; with --floor, the ratio
                      is that of the rates at which they and the datagrams came
  relay               a relay between two links, until Ctrl-C, with its limit of
                      the rate out of the way
  relayflood N [C]    N floods through a relay, C under way at a time; of two
                      links, --link A,B, they go out on the first and come
                      back on the second, to which the relay passes them on
  relaydisc N [C]     N discoveries of what nobody has, likewise
  idle                an instance with 100 objectives that does nothing

With --floor, neg, syn, flood and what is relayed do the same without GRASP,
in turns, and the ratio is how many times the floor's rate was reached. For
flood all ends should be on one link of a host, or on hosts or network
namespaces of their own: where one namespace has both ends of a link,
Linux gives each sink every flood twice.`

// settings are the flags of this program.
type settings struct {
	floor   bool
	rate    int
	fast    bool
	ipv4    bool
	observe bool
	mixed   bool
}

// check refuses flags that a job would ignore.
func (s settings) check(j job) error {
	v := verbs[j.verb]
	switch {
	case s.rate < 0:
		return errors.New("--rate must not be negative")
	case s.rate > 0 && !v.paced:
		return fmt.Errorf("--rate is not for %s", j.verb)
	case s.rate > 0 && j.times > 1:
		return fmt.Errorf("--rate is for messages one by one, not %d at a time", j.times)
	case s.floor && !v.floor:
		return fmt.Errorf("--floor is not for %s", j.verb)
	case s.observe && j.verb != "floodsink":
		return fmt.Errorf("--observe is for floodsink, not %s", j.verb)
	case s.mixed && j.verb != "relayflood" && j.verb != "relaydisc":
		return fmt.Errorf("--mixed is for relayflood and relaydisc, not %s", j.verb)
	}
	return nil
}

func main() { command().Main() }

func command() cli.Command {
	var s settings
	return cli.Command{
		Name:      "bench",
		About:     about,
		Arguments: "verb [number...]",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&s.floor, "floor", false, "measure the same without GRASP, too")
			f.BoolVar(&s.fast, "fastopen", false, "send requests with the opening of connections (TCP Fast Open)")
			f.BoolVar(&s.ipv4, "ipv4", false, "use links that have IPv4 alone, too (IPv4 of acp.Layer2)")
			f.BoolVar(&s.observe, "observe", false, "have an observer told of each message at a floodsink, as a monitor is")
			f.BoolVar(&s.mixed, "mixed", false, "have messages to be relayed of 16 lengths in turn, not of one")
			f.IntVar(&s.rate, "rate", 0, "send at most `R` floods, or messages to be relayed one by one, in a second; 0: as many as go")
		},
		Check: func(o cli.Options) error {
			j, err := parse(o.Args)
			if err == nil {
				err = s.check(j)
			}
			return err
		},
		Run: func(ctx context.Context, p *cli.Program) error {
			j, err := parse(p.Args)
			if err != nil {
				return err
			}
			j.settings = s
			return j.run(ctx, p)
		},
	}
}

// job is what the command line asks for.
type job struct {
	settings
	verb          string
	number, times int // the verb's arguments
}

// verbs are what can be asked for, with the least and most arguments, and
// whether they have a floor and a rate.
var verbs = map[string]struct {
	least, most  int
	floor, paced bool
	run          func(context.Context, *cli.Program, job) (*result, error)
}{
	"serve":      {0, 0, true, false, serve},
	"neg":        {1, 2, true, false, exchanges},
	"syn":        {1, 2, true, false, exchanges},
	"disc":       {1, 1, false, false, exchanges},
	"cold":       {1, 1, false, false, exchanges},
	"rapid":      {1, 1, false, false, exchanges},
	"open":       {1, 1, false, false, open},
	"flood":      {1, 1, true, true, flood},
	"floodsink":  {1, 1, true, false, floodSink},
	"relay":      {0, 0, true, false, relay},
	"relayflood": {1, 2, true, true, relayed},
	"relaydisc":  {1, 2, true, true, relayed},
	"idle":       {0, 0, false, false, idle},
}

func parse(args []string) (job, error) {
	if len(args) == 0 {
		return job{}, errors.New("what is to be measured? `bench --help` lists the verbs")
	}
	j := job{verb: args[0], times: 1}
	v, ok := verbs[j.verb]
	if numbers := len(args) - 1; !ok || numbers < v.least || numbers > v.most {
		return job{}, fmt.Errorf("%q with %d arguments: `bench --help` lists the verbs", j.verb, numbers)
	}
	for i, into := range []*int{&j.number, &j.times} {
		if len(args) < i+2 {
			break
		}
		n, err := strconv.Atoi(args[i+1])
		if err != nil || n <= 0 {
			return job{}, fmt.Errorf("%q is not a number above 0", args[i+1])
		}
		*into = n
	}
	return j, nil
}

func (j job) run(ctx context.Context, p *cli.Program) error {
	r, err := verbs[j.verb].run(ctx, p, j)
	if r != nil {
		err = errors.Join(err, json.NewEncoder(p.Stdout).Encode(r))
	}
	return err
}
