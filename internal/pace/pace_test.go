package pace

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backoff
		took := func() time.Duration {
			start := time.Now()
			require.True(t, b.Wait(t.Context()))
			return time.Since(start)
		}
		for d := time.Millisecond; d < MaxBackoff; d *= 2 {
			require.Equal(t, d, took())
		}
		require.Equal(t, MaxBackoff, took())
		require.Equal(t, MaxBackoff, took())
		b.Reset()
		require.Equal(t, time.Millisecond, took())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.False(t, b.Wait(ctx))
	})
}

// All handlers made from one share its limit.
func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		refused := 0
		log := slog.New(NewHandler(slog.NewTextHandler(&out, nil), 3, func() { refused++ }))
		lines := func() int { return strings.Count(out.String(), "\n") }
		for range 3 {
			log.Info("x")
			log.With("k", 1).WithGroup("g").Info("y")
		}
		require.Equal(t, 3, lines())
		require.Equal(t, 3, refused)
		require.Contains(t, out.String(), "k=1")
		time.Sleep(time.Second)
		for range 4 {
			log.Info("x")
		}
		require.Equal(t, 6, lines())
		require.Equal(t, 4, refused)
	})
}
