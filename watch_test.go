package grasp_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/grasptest"
)

var news = grasp.Objective{Name: "example.com:news", Synch: true}

// flooding floods a value of news.
func flooding(t *testing.T, a *grasp.ASA, ttl time.Duration, v any, source *grasp.Locator) {
	t.Helper()
	o := news
	o.Value = v
	require.NoError(t, a.Flood(ttl, grasp.TaggedObjective{Objective: o, Source: source}))
}

// told returns a flood event as a text.
func told(e grasp.FloodEvent) string {
	if e.Err != nil {
		return grasp.Code(e.Err).Error()
	}
	text := fmt.Sprintf("%v %v", e.Change, e.Flood.Objective.Value)
	if e.Reason != 0 {
		text += " " + e.Reason.String()
	}
	return text
}

// watching collects what a watcher is told, in the background.
type watching struct {
	n      *grasptest.Network
	events chan string
}

func watch[T any](n *grasptest.Network, seq iter.Seq[T], told func(T) string) *watching {
	w := &watching{n, make(chan string, 10_000)}
	go func() {
		for e := range seq {
			w.events <- told(e)
		}
		w.events <- "end"
	}()
	return w
}

// next returns what was told since the last call.
func (w *watching) next() []string {
	w.n.Settle()
	all := []string{}
	for len(w.events) > 0 {
		all = append(all, <-w.events)
	}
	return all
}

// What is cached comes first; then what is new, what changes and what goes.
func TestWatchFloods(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b")
		a, b := nodes[0].ASA("a"), nodes[1].ASA("b")
		grasptest.Objective(t, a, news)
		here := &grasp.Locator{FQDN: "one.example", Port: 1}
		flooding(t, a, 0, 1, nil)
		flooding(t, a, time.Minute, 2, here)
		n.Settle()

		ctx, stop := context.WithCancel(t.Context())
		w := watch(n, b.WatchFloods(ctx, news), told)
		assert.Equal(t, []string{"added 1", "added 2"}, w.next())
		flooding(t, a, 0, 1, nil)
		assert.Empty(t, w.next(), "the same again")
		flooding(t, a, 0, 3, nil)
		assert.Equal(t, []string{"changed 3"}, w.next())
		flooding(t, a, 2*time.Minute, 2, here)
		n.Advance(time.Minute)
		assert.Empty(t, w.next(), "it was flooded again in time")
		n.Advance(time.Minute)
		assert.Equal(t, []string{"gone 2 expired"}, w.next())
		floods, err := b.GetFlood(news)
		require.NoError(t, err)
		require.NoError(t, b.ExpireFlood(floods[0]))
		assert.Equal(t, []string{"gone 3 removed"}, w.next())
		flooding(t, a, 0, 4, nil)
		assert.Equal(t, []string{"added 4"}, w.next())
		stop()
		assert.Equal(t, []string{"end"}, w.next())

		w = watch(n, b.WatchFloods(t.Context(), news), told)
		assert.Equal(t, []string{"added 4"}, w.next())
		require.NoError(t, b.Deregister())
		assert.Equal(t, []string{"ASA not registered", "end"}, w.next())
		w = watch(n, a.WatchFloods(t.Context(), grasp.Objective{Name: "x"}), told)
		assert.Equal(t, []string{"Not a synchronization objective", "end"}, w.next())
	})
}

// A watcher that is slow, or leaves, holds nobody up and has the latest.
func TestWatchFloodsSlowly(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b")
		a, b := nodes[0].ASA("a"), nodes[1].ASA("b")
		grasptest.Objective(t, a, news)
		w := watch(n, b.WatchFloods(t.Context(), news), func(e grasp.FloodEvent) string {
			time.Sleep(time.Hour)
			return told(e)
		})
		flooding(t, a, 0, 0, nil)
		n.Settle() // the watcher is busy with it
		for i := range 1000 {
			flooding(t, a, 0, i, nil)
			if i%100 == 99 {
				n.Settle() // no more at once than a receiver's queue holds
			}
		}
		n.Advance(3 * time.Hour)
		assert.Equal(t, []string{"added 0", "changed 999"}, w.next())
		for range b.WatchFloods(t.Context(), news) {
			break
		}
		require.NoError(t, b.Deregister())
		n.Advance(2 * time.Hour)
		assert.Equal(t, []string{"ASA not registered", "end"}, w.next())
	})
}

// Several values of one message with one source are told apart.
func TestWatchFloodsOfOneMessage(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b")
		a, b := nodes[0].ASA("a"), nodes[1].ASA("b")
		grasptest.Objective(t, a, news)
		flood := func(values ...any) {
			var all []grasp.TaggedObjective
			for _, v := range values {
				o := news
				o.Value = v
				all = append(all, grasp.TaggedObjective{Objective: o})
			}
			require.NoError(t, a.Flood(time.Minute, all...))
		}
		w := watch(n, b.WatchFloods(t.Context(), news), told)
		flood("", "prm")
		assert.Equal(t, []string{"added ", "added prm"}, w.next())
		flood("prm")
		assert.Equal(t, []string{"gone  removed"}, w.next())
		flood("prm", "jp", "rjp")
		assert.Equal(t, []string{"added jp", "added rjp"}, w.next())
		flood("prm", "jp", "x")
		assert.Equal(t, []string{"changed x"}, w.next())
		n.Advance(time.Minute)
		assert.ElementsMatch(t, []string{"gone prm expired", "gone jp expired", "gone x expired"}, w.next())
		require.NoError(t, b.Deregister())
	})
}
