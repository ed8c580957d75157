package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/output"
)

// Gray, on one host, negotiates with Briggs, on another, across a router that
// runs gdaemon: each a process in a namespace of its own.
func TestGrayAndBriggsAcrossARelay(t *testing.T) {
	acrossARelay(t, func(string) []string { return nil })
}

// The same, in a domain that has a password.
func TestGrayAndBriggsAcrossARelayOfQUADS(t *testing.T) {
	longtest.Need(t)
	acrossARelay(t, func(string) []string { return []string{"-plane", "quads"} })
}

// The same over TLS, with certificates that examples/domain makes.
func TestGrayAndBriggsAcrossARelayOverTLS(t *testing.T) {
	longtest.Need(t)
	dir := filepath.Join(t.TempDir(), "domain")
	out, err := exec.Command("go", "run", "../domain", "-dir", dir, "-members", "gray,gdaemon,briggs").CombinedOutput()
	require.NoError(t, err, string(out))
	acrossARelay(t, func(program string) []string { return []string{"-plane", "tls", "-domain", dir, "-member", program} })
}

// acrossARelay runs the programs with flags for the plane.
func acrossARelay(t *testing.T, plane func(program string) []string) {
	t.Helper()
	if !netbed.Enter(t) {
		return
	}
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", dir+string(filepath.Separator), "../gray", "../briggs", ".").CombinedOutput()
	require.NoError(t, err, string(out))

	ns := netbed.Chain(t, 3)
	gray, router, briggs := ns[0], ns[1], ns[2]
	gray.AddAddr(t, "to-n1", "fd00:1::1/64")
	router.AddAddr(t, "to-n0", "fd00:1::2/64")
	router.AddAddr(t, "to-n2", "fd00:2::2/64")
	briggs.AddAddr(t, "to-n1", "fd00:2::1/64")
	gray.IP(t, "-6", "route", "add", "fd00:2::/64", "via", "fd00:1::2")
	briggs.IP(t, "-6", "route", "add", "fd00:1::/64", "via", "fd00:2::2")
	forward := router.Exec(t.Context(), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
	out, err = forward.CombinedOutput()
	require.NoError(t, err, string(out))

	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	t.Cleanup(cancel)
	start := func(n *netbed.Node, program string, args ...string) (stdout *output.Buffer, stop func()) {
		t.Helper()
		stdout = new(output.Buffer)
		cmd := n.Exec(ctx, filepath.Join(dir, program), append(plane(program), args...)...)
		cmd.Env = append(os.Environ(), "GRASP_PASSWORD=of the relay's domain")
		cmd.Stdout, cmd.Stderr = stdout, os.Stderr
		require.NoError(t, cmd.Start())
		return stdout, func() {
			t.Helper()
			assert.NoError(t, cmd.Process.Signal(os.Interrupt))
			assert.NoError(t, cmd.Wait(), program)
		}
	}
	relay, stopRelay := start(router, "gdaemon")
	netbed.Eventually(t, 30*time.Second, "the links are up, with carriers, and in use", func() bool {
		for _, n := range ns {
			if strings.Contains(n.IP(t, "-o", "link", "show", "type", "veth"), " state DOWN ") ||
				!strings.Contains(n.IP(t, "-o", "link", "show", "type", "veth"), " state UP ") {
				return false
			}
		}
		return strings.Count(relay.String(), "Link up: ") == 2
	})
	banker, stopBanker := start(briggs, "briggs", "-seed", "1", "-wait", "0")
	netbed.Eventually(t, 30*time.Second, "the banker is up", func() bool {
		return strings.Contains(banker.String(), "Flooding EX1")
	})

	cmd := gray.Exec(ctx, filepath.Join(dir, "gray"), append(plane("gray"), "-seed", "1", "-wait", "0", "-n", "5", "-json")...)
	cmd.Env = append(os.Environ(), "GRASP_PASSWORD=of the relay's domain")
	outcomes, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, 5, bytes.Count(outcomes, []byte(`"asa":"Gray"`)), string(outcomes))
	assert.Positive(t, bytes.Count(outcomes, []byte(`"outcome":"agreed"`)), string(outcomes))
	assert.Zero(t, bytes.Count(outcomes, []byte(`"outcome":"failed"`)), string(outcomes))

	router.Down(t, "to-n2")
	netbed.Eventually(t, 30*time.Second, "the relay sees the link go", func() bool {
		return strings.Contains(relay.String(), "Link down: to-n2")
	})
	stopBanker()
	stopRelay()
	t.Log("the relay:\n" + relay.String())
	assert.Contains(t, relay.String(), "M_DISCOVERY")
	assert.Contains(t, relay.String(), "M_FLOOD")
}

// A program in Go, as most that it runs are, starts within the limits of the examples.
func TestLimitsOfExamples(t *testing.T) {
	installed, err := os.ReadFile("gdaemon.toml")
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "running-a-relay.md"))
	require.NoError(t, err)
	for _, text := range []string{string(installed), string(page)} {
		limit := regexp.MustCompile(`limits = \{ memory = (\d+)`).FindStringSubmatch(text)
		require.Len(t, limit, 2)
		out, err := exec.Command("sh", "-c", "ulimit -d $(($0 / 1024)) && exec go version", limit[1]).CombinedOutput()
		require.NoError(t, err, string(out))
	}
}
