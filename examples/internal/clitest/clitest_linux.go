package clitest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/output"
)

// Build builds an example program and returns where it is.
func Build(t testing.TB, name string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, "github.com/go-grasp/grasp/examples/"+name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// Process is an example program that runs with -json.
type Process struct {
	Progress output.Buffer // what it prints for people

	t        testing.TB
	cmd      *exec.Cmd
	outcomes output.Buffer
	over     func() error
}

// Start runs a program in a node. It is interrupted when the test ends, and
// must then end well.
func Start(t testing.TB, node *netbed.Node, exe string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: node.Exec(context.Background(), exe, append([]string{"-json"}, args...)...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.outcomes, &p.Progress
	require.NoError(t, p.cmd.Start())
	p.over = sync.OnceValue(p.cmd.Wait)
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s %v in %s printed:\n%s\n%s", filepath.Base(exe), args, node.Name, p.Progress.String(), p.outcomes.String())
		}
	})
	return p
}

// Stop interrupts the program, as Ctrl-C does, and waits for its end.
func (p *Process) Stop() {
	p.t.Helper()
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(os.Interrupt)
	}
	p.Wait()
}

// Wait waits for the end of the program, which must be well.
func (p *Process) Wait() {
	p.t.Helper()
	late := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	assert.NoError(p.t, p.over(), p.cmd.Path)
}

// Kill is the program's sudden death.
func (p *Process) Kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	require.Error(p.t, p.over())
	p.over = func() error { return nil }
}

// Outcomes returns the outcomes told so far.
func (p *Process) Outcomes() (all []cli.Outcome) {
	p.t.Helper()
	for line := range strings.Lines(p.outcomes.String()) {
		if !strings.HasSuffix(line, "\n") {
			break // it is writing it
		}
		var o cli.Outcome
		require.NoError(p.t, json.Unmarshal([]byte(line), &o))
		all = append(all, o)
	}
	return all
}
