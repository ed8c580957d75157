package adversary

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// enforce has the system end this process when it takes more memory than it may, by
// a cgroup of its own.
func enforce(t *testing.T, bytes int64) {
	t.Helper()
	pid := fmt.Append(nil, os.Getpid())
	for _, group := range []struct{ root, limit string }{
		{"/sys/fs/cgroup", "memory.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, // the first version
	} {
		dir := filepath.Join(group.root, fmt.Sprintf("grasp-%s", pid))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if control(filepath.Join(dir, group.limit), fmt.Append(nil, bytes)) != nil {
			_ = os.Remove(dir)
			continue
		}
		t.Cleanup(func() {
			_ = control(filepath.Join(group.root, "cgroup.procs"), pid)
			_ = os.Remove(dir)
		})
		require.NoError(t, control(filepath.Join(dir, "cgroup.procs"), pid))
		return
	}
	require.Fail(t, "there are no cgroups here that limit memory")
}

// control writes to a file that the system has made.
func control(name string, what []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(what)
	return err
}

// A process that may take 64 MiB lives through an attack that would take more, and no
// honest call fails. With -full the system ends one that does take more.
func TestMemoryLimit(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	const limit = 64 << 20
	connections, some := 800, planes[2:]
	if *full {
		connections, some = 4000, planes
	}
	for _, plane := range some {
		t.Run(plane, func(t *testing.T) {
			v := newVictim(t, victimConfig{Plane: plane, IdleMemory: limit / 4, MemoryLimit: limit, Enforced: *full})
			a := v.caller()
			require.Zero(t, v.call(a, 1))
			hostile := v.hold(connections)
			netbed.Eventually(t, 5*time.Minute, "they are opened", func() bool { return hostile.opened.Load() >= int64(connections) })
			require.Zero(t, v.call(a, 20), "honest calls that failed")
			s := v.state()
			t.Logf("%s: %d opened, %d idle, at most %d MiB, now %d MiB, without garbage", plane, hostile.opened.Load(), s.Idle, s.Memory>>20, s.Held>>20)
		})
	}
}
