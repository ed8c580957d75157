package conform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Config says what to judge, and how.
type Config struct {
	// Links are the names of the links to the target: one, or two for checks
	// of what it relays. Nothing is sent on any other.
	Links []string
	// Negotiate and Synch are the names of an objective that the target
	// negotiates and of one that it synchronizes. Without one of them the
	// checks that need it are skipped.
	Negotiate, Synch string
	// Value is the encoded value that is asked for when negotiating, null
	// without it. It should be one that the target does not accept at once.
	Value []byte
	// Target is the address of the target, if others on the link answer too.
	Target netip.Addr
	// IPv4 has the links run over IPv4.
	IPv4 bool
	// Password is that of the QUADS domain that the target is in; empty: none.
	Password string
	// DULL says that the target is a DULL instance, which discovers and floods only.
	DULL bool

	// Only and Skip choose checks: see [Check.Matches]. Slow adds those that
	// wait in real time.
	Only, Skip []string
	Slow       bool
	// Serial runs one check after another.
	Serial bool

	// Patience is how long to wait for what must come; 0 means 3 s. Quiet is
	// how long nothing may come where nothing must; 0 means 500 ms.
	Patience, Quiet time.Duration

	// Each is called with each result, from one goroutine at a time; it may be nil.
	Each func(Result)

	second time.Duration // of the slow checks; 0: a real one
}

// Verdict is the outcome of a check.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"
	Fail    Verdict = "fail"
	Skipped Verdict = "skip"
)

// Result is the outcome of a check.
type Result struct {
	Check     Check
	Verdict   Verdict
	Why       string // of a failure, or of the skipping
	Gone      bool   // skipped because the target does not accept connections any more
	Exchanges []Exchange
	Took      time.Duration
}

// Exchange is a message that was sent or received, or the end of a connection.
type Exchange struct {
	At    time.Duration // since the beginning of the check
	Sent  bool
	Where string // how, and to or from whom
	Bytes []byte // nil: Where tells
}

// Report is the outcome of a whole run.
type Report struct {
	Target  []netip.Addr // on each link
	Results []Result
	Took    time.Duration

	Datagrams, Connections, Messages int64 // sent, opened, sent over connections
}

// Count counts results.
func (r *Report) Count(s Strength, v Verdict) (n int) {
	for _, x := range r.Results {
		if x.Check.Strength == s && x.Verdict == v {
			n++
		}
	}
	return n
}

// perSecond bounds what is sent, in messages a second.
const perSecond = 250

// Judge judges a target.
type Judge struct {
	cfg     Config
	links   []*link
	cover   *cover
	pace    *rate.Limiter
	begun   time.Time
	targets []netip.Addr                // the target's address on each link
	at      map[string][]netip.AddrPort // where an objective is, seen from the first link

	datagrams, connections, messages atomic.Int64

	mu   sync.Mutex // guards all following fields
	sids map[uint32]bool
	gone map[netip.AddrPort]string // where the target no longer accepts connections, and since which check
	last map[netip.AddrPort]string // the last check that connected there
}

// ErrNoTarget is the error of [Run] if nobody answers.
var ErrNoTarget = errors.New("the target does not answer")

// Run judges a target. It fails if there is no link or no target, but not for
// what the target does.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if len(cfg.Links) == 0 {
		return nil, errors.New("no link was named, and on no other is anything sent")
	}
	if len(cfg.Links) > 2 {
		return nil, fmt.Errorf("%d links: one or two can be judged", len(cfg.Links))
	}
	if cfg.Negotiate == "" && cfg.Synch == "" {
		return nil, errors.New("the name of an objective that the target negotiates or synchronizes is needed to find it")
	}
	for _, p := range slices.Concat(cfg.Only, cfg.Skip) {
		if !slices.ContainsFunc(Checks(), func(c Check) bool { return c.Matches([]string{p}) }) {
			return nil, fmt.Errorf("there is no check that %q names", p)
		}
	}
	if cfg.Patience == 0 {
		cfg.Patience = 3 * time.Second
	}
	if cfg.Quiet == 0 {
		cfg.Quiet = 500 * time.Millisecond
	}
	if cfg.second == 0 {
		cfg.second = time.Second
	}
	if cfg.Value == nil {
		cfg.Value = encode(nil)
	}
	j := &Judge{
		cfg: cfg, begun: time.Now(), pace: rate.NewLimiter(perSecond, 10),
		at: make(map[string][]netip.AddrPort), sids: make(map[uint32]bool),
		gone: make(map[netip.AddrPort]string), last: make(map[netip.AddrPort]string),
	}
	defer func() {
		for _, l := range j.links {
			l.close()
		}
	}()
	if cfg.Password != "" {
		var err error
		if j.cover, err = newQUADS(cfg.Password); err != nil {
			return nil, err
		}
	}
	for _, name := range cfg.Links {
		l, err := openLink(name, cfg.IPv4, j.cover)
		if err != nil {
			return nil, err
		}
		j.links = append(j.links, l)
	}
	if err := j.find(ctx); err != nil {
		return nil, err
	}
	r := &Report{Target: j.targets, Results: j.runAll(ctx), Took: time.Since(j.begun)}
	r.Datagrams, r.Connections, r.Messages = j.datagrams.Load(), j.connections.Load(), j.messages.Load()
	return r, ctx.Err()
}

