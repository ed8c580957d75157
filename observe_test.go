package grasp

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// Observers are told what happens from when they come until they go, beside
// Config.Trace and whatever is printed.
func TestObserve(t *testing.T) {
	inBed(t, func(b *bed) {
		var out bytes.Buffer
		var configured, first, second []string
		trace := func(to *[]string) func(Event) {
			return func(e Event) { *to = append(*to, e.Kind.String()+" "+e.Message+" "+e.Objective) }
		}
		a := b.other("A", func(c *Config) {
			c.Trace = trace(&configured)
			c.Dialogue.Output = &out
		})
		stop := a.g.Observe(Observer{
			Trace: trace(&first),
			Words: func(asa, text string) { first = append(first, asa+" said "+text) },
		})
		stopSecond := a.g.Observe(Observer{Words: func(asa, text string) { second = append(second, text) }})
		defer a.g.Observe(Observer{Trace: trace(new([]string))})()

		a.g.takeMulticast([]byte{0xff}, acp.Origin{})
		a.Tprint("hello", 1, "\x1b[2J")
		a.Ttprint("not in test mode")
		a.g.DumpAll(true)
		stop()
		stop()
		a.Tprint("later")
		stopSecond()
		a.Tprint("last")

		require.Equal(t, []string{"dropped  "}, configured)
		require.Equal(t, []string{"dropped  ", "A said hello 1 \ufffd[2J"}, first)
		require.Equal(t, []string{"hello 1 \ufffd[2J", "later"}, second)
		require.Contains(t, out.String(), "A: last\n")
	})
}

// Who prints nothing can be observed, and why messages were dropped are no
// words of an ASA.
func TestObserveSilent(t *testing.T) {
	a, out := printing(t, Dialogue{Silent: true, Testing: true, Diagnosing: true})
	var words []string
	a.g.Observe(Observer{Words: func(asa, text string) { words = append(words, asa+": "+text) }})
	a.g.takeMulticast([]byte{0xff}, acp.Origin{})
	a.Tprint("aloud")
	a.Ttprint("in test mode")
	require.Equal(t, []string{"Briggs: aloud", "Briggs: in test mode"}, words)
	require.Empty(t, out.String())
}

func TestDone(t *testing.T) {
	n := memory.NewNetwork(1)
	g, err := New(Config{Plane: n.NewNode("x", n.NewLink(memory.LinkConfig{}))})
	require.NoError(t, err)
	a := newASA(t, g, "A")
	registered(t, syn("EX1", nil), a)
	require.NoError(t, a.Flood(0, TaggedObjective{Objective: syn("EX1", 1)}))
	select {
	case <-g.Done():
		require.Fail(t, "it is not closed")
	default:
	}
	require.NoError(t, g.Close())
	<-g.Done()
	require.Equal(t, map[string]uint64{"M_FLOOD": 1}, g.Snapshot().Sent, "the counters of a closed instance can be read")
}
