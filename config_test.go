package grasp

import (
	"cmp"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// bounds are the fields of Limits: their defaults, and the least and the most
// that is taken, 0 for any.
var bounds = map[string]struct{ def, least, most int64 }{
	"MaxMessage":           {2048, 2048, 0},
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
	"IdleTimeout":          {int64(10 * time.Second), 1, 0},
	"RelayRate":            {200, 1, 0},
	"LogRate":              {100, 1, 0},
}

// others are the fields of Config itself, each tested by name below.
var others = []string{"Plane", "Logger", "Trace", "Dialogue", "DULL", "DULLObjectives", "Rapid", "Resolver", "TranslatedIPv4", "Limits"}

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
	require.False(t, cfg.Logger.Enabled(forever, slog.LevelError), "silence")
	require.Nil(t, cfg.Trace)
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

func TestConfigErrorsOfNew(t *testing.T) {
	node := memory.NewNetwork(1).NewNode("x")
	_, err := New(Config{Plane: node, Limits: Limits{MaxMessage: 2047}})
	isCode(t, err, ErrUnspec)
	require.EqualError(t, err, "grasp: new: Unspecified error: Config.MaxMessage is 2047, the least is 2048")
	_, err = New(Config{Plane: broken{node}})
	isCode(t, err, ErrSockErr)
	require.ErrorIs(t, err, errBroken)
}

// New copies the Config: what the caller does with its own later changes
// nothing, and New writes nothing to it.
func TestConfigIsCopied(t *testing.T) {
	inBed(t, func(b *bed) {
		var mine strings.Builder
		cfg := Config{Plane: b.net.NewNode("x", b.links[0]), Limits: Limits{MaxASAs: 1}, Dialogue: Dialogue{Output: &mine}}
		g, err := New(cfg)
		require.NoError(b, err)
		defer g.Close()
		require.Zero(b, cfg.Backlog)
		require.Nil(b, cfg.Logger)
		cfg.MaxASAs, cfg.Dialogue.Silent = 5, true
		cfg.Trace = func(Event) { panic("not mine") }
		a := newASA(b, g, "only")
		a.Tprint("hello")
		require.Equal(b, "only: hello\n", mine.String())
		_, err = g.RegisterASA("another")
		isCode(b, err, ErrASAFull)
	})
}

// Config.Logger says what an operator must know.
func TestConfigLogger(t *testing.T) {
	inBed(t, func(b *bed) {
		var out strings.Builder
		node := b.net.NewNode("x")
		node.SetStatus(acp.Status{Reason: "the keys are gone"})
		instanceWith(b, node, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
		require.Contains(b, out.String(), "not secure")
		require.Contains(b, out.String(), "the keys are gone")
	})
}

func TestConfigMaxASAs(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxASAs: 2}}, func(b *bed) {
		second := newASA(b, b.g, "second")
		_, err := b.g.RegisterASA("third")
		isCode(b, err, ErrASAFull)
		require.NoError(b, second.Deregister())
		newASA(b, b.g, "third")
	})
}

func TestConfigMaxObjectives(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxObjectives: 2}}, func(b *bed) {
		b.register(neg("EX1", nil), syn("EX2", nil))
		isCode(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{}), ErrObjFull)
		require.NoError(b, b.asa.DeregisterObj(neg("EX1", nil)))
		b.register(neg("EX3", nil))
	})
}

func TestConfigMaxMessage(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxMessage: 5000}}, func(b *bed) {
		b.register(neg("EX1", nil))
		value := string(make([]byte, 4000))
		_, _, m := b.asked(neg("EX1", value))
		require.Greater(b, len(m.raw), 4000)
		_, got, _ := b.served(neg("EX1", nil), 1, value)
		require.Equal(b, value, got.Value)
	})
}

// Sessions beyond the bound are refused by closing, whoever waits for them.
func TestConfigMaxSessions(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxSessions: 2}}, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		one, _, _ := b.served(o, 1, nil)
		b.served(o, 2, nil)
		waiting := b.listen(o)
		s := b.peer.dial(b.at())
		s.send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		s.closed()
		b.wantDrop(ReasonTooManySessions, 1)
		waiting.blocks()
		require.NoError(b, one.EndNegotiate(true, ""))
		s = b.peer.dial(b.at())
		s.send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		waiting.ok()
	})
}

// The cache of flooded values is bounded: the one least recently flooded or
// read gives way.
func TestConfigMaxCached(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxCached: 2}}, func(b *bed) {
		flood := func(id int, name string) {
			b.peer.multicast(arr{9, id, b.peer.addr(), 0, arr{arr{name, 5, 1, 7}, arr{}}})
		}
		flood(1, "EX1")
		flood(2, "EX2")
		require.Len(b, flooded(b, "EX1"), 1)
		flood(3, "EX3")
		require.Len(b, flooded(b, "EX1"), 1)
		require.Empty(b, flooded(b, "EX2"))
		require.Len(b, flooded(b, "EX3"), 1)
	})
}

// flooded returns the flooded values that the ASA under test sees.
func flooded(b *bed, name string) []TaggedObjective {
	b.Helper()
	out, err := b.asa.GetFlood(syn(name, nil))
	require.NoError(b, err)
	return out
}
