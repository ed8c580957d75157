package acp

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/netbed"
)

// polled returns the descriptors that the pollers of this process watch.
func polled(t *testing.T) map[int]bool {
	t.Helper()
	all := make(map[int]bool)
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if what, _ := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); what != "anon_inode:[eventpoll]" {
			continue
		}
		info, err := os.ReadFile(filepath.Join("/proc/self/fdinfo", fd.Name()))
		require.NoError(t, err)
		for s := bufio.NewScanner(strings.NewReader(string(info))); s.Scan(); {
			var n int
			if _, err := fmt.Sscanf(s.Text(), "tfd: %d", &n); err == nil {
				all[n] = true
			}
		}
	}
	return all
}

// TestSendersAreNotPolled: or the poller would be woken for each multicast that has left.
// The port is free again after Close.
func TestSendersAreNotPolled(t *testing.T) {
	if !netbed.Enter(t) { // where nobody else takes the port
		return
	}
	ep, err := (&Layer2{IPv4: true}).Open()
	require.NoError(t, err)
	e := ep.(*layer2Endpoint)
	all := polled(t)
	for _, f := range e.opened {
		require.NoError(t, f.rawOut.Control(func(fd uintptr) { require.False(t, all[int(fd)], f.network) }))
		raw, err := f.conn.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { require.True(t, all[int(fd)], f.network) }))
	}
	require.NoError(t, ep.Close())
	again, err := (&Layer2{IPv4: true, Port: ep.Port()}).Open()
	require.NoError(t, err)
	require.NoError(t, again.Close())
}
