package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/brski"
	"github.com/go-grasp/grasp/examples/internal/capture"
	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wire"
)

// build builds the programs and returns where they are.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", dir+string(filepath.Separator), ".", "../registrar", "../pledge", "../gdaemon").CombinedOutput()
	require.NoError(t, err, string(out))
	return dir
}

// start starts a program in a node, and ends it with the test in good order.
func start(t *testing.T, n *netbed.Node, program string, args ...string) *graspybed.Output {
	t.Helper()
	var out, errOut graspybed.Output
	cmd := n.Exec(context.WithoutCancel(t.Context()), program, append(args, "-json")...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		assert.NoError(t, cmd.Process.Signal(os.Interrupt))
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		assert.NoError(t, cmd.Wait(), program)
		kill.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s\n%s", program, &out, &errOut)
		}
	})
	return &out
}

// events returns the events of a kind that a program told.
func events(t *testing.T, out *graspybed.Output, kind string) []brski.Event {
	t.Helper()
	var all []brski.Event
	for line := range strings.Lines(out.String()) {
		var e brski.Event
		if !strings.HasSuffix(line, "\n") {
			break
		}
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		if e.Event == kind {
			all = append(all, e)
		}
	}
	return all
}

// eventually waits until a program has told an event.
func eventually(t *testing.T, within time.Duration, out *graspybed.Output, kind string) brski.Event {
	t.Helper()
	netbed.Eventually(t, within, kind, func() bool { return len(events(t, out, kind)) > 0 })
	return events(t, out, kind)[0]
}

// messages returns the multicasts of GRASP in a capture, with their sources.
func messages(t *testing.T, f *capturetest.File) (all []wire.Message, from []netip.Addr) {
	t.Helper()
	file, err := os.Open(f.Copy())
	require.NoError(t, err)
	defer file.Close()
	r, err := capture.NewReader(file)
	require.NoError(t, err)
	var d capture.Dissector
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, from
		}
		require.NoError(t, err)
		s, ok := d.Segment(p)
		if !ok || s.Dst.Port() != acp.Port {
			continue
		}
		require.False(t, s.TCP, "a connection on the pledges' link")
		m, err := wire.Parse(s.Payload, wire.Limits{})
		require.NoError(t, err)
		all, from = append(all, m), append(from, s.Src.Addr())
	}
}

// A pledge finds the proxy, which found the registrar two links away; on the pledge's
// link there is nothing but the proxy's floods, though the secure network floods
// and discovers all the time.
func TestPledgeProxyRelayRegistrar(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	dir := build(t)
	ns := netbed.Chain(t, 4)
	pledge, proxy, relay, registrar := ns[0], ns[1], ns[2], ns[3]
	proxy.AddAddr(t, "to-n2", "fd00:1::1/64")
	relay.AddAddr(t, "to-n1", "fd00:1::2/64")
	relay.AddAddr(t, "to-n3", "fd00:2::1/64")
	registrar.AddAddr(t, "to-n2", "fd00:2::2/64")
	f := capturetest.Live(t, pledge, "to-n1")

	atPledge := start(t, pledge, filepath.Join(dir, "pledge"), "-seed", "1")
	atProxy := start(t, proxy, filepath.Join(dir, "proxy"), "-link", "to-n2", "-pledges", "to-n0", "-every", "1s")
	start(t, relay, filepath.Join(dir, "gdaemon"))
	atRegistrar := start(t, registrar, filepath.Join(dir, "registrar"), "-every", "1s")

	assert.Equal(t, "[fd00:2::2]:8443", eventually(t, time.Minute, atRegistrar, "flooded").Locator)
	assert.Equal(t, brski.Event{Event: "found", Objective: "AN_join_registrar", Locator: "[fd00:2::2]:8443", Method: "TCP", Value: "EST-TLS"},
		eventually(t, time.Minute, atProxy, "found"))
	found := eventually(t, time.Minute, atPledge, "found")
	assert.Equal(t, "AN_Proxy", found.Objective)
	at := netip.MustParseAddrPort(found.Locator)
	assert.EqualValues(t, 11800, at.Port())
	assert.Equal(t, found.Locator, eventually(t, time.Minute, atPledge, "chosen").Locator)
	netbed.Eventually(t, 30*time.Second, "floods go on", func() bool {
		all, _ := messages(t, f)
		return len(all) >= 3 && len(events(t, atRegistrar, "flooded")) >= 5
	})

	all, from := messages(t, f)
	for i, m := range all {
		flood, ok := m.(*wire.Flood)
		require.True(t, ok, "%v leaked", m.Type())
		require.Len(t, flood.Objectives, 1)
		o := flood.Objectives[0]
		assert.Equal(t, "AN_Proxy", o.Objective.Name)
		assert.EqualValues(t, 1, o.Objective.LoopCount)
		assert.Equal(t, at.Addr().WithZone(""), o.Locator.Addr)
		assert.Equal(t, at.Addr().WithZone(""), from[i])
		assert.Equal(t, at.Addr().WithZone(""), flood.Initiator)
		assert.EqualValues(t, 3000, flood.TTL)
	}
	t.Logf("%d floods of the proxy, and nothing else", len(all))
}

