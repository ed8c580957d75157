package conform_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/conform"
	"github.com/go-grasp/grasp/internal/netbed"
)

// links makes two links between a judge and a target, and returns the names of
// their ends.
func links(t *testing.T) (judge, target []string) {
	t.Helper()
	for _, n := range []string{"0", "1"} {
		netbed.VethPair(t, "j"+n, "t"+n)
		netbed.LinkLocal(t, "j"+n)
		netbed.LinkLocal(t, "t"+n)
		judge, target = append(judge, "j"+n), append(target, "t"+n)
	}
	return judge, target
}

// The names of the objectives of the targets.
const (
	negotiated   = "EX1"
	synchronized = "EX2"
)

// haggle answers whatever is asked for with a counter-offer, and so on.
func haggle(ctx context.Context, t *testing.T, a *grasp.ASA) {
	o := grasp.Objective{Name: negotiated, Neg: true, Dry: true, LoopCount: 6}
	require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	go func() {
		for {
			s, o, err := a.ListenNegotiate(ctx, o)
			switch {
			case errors.Is(err, grasp.ErrIDClash):
				continue
			case err != nil:
				return
			}
			go func() {
				for s != nil && err == nil {
					o.Value = "a counter-offer"
					s, o, err = s.NegotiateStep(ctx, o, time.Minute)
				}
			}()
		}
	}()
}

func TestOurs(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	mine, its := links(t)
	g, err := grasp.New(grasp.Config{Plane: &acp.Layer2{Links: its}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	netbed.Eventually(t, 10*time.Second, "the links are in use", func() bool { return len(g.Snapshot().Links) == 2 })
	a, err := g.RegisterASA("target")
	require.NoError(t, err)
	haggle(t.Context(), t, a)
	o := grasp.Objective{Name: synchronized, Synch: true, LoopCount: 6, Value: []any{"a value", 2}}
	require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	require.NoError(t, a.ListenSynchronize(o))

	r, err := conform.Run(t.Context(), conform.Config{
		Links: mine, Negotiate: negotiated, Synch: synchronized, Patience: 10 * time.Second,
	})
	require.NoError(t, err)
	for _, x := range r.Results {
		if why, ok := deviations[x.Check.Name]; ok {
			t.Logf("%s: known: %s", x.Check.Name, why)
			continue
		}
		if x.Verdict == conform.Fail {
			var out strings.Builder
			conform.Printer{W: &out}.Print(&conform.Report{Results: []conform.Result{x}})
			t.Errorf("%s", out.String())
		}
	}
	t.Logf("%v, %d datagrams, %d connections, %d messages", r.Took, r.Datagrams, r.Connections, r.Messages)
}

// deviations are the checks that our engine fails, and why.
var deviations = map[string]string{
	"dry/live-turns-dry": "dry runs are not kept apart",
	"dry/dry-turns-live": "dry runs are not kept apart",
	"cache/fqdn":         "a relay drops locators with a name only",
	"cache/uri":          "a relay drops locators with a name only",
	"flood/long-locator": "a flood is dropped for one bad locator",
}
