package python_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

var rates = flag.Duration("rates", 0, "count the negotiations of the prototype's Briggs and Grays for so long")

// How many negotiations the prototype's Briggs and Grays do on either engine, as
// they are and without the pauses that they make.
func TestInteropRates(t *testing.T) {
	graspybed.Checkout(t)
	if *rates == 0 {
		t.Skip("without -rates, since it takes long and asserts little")
	}
	if !netbed.Enter(t) {
		return
	}
	on := engines(t)
	for i, c := range []struct {
		engine string
		haste  bool
		grays  int
	}{{"python", true, 1}, {"go", true, 1}, {"python", true, 8}, {"go", true, 8}, {"python", true, 64}, {"go", true, 64}, {"python", false, 64}, {"go", false, 64}} {
		t.Run(fmt.Sprintf("%s,haste=%t,%d", c.engine, c.haste, c.grays), func(t *testing.T) {
			settings := on[c.engine]
			if c.haste {
				settings = append(slices.Clone(settings), graspybed.Haste)
			}
			s := &stage{netbed.NewLAN(t, fmt.Sprint("rate", i), true), settings, time.Now(), make(map[string]*graspybed.Output)}
			s.says(t, "Briggs", s.run(t, "Briggs", silent), "Ready to negotiate EX3")
			var grays []*graspybed.Output
			for n := range c.grays {
				grays = append(grays, s.runOn(t, s.Node(t, fmt.Sprint("gray", n)), "Gray", silent))
			}
			// Until then each waits five seconds for EX1 after a negotiation.
			netbed.Eventually(t, 4*time.Minute, "EX1 is flooded to all", func() bool {
				return !slices.ContainsFunc(grays, func(o *graspybed.Output) bool { return !strings.Contains(o.String(), "Flooded EX1 from") })
			})
			before, start := tally(grays), time.Now()
			time.Sleep(*rates)
			after, took := tally(grays), time.Since(start)
			held, failed := 0, 0
			for _, kind := range slices.Sorted(maps.Keys(after)) {
				n := after[kind] - before[kind]
				t.Logf("%6d %s", n, kind)
				if slices.Contains(endings, kind) {
					held += n
				} else {
					failed += n
				}
			}
			t.Logf("%d negotiations in %v: %.2f a second; %d requests failed", held, took, float64(held)/took.Seconds(), failed)
			assert.Positive(t, held)
		})
	}
}

// endings are those of a negotiation that was held: somebody agreed or declined.
// All others are failures, such as a Briggs who does not listen.
var endings = []string{
	"Negotiation succeeded", "Rejecting unacceptable offer", "request_negotiate error: Invalid currency",
	"Peer reject: Insufficient funds", "Peer reject: Недостаточно средств", "Peer reject: Loop count exhausted",
}

// tally counts how the negotiations of Grays ended.
func tally(grays []*graspybed.Output) map[string]int {
	n := make(map[string]int)
	for _, o := range grays {
		for _, line := range o.Lines() {
			if strings.HasPrefix(line, "Negotiation succeeded") {
				n["Negotiation succeeded"]++
			}
			for _, ending := range []string{"Rejecting unacceptable offer", "Peer reject: ", "request_negotiate error: "} {
				if strings.HasPrefix(line, ending) {
					n[line]++
				}
			}
		}
	}
	return n
}
