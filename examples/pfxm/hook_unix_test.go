//go:build unix

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/prefix"
)

// script makes a program of the shell.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
	return path
}

var changed = prefix.Event{
	Action: prefix.Changed, Interface: "lan0",
	Prefix: netip.MustParsePrefix("2001:db8:0:1::/64"), Old: netip.MustParsePrefix("2001:db8::/64"),
	All: []prefix.Delegation{
		{Interface: "lan0", Prefix: netip.MustParsePrefix("10.0.0.64/26")},
		{Interface: "lan0", Prefix: netip.MustParsePrefix("2001:db8:0:1::/64")},
	},
}

// hooks returns the hook of some programs.
func hooks(t *testing.T, timeout time.Duration, paths ...string) prefix.Hook {
	t.Helper()
	var c commands
	for _, p := range paths {
		require.NoError(t, c.Set(p))
	}
	return c.hook(timeout)
}

// Programs are told of an event in their environment, one after the other, up to the first
// that fails.
func TestHook(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("OUT", out)
	first, second := script(t, `env | grep ^PFXM_ALL -A1 >>$OUT; env | grep ^PFXM_ | grep -v ALL | sort >>$OUT`), script(t, `echo second >>$OUT`)
	require.NoError(t, hooks(t, time.Minute, first, second)(t.Context(), changed))
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, `PFXM_ALL=lan0 10.0.0.64/26 10.0.0.65/26
lan0 2001:db8:0:1::/64 2001:db8:0:1::1/64
PFXM_ACTION=change
PFXM_ADDRESS=2001:db8:0:1::1/64
PFXM_INTERFACE=lan0
PFXM_OLD_ADDRESS=2001:db8::1/64
PFXM_OLD_PREFIX=2001:db8::/64
PFXM_PREFIX=2001:db8:0:1::/64
second
`, string(text))

	require.NoError(t, os.Remove(out))
	bad := script(t, `echo something; echo "no such device" >&2; exit 3`)
	err = hooks(t, time.Minute, bad, second)(t.Context(), changed)
	assert.EqualError(t, err, bad+`: exit status 3: "no such device"`)
	assert.NoFileExists(t, out)

	// The end of pfxm does not break a hook off.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, hooks(t, time.Minute, second)(ctx, changed))
	assert.FileExists(t, out)
	assert.Nil(t, commands(nil).hook(time.Minute))
	var c commands
	assert.ErrorContains(t, c.Set("./no such program"), "no such program")
}

// What does not end in time is ended, with all that it runs.
func TestHookTimeout(t *testing.T) {
	t.Parallel() // it waits
	pid := filepath.Join(t.TempDir(), "child")
	slow := script(t, fmt.Sprintf(`sleep 1000 & echo $! >%q; echo "still here"; wait`, pid))
	err := hooks(t, 3*time.Second, slow)(t.Context(), changed)
	assert.EqualError(t, err, slow+` did not end in 3s: "still here"`)
	child, err := os.ReadFile(pid)
	require.NoError(t, err)
	stat := "/proc/" + strings.TrimSpace(string(child)) + "/stat"
	assert.Eventually(t, func() bool {
		b, err := os.ReadFile(stat)
		return err != nil || strings.Contains(string(b), ") Z")
	}, 30*time.Second, 10*time.Millisecond, "the child lives on")

	// Its output may be without end.
	loud := script(t, `i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done; exit 1`)
	err = hooks(t, time.Minute, loud)(t.Context(), changed)
	assert.ErrorContains(t, err, `exit status 1: "line 19999"`)
}

