// Package python_test runs the tests of the modules grasp and graspi, and the
// Python prototype's own ASAs on them.
package python_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/netbed"
)

// python is Debian's, which has the packages.
const python = "/usr/bin/python3"

// library builds libgrasp.
func library(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import cbor2").CombinedOutput(); err != nil {
		t.Skipf("there is no %s with the package cbor2: %v: %s", python, err, out)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no gcc, without which cgo builds nothing")
	}
	lib := filepath.Join(t.TempDir(), "libgrasp.so")
	out, err := exec.Command("go", "build", "-buildmode=c-shared", "-o", lib, "../libgrasp").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return lib
}

// environment is that of a Python program that uses the modules here.
func environment(t *testing.T, lib string) []string {
	t.Helper()
	here, err := os.Getwd()
	require.NoError(t, err)
	return append(os.Environ(), "GRASP_LIB="+lib, "PYTHONPATH="+here, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
}

// Every call of the modules, between ASAs of one process.
func TestModules(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	lib := library(t)
	netbed.VethPair(t, "va0", "va1")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-W", "error", "test_grasp.py")
	cmd.Env = append(environment(t, lib), "GRASP_LINKS=va0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "\nOK\n")
}

// output collects what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs an ASA of the prototype, unchanged, in a node, on this engine.
// Every question that it asks is answered with N.
func start(t *testing.T, node *netbed.Node, lib, asa string) *output {
	t.Helper()
	out := new(output)
	cmd := node.Exec(context.Background(), python, filepath.Join(os.Getenv("GRASPY"), "ASA-examples", asa))
	cmd.Env = environment(t, lib)
	cmd.Stdin = strings.NewReader(strings.Repeat("N\n", 20))
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", asa, out)
		}
	})
	return out
}

// The prototype's Briggs and Gray, unchanged, on this engine: they synchronize,
// flood and come to an agreement.
func TestInteropPrototypeASAs(t *testing.T) {
	if os.Getenv("GRASPY") == "" {
		t.Skip("GRASPY does not name a checkout of the prototype")
	}
	if !netbed.Enter(t) {
		return
	}
	lib := library(t)
	one, other := netbed.NewNode(t, "one"), netbed.NewNode(t, "other")
	netbed.VethPair(t, "va0", "va1")
	one.MoveLink(t, "va0")
	other.MoveLink(t, "va1")
	briggs := start(t, one, lib, "Briggs.py")
	netbed.Eventually(t, time.Minute, "Briggs listens", func() bool { return strings.Contains(briggs.String(), "Ready to negotiate EX3") })
	gray := start(t, other, lib, "Gray.py")
	for _, text := range []string{"Synchronized EX2 [1, 'two', 3]", "Negotiation succeeded"} {
		netbed.Eventually(t, 10*time.Minute, "Gray says "+text, func() bool { return strings.Contains(gray.String(), text) })
	}
	require.NotContains(t, briggs.String()+gray.String(), "Traceback")
}
