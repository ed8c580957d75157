package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/bank"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// A whole Gray in less than 60 lines gets on with Briggs for an hour. (With the
// prototype's Briggs it does so in internal/graspybed.)
func TestGray(t *testing.T) {
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.Less(t, bytes.Count(source, []byte("\n")), 60)

	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		var said bytes.Buffer
		start := func(name string, d grasp.Dialogue) *grasp.Instance {
			g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, link), Dialogue: d})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, g.Close()) })
			return g
		}
		outcomes := cli.NewOutcomes(nil)
		briggs, err := bank.NewBriggs(start("briggs", grasp.Dialogue{Silent: true}), bank.Settings{Seed: 1, Outcomes: outcomes})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		over := make(chan error)
		go func() { over <- briggs.Run(ctx) }()

		g := start("gray", grasp.Dialogue{Output: &said})
		asa, err := g.RegisterASA("Gray")
		require.NoError(t, err)
		require.NoError(t, gray(ctx, asa))
		require.NoError(t, <-over)

		count := func(text string) int { return strings.Count(said.String(), text) }
		t.Log(outcomes.Summary("Briggs"))
		assert.Greater(t, count("Outcome: [NZD "), 1000)
		assert.Greater(t, count("Declined: Insufficient funds"), 100)
		assert.Greater(t, count("Declined: Недостаточно средств"), 100)
		assert.Equal(t, 1, count("Synchronize EX2: [1 two 3] <nil>"))
		assert.Greater(t, count("Flooded EX1 from"), 1000)
		assert.Empty(t, g.Snapshot().Sessions)
		// The last one may have been under way.
		assert.Regexp(t, " [01] failed$", outcomes.Summary("Briggs"))
	})
}
