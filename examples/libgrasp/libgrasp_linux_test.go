package main

import (
	"context"
	"flag"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// output runs a command to its end and returns what it printed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
	return string(out)
}

var valgrind = flag.Bool("valgrind", false, "run the C program that uses every call under valgrind, too")

// compiled builds the shared library, with build tags, and a C program that uses
// it.
func compiled(t *testing.T, tags, source string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no gcc, without which cgo builds nothing")
	}
	dir := t.TempDir()
	output(t, "go", "build", "-tags", tags, "-buildmode=c-shared", "-o", filepath.Join(dir, "libgrasp.so"), ".")
	program := filepath.Join(dir, strings.TrimSuffix(filepath.Base(source), ".c"))
	output(t, "gcc", append(flags, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-o", program, source,
		"-I", ".", "-L", dir, "-lgrasp", "-lpthread", "-Wl,-rpath,"+dir)...)
	return program
}

// A C program that uses every call, from many threads, under the sanitizers of
// addresses, leaks and undefined behaviour, and with -valgrind under valgrind.
func TestFromC(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv4/ip_local_port_range", "1024 65535")
	netbed.VethPair(t, "va0", "va1")
	program := compiled(t, "", "testdata/test.c", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	assert.Equal(t, "passed 8000 calls\n", output(t, program, "va0", "va1", "8000"))
	if *valgrind {
		program := compiled(t, "valgrind", "testdata/test.c") // the runtime's build tag
		// Leaks are the business of the sanitizer: valgrind takes what the garbage
		// collector has yet to free for lost.
		out := output(t, "valgrind", "--quiet", "--leak-check=no", "--error-exitcode=9", "--suppressions=testdata/valgrind.supp",
			program, "va0", "va1", "1600")
		assert.Contains(t, out, "passed 1600 calls\n")
		t.Log(out)
	}
}

// The C program of the documentation negotiates with Briggs.
func TestGrayInC(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	program := compiled(t, "", "gray/gray.c")
	netbed.VethPair(t, "va0", "va1")
	briggs := filepath.Join(t.TempDir(), "briggs")
	output(t, "go", "build", "-ldflags=-s -w", "-o", briggs, "../briggs")
	cmd := exec.Command(briggs, "-link", "va1", "-seed", "1")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var got string
	netbed.Eventually(t, time.Minute, "an agreement", func() bool {
		got = output(t, program, "va0") // Briggs may have no money, or be about to start
		return strings.HasPrefix(got, "agreed on ")
	})
	assert.Regexp(t, `^agreed on [0-9]+ NZD\n$`, got)
}

// It negotiates with the prototype's Briggs, too.
func TestInteropGrayInC(t *testing.T) {
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	program := compiled(t, "", "gray/gray.c")
	lan := netbed.NewLAN(t, "grc", false)
	briggs := graspybed.RunASA(t, lan.Node(t, "briggs"), "Briggs", true)
	node := lan.Node(t, "gray")
	netbed.Eventually(t, 4*time.Minute, "an agreement", func() bool {
		out, err := node.Exec(t.Context(), program).CombinedOutput()
		t.Logf("%s", out)
		return err == nil && strings.HasPrefix(string(out), "agreed on ")
	})
	assert.Empty(t, briggs.Complaints())
}

// The header and the library have the same functions, and each has a comment.
func TestHeader(t *testing.T) {
	header := output(t, "sh", "-c", `sed -n 's/^\(int\|void\|const char \*\) *\**\(grasp_[a-z_]*\)(.*/\2/p' grasp.h | sort`)
	exported := output(t, "sh", "-c", `(sed -n 's|^//export ||p' *.go; echo grasp_last_error) | sort`)
	assert.Equal(t, exported, header)
	assert.Greater(t, strings.Count(header, "\n"), 25)
}

// Compilers of C and C++ accept the header by itself and in silence.
func TestHeaderCompiles(t *testing.T) {
	warnings := []string{"-I", ".", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wwrite-strings", "-Wshadow", "-Werror"}
	for compiler, language := range map[string][]string{
		"gcc": {"-x", "c", "-std=c11", "-Wstrict-prototypes"}, "clang": {"-x", "c", "-std=c11", "-Wstrict-prototypes"},
		"g++": {"-x", "c++", "-std=c++17"}, "clang++": {"-x", "c++", "-std=c++17"},
	} {
		if _, err := exec.LookPath(compiler); err != nil {
			t.Logf("there is no %s", compiler)
			continue
		}
		cmd := exec.Command(compiler, slices.Concat(warnings, language, []string{"-"})...)
		cmd.Stdin = strings.NewReader(`
#include "grasp.h"
int use(void);
int use(void) { grasp_objective o; o.value = NULL; o.name = "EX3"; grasp_objective_release(&o); return grasp_open(NULL, NULL); }
`)
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s: %s", compiler, out)
	}
}
