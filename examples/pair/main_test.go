package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/output"
)

// build returns the path of the program, built for the test.
func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "pair.exe")
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return exe
}

// On the loopback interface, which every machine has.
func TestPairOnLoopback(t *testing.T) {
	name := netbed.Loopback(t)
	if name == "" {
		return
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(build(t), "-n", "3", "-seed", "1", "-wait", "0", "-link", name)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), stderr.String())
	for _, text := range []string{"Link: " + name + " (", "Gray: Negotiation succeeded NZD 160\n", "Briggs: #3 Declined: You are mean!\n"} {
		assert.Contains(t, stdout.String(), text)
	}
}

// What a newcomer does first. (On the real links of the machine it would do
// the same, but those are not for tests.)
func TestPair(t *testing.T) {
	exe := build(t)
	t.Run("words", func(t *testing.T) {
		t.Parallel()
		var stdout, stderr bytes.Buffer
		args := []string{"-n", "5", "-link", "memory", "-seed", "1"}
		if !longtest.On() {
			args = append(args, "-wait", "0") // and not ten seconds
		}
		cmd := exec.Command(exe, args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		start := time.Now()
		require.NoError(t, cmd.Run(), stdout.String())
		t.Log(time.Since(start))
		assert.Empty(t, stderr.String())
		for _, text := range []string{
			"Running on an in-memory network\n", "Gray: Negotiation succeeded NZD 160\n", "Briggs: #3 Declined: You are mean!\n",
		} {
			assert.Contains(t, stdout.String(), text)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		t.Parallel()
		run := func() (gray, briggs int, lines string) {
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(exe, "-n", "20", "-link", "memory", "-seed", "1", "-json", "-wait", "0")
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			require.NoError(t, cmd.Run(), stderr.String())
			assert.Contains(t, stderr.String(), "Gray: Ready to negotiate EX3 as requester\n")
			for line := range strings.Lines(stdout.String()) {
				var o map[string]any
				require.NoError(t, json.Unmarshal([]byte(line), &o))
				require.Len(t, o, 6)
				for _, key := range []string{"asa", "asked", "outcome", "value", "steps", "reason"} {
					require.Contains(t, o, key)
				}
				require.Contains(t, []any{"agreed", "declined"}, o["outcome"])
				switch o["asa"] {
				case "Gray":
					gray++
					lines += line
				case "Briggs":
					briggs++
				}
			}
			return gray, briggs, lines
		}
		gray, briggs, lines := run()
		assert.Equal(t, 20, gray)
		assert.Equal(t, 20, briggs)
		_, _, again := run()
		assert.Equal(t, lines, again)
	})
	for _, plane := range []string{"quads", "tls"} {
		t.Run(plane, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(exe, "-n", "20", "-link", "memory", "-seed", "1", "-json", "-wait", "0", "-plane", plane)
			cmd.Env = append(os.Environ(), "GRASP_PASSWORD=of the pair")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.Output()
			require.NoError(t, err, stderr.String())
			assert.Equal(t, 20, bytes.Count(stdout, []byte(`"asa":"Gray"`)))
			assert.Equal(t, 20, bytes.Count(stdout, []byte(`"asa":"Briggs"`)))
			assert.Zero(t, bytes.Count(stdout, []byte(`"failed"`)))
			assert.NotContains(t, stderr.String(), "WARN")
		})
	}
	t.Run("Ctrl-C", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("a process cannot be interrupted there")
		}
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var stdout output.Buffer
		cmd := exec.CommandContext(ctx, exe, "-link", "memory", "-wait", "1h", "-c", "20")
		cmd.Stdout = &stdout
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool { return strings.Contains(stdout.String(), "Gray-20: Synchronized EX1") },
			time.Minute, 10*time.Millisecond, "they are in the midst of it")
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait()) // and not for the hour that Briggs would wait: the context ends before
		assert.Contains(t, stdout.String(), "Briggs: ASA exiting\n")
		assert.Contains(t, stdout.String(), "Gray-20: ASA exiting\n")
	})
}

// Real links are used only if what one instance sends there reaches the other.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		lan, other := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		start := func(name string, links ...*memory.Link) *grasp.Instance {
			g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, links...)})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, g.Close()) })
			return g
		}
		a, b, alone, none := start("a", lan), start("b", lan), start("alone", other), start("none")
		assert.NoError(t, reach(t.Context(), a, b))
		assert.ErrorContains(t, reach(t.Context(), a, alone), "firewall")
		assert.ErrorContains(t, reach(t.Context(), none, a), "no interface")
		assert.ErrorContains(t, reach(t.Context(), a, none), "no interface")
		for _, g := range []*grasp.Instance{a, b, alone} {
			assert.Empty(t, g.Snapshot().ASAs)
		}
	})
}
