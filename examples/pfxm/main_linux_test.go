package main

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/clitest"
	"github.com/go-grasp/grasp/examples/internal/prefix"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// holdings returns what a journal tells.
func holdings(t *testing.T, state string) prefix.Holdings {
	t.Helper()
	f, records, err := prefix.OpenFile(state)
	require.NoError(t, err)
	defer f.Close()
	l, err := prefix.NewLedger(records, nil)
	require.NoError(t, err)
	return l.Holdings()
}

// held returns all that is in a pool, delegated or in doubt.
func held(h prefix.Holdings) []netip.Prefix {
	all := slices.Concat(h.Free, h.Delegated)
	for _, o := range h.InDoubt {
		all = append(all, o.Prefix)
	}
	return all
}

// agreed counts the prefixes of a family that a program gave or was given.
func agreed(p *clitest.Process, f prefixpool.Family) (n int) {
	for _, o := range p.Outcomes() {
		if o.Outcome == cli.Agreed && prefixpool.FamilyOf(netip.MustParsePrefix(o.Value.(string))) == f {
			n++
		}
	}
	return n
}

// An origin and others, each a process on a host of its own, which are killed
// and started again: nothing is lost, and nothing in two pools.
func TestProcessesDie(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	const devices = 4
	network := prefixes{netip.MustParsePrefix("2001:db8::/40"), netip.MustParsePrefix("10.0.0.0/12")}
	exe, dir := clitest.Build(t, "pfxm"), t.TempDir()
	l := netbed.NewLAN(t, "pfx", true)
	var nodes []*netbed.Node
	for i := range devices {
		nodes = append(nodes, l.Node(t, fmt.Sprint("d", i)))
	}
	state := func(i int) string { return filepath.Join(dir, fmt.Sprint("state", i)) }
	start := func(i int) *clitest.Process {
		args := []string{"-state", state(i), "-wait", "5ms", "-subnet", "64", "-subnet4", "28"}
		if i == 0 {
			args = append(args, "-pool", network.String())
		}
		return clitest.Start(t, nodes[i], exe, args...)
	}
	var all []*clitest.Process
	for i := range devices {
		all = append(all, start(i))
	}
	for round := range 12 {
		i := round % devices
		victim := all[i]
		before := len(victim.Outcomes())
		netbed.Eventually(t, time.Minute, "prefixes change hands", func() bool { return len(victim.Outcomes()) > before })
		victim.Kill()
		all[i] = start(i)
	}
	for _, p := range all {
		netbed.Eventually(t, time.Minute, "prefixes change hands again", func() bool { return len(p.Outcomes()) > 0 })
	}
	for _, p := range all {
		p.Stop()
	}

	var sum prefixpool.Pool
	var claims []netip.Prefix
	delegated, doubts := 0, 0
	for i := range devices {
		h := holdings(t, state(i))
		delegated, doubts = delegated+len(h.Delegated), doubts+len(h.InDoubt)
		for _, p := range held(h) {
			require.NoError(t, sum.Put(p), "in two pools")
		}
		claims = slices.AppendSeq(claims, maps.Keys(h.Claims))
	}
	t.Log(delegated, "delegated,", doubts, "in doubt,", len(claims), "claimed")
	for _, p := range claims {
		if !sum.Overlaps(p) { // else it is still the giver's
			require.NoError(t, sum.Put(p))
		}
	}
	assert.Equal(t, network, prefixes(slices.Collect(sum.All())))
}

// TestInteropOrigin has the prototype's pfxm3 be the origin, for devices with
// this library and for another pfxm3.
func TestInteropOrigin(t *testing.T) {
	t.Parallel()
	interopOrigin(t, "pfxm3")
}

// TestInteropTaggedOrigin does so with pfxm4, which has the tags of RFC 9164.
func TestInteropTaggedOrigin(t *testing.T) {
	t.Parallel()
	interopOrigin(t, "pfxm4", "-tagged")
}

