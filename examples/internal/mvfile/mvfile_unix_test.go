//go:build unix

package mvfile

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// To open a named pipe would be to wait for whoever writes to it.
func TestPipe(t *testing.T) {
	b := newBench(t, GetterSettings{Max: 100})
	b.push()
	require.NoError(t, unix.Mkfifo(filepath.Join(b.from, "pipe"), 0o600))
	b.refused("pipe", notRegular)
}