// find asks for the target on each link.
func (j *Judge) find(ctx context.Context) error {
	for i, l := range j.links {
		for _, name := range []string{j.cfg.Negotiate, j.cfg.Synch} {
			if name == "" {
				continue
			}
			err := j.findOn(ctx, i, l, name)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// tries is how often the target is asked for before it is given up.
const tries = 3

// findOn asks for an objective on one link.
func (j *Judge) findOn(ctx context.Context, i int, l *link, name string) error {
	var why string
	for range tries {
		probe := &trial{Judge: j, check: &Check{Name: "find"}, ctx: ctx, begun: time.Now()}
		var found map[netip.Addr][]netip.AddrPort
		probe.protect(func() { found = probe.find(l, name) })
		if probe.why != "" {
			why = ": " + probe.why
		}
		if j.cfg.Target.IsValid() {
			at, ok := found[j.cfg.Target.WithZone("")]
			clear(found)
			if ok {
				found[j.cfg.Target.WithZone("")] = at
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var from []string
		for addr, at := range found {
			from = append(from, addr.String())
			if len(j.targets) == i {
				j.targets = append(j.targets, addr)
			}
			if i == 0 {
				j.at[name] = at
			}
		}
		slices.Sort(from)
		switch {
		case len(from) == 1:
			return nil
		case len(from) > 1:
			return fmt.Errorf("several nodes on link %v have %q: %s; say which is the target", l, name, strings.Join(from, ", "))
		}
	}
	return fmt.Errorf("%w: nobody on link %v answered %d discoveries of %q within %v each%s", ErrNoTarget, l, tries, name, j.cfg.Patience, why)
}

// reasons not to run a check.
func (j *Judge) unfit(c *Check) string {
	n := c.needs
	switch {
	case j.cfg.DULL && n&(negotiator|synchronizer|relay) != 0 && n&dull == 0:
		return "not for a DULL instance"
	case n&dull != 0 && !j.cfg.DULL:
		return "for a DULL instance only"
	case n&relay != 0 && len(j.links) < 2:
		return "needs a second link to the target"
	case n&negotiator != 0 && j.cfg.Negotiate == "":
		return "needs the name of an objective that the target negotiates"
	case n&synchronizer != 0 && j.cfg.Synch == "":
		return "needs the name of an objective that the target synchronizes"
	}
	return ""
}

// lane says which checks run one after another, or how many of them at once.
// A target need not serve two peers at a time to be judged fairly.
func (j *Judge) lane(c *Check) (name string, workers int) {
	switch n := c.needs; {
	case j.cfg.Serial:
		return "", 1
	case n&negotiator != 0:
		return "negotiate", 1
	case n&synchronizer != 0:
		return "synchronize", 1
	case n&relay != 0:
		return "relay", 4
	}
	return "multicast", 4
}

// runAll runs the checks that are chosen and returns their results in order.
func (j *Judge) runAll(ctx context.Context) []Result {
	var (
		mu      sync.Mutex // guards results and calls of Each
		results []Result
		lanes   = make(map[string]chan *Check)
		group   sync.WaitGroup
		last    []*Check
		order   = make(map[string]int)
	)
	done := func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, r)
		if j.cfg.Each != nil {
			j.cfg.Each(r)
		}
	}
	all := Checks()
	turns := make([]*Check, 0, len(all))
	for i := range all {
		order[all[i].Name] = i
		turns = append(turns, &all[i])
	}
	slices.SortStableFunc(turns, func(a, b *Check) int { return cmp.Compare(a.needs&late, b.needs&late) })
	for _, c := range turns {
		switch why := j.unfit(c); {
		case len(j.cfg.Only) > 0 && !c.Matches(j.cfg.Only), c.Matches(j.cfg.Skip):
		case why != "":
			done(Result{Check: *c, Verdict: Skipped, Why: why})
		case c.Slow() && !j.cfg.Slow:
			done(Result{Check: *c, Verdict: Skipped, Why: "slow, and slow checks were not asked for"})
		case c.needs&alone != 0:
			last = append(last, c)
		default:
			name, workers := j.lane(c)
			if lanes[name] == nil {
				lanes[name] = make(chan *Check, len(all))
				for range workers {
					group.Go(func() {
						for c := range lanes[name] {
							done(j.try(ctx, c))
						}
					})
				}
			}
			lanes[name] <- c
		}
	}
	for _, lane := range lanes {
		close(lane)
	}
	group.Wait()
	for _, c := range last {
		done(j.try(ctx, c))
	}
	slices.SortFunc(results, byOrder(order))
	return results
}

// try runs one check.
func (j *Judge) try(ctx context.Context, c *Check) Result {
	if ctx.Err() != nil {
		return Result{Check: *c, Verdict: Skipped, Why: "interrupted"}
	}
	t := &trial{Judge: j, check: c, ctx: ctx, begun: time.Now(), verdict: Pass}
	t.protect(func() { c.run(t) })
	r := Result{Check: *c, Verdict: t.verdict, Why: t.why, Gone: t.lost, Took: time.Since(t.begun)}
	if r.Verdict == Fail {
		r.Exchanges = t.exchanges
	}
	return r
}
