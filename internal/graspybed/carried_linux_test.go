package graspybed_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestInteropCarriedGray has the Gray of docs/carrying-over.md, the prototype's
// in less than 60 lines of Go, negotiate with the prototype's Briggs.
func TestInteropCarriedGray(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	l := netbed.NewLAN(t, "brc", false)
	// Without his naps of ten seconds he bargains often enough to agree sometimes.
	briggs := graspybed.RunASA(t, l.Node(t, "briggs"), "Briggs", true, graspybed.Haste)
	ready(t, []*graspybed.Output{briggs}, "Ready to negotiate")
	exe := build(t, "internal/carried")
	ctx, stop := context.WithCancel(context.Background())
	cmd, gray := l.Node(t, "gray").Exec(ctx, exe), new(graspybed.Output)
	cmd.Stdout, cmd.Stderr = gray, gray
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop() // it goes on for ever
		_ = cmd.Wait()
		for _, line := range gray.Lines() {
			t.Log(line)
		}
	})
	netbed.Eventually(t, 3*time.Minute, "agreements, refusals and a flood", func() bool {
		return countLines(gray, "Synchronize EX2: [1 two 3] <nil>") == 1 &&
			countLines(gray, "Outcome: [NZD ") >= 3 &&
			countLines(gray, "Declined: ")+countLines(gray, "no deal") >= 3 &&
			countLines(gray, "Flooded EX1 from") >= 1
	})
}
