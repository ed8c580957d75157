package conform_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/conform"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Our own engine passes what is judged without long waiting.
func TestOurs(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	for _, kind := range []string{"layer2", "ipv4", "quads", "dull"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, kind != "ipv4")
			p.start(t, kind)
			cfg := conform.Config{IPv4: kind == "ipv4", DULL: kind == "dull", Patience: 30 * time.Second}
			if kind == "quads" {
				cfg.Password = password
			}
			for _, x := range p.run(t, cfg).Results {
				if x.Verdict == conform.Fail && x.Check.Strength != conform.May {
					t.Error(described(x))
				}
			}
		})
	}
}

func described(x conform.Result) string {
	var out strings.Builder
	conform.Printer{W: &out}.Print(&conform.Report{Results: []conform.Result{x}})
	result, _, _ := strings.Cut(out.String(), "\n\n ") // without the summary
	return result
}

// The prototype can be judged too: it lives until the end.
func TestInteropConform(t *testing.T) {
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	p := newPlace(t, true)
	p.startPrototype(t, false)
	r := p.run(t, conform.Config{Serial: true})
	for _, s := range []conform.Strength{conform.Must, conform.Should} {
		t.Logf("%s: %d passed, %d failed", s, r.Count(s, conform.Pass), r.Count(s, conform.Fail))
	}
	require.Greater(t, r.Count(conform.Must, conform.Pass), 30)
}

// envRewrite, if not empty, has docs/conformance.md written anew, for which our
// own targets and the prototype are judged for half an hour.
const envRewrite = "GRASP_CONFORM_REWRITE"

// document is the file with the verdicts.
var document = filepath.Join("..", "..", "..", "docs", "conformance.md")

// Our targets and the prototype are compared in a document. A failure stands
// there if two of three runs agree on it.
func TestInteropDocument(t *testing.T) {
	if os.Getenv(envRewrite) == "" {
		t.Skip("takes half an hour: set " + envRewrite + " to write docs/conformance.md anew")
	}
	graspybed.Checkout(t)
	path, err := filepath.Abs(document)
	require.NoError(t, err)
	if !netbed.Enter(t) {
		return
	}
	columns := []conform.Column{{Name: "ours"}, {Name: "ours, IPv4"}, {Name: "ours, QUADS"}, {Name: "ours, DULL"}, {Name: "prototype"}, {Name: "prototype, DULL"}}
	var group sync.WaitGroup
	for i, c := range []struct {
		start func(*testing.T, place)
		cfg   conform.Config
	}{
		{func(t *testing.T, p place) { p.start(t, "layer2") }, conform.Config{}},
		{func(t *testing.T, p place) { p.start(t, "ipv4") }, conform.Config{IPv4: true}},
		{func(t *testing.T, p place) { p.start(t, "quads") }, conform.Config{Password: password}},
		{func(t *testing.T, p place) { p.start(t, "dull") }, conform.Config{DULL: true}},
		{func(t *testing.T, p place) { p.startPrototype(t, false) }, conform.Config{Serial: true}},
		{func(t *testing.T, p place) { p.startPrototype(t, true) }, conform.Config{Serial: true, DULL: true}},
	} {
		c.cfg.Slow = true
		group.Go(func() {
			columns[i].Report = agreed(func(only ...string) (r *conform.Report) {
				t.Run(columns[i].Name, func(t *testing.T) {
					p := newPlace(t, !c.cfg.IPv4)
					c.start(t, p)
					cfg := c.cfg
					cfg.Only = only
					r = p.run(t, cfg)
				})
				return r
			})
		})
	}
	group.Wait()
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	head, _, ok := strings.Cut(string(old), mark)
	require.True(t, ok, "%s has no mark", path)
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n\n", head, mark)
	require.NoError(t, conform.Document(&b, columns))
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
}

// agreed judges a target, and again, alone and when nothing has happened to it,
// by each check that fails or for which it was gone: until two runs agree.
func agreed(fresh func(only ...string) *conform.Report) *conform.Report {
	r := fresh()
	for i, x := range r.Results {
		seen := make(map[conform.Verdict]int)
		if !x.Gone {
			seen[x.Verdict]++
		}
		for (x.Gone || x.Verdict == conform.Fail || seen[conform.Fail] > 0) && seen[x.Verdict] < 2 {
			for _, y := range fresh(x.Check.Name).Results {
				if y.Check.Name == x.Check.Name {
					x = y
				}
			}
			seen[x.Verdict]++
		}
		r.Results[i] = x
	}
	return r
}

// mark is where the part of the document begins that is written anew.
const mark = "<!-- What follows is written by: " + envRewrite + "=1 GRASPY=... go test ./examples/internal/conform -run TestInteropDocument -timeout 90m -->"
