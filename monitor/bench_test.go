package monitor

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
)

// BenchmarkTrace is what a monitor adds to each message.
func BenchmarkTrace(b *testing.B) {
	w := newWatching(b)
	from := w.m.all()[0]
	e := grasp.Event{
		Kind: grasp.Received, Message: "M_FLOOD", SessionID: 1, Objective: "EX1",
		Peer: netip.MustParseAddrPort("[fe80::1%2]:7017"), Link: 2, Raw: make([]byte, 120),
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			from.trace(e)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				from.trace(e)
			}
		})
	})
}

// BenchmarkFlood is a flood that another instance receives, in memory, with and
// without a monitor of both, and with a page open that shows it all.
func BenchmarkFlood(b *testing.B) {
	for _, how := range []string{"unwatched", "watched", "looked at"} {
		b.Run(how, func(b *testing.B) {
			n := memory.NewNetwork(1)
			link := n.NewLink(memory.LinkConfig{})
			m := New(Config{})
			defer m.Close()
			heard := make(chan struct{}, 1)
			instance := func(name string, trace func(grasp.Event)) *grasp.Instance {
				g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, link), Trace: trace})
				require.NoError(b, err)
				b.Cleanup(func() { require.NoError(b, g.Close()) })
				if how != "unwatched" {
					m.Watch(name, g)
				}
				return g
			}
			here := instance("here", nil)
			instance("there", func(e grasp.Event) {
				if e.Kind == grasp.Received {
					heard <- struct{}{}
				}
			})
			if how == "looked at" {
				c, _ := ask(b, serve(b, m)(), "want=messages&want=state")
				go func() {
					for ok := true; ok; {
						_, ok = c.next()
					}
				}()
			}
			a, err := here.RegisterASA("A")
			require.NoError(b, err)
			o := grasp.Objective{Name: "EX1", Synch: true, Value: "value"}
			require.NoError(b, a.RegisterObj(o, grasp.RegisterOptions{}))
			b.ReportAllocs()
			for b.Loop() {
				if err := a.Flood(0, grasp.TaggedObjective{Objective: o}); err != nil {
					b.Fatal(err)
				}
				<-heard
			}
		})
	}
}
