// Command pfxm runs the prefix manager of RFC 8992: an ASA that delegates IP
// prefixes from a pool of its own, and asks its peers for more when few are
// left, by negotiation with GRASP. One device, the origin, starts with all
// prefixes of the network:
//
//	go run ./examples/pfxm --pool 2001:db8::/32,10.0.0.0/8
//	go run ./examples/pfxm -n 20
//
// The second runs on the other devices, on the link or behind relays. Either
// can be replaced by the Python prototype's pfxm3, or with --tagged by its pfxm4.
// With --state, what a device holds survives its failure; without, prefixes are
// lost with it. As in the prototype prefixes are delegated to nobody, unless there
// are interfaces for them:
//
//	go run ./examples/pfxm --link up0 --state /var/lib/pfxm/state --interface lan0,lan1 \
//		--hook examples/pfxm/hooks/addresses.sh --hook examples/pfxm/hooks/radvd.sh
//
// The page docs/delegating-prefixes.md tells more.
//
//	go run ./examples/pfxm --link memory -c 3 -n 20
//
// runs the origin and three others in one process, on a network in memory. The
// flag -h shows all flags.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/prefix"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

func main() { command().Main() }

// options are the program's own flags.
type options struct {
	name            string // of the ASA
	pool            prefixes
	params          prefix.Params
	subnet, subnet4 int
	role, state     string
	doubt           time.Duration
	hold, count     int
	tagged          bool
	interfaces      names
	hooks           commands
	hookTimeout     time.Duration
}

func command() cli.Command {
	o := options{params: prefix.DefaultParams()}
	return cli.Command{
		Daemon: true,
		Name:   "pfxm",
		About: "pfxm is a prefix manager: it delegates IP prefixes from a pool, which it\n" +
			"fills from those of its peers by negotiation with GRASP.",
		Counts: "prefixes delegated or, by the origin, given",
		Memory: true,
		Flags:  o.add,
		Check:  o.check,
		Run:    func(ctx context.Context, p *cli.Program) error { return run(ctx, p, o) },
	}
}

func (o *options) add(f *flag.FlagSet) {
	f.Var(&o.pool, "pool", "be the origin, with these in the pool: `prefix[,prefix]`")
	f.Var(&o.params, "params", "as the origin, flood that a device of each role asks for prefixes of this length: `ROLE=LENGTH,...`")
	f.IntVar(&o.subnet, "subnet", 64, "delegate IPv6 prefixes of length `L`; 0: none")
	f.IntVar(&o.subnet4, "subnet4", 26, "delegate IPv4 prefixes of length `L`; 0: none")
	f.StringVar(&o.role, "role", "", "ask for prefixes of the length that is flooded for this `role`")
	f.BoolVar(&o.tagged, "tagged", false, "ask for PrefixManagerT, with the tags of RFC 9164, as the prototype's pfxm4 does; both are answered to")
	f.StringVar(&o.state, "state", "", "keep in this `file` what is in the pool")
	f.DurationVar(&o.doubt, "doubt", 0, "put a prefix back in the pool after `D` if the peer that it was offered to is silent; 0: not before it is known that the peer did not take it")
	f.Var(&o.interfaces, "interface", "delegate a prefix of each family to these: `name[,name]`")
	f.Var(&o.hooks, "hook", "run this `program` when prefixes come to interfaces, change or go; may be given several times")
	f.DurationVar(&o.hookTimeout, "hook-timeout", 10*time.Second, "let a hook run for `D` at most")
	f.IntVar(&o.hold, "hold", 0, "delegate at most `N` at a time, then the oldest comes back; 0: any number")
	f.IntVarP(&o.count, "count", "c", 1, "with --link memory, run `C` prefix managers beside the origin")
}

func (o *options) check(all cli.Options) error {
	memory := slices.Contains(all.Links, cli.Memory)
	switch {
	case o.subnet < 0 || o.subnet > 128:
		return errors.New("--subnet must be from 1 to 128, or 0")
	case o.subnet4 < 0 || o.subnet4 > 32:
		return errors.New("--subnet4 must be from 1 to 32, or 0")
	case o.subnet == 0 && o.subnet4 == 0:
		return errors.New("--subnet and --subnet4 are both 0")
	case o.doubt < 0:
		return errors.New("--doubt must not be negative")
	case o.hold < 0:
		return errors.New("--hold must not be negative")
	case o.count < 1 || o.count > 1000:
		return errors.New("--count must be from 1 to 1000")
	case o.count > 1 && !memory:
		return errors.New("--count goes with --link memory: a device has one prefix manager")
	case !memory && all.PlaneName == "tls" && all.Domain == "":
		return errors.New("--plane tls needs --domain and --member, but for --link memory")
	case !memory && len(o.pool) == 0 && o.params.String() != prefix.DefaultParams().String():
		return errors.New("--params goes with --pool: it is the origin that floods them")
	case len(o.interfaces) > 0 && (memory || len(o.pool) > 0 || o.hold > 0 || all.N > 0):
		return errors.New("--interface goes with neither --pool, --hold, --number nor --link memory")
	case len(o.hooks) > 0 && len(o.interfaces) == 0:
		return errors.New("--hook goes with --interface")
	case o.hookTimeout <= 0:
		return errors.New("--hook-timeout must be positive")
	case memory && o.state != "":
		return errors.New("--state goes with real links")
	}
	return nil
}

