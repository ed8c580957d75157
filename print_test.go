package grasp

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-grasp/grasp/acp/memory"
	"github.com/stretchr/testify/require"
)

// standing puts an instance in place of the default one for a test.
func standing(t *testing.T, g *Instance) {
	t.Helper()
	standard.mu.Lock()
	old, dialogue := standard.g, standard.dialogue
	standard.g, standard.dialogue = g, Dialogue{}
	standard.mu.Unlock()
	t.Cleanup(func() {
		standard.mu.Lock()
		standard.g, standard.dialogue = old, dialogue
		standard.mu.Unlock()
	})
}

// SkipDialogue counts before the default instance starts, not after.
func TestA67SkipDialogue(t *testing.T) {
	var before, after strings.Builder
	standing(t, nil)
	SkipDialogue(Dialogue{Testing: true, Output: &before})
	Tprint("early")
	Ttprint("early", "test")
	DumpAll(false) // there is nothing to print
	require.Equal(t, "early\nearly test\n", before.String())

	standard.mu.Lock()
	d := standard.dialogue
	standard.mu.Unlock()
	require.True(t, d.Testing, "the default instance will have it")
	g := newInstance(t, memory.NewNetwork(1).NewNode("x"), func(c *Config) { c.Dialogue = d })
	standing(t, g)
	SkipDialogue(Dialogue{Silent: true, Output: &after})
	Ttprint("late")
	DumpAll(true)
	require.Contains(t, before.String(), "late\nObjective registry: 0\n")
	require.Empty(t, after.String())
	require.Zero(t, standard.dialogue)
}

// The default instance is one, and another one after it was closed.
func TestDefaultIsOne(t *testing.T) {
	g := newInstance(t, memory.NewNetwork(1).NewNode("x"))
	standing(t, g)
	for range 3 {
		got, err := Default()
		require.NoError(t, err)
		require.Same(t, g, got)
	}
	a, err := RegisterASA("Briggs")
	require.NoError(t, err)
	require.Same(t, g, a.Instance())
	require.Equal(t, "Briggs", a.Name())
	_, err = RegisterASA("Briggs")
	require.ErrorIs(t, err, ErrDupASA)
	require.Equal(t, []string{"Briggs"}, g.Snapshot().ASAs, fmt.Sprint(g.Snapshot()))
}

// Lines that are printed before the default instance starts do not get in each other's
// way either.
func TestTprintEarlyConcurrently(t *testing.T) {
	var out strings.Builder
	standing(t, nil)
	SkipDialogue(Dialogue{Output: &out})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				Tprint("line")
			}
		})
	}
	all.Wait()
	require.Equal(t, strings.Repeat("line\n", 800), out.String())
}