func interopOrigin(t *testing.T, python string, flags ...string) {
	t.Helper()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	exe, dir := clitest.Build(t, "pfxm"), t.TempDir()
	l := netbed.NewLAN(t, "pfx", true)
	origin := graspybed.RunASAWith(t, l.Node(t, "origin"), python, pfxm3(true))
	peer := graspybed.RunASAWith(t, l.Node(t, "peer"), python, pfxm3(false))
	netbed.Eventually(t, time.Minute, "the origin is ready", func() bool { return said(origin, "Ready to negotiate PrefixManager") })

	var states []string
	var all []*clitest.Process
	for i := range 3 {
		states = append(states, filepath.Join(dir, fmt.Sprint("state", i)))
		all = append(all, clitest.Start(t, l.Node(t, fmt.Sprint("d", i)), exe, slices.Concat(flags, []string{"-state", states[i], "-wait", "100ms"})...))
	}
	netbed.Eventually(t, 3*time.Minute, "all have got prefixes of both families", func() bool {
		return said(peer, "Obtained ") && !slices.ContainsFunc(all, func(p *clitest.Process) bool {
			return agreed(p, prefixpool.IPv6) < 3 || agreed(p, prefixpool.IPv4) < 2
		})
	})
	var sum prefixpool.Pool
	for i, p := range all {
		p.Stop()
		assert.Contains(t, p.Progress.String(), "Parameters: RSG=34,ASG=44,CSG=56\n")
		h := holdings(t, states[i])
		t.Log(len(h.Delegated), "delegated;", h.Free)
		for _, p := range held(h) {
			assert.NoError(t, sum.Put(p), "in two pools")
			assert.True(t, netip.MustParsePrefix("2001:db8::/32").Overlaps(p) || netip.MustParsePrefix("10.0.0.0/8").Overlaps(p), p)
		}
	}
	assert.True(t, said(origin, "Negotiation succeeded"))
	for _, o := range []*graspybed.Output{origin, peer} {
		assert.Empty(t, o.Complaints())
	}
}

// TestInteropDelegators has the prototype's pfxm3 get its prefixes from an
// origin with this library.
func TestInteropDelegators(t *testing.T) {
	t.Parallel()
	interopDelegators(t, "pfxm3")
}

// TestInteropTaggedDelegators does so with pfxm4.
func TestInteropTaggedDelegators(t *testing.T) {
	t.Parallel()
	interopDelegators(t, "pfxm4")
}

func interopDelegators(t *testing.T, python string) {
	t.Helper()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	exe, dir := clitest.Build(t, "pfxm"), t.TempDir()
	l := netbed.NewLAN(t, "pfx", true)
	state := filepath.Join(dir, "state")
	origin := clitest.Start(t, l.Node(t, "origin"), exe, "-state", state, "-pool", "2001:db8::/32,10.0.0.0/8")
	var all []*graspybed.Output
	for i := range 2 {
		all = append(all, graspybed.RunASAWith(t, l.Node(t, fmt.Sprint("d", i)), python, pfxm3(false)))
	}
	netbed.Eventually(t, 3*time.Minute, "all have got prefixes of both families", func() bool {
		return agreed(origin, prefixpool.IPv6) > 0 && agreed(origin, prefixpool.IPv4) > 0 &&
			!slices.ContainsFunc(all, func(o *graspybed.Output) bool {
				return !said(o, "Obtained 2001:db8:") || !said(o, "Obtained 10.")
			})
	})
	// What they say they obtained from the origin is what it says it gave.
	given := make(map[string]bool)
	origin.Stop()
	for _, o := range origin.Outcomes() {
		if o.Outcome == cli.Agreed {
			given[o.Value.(string)] = true
		}
		assert.NotEqual(t, cli.Failed, o.Outcome, o.Reason)
	}
	var sum prefixpool.Pool
	for _, p := range held(holdings(t, state)) {
		require.NoError(t, sum.Put(p))
	}
	for _, o := range all {
		for _, line := range o.Lines() {
			if p, ok := strings.CutPrefix(line, "Obtained "); ok && given[p] {
				delete(given, p)
				require.NoError(t, sum.Put(netip.MustParsePrefix(p)), "in two pools")
			}
		}
		assert.Empty(t, o.Complaints())
		assert.True(t, said(o, "Results for PrefixManager.Params : [[['role', 'RSG'], ['prefix_length', 34]],"))
	}
	assert.Empty(t, given, "given, and nobody has it")
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("10.0.0.0/8")},
		slices.Collect(sum.All()))
}

// pfxm3 returns the answers to the questions that the prototype's agents ask
// before graspy's own: defaults, but for haste.
func pfxm3(origin bool) []string {
	graspy := []string{"n", "y", "n", "n"}
	if origin {
		return append([]string{"y", "", "n", "n"}, graspy...)
	}
	return append([]string{"n", "", "y"}, graspy...)
}

func said(o *graspybed.Output, text string) bool {
	return slices.ContainsFunc(o.Lines(), func(line string) bool { return strings.Contains(line, text) })
}
