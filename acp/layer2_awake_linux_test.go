package acp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestLayer2Awake: when the machine wakes up, its links are looked at, and whoever uses
// them is told even if they are as they were: time has passed for the network.
func TestLayer2Awake(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	alarm := make(chan struct{})
	e := open(t, acp.Alarmed(alarm, *on("va0")))
	use(t, e, "va0")
	for quiet := false; !quiet; { // until the links have settled
		select {
		case <-e.Changed():
		case <-time.After(200 * time.Millisecond):
			quiet = true
		}
	}
	for range 3 {
		alarm <- struct{}{}
		start := time.Now()
		select {
		case <-e.Changed():
		case <-time.After(30 * time.Second):
			require.Fail(t, "nobody was told")
		}
		t.Logf("told after %v", time.Since(start))
	}
	use(t, e, "va0")
}
