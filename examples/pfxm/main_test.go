package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
)

// execute runs the program and returns its exit status and what it printed.
func execute(t *testing.T, args string) (status int, out, errOut string) {
	t.Helper()
	stdout, stderr := cancelling{cancel: func() {}}, cancelling{cancel: func() {}}
	status = command().Execute(t.Context(), strings.Fields(args), nil, &stdout, &stderr)
	return status, stdout.b.String(), stderr.b.String()
}

func TestFlags(t *testing.T) {
	for _, args := range []string{
		"-subnet -1", "-subnet 129", "-subnet4 -1", "-subnet4 33", "-subnet 0 -subnet4 0", "-doubt -1s", "-hold -1",
		"-c 0", "-c 2", "-c 1001 -link memory", "-link memory -state x", "-plane tls", "-params x=0", "-params x=34", "more",
		"-interface lan0,lan0", "-interface lan0,", "-interface lan0 -n 1", "-interface lan0 -hold 1", "-interface lan0 -pool 2001:db8::/32",
		"-interface lan0 -link memory", "-hook true", "-interface lan0 -hook no-such-program", "-interface lan0 -hook-timeout 0s",
		"-pool x", "-pool 2001:db8::1/32", "-pool 2001:db8::/32,2001:db8::/48", "-pool 2001:db8::/32,",
	} {
		status, _, stderr := execute(t, args)
		assert.Equal(t, 2, status, args)
		assert.NotEmpty(t, stderr, args)
	}
	status, _, _ := execute(t, "-h")
	assert.Zero(t, status)
}

// What a newcomer does first.
func TestInMemory(t *testing.T) {
	longtest.Need(t)
	status, stdout, stderr := execute(t, "-link memory -c 3 -n 20 -seed 1 -wait 10ms")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "Running on an in-memory network\n")
	for _, who := range []string{"pfxm-1", "pfxm-2", "pfxm-3"} {
		assert.Equal(t, 20, strings.Count(stdout, "\n"+who+": Delegated "), who)
	}
	assert.Contains(t, stdout, "origin: ASA exiting\n")

	status, stdout, stderr = execute(t, "-link memory -n 5 -subnet 127 -subnet4 0 -tagged -wait 1ms")
	require.Zero(t, status, stderr)
	assert.Equal(t, 5, strings.Count(stdout, "/127\n"), stdout)

	status, stdout, stderr = execute(t, "-link memory -plane tls -n 1")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "pfxm-1: Delegated ")
}

func TestCtrlC(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &cancelling{cancel: cancel}
	assert.Zero(t, command().Execute(ctx, strings.Fields("-link memory -wait 1h"), nil, out, out))
	assert.Contains(t, out.b.String(), "origin: ASA exiting\n")
}

// cancelling is what a program prints to; it cancels when the first prefix
// was delegated.
type cancelling struct {
	cancel func()

	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (c *cancelling) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("Delegated")) {
		c.cancel()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(b)
}

// A journal that cannot be read is not thrown away.
func TestDamagedState(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.WriteFile(state, []byte("nonsense\n"), 0o600))
	status, _, stderr := execute(t, "-state "+state)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "not a record")
	text, err := os.ReadFile(state)
	require.NoError(t, err)
	assert.Equal(t, "nonsense\n", string(text))
}
