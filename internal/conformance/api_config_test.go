package conformance

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

func TestConfigErrorsOfNew(t *testing.T) {
	node := memory.NewNetwork(1).NewNode("x")
	_, err := grasp.New(grasp.Config{Plane: node, Limits: grasp.Limits{MaxMessage: 2047}})
	bed.IsCode(t, err, grasp.ErrUnspec)
	require.EqualError(t, err, "grasp: new: Unspecified error: Config.MaxMessage is 2047, the least is 2048")
	_, err = grasp.New(grasp.Config{Plane: bed.Broken{Plane: node}})
	bed.IsCode(t, err, grasp.ErrSockErr)
	require.ErrorIs(t, err, bed.ErrBroken)
}

// New copies the Config: what the caller does with its own later changes
// nothing, and New writes nothing to it.
func TestConfigIsCopied(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		var mine strings.Builder
		cfg := grasp.Config{Plane: b.Net.NewNode("x", b.Links[0]), Limits: grasp.Limits{MaxASAs: 1}, Dialogue: grasp.Dialogue{Output: &mine}}
		g, err := grasp.New(cfg)
		require.NoError(b, err)
		defer g.Close()
		require.Zero(b, cfg.Backlog)
		require.Nil(b, cfg.Logger)
		cfg.MaxASAs, cfg.Dialogue.Silent = 5, true
		cfg.Trace = func(grasp.Event) { panic("not mine") }
		a := bed.NewASA(b, g, "only")
		a.Tprint("hello")
		require.Equal(b, "only: hello\n", mine.String())
		_, err = g.RegisterASA("another")
		bed.IsCode(b, err, grasp.ErrASAFull)
	})
}

// Config.Logger says what an operator must know.
func TestConfigLogger(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		var out strings.Builder
		node := b.Net.NewNode("x")
		node.SetStatus(acp.Status{Reason: "the keys are gone"})
		bed.InstanceWith(b, node, func(c *grasp.Config) { c.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
		synctest.Wait()
		require.Contains(b, out.String(), "not secure")
		require.Contains(b, out.String(), "the keys are gone")
	})
}

func TestConfigMaxASAs(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxASAs: 2}}, func(b *bed.Bed) {
		second := bed.NewASA(b, b.G, "second")
		_, err := b.G.RegisterASA("third")
		bed.IsCode(b, err, grasp.ErrASAFull)
		require.NoError(b, second.Deregister())
		bed.NewASA(b, b.G, "third")
	})
}

func TestConfigMaxObjectives(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxObjectives: 2}}, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
		bed.IsCode(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{}), grasp.ErrObjFull)
		require.NoError(b, b.ASA.DeregisterObj(bed.Neg("EX1", nil)))
		b.Register(bed.Neg("EX3", nil))
	})
}

func TestConfigMaxMessage(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxMessage: 5000}}, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		value := string(make([]byte, 4000))
		_, _, m := b.Asked(bed.Neg("EX1", value))
		require.Greater(b, len(m.Raw), 4000)
		_, got, _ := b.Served(bed.Neg("EX1", nil), 1, value)
		require.Equal(b, value, got.Value)
	})
}

// Sessions beyond the bound are refused by closing, whoever waits for them.
func TestConfigMaxSessions(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxSessions: 2}}, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		one, _, _ := b.Served(o, 1, nil)
		b.Served(o, 2, nil)
		waiting := b.Listen(o)
		s := b.Peer.Dial(b.At())
		s.Send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		s.Closed()
		b.WantDrop(grasp.ReasonTooManySessions, 1)
		waiting.Blocks()
		require.NoError(b, one.EndNegotiate(true, ""))
		s = b.Peer.Dial(b.At())
		s.Send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		waiting.Ok()
	})
}

// The cache of flooded values is bounded: the one least recently flooded or
// read gives way.
func TestConfigMaxCached(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxCached: 2}}, func(b *bed.Bed) {
		flood := func(id int, name string) {
			b.Peer.Multicast(arr{9, id, b.Peer.Addr(), 0, arr{arr{name, 5, 1, 7}, arr{}}})
		}
		flood(1, "EX1")
		flood(2, "EX2")
		require.Len(b, b.Floods("EX1"), 1)
		flood(3, "EX3")
		require.Len(b, b.Floods("EX1"), 1)
		require.Empty(b, b.Floods("EX2"))
		require.Len(b, b.Floods("EX3"), 1)
	})
}
