package grasp

import (
	"cmp"
	"log/slog"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// bounds are the fields of Limits: their defaults, and the least and the most
// that is taken, 0 for any.
var bounds = map[string]struct{ def, least, most int64 }{
	"MaxMessage":           {2048, 2048, 64 << 20},
	"MaxNesting":           {32, 8, 32},
	"MaxItems":             {2048, 64, 0},
	"MaxTransfer":          {1 << 20, 1, 0},
	"MaxASAs":              {1000, 1, 0},
	"MaxObjectives":        {20_000, 1, 0},
	"MaxCached":            {20_000, 1, 0},
	"CachedPerSource":      {15_000, 1, 0},
	"LocatorsPerObjective": {64, 1, 0},
	"FloodsPerObjective":   {1024, 1, 0},
	"LocatorLifetime":      {int64(24 * time.Hour), 1, 0},
	"FloodLifetime":        {0, 1, 0},
	"MaxFound":             {256, 1, 0},
	"MaxSessions":          {20_000, 1, 0},
	"SessionsPerPeer":      {15_000, 1, 0},
	"Backlog":              {256, 1, 0},
	"MaxWaits":             {10_000, 1, 0},
	"MaxWait":              {int64(math.MaxUint32 * time.Millisecond), 1, 0},
	"MaxIdle":              {16_384, 1, 0},
	"IdlePerPeer":          {12_288, 1, 0},
	"IdleMemory":           {96 << 20, 1, 0},
	"IdleTimeout":          {int64(10 * time.Second), 1, 0},
	"RelayRate":            {200, 1, 0},
	"LogRate":              {100, 1, 0},
}

// others are the fields of Config itself, each tested by name below.
var others = []string{"Plane", "Logger", "Trace", "Dialogue", "DULL", "DULLObjectives", "Rapid", "Resolver", "TranslatedIPv4", "Authorize", "RelayWait", "Limits"}

// Every field has its default, its bounds and a test: one that is added to
// Config or Limits and forgotten here fails.
func TestConfigEveryFieldIsHandled(t *testing.T) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if len(f.Index) == 1 {
			require.Contains(t, others, f.Name)
			continue
		}
		name := f.Name
		want, known := bounds[name]
		require.True(t, known, "Config.%s has no test", name)
		with := func(value int64) (int64, error) {
			cfg := Config{Plane: memory.NewNetwork(1).NewNode("x")}
			reflect.ValueOf(&cfg).Elem().FieldByIndex(f.Index).SetInt(value)
			out, err := cfg.withDefaults()
			require.Equal(t, value, reflect.ValueOf(cfg).FieldByIndex(f.Index).Int(), "the caller's is changed")
			return reflect.ValueOf(out).FieldByIndex(f.Index).Int(), err
		}
		got, err := with(0)
		require.NoError(t, err, name)
		require.Equal(t, want.def, got, "default of Config.%s", name)
		for _, ok := range []int64{want.least, want.least + 1, max(want.def, want.least), cmp.Or(want.most, 1<<30)} {
			got, err = with(ok)
			require.NoError(t, err, name)
			require.Equal(t, ok, got, name)
		}
		for _, bad := range []int64{want.least - 1, -1, math.MinInt32} {
			if bad == 0 {
				continue // the default
			}
			_, err = with(bad)
			require.ErrorContains(t, err, "Config."+name)
		}
		if want.most != 0 {
			_, err = with(want.most + 1)
			require.ErrorContains(t, err, "Config."+name)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	cfg, err := Config{}.withDefaults()
	require.NoError(t, err)
	require.IsType(t, &acp.Layer2{}, cfg.Plane)
	require.NotNil(t, cfg.Logger)
	require.False(t, cfg.Logger.Enabled(t.Context(), slog.LevelError), "silence")
	require.Nil(t, cfg.Trace)
}

func TestConfigRelayWait(t *testing.T) {
	for _, ok := range []time.Duration{0, 1, 100 * time.Millisecond} {
		cfg, err := Config{RelayWait: ok}.withDefaults()
		require.NoError(t, err)
		require.Equal(t, ok, cfg.RelayWait)
	}
	for _, bad := range []time.Duration{-1, 100*time.Millisecond + 1} {
		_, err := Config{RelayWait: bad}.withDefaults()
		require.ErrorContains(t, err, "Config.RelayWait")
	}
}

func TestConfigDULLObjectives(t *testing.T) {
	_, err := Config{DULLObjectives: []string{"EX1"}}.withDefaults()
	require.ErrorContains(t, err, "without Config.DULL")
	names := []string{"EX1"}
	cfg, err := Config{DULL: true, DULLObjectives: names}.withDefaults()
	require.NoError(t, err)
	names[0] = "changed"
	require.Equal(t, []string{"EX1"}, cfg.DULLObjectives)
	cfg, err = Config{DULL: true}.withDefaults()
	require.NoError(t, err)
	require.Contains(t, cfg.DULLObjectives, "AN_ACP")
}
