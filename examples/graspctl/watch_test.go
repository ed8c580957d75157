package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// openedPlane says when it is open.
type openedPlane struct {
	acp.Plane
	opened chan struct{}
}

func (p openedPlane) Open() (acp.Endpoint, error) {
	defer close(p.opened)
	return p.Plane.Open()
}

// What comes from another domain is shown as wrong, however much of it there is.
func TestWatchForeign(t *testing.T) {
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{})
	watching, other := n.NewNode("watching", link), n.NewNode("other", link)
	ep, err := other.Open()
	require.NoError(t, err)
	defer ep.Close()
	const foreign = 2 * maxFailures
	plane := openedPlane{&quads.Plane{Password: "secret", Under: watching}, make(chan struct{})}
	c := cli.Command{Name: "watch", Results: true, Run: func(ctx context.Context, p *cli.Program) error {
		w := watcher{count: foreign, timeout: time.Minute}
		return w.run(ctx, p, plane)
	}}
	var out, errOut bytes.Buffer
	done := make(chan int)
	go func() { done <- c.Execute(t.Context(), []string{"--json"}, nil, &out, &errOut) }()
	<-plane.opened
	noop := []byte{0x81, 0x17}
	for range foreign {
		require.NoError(t, ep.Send(ep.Links()[0].Index, noop))
	}
	require.Zero(t, <-done, errOut.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, foreign)
	require.Contains(t, lines[foreign-1], "not from a member of the domain")
}
