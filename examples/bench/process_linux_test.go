package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// build returns the path of this program, without what tests add to it.
func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "bench")
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// twoNodes returns the ends of a link.
func twoNodes(t *testing.T) (one, other *netbed.Node) {
	t.Helper()
	one, other = netbed.NewNode(t, "one"), netbed.NewNode(t, "other")
	netbed.VethPair(t, "va0", "va1")
	one.MoveLink(t, "va0")
	other.MoveLink(t, "va1")
	return one, other
}

// benchIn starts this program in a node. The function returned waits for what it
// prints; that of a server ends it first.
func benchIn(t *testing.T, node *netbed.Node, exe string, verb ...string) func() result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := node.Exec(context.Background(), exe, append([]string{"-json"}, verb...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	kill := func() { _ = cmd.Process.Kill() }
	t.Cleanup(kill)
	return func() result {
		if verb[0] == "serve" {
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		}
		defer time.AfterFunc(5*time.Minute, kill).Stop()
		require.NoError(t, <-ended, "%s", stderr.Bytes())
		var r result
		require.NoError(t, json.Unmarshal(stdout.Bytes(), &r), "%s", stdout.Bytes())
		return r
	}
}

// Ten thousand negotiations are open at the same time, with real connections.
// There is a file descriptor for each.
func TestOpenNegotiationsMemory(t *testing.T) {
	longtest.Need(t)
	exe := build(t)
	if !netbed.Enter(t) {
		return
	}
	const n, most = 10_000, 400 // MiB
	server, client := twoNodes(t)
	serving := benchIn(t, server, exe, "serve")
	r := benchIn(t, client, exe, "open", strconv.Itoa(n))()
	serving()
	assert.Equal(t, n, r.OK)
	assert.Positive(t, r.PeerRSS)
	assert.Less(t, r.RSS, float64(most))
	assert.Less(t, r.PeerRSS, float64(most))
	t.Logf("resident: %.0f MiB, and %.0f MiB at the other end", r.RSS, r.PeerRSS)
}
