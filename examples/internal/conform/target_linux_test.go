package conform_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/examples/internal/conform"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// The names of the objectives of the targets.
const (
	negotiated   = "EX1"
	synchronized = "EX2"
)

// password is that of the QUADS domain.
const password = "a password of the judge"

// place is where a target is judged: in a node of its own, with two links to
// the judge.
type place struct {
	node          *netbed.Node
	judge, target []string // the names of the ends of the links
}

// places counts them: package net remembers for a while which name is whose.
var places atomic.Int64

// newPlace makes one, with IPv6 or without it.
func newPlace(t *testing.T, six bool) place {
	t.Helper()
	p := place{node: netbed.NewNode(t, "target")}
	at := int(places.Add(1))
	for i := range 2 {
		mine, its := fmt.Sprintf("j%d-%d", at, i), fmt.Sprintf("t%d-%d", at, i)
		netbed.VethPair(t, mine, its)
		p.node.MoveLink(t, its)
		p.judge, p.target = append(p.judge, mine), append(p.target, its)
		if !six {
			netbed.Sysctl(t, "net/ipv6/conf/"+mine+"/disable_ipv6", "1")
			p.node.Sysctl(t, "net/ipv6/conf/"+its+"/disable_ipv6", "1")
			netbed.AddAddr(t, mine, fmt.Sprintf("198.51.%d.%d/30", at, 4*i+1))
			p.node.AddAddr(t, its, fmt.Sprintf("198.51.%d.%d/30", at, 4*i+2))
			continue
		}
		netbed.AddAddr(t, mine, fmt.Sprintf("fd00:%d:%d::1/64", at, i))
		p.node.AddAddr(t, its, fmt.Sprintf("fd00:%d:%d::2/64", at, i))
		netbed.LinkLocal(t, mine)
	}
	return p
}

// envTarget has TestHelperTarget be a target, of the kind that it names.
const envTarget = "GRASP_CONFORM_TARGET"

// start runs one of our own targets in the node.
func (p place) start(t *testing.T, kind string) {
	t.Helper()
	cmd := p.node.Exec(t.Context(), os.Args[0], "-test.run=^TestHelperTarget$", "-test.v")
	cmd.Env = append(os.Environ(), envTarget+"="+kind+","+strings.Join(p.target, ","))
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	ready := make([]byte, 1)
	for line := ""; !strings.Contains(line, "ready\n"); line += string(ready) {
		if _, err := stdout.Read(ready); err != nil {
			t.Fatalf("the target has not started: %v: %s", err, line)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
}

// TestHelperTarget is no test: others run it in nodes.
func TestHelperTarget(t *testing.T) {
	kind, names, ok := strings.Cut(os.Getenv(envTarget), ",")
	if !ok {
		t.Skip("a helper of other tests")
	}
	links := strings.Split(names, ",")
	switch kind {
	case "layer2", "ipv4":
		a := instance(t, grasp.Config{Plane: &acp.Layer2{Links: links, IPv4: true}}, len(links))
		haggle(t, a)
		give(t, a)
	case "quads":
		a := instance(t, grasp.Config{Plane: &quads.Plane{Password: password, Under: &acp.Layer2{Links: links}}}, len(links))
		haggle(t, a)
		give(t, a)
	case "dull": // one for each link (RFC 8990 section 2.5.2)
		for _, l := range links {
			a := instance(t, grasp.Config{
				Plane: memory.Insecure{Plane: &acp.Layer2{Links: []string{l}}}, DULL: true, DULLObjectives: []string{synchronized},
			}, 1)
			o := grasp.Objective{Name: synchronized, Synch: true, Value: "a value"}
			require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{Discoverable: true, Local: true}))
			go func() { // ends with the process
				for range time.Tick(time.Second) {
					_ = a.Flood(time.Minute, grasp.TaggedObjective{Objective: o})
				}
			}()
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// instance starts an instance with an ASA and waits for its links.
func instance(t *testing.T, cfg grasp.Config, links int) *grasp.ASA {
	t.Helper()
	g, err := grasp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	netbed.Eventually(t, 30*time.Second, "the links are in use", func() bool { return len(g.Snapshot().Links) == links })
	a, err := g.RegisterASA("target")
	require.NoError(t, err)
	return a
}

// haggle answers whatever is asked for with a counter-offer, and so on.
func haggle(t *testing.T, a *grasp.ASA) {
	t.Helper()
	o := grasp.Objective{Name: negotiated, Neg: true, Dry: true}
	require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	ctx := context.Background()
	go func() { // ends with the process
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

// give answers requests to synchronize.
func give(t *testing.T, a *grasp.ASA) {
	t.Helper()
	o := grasp.Objective{Name: synchronized, Synch: true, Value: []any{"a value", 2}}
	require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	require.NoError(t, a.ListenSynchronize(o))
}

// startPrototype runs the Python prototype in the node, as such a target.
func (p place) startPrototype(t *testing.T, dull bool) {
	t.Helper()
	a := graspybed.Start(t, p.node, "target").RegisterASA(t, "target", graspybed.Options{DULL: dull})
	give := graspybed.Objective{Name: synchronized, Synch: true, LoopCount: 6, Discoverable: true, Value: []any{"a value", 2}}
	if dull {
		a.RegisterObj(t, give, graspybed.KW{"discoverable": true, "local": true})
		return
	}
	a.RegisterObj(t, give, nil)
	a.ListenSynchronize(t, give)
	haggle := graspybed.Objective{Name: negotiated, Neg: true, Dry: true, LoopCount: 6, Discoverable: true}
	a.RegisterObj(t, haggle, nil)
	ctx := t.Context()
	go func() {
		for ctx.Err() == nil {
			s, o, err := a.ListenNegotiate(haggle).Result(time.Hour)
			if err != nil || s == nil {
				continue // with an ID that clashes, or at the end
			}
			go func() {
				for s != nil {
					o.Value = "a counter-offer"
					got, err := a.NegotiateStep(s, o, time.Minute).Result(time.Hour)
					if err != nil || got.Code != 0 {
						return
					}
					s, o = got.Session, got.Objective
				}
			}()
		}
	}()
}

// judge judges what is in the place.
func (p place) run(t *testing.T, cfg conform.Config) *conform.Report {
	t.Helper()
	cfg.Links, cfg.Synch, cfg.Negotiate = p.judge, synchronized, negotiated
	if cfg.DULL {
		cfg.Negotiate = ""
	}
	r, err := conform.Run(t.Context(), cfg)
	require.NoError(t, err)
	t.Logf("%v, %d datagrams, %d connections, %d messages", r.Took, r.Datagrams, r.Connections, r.Messages)
	return r
}
