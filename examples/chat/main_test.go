package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func TestFlags(t *testing.T) {
	for args, status := range map[string]int{"hello": 2, "-n 1": 2, "--listen hello": 2, "-h": 0} {
		var stderr bytes.Buffer
		assert.Equal(t, status, command().Execute(t.Context(), strings.Fields(args), nil, &stderr, &stderr), args)
		assert.NotEmpty(t, stderr.String(), args)
	}
}

// A line that cannot be sent does not end the talk.
func TestLinesThatCannotBeSent(t *testing.T) {
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{})
	asa := func(name string) *grasp.ASA {
		g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, link), Dialogue: grasp.Dialogue{Silent: true}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		a, err := g.RegisterASA(name)
		require.NoError(t, err)
		require.NoError(t, a.RegisterObj(objective(), grasp.RegisterOptions{Discoverable: true}))
		return a
	}
	here, there := asa("here"), asa("there")
	heard := make(chan any, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		defer close(heard)
		s, _, err := there.ListenNegotiate(ctx, objective())
		if err != nil {
			return
		}
		defer s.Close()
		if said, err := s.Recv(ctx, time.Minute); err == nil {
			heard <- said
		}
	}()
	require.Eventually(t, func() bool { // a request that comes before is refused
		return slices.ContainsFunc(there.Instance().Snapshot().Objectives, func(o grasp.ObjectiveState) bool { return o.Negotiating })
	}, time.Minute, time.Millisecond, "the other listens")
	c := cli.Command{Name: "chat", Run: func(ctx context.Context, p *cli.Program) error {
		s, err := here.OpenSession(ctx, objective(), nil, time.Minute)
		if err != nil {
			return err
		}
		_, err = (&talk{asa: here, p: p, lines: p.Lines(ctx)}).with(ctx, s, true)
		return err
	}}
	var stdout, stderr bytes.Buffer
	in := strings.NewReader("in Latin-1: \xfc\nin UTF-8: ü\n")
	status := c.Execute(ctx, nil, in, &stdout, &stderr)
	require.Zero(t, status, stderr.String())
	assert.Equal(t, "in UTF-8: ü", <-heard)
	assert.Contains(t, stdout.String(), "Not sent, try another one: ")
}
