package conform

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// unfit says why a check cannot be run with what the judge has; empty: it can.
func (j *judge) unfit(c *Check) string {
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
	case n&bare != 0 && j.cover != nil:
		return "not in a protected group, which may shun a peer that sends what is no CBOR"
	case c.Slow() && !j.cfg.Slow:
		return "slow, and slow checks were not asked for"
	}
	return ""
}

// lane is where checks wait for their turn, and how many of them run at once.
type lane struct {
	name    string
	workers int
}

// lastLane is for checks that run when all others have, one after another.
var lastLane = lane{"last", 1}

// lane is the lane of a check. A target need not serve two peers at a time to
// be judged fairly, but for the slow checks.
func (j *judge) lane(c *Check) lane {
	switch n := c.needs; {
	case n&alone != 0:
		return lastLane
	case j.cfg.Serial:
		return lane{"serial", 1}
	case n&slow != 0:
		return lane{"slow", 8}
	case n&negotiator != 0:
		return lane{"negotiate", 1}
	case n&synchronizer != 0:
		return lane{"synchronize", 1}
	case n&relay != 0:
		return lane{"relay", 4}
	}
	return lane{"multicast", 4}
}

// runAll runs the checks that are chosen and returns their results in order.
func (j *judge) runAll(ctx context.Context) []Result {
	results := &results{each: j.cfg.Each}
	lanes := make(map[lane][]*Check)
	order := make(map[string]int)
	for i, c := range Checks() {
		order[c.Name] = i
		switch why := j.unfit(&c); {
		case len(j.cfg.Only) > 0 && !c.Matches(j.cfg.Only), c.Matches(j.cfg.Skip):
		case why != "":
			results.add(Result{Check: c, Verdict: Skipped, Why: why})
		default:
			lanes[j.lane(&c)] = append(lanes[j.lane(&c)], &c)
		}
	}
	var group sync.WaitGroup
	for l, checks := range lanes {
		if l != lastLane {
			group.Go(func() { j.runLane(ctx, checks, l.workers, results) })
		}
	}
	group.Wait()
	j.runLane(ctx, lanes[lastLane], lastLane.workers, results)
	slices.SortFunc(results.all, func(a, b Result) int {
		return cmp.Compare(order[a.Check.Name], order[b.Check.Name])
	})
	return results.all
}

// runLane runs the checks of a lane: those that may hurt the target at the end.
func (j *judge) runLane(ctx context.Context, checks []*Check, workers int, results *results) {
	slices.SortStableFunc(checks, func(a, b *Check) int { return cmp.Compare(a.needs&late, b.needs&late) })
	turns := make(chan *Check, len(checks))
	for _, c := range checks {
		turns <- c
	}
	close(turns)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for c := range turns {
				results.add(j.try(ctx, c))
			}
		})
	}
	group.Wait()
}

// results are those so far.
type results struct {
	each func(Result)

	mu  sync.Mutex // guards all following fields, and calls of each
	all []Result
}

func (r *results) add(x Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, x)
	if r.each != nil {
		r.each(x)
	}
}

// try runs one check.
func (j *judge) try(ctx context.Context, c *Check) Result {
	if ctx.Err() != nil {
		return Result{Check: *c, Verdict: Skipped, Why: "interrupted"}
	}
	t := &trial{judge: j, check: c, ctx: ctx, begun: time.Now(), verdict: Pass}
	t.protect(func() { c.run(t) })
	r := Result{Check: *c, Verdict: t.verdict, Why: t.why, Gone: t.lost, Took: time.Since(t.begun)}
	if r.Verdict == Fail {
		r.Exchanges = t.exchanges
	}
	return r
}