// The configuration for radvd has the prefixes of all interfaces, and those that went with
// lifetimes of 0; radvd is told if it is another one.
func TestRadvdConfiguration(t *testing.T) {
	dir := t.TempDir()
	conf, told := filepath.Join(dir, "radvd.conf"), filepath.Join(dir, "told")
	t.Setenv("RADVD_CONF", conf)
	t.Setenv("RADVD_PID", filepath.Join(dir, "pid"))
	t.Setenv("TOLD", told)
	// Under nohup a shell could not trap it.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hup) })
	daemon := exec.Command("sh", "-c", `trap 'echo told >>$TOLD' HUP; echo $$ >$RADVD_PID; while :; do sleep 0.05; done`)
	require.NoError(t, daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	require.Eventually(t, func() bool { b, _ := os.ReadFile(filepath.Join(dir, "pid")); return len(b) > 0 }, time.Minute, 10*time.Millisecond)

	radvd := hooks(t, time.Minute, "hooks/radvd.sh")
	times := 0
	run := func(action prefix.Action, name, p, old string, all ...string) string {
		t.Helper()
		e := prefix.Event{Action: action, Interface: name, Prefix: netip.MustParsePrefix(p)}
		if old != "" {
			e.Old = netip.MustParsePrefix(old)
		}
		for _, d := range all {
			name, p, _ := strings.Cut(d, "=")
			e.All = append(e.All, prefix.Delegation{Interface: name, Prefix: netip.MustParsePrefix(p)})
		}
		before, _ := os.ReadFile(conf)
		require.NoError(t, radvd(t.Context(), e))
		after, err := os.ReadFile(conf)
		require.NoError(t, err)
		if string(before) != string(after) {
			times++
		}
		require.Eventually(t, func() bool { b, _ := os.ReadFile(told); return strings.Count(string(b), "told") == times }, time.Minute, 10*time.Millisecond)
		return string(after)
	}
	const head = "# Written by a hook of pfxm: what is changed here will be lost.\n"
	of := func(name string, prefixes ...string) string {
		return "interface " + name + " {\n\tIgnoreIfMissing on;\n\tAdvSendAdvert on;\n" + strings.Join(prefixes, "") + "};\n"
	}
	const lan0 = "\tprefix 2001:db8::/64 {\n\t\tAdvAutonomous on;\n\t};\n"
	const lan0Gone = "\tprefix 2001:db8::/64 {\n\t\tAdvAutonomous on;\n\t\tAdvPreferredLifetime 0;\n\t\tAdvValidLifetime 0;\n\t};\n"
	const lan0Next = "\tprefix 2001:db8:0:10::/60 {\n\t\tAdvAutonomous off;\n\t};\n"
	const lan1 = "\tprefix 2001:db8:0:1::/64 {\n\t\tAdvAutonomous on;\n\t};\n"
	assert.Equal(t, head+of("lan0", lan0), run(prefix.Added, "lan0", "2001:db8::/64", "", "lan0=2001:db8::/64"))
	assert.Equal(t, head+of("lan0", lan0)+of("lan1", lan1), run(prefix.Added, "lan1", "2001:db8:0:1::/64", "", "lan0=10.0.0.0/26", "lan0=2001:db8::/64", "lan1=2001:db8:0:1::/64"))
	run(prefix.Added, "lan0", "2001:db8::/64", "", "lan0=2001:db8::/64", "lan1=2001:db8:0:1::/64")
	assert.Equal(t, 2, times, "nothing new, nothing told")
	assert.Equal(t, head+of("lan0", lan0Next, lan0Gone)+of("lan1", lan1),
		run(prefix.Changed, "lan0", "2001:db8:0:10::/60", "2001:db8::/64", "lan0=2001:db8:0:10::/60", "lan1=2001:db8:0:1::/64"))
	// What went is announced after other events, too, and no longer when it is back.
	assert.Contains(t, run(prefix.Removed, "lan1", "2001:db8:0:1::/64", "", "lan0=2001:db8:0:10::/60"), lan0Gone)
	assert.NotContains(t, run(prefix.Added, "lan0", "2001:db8::/64", "", "lan0=2001:db8::/64"), lan0Gone)
	for range 30 {
		run(prefix.Removed, "lan1", "2001:db8:0:1::/64", "", "lan0=2001:db8::/64")
	}
	b, err := os.ReadFile(conf + ".gone")
	require.NoError(t, err)
	assert.Equal(t, 16, strings.Count(string(b), "\n"))
}

func TestFirstAddress(t *testing.T) {
	for p, want := range map[string]string{
		"2001:db8::/64": "2001:db8::1/64", "2001:db8::4/126": "2001:db8::5/126", "2001:db8::4/127": "2001:db8::4/127", "2001:db8::4/128": "2001:db8::4/128",
		"10.0.0.0/8": "10.0.0.1/8", "192.0.2.4/30": "192.0.2.5/30", "192.0.2.4/31": "192.0.2.4/31", "192.0.2.4/32": "192.0.2.4/32", "::/0": "::1/0",
	} {
		assert.Equal(t, netip.MustParsePrefix(want), firstAddress(netip.MustParsePrefix(p)))
	}
}
