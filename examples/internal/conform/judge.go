package conform

import (
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

// judge judges a target.
type judge struct {
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
	j := &judge{
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
func (j *judge) find(ctx context.Context) error {
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
func (j *judge) findOn(ctx context.Context, i int, l *link, name string) error {
	var why string
	for range tries {
		probe := &trial{judge: j, check: &Check{Name: "find"}, ctx: ctx, begun: time.Now()}
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
	return fmt.Errorf("%w: nobody on link %v answered %d discoveries of %q within %v%s", ErrNoTarget, l, tries, name, j.cfg.Patience, why)
}
