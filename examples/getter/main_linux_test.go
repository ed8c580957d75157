package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/clitest"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// chunk is what a message carries.
const chunk = 1024

// makeFiles makes files of sizes that are worth a test in a directory, and
// returns what is in them. The prototype sends what is CBOR otherwise.
func makeFiles(t *testing.T, dir string, large int) map[string][]byte {
	t.Helper()
	files := map[string][]byte{
		"cbor": {0x18, 0x18},
		"more-cbor": slices.Concat([]byte{0x59, 0x03, 0xfd}, make([]byte, chunk-3), // a byte string
			[]byte("\x63abc"), bytes.Repeat([]byte{0xf6}, 3*chunk)),
	}
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, large} {
		data := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{}).Read(data) // never fails
		files[fmt.Sprint("size", size)] = data
	}
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return files
}

// requireSame requires that a directory holds these files, byte for byte.
func requireSame(t *testing.T, want map[string][]byte, dir string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, all, len(want))
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), name)
	}
}

// Two hosts, each with a process.
func TestPusherAndGetter(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	from, to := t.TempDir(), t.TempDir()
	files := makeFiles(t, from, 10<<20)
	l := netbed.NewLAN(t, "mvf", false)
	pusher := clitest.Start(t, l.Node(t, "pusher"), clitest.Build(t, "pusher"), "-dir", from)
	netbed.Eventually(t, time.Minute, "the pusher is ready", func() bool {
		return strings.Contains(pusher.Progress.String(), "Sending files")
	})
	exe, node := clitest.Build(t, "getter"), l.Node(t, "getter")
	getter := clitest.Start(t, node, exe, append([]string{"-dir", to}, slices.Collect(maps.Keys(files))...)...)
	getter.Wait()
	requireSame(t, files, to)

	// What fails is told, and with the status.
	cmd := node.Exec(t.Context(), exe, "-dir", to, "nothing", "../x", "size1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 1, exit.ExitCode())
	for _, text := range []string{"File not found", "Not in the directory that is served", "size1: file already exists", "3 of the files"} {
		assert.Contains(t, string(out), text)
	}
	requireSame(t, files, to)
	pusher.Stop()
	agreed := 0
	for _, o := range pusher.Outcomes() {
		if o.Outcome == cli.Agreed {
			agreed++
			assert.EqualValues(t, len(files[o.Asked.(string)]), o.Value)
		}
	}
	assert.Equal(t, len(files), agreed)
}

// TestInteropPusher gets files from the prototype's pusher.
func TestInteropPusher(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	from, to := t.TempDir(), t.TempDir()
	files := makeFiles(t, from, 10<<20)
	l := netbed.NewLAN(t, "mvp", false)
	pusher := graspybed.RunASAWith(t, l.Node(t, "pusher"), "pusher", nil, graspybed.Dir(from))
	netbed.Eventually(t, time.Minute, "the pusher is ready", func() bool {
		return strings.Contains(pusher.String(), "pusher is listening")
	})
	getter := clitest.Start(t, l.Node(t, "getter"), clitest.Build(t, "getter"),
		append([]string{"-dir", to}, slices.Collect(maps.Keys(files))...)...)
	getter.Wait()
	requireSame(t, files, to)
	assert.Empty(t, pusher.Complaints())
}

// TestInteropGetter has the prototype's getter get files.
func TestInteropGetter(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	from, to := t.TempDir(), t.TempDir()
	files := makeFiles(t, from, 10<<20)
	delete(files, "size0") // which it takes for no file
	require.NoError(t, os.Mkdir(filepath.Join(to, "got"), 0o700))
	l := netbed.NewLAN(t, "mvg", false)
	pusher := clitest.Start(t, l.Node(t, "pusher"), clitest.Build(t, "pusher"), "-dir", from)
	names := append(slices.Sorted(maps.Keys(files)), "nothing", "../x")
	getter := graspybed.RunASAWith(t, l.Node(t, "getter"), "getter", names, graspybed.Dir(to))
	netbed.Eventually(t, 5*time.Minute, "it has asked for all", func() bool { return len(pusher.Outcomes()) >= len(names) })
	requireSame(t, files, filepath.Join(to, "got"))
	for _, text := range []string{"req_negotiate error: File not found", "req_negotiate error: Not in the directory that is served"} {
		netbed.Eventually(t, time.Minute, text, func() bool { return strings.Contains(getter.String(), text) })
	}
	assert.Equal(t, len(files), strings.Count(getter.String(), "Transfer succeeded"))
}
