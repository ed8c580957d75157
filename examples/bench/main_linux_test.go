package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// measured runs the command and returns the line it printed.
func measured(t *testing.T, ctx context.Context, args string) (r result) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := command().Execute(ctx, strings.Fields("-json "+args), nil, &stdout, &stderr)
	require.Zero(t, status, "%s: %s", args, stderr.String())
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r), "%s: %s", args, stdout.String())
	assert.Positive(t, r.RSS, args)
	assert.Positive(t, r.Goroutines, args)
	return r
}

// awaitFloor waits until the floor's datagrams are heard on a link.
func awaitFloor(t *testing.T, link string) {
	t.Helper()
	netbed.Eventually(t, 30*time.Second, "the floor listens on "+link, func() bool {
		members, err := os.ReadFile("/proc/thread-self/net/igmp6")
		require.NoError(t, err)
		return regexp.MustCompile(fmt.Sprintf(`(?m)^\d+ +%s +%x `, link, floorGroup.Addr().As16())).Match(members)
	})
}

// Both ends of a link, with each verb: all that is asked for is done, once.
func TestEachVerb(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.LinkLocal(t, "va0")
	netbed.LinkLocal(t, "va1")
	t.Setenv("GRASP_PASSWORD", "of the benchmark")
	for _, plane := range []string{"", "-plane quads "} {
		ctx, stop := context.WithCancel(t.Context())
		var served result
		var serving sync.WaitGroup
		serving.Go(func() { served = measured(t, ctx, plane+"-link va1 serve") })
		for verb, n := range map[string]int{
			"neg 50": 50, "neg 100 8": 100, "-floor neg 300 2": 300, "syn 50 4": 50, "-floor syn 300": 300,
			"disc 3": 3, "cold 3": 3, "open 200": 200,
		} {
			r := measured(t, t.Context(), plane+"-link va0 "+verb)
			assert.Equal(t, n, r.N, verb)
			assert.Equal(t, n, r.OK, verb)
			assert.Positive(t, r.PerSecond, verb)
			assert.LessOrEqual(t, r.P50, r.P99, verb)
			assert.Equal(t, strings.Contains(verb, "-floor"), r.Ratio > 0, verb)
		}
		stop()
		serving.Wait()
		assert.Equal(t, 50+100+300+3, served.OK)
		assert.Equal(t, served.OK, served.N)
	}

	var heard result
	var listening sync.WaitGroup
	listening.Go(func() { heard = measured(t, t.Context(), "-link va1 -floor floodsink 10") })
	awaitFloor(t, "va1")
	sent := measured(t, t.Context(), "-link va0 -floor -rate 100 flood 200")
	assert.Equal(t, 200, sent.OK)
	assert.Positive(t, sent.Ratio)
	listening.Wait()
	assert.Equal(t, []int{200, 200, 200, 200}, []int{heard.N, heard.OK, heard.FloorN, heard.FloorOK})

	idle := measured(t, t.Context(), "-link va0 idle")
	assert.Equal(t, 100, idle.OK)
}