// Each of the three with the prototype's others.
func TestInteropBRSKI(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	dir := build(t)
	says := func(o *graspybed.Output, within time.Duration, text string) {
		t.Helper()
		netbed.Eventually(t, within, text, func() bool { return strings.Contains(o.String(), text) })
	}
	// Of the prototype's programs, run as DULL, each floods with the loop count 1.
	t.Run("GoProxy", func(t *testing.T) {
		t.Parallel()
		ns := netbed.Chain(t, 3)
		ns[1].AddAddr(t, "to-n2", "fd00::1/64")
		ns[2].AddAddr(t, "to-n1", "fd00::2/64")
		reggie := graspybed.RunASA(t, ns[2], "Reggie", true)
		pledji := graspybed.RunASA(t, ns[0], "Pledji", true)
		out := start(t, ns[1], filepath.Join(dir, "proxy"), "-link", "to-n2", "-pledges", "to-n0", "-objective", "AN_proxy", "-every", "5s")
		found := eventually(t, 3*time.Minute, out, "found")
		assert.Equal(t, "TCP", found.Method)
		assert.Equal(t, "EST-TLS", found.Value)
		assert.True(t, strings.HasSuffix(found.Locator, ":80"), found.Locator)
		says(pledji, 3*time.Minute, "AN_proxy flooded from fe80::")
		says(pledji, 3*time.Minute, "Chose proxy: address fe80::")
		assert.Contains(t, pledji.String(), "port 11800 method TCP")
		assert.Empty(t, pledji.Complaints())
		assert.Empty(t, reggie.Complaints())
	})
	t.Run("PythonProxy", func(t *testing.T) {
		t.Parallel()
		ns := make([]*netbed.Node, 3)
		netbed.Bridge(t, "lan")
		for i, name := range []string{"pledge", "procksy", "registrar"} {
			ns[i] = netbed.NewNode(t, name)
			netbed.VethPair(t, name[:3]+"-i", name[:3]+"-o")
			netbed.IP(t, "link", "set", name[:3]+"-o", "master", "lan")
			ns[i].MoveLink(t, name[:3]+"-i")
		}
		ns[2].AddAddr(t, "reg-i", "fd00::2/64")
		procksy := graspybed.RunASA(t, ns[1], "Procksy", true)
		start(t, ns[2], filepath.Join(dir, "registrar"), "-loops", "1", "-every", "5s")
		out := start(t, ns[0], filepath.Join(dir, "pledge"))
		says(procksy, 3*time.Minute, "Got AN_join_registrar at fd00::2 6 8443")
		found := eventually(t, 3*time.Minute, out, "found")
		assert.Equal(t, "AN_proxy", found.Objective)
		assert.Equal(t, "TCP", found.Method)
		assert.Contains(t, found.Locator, "[fe80::")
		assert.Regexp(t, `:1180\d$`, found.Locator)
		assert.Empty(t, procksy.Complaints())
	})
}
