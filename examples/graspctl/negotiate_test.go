package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// banker answers each offer with the next of its own, and accepts when it has none.
func banker(t *testing.T, g *grasp.Instance, offers ...any) (asked <-chan any) {
	t.Helper()
	a, err := g.RegisterASA("banker")
	require.NoError(t, err)
	o := grasp.NewObjective("EX3")
	o.Neg = true
	require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	all := make(chan any, 100)
	go func() { // ends with the instance
		defer close(all)
		s, o, err := a.ListenNegotiate(context.Background(), o)
		for err == nil && s != nil {
			all <- o.Value
			if len(offers) == 0 {
				_ = s.EndNegotiate(true, "")
				return
			}
			o.Value, offers = offers[0], offers[1:]
			if o.Value == "declined" {
				_ = s.EndNegotiate(false, "no money")
				return
			}
			s, o, err = s.NegotiateStep(context.Background(), o, time.Minute)
		}
		if err != nil {
			all <- err
		}
	}()
	return all
}

// input that comes at certain times.
type line struct {
	after time.Duration
	text  string
}

// negotiate runs the command on a network in memory, in virtual time.
func negotiate(t *testing.T, h haggle, offers []any, lines []line, args ...string) (status int, out, errOut string, asked []any) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		here, err := grasp.New(grasp.Config{Plane: n.NewNode("here", link)})
		require.NoError(t, err)
		there, err := grasp.New(grasp.Config{Plane: n.NewNode("there", link)})
		require.NoError(t, err)
		heard := banker(t, there, offers...)

		r, w := io.Pipe()
		over := make(chan struct{})
		go func() {
			for _, l := range lines {
				select {
				case <-time.After(l.after):
				case <-over:
				}
				if _, err := io.WriteString(w, l.text+"\n"); err != nil {
					return
				}
			}
			_ = w.Close()
		}()
		var stdout, stderr bytes.Buffer
		c := negotiateCommand()
		c.Run = run(func(ctx context.Context, p *cli.Program) error {
			a, err := here.RegisterASA("graspctl")
			require.NoError(t, err)
			o := grasp.NewObjective("EX3")
			o.Neg, o.Value = true, 100
			require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
			in, stop := newInput(p.Stdin)
			defer stop()
			h.timeout = 10 * time.Second
			return h.run(ctx, p, a, o, in)
		})
		status = c.Execute(t.Context(), append(args, "EX3", "100"), r, &stdout, &stderr)
		_ = r.Close()
		close(over)
		for v := range heard {
			asked = append(asked, v)
		}
		require.NoError(t, here.Close())
		require.NoError(t, there.Close())
		out, errOut = stdout.String(), stderr.String()
	})
	return status, out, errOut, asked
}

func TestNegotiate(t *testing.T) {
	no := "not now"
	for name, c := range map[string]struct {
		h      haggle
		offers []any
		lines  []line
		status int
		out    string
		errOut string
		asked  []any // last: what the peer sees at the end, if that is an error
	}{
		"accepted at once": {status: 0, out: "100\n", asked: []any{int64(100)}},
		"declined at once": {offers: []any{"declined"}, status: 1, errOut: "no money", asked: []any{int64(100)}},
		"-accept":          {h: haggle{accept: true}, offers: []any{50}, out: "50\n", errOut: "offers 50 with loop count 5", asked: []any{int64(100)}},
		"-decline":         {h: haggle{decline: &no}, offers: []any{50}, status: 1, errOut: "declined by us: not now", asked: []any{int64(100), "not now"}},
		"-counter": {h: haggle{counters: []string{"90", `["x", 80]`}, accept: true}, offers: []any{10, 20, 30}, out: "30\n",
			asked: []any{int64(100), int64(90), []any{"x", int64(80)}}},
		"accept":        {offers: []any{50}, lines: []line{{0, "accept"}}, out: "50\n", asked: []any{int64(100)}},
		"end of input":  {offers: []any{50}, status: 1, errOut: "nobody is there to answer", asked: []any{int64(100), "nobody is there to answer"}},
		"by hand, slow": {offers: []any{10, 20}, lines: []line{{3 * time.Minute, "what"}, {time.Minute, ""}, {20 * time.Minute, "90"}, {20 * time.Minute, "decline too bad"}}, h: haggle{think: time.Minute}, status: 1, errOut: "text needs double quotes", asked: []any{int64(100), int64(90), "too bad"}},
		"too slow":      {offers: []any{10, 20}, lines: []line{{3 * time.Minute, "accept"}}, status: 3, errOut: "negotiat", asked: []any{int64(100), "No reply"}},
		"loop count": {h: haggle{counters: []string{"99", "98", "97"}}, offers: []any{1, 2, 3, 4, 5}, status: 1, errOut: "Loop count exhausted",
			asked: []any{int64(100), int64(99), int64(98), "Loop count exhausted"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errOut, asked := negotiate(t, c.h, c.offers, c.lines)
			assert.Equal(t, c.status, status, errOut)
			assert.Equal(t, c.out, out)
			assert.Contains(t, errOut, c.errOut)
			require.Len(t, asked, len(c.asked))
			for i, v := range asked {
				if err, ok := v.(error); ok {
					assert.ErrorContains(t, err, c.asked[i].(string))
				} else {
					assert.Equal(t, c.asked[i], v)
				}
			}
		})
	}
}

func TestNegotiateJSON(t *testing.T) {
	for outcome, offers := range map[string][]any{"agreed": nil, "declined": {"declined"}} {
		_, out, _, _ := negotiate(t, haggle{}, offers, nil, "-json")
		var r struct {
			Objective, Outcome, Reason, Diagnostic string
			Value                                  any
		}
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		assert.Equal(t, "EX3", r.Objective)
		assert.Equal(t, outcome, r.Outcome)
		if outcome == "agreed" {
			assert.EqualValues(t, 100, r.Value)
			assert.Equal(t, "100", r.Diagnostic)
		} else {
			assert.Contains(t, r.Reason, "no money")
			assert.Nil(t, r.Value)
		}
	}
}
