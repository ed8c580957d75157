package conformance

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// Observers are told what happens from when they come until they go, beside
// Config.Trace and whatever is printed.
func TestObserve(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		var out bytes.Buffer
		var configured, first, second []string
		trace := func(to *[]string) func(grasp.Event) {
			return func(e grasp.Event) { *to = append(*to, e.Kind.String()+" "+e.Message+" "+e.Objective) }
		}
		plane := bed.NewInjector(b.Net.NewNode("A", b.Links[0]))
		g := bed.InstanceWith(b, plane, func(c *grasp.Config) {
			c.Trace = trace(&configured)
			c.Dialogue.Output = &out
		})
		a := bed.NewASA(b, g, "A")
		stop := a.Instance().Observe(grasp.Observer{
			Trace: trace(&first),
			Words: func(asa, text string) { first = append(first, asa+" said "+text) },
		})
		stopSecond := a.Instance().Observe(grasp.Observer{Words: func(asa, text string) { second = append(second, text) }})
		defer a.Instance().Observe(grasp.Observer{Trace: trace(new([]string))})()

		plane.Inject([]byte{0xff}, acp.Origin{})
		a.Tprint("hello", 1, "\x1b[2J")
		a.Ttprint("not in test mode")
		a.Instance().DumpAll(true)
		stop()
		stop()
		a.Tprint("later")
		stopSecond()
		a.Tprint("last")
		synctest.Wait()

		require.Equal(t, []string{"dropped  "}, configured)
		require.Equal(t, []string{"dropped  ", "A said hello 1 \ufffd[2J"}, first)
		require.Equal(t, []string{"hello 1 \ufffd[2J", "later"}, second)
		require.Contains(t, out.String(), "A: last\n")
	})
}

// Who prints nothing can be observed, and why messages were dropped are no
// words of an ASA.
func TestObserveSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, plane, out := printing(t, grasp.Dialogue{Silent: true, Testing: true, Diagnosing: true})
		var words []string
		a.Instance().Observe(grasp.Observer{Words: func(asa, text string) { words = append(words, asa+": "+text) }})
		plane.Inject([]byte{0xff}, acp.Origin{})
		a.Tprint("aloud")
		a.Ttprint("in test mode")
		synctest.Wait()
		require.Equal(t, []string{"Briggs: aloud", "Briggs: in test mode"}, words)
		require.Empty(t, out.String())
	})
}

func TestDone(t *testing.T) {
	n := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: n.NewNode("x", n.NewLink(memory.LinkConfig{}))})
	require.NoError(t, err)
	a := bed.NewASA(t, g, "A")
	bed.Registered(t, bed.Syn("EX1", nil), a)
	require.NoError(t, a.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", 1)}))
	select {
	case <-g.Done():
		require.Fail(t, "it is not closed")
	default:
	}
	require.NoError(t, g.Close())
	<-g.Done()
	require.Equal(t, map[string]uint64{"M_FLOOD": 1}, g.Snapshot().Sent, "the counters of a closed instance can be read")
}

// What is observed has happened: a flood that was received can be read, and a
// response is in the cache.
func TestObservedHasHappened(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		var read, known int
		stop := b.G.Observe(grasp.Observer{Trace: func(e grasp.Event) {
			switch {
			case e.Kind == grasp.Received && e.Message == "M_FLOOD":
				if got, err := b.ASA.GetFlood(bed.Syn(e.Objective, nil)); err == nil && len(got) == 1 {
					read++
				}
			case e.Kind == grasp.Received && e.Message == "M_RESPONSE":
				known += len(b.G.Snapshot().Locators)
			}
		}})
		for i := range 1000 {
			b.Peer.Multicast(arr{9, i, b.Peer.Addr(), 0, arr{arr{fmt.Sprint("EX", i), 5, 6, i}, arr{}}})
		}
		b.Learn(b.Peer, "EX1", 60000, b.Peer.Option())
		stop()
		require.Equal(b, 1000, read)
		require.Equal(b, 1, known)
	})
}
