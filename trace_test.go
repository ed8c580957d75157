package grasp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Kinds and reasons have names.
func TestNamesOfKindsAndReasons(t *testing.T) {
	names := make(map[string]bool)
	for r := ReasonMalformed; r < reasonCount; r++ {
		require.NotEqual(t, "unknown", r.String(), "reason %d", r)
		require.False(t, names[r.String()], "%v", r)
		names[r.String()] = true
	}
	require.Equal(t, "unknown", Reason(0).String())
	require.Equal(t, "unknown", reasonCount.String())
	for k, want := range map[EventKind]string{Sent: "sent", Received: "received", Relayed: "relayed", Dropped: "dropped", 0: "unknown", 99: "unknown"} {
		require.Equal(t, want, k.String())
	}
}