// prefixes is a flag.
type prefixes []netip.Prefix

func (ps prefixes) String() string {
	var all []string
	for _, p := range ps {
		all = append(all, p.String())
	}
	return strings.Join(all, ",")
}

// Type is for the help.
func (*prefixes) Type() string { return "prefixes" }

func (ps *prefixes) Set(text string) error {
	var sum prefixpool.Pool
	var all prefixes
	for one := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(one)
		if err != nil {
			return err
		}
		if err := sum.Put(p); err != nil {
			return err
		}
		all = append(all, p)
	}
	*ps = all
	return nil
}

// names is a flag: names of interfaces.
type names []string

func (n names) String() string { return strings.Join(n, ",") }

// Type is for the help.
func (*names) Type() string { return "names" }

func (n *names) Set(text string) error {
	all := strings.Split(text, ",")
	for i, name := range all {
		if name == "" || strings.ContainsFunc(name, unicode.IsSpace) || slices.Contains(all[:i], name) {
			return fmt.Errorf("%q is not a list of names of interfaces", text)
		}
	}
	*n = all
	return nil
}

func run(ctx context.Context, p *cli.Program, o options) error {
	if slices.Contains(p.Links, cli.Memory) {
		return inMemory(ctx, p, o)
	}
	var records []prefix.Record
	var journal prefix.Journal
	if o.state != "" {
		f, known, err := prefix.OpenFile(o.state)
		if err != nil {
			return err
		}
		defer f.Close()
		records, journal = known, f
	}
	l, err := prefix.NewLedger(records, journal)
	if err != nil {
		return fmt.Errorf("%s: %w", o.state, err)
	}
	g, err := p.OnLinks(ctx, grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	return manage(ctx, g, l, p, o)
}

// manage runs one prefix manager.
func manage(ctx context.Context, g *grasp.Instance, l *prefix.Ledger, p *cli.Program, o options) error {
	for _, owned := range o.pool {
		if err := l.Own(owned); err != nil {
			return err
		}
	}
	m, err := prefix.New(g, l, prefix.Settings{
		Name: o.name, Origin: len(o.pool) > 0, Params: o.params,
		Role: o.role, Tagged: o.tagged, Length6: o.subnet, Length4: o.subnet4, Hold: o.hold, Doubt: o.doubt,
		Interfaces: o.interfaces, Hook: o.hooks.hook(o.hookTimeout), Up: interfacesUp,
		N: p.N, Seed: p.Seed, Wait: p.Wait, Outcomes: p.Outcomes,
	})
	if err != nil {
		return err
	}
	return m.Run(ctx)
}

// interfacesUp returns the interfaces of this host that are up.
func interfacesUp() (map[string]int, error) {
	all, err := net.Interfaces()
	up := make(map[string]int)
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 {
			up[i.Name] = i.Index
		}
	}
	return up, err
}

// inMemory runs the origin and others, each on a node of its own, until the
// others have done what they are to do.
func inMemory(ctx context.Context, p *cli.Program, o options) error {
	p.Say("Running on an in-memory network")
	if len(o.pool) == 0 {
		o.pool = prefixes{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("10.0.0.0/8")}
	}
	n := memory.NewNetwork(p.Seed)
	link := n.NewLink(memory.LinkConfig{})
	var devices []*grasp.Instance
	for i := range o.count + 1 {
		g, err := p.NewInstance(n.NewNode(fmt.Sprint("device", i), link), grasp.Config{})
		if err != nil {
			return err
		}
		defer g.Close()
		devices = append(devices, g)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(devices))
	var origin, others sync.WaitGroup
	for i, g := range devices {
		running, o, p := &others, o, *p
		if i == 0 {
			// It gives as long as others want something.
			running, o.name, p.N = &origin, "origin", 0
		} else {
			o.name, o.pool, p.Seed = fmt.Sprint("pfxm-", i), nil, p.Seed+uint64(i)
		}
		running.Go(func() {
			l, err := prefix.NewLedger(nil, nil)
			if err == nil {
				err = manage(ctx, g, l, &p, o)
			}
			errs[i] = err
		})
	}
	others.Wait()
	cancel()
	origin.Wait()
	return errors.Join(errs...)
}
