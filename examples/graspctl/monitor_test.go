package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/monitor"
)

// The network page shows the instances of the monitors whose URLs are given, under names.
func TestMonitor(t *testing.T) {
	n := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: n.NewNode("x", n.NewLink(memory.LinkConfig{}))})
	require.NoError(t, err)
	defer g.Close()
	m := monitor.New(monitor.Config{Token: "secret"})
	defer m.Close()
	m.Watch("instance", g)
	at, err := m.Listen("localhost:0")
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan int)
	go func() {
		status := commands().Execute(ctx, []string{"monitor", "--listen", "localhost:0", "r1=" + at}, strings.NewReader(""), io.Discard, in)
		_ = in.Close()
		done <- status
	}()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	page, found := strings.CutPrefix(lines.Text(), "Network: ")
	require.True(t, found, lines.Text())
	page, found = strings.CutSuffix(page, "#network")
	require.True(t, found)
	r, err := http.Get(page + "network")
	require.NoError(t, err)
	defer r.Body.Close()
	var net monitor.Network
	require.NoError(t, json.NewDecoder(r.Body).Decode(&net))
	require.Len(t, net.Nodes, 1)
	assert.Equal(t, "r1", net.Nodes[0].Name)
	assert.Empty(t, net.Nodes[0].Trouble)
	cancel()
	assert.Zero(t, <-done)

	for want, args := range map[string][]string{
		"nothing to show":        {"monitor"},
		"--find":                 {"monitor", "--find", "fd00::/129"},
		"is no URL":              {"monitor", "ftp://x"},
		"it is followed already": {"monitor", "x:1", "y=x:1"},
	} {
		status, _, errOut := ctl(strings.NewReader(""), args...)
		assert.NotZero(t, status, args)
		assert.Contains(t, errOut, want)
	}
}
