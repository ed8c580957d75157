package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/output"
)

// systemd is what a service manager hears.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
	log  string
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "1000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	return &systemd{t: t, conn: conn}
}

// await waits until it was told something, and forgets that and what came before.
func (s *systemd) await(what string) {
	s.t.Helper()
	require.NoError(s.t, s.conn.SetReadDeadline(time.Now().Add(time.Minute)))
	buf := make([]byte, 4096)
	for !strings.Contains(s.log, what) {
		n, err := s.conn.Read(buf)
		require.NoError(s.t, err, "%q after %q", what, s.log)
		s.log += string(buf[:n])
	}
	_, s.log, _ = strings.Cut(s.log, what)
}

// A daemon tells systemd how it goes, runs programs, and puts a new configuration
// in force, unless that is wrong.
func TestDaemon(t *testing.T) {
	manager := newSystemd(t)
	file := filepath.Join(t.TempDir(), "gdaemon.toml")
	program := func(name, script string) string {
		return fmt.Sprintf("[[program]]\nname = %q\ncommand = ['sh', '-c', %q]\nstop-time = '1m'\n", name, script)
	}
	loop := "; while :; do sleep 0.01; done"
	write(t, file, program("a", "echo first ${NOTIFY_SOCKET-unset}"+loop))

	var out output.Buffer
	n := memory.NewNetwork(1)
	hangup := make(chan os.Signal)
	opened, failing := 0, errors.New("no such links")
	d := &daemon{
		load: func() (config, error) { return load(file) },
		open: func(c config) (*grasp.Instance, func(), error) {
			if c.Rate == 13 {
				return nil, nil, failing
			}
			opened++
			g, err := grasp.New(grasp.Config{Plane: n.NewNode(fmt.Sprint("router", opened), n.NewLink(memory.LinkConfig{Name: fmt.Sprint("link", opened)}))})
			return g, func() {}, err
		},
		reload: hangup, tell: newTeller(&out, false), system: newNotifier(),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- d.run(ctx) }()
	said := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(out.String(), text) }, time.Minute, time.Millisecond, "%s in %s", text, out.String())
	}
	manager.await("READY=1")
	manager.await("STATUS=Relaying between link1: nothing")
	manager.await("WATCHDOG=1")
	said("a: first unset\n")

	write(t, file, "rate = 'many'")
	hangup <- syscall.SIGHUP
	manager.await("RELOADING=1\nMONOTONIC_USEC=")
	manager.await("READY=1")
	said("Not reloaded, the old configuration stays: " + file + ":1:8: rate")
	assert.Equal(t, 1, opened)

	write(t, file, "rate = 13")
	hangup <- syscall.SIGHUP
	said("Not reloaded, the old configuration stays: no such links\n")
	said("Link up: link2")
	assert.Equal(t, 1, strings.Count(out.String(), "Program a:"), "it runs on")

	write(t, file, "rate = 5\n"+program("b", "echo second"+loop))
	hangup <- syscall.SIGHUP
	said("b: second\n")
	text := out.String()
	assert.Less(t, strings.Index(text, "Program a: stopped\n"), strings.Index(text, "Program b: started"))
	assert.Contains(t, text, "Reloaded: the new configuration is in force\n")
	assert.Contains(t, text, "Link up: link3")

	cancel()
	require.NoError(t, <-over)
	manager.await("STOPPING=1")
	assert.Regexp(t, `Program b: stopped\n(?s:.*)Relayed: nothing\n`, out.String())
}

// A configuration with which it cannot begin ends it.
func TestDaemonCannotBegin(t *testing.T) {
	d := &daemon{load: func() (config, error) { return config{}, os.ErrNotExist }, tell: newTeller(&output.Buffer{}, false), system: newNotifier()}
	require.ErrorIs(t, d.run(t.Context()), os.ErrNotExist)
}
