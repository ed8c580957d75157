// Package python_test runs the tests of the modules grasp and graspi, and the
// Python prototype's own ASAs on them.
package python_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// python is Debian's, which has the packages.
const python = "/usr/bin/python3"

// command returns a command of the interpreter.
func command(args ...string) *exec.Cmd { return exec.Command(python, args...) }

// library builds libgrasp.
func library(t *testing.T) string {
	t.Helper()
	if out, err := command("-c", "import cbor2").CombinedOutput(); err != nil {
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

// The questions at the start are the prototype's four, in its order; the first
// is about test mode, the third about selfing, the fourth about DULL mode.
func TestQuestions(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	lib := library(t)
	netbed.VethPair(t, "va0", "va1")
	// It says what it finds on the standard error: in test mode the module prints what
	// messages are sent.
	const program = `
import functools, sys, threading, grasp
say = functools.partial(print, file=sys.stderr)
sent, tprint = threading.Event(), grasp.tprint
def listen(*things, ttp=False):
	if things[0] == "sent":
		sent.set()
	tprint(*things, ttp=ttp)
grasp.tprint = listen
err, asa = grasp.register_asa("me")
own = grasp.objective("AN_proxy")
own.synch = True
say(err, grasp.register_obj(asa, own, discoverable=True), grasp.test_mode)
err, found = grasp.discover(asa, own, 1000)
say(err, len(found) > 0)
other = grasp.objective("other")
other.synch = True
say(grasp.register_obj(asa, other), *(grasp.flood(asa, 1000, grasp.tagged_objective(o, None)) for o in (own, other)))
say(sent.wait(30) if grasp.test_mode else sent.is_set(), input())
`
	for answers, want := range map[string]string{
		"n\nn\nn\nn\nnext\n": "0 0 False 0 False 0 0 0 False next",
		"y\nn\nn\nn\nnext\n": "0 0 True 0 False 0 0 0 True next",
		"n\nn\ny\nn\nnext\n": "0 0 False 0 True 0 0 0 False next",
		"n\nn\nn\ny\nnext\n": "0 0 False 0 False 0 0 16 False next",
	} {
		cmd := command("-W", "error", "-c", program)
		cmd.Env = append(environment(t, lib), "GRASP_LINKS=va0")
		cmd.Stdin = strings.NewReader(answers)
		var found strings.Builder
		cmd.Stderr = &found
		out, err := cmd.Output()
		require.NoError(t, err, "%s%s", out, &found)
		require.Equal(t, want, strings.Join(strings.Fields(found.String()), " "), "%q: %s", answers, out)
		require.Contains(t, string(out), "DULL mode? Y/N: ")
	}
}

// Every call of the modules, between ASAs of one process.
func TestModules(t *testing.T) {
	longtest.Need(t) // it builds a library, with gcc
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
