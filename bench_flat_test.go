package grasp_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// BenchmarkFlat is what a negotiation costs an instance with a history, in
// turns with one that has none. The ratio is the median of the turns'. With
// -short the history is a tenth.
func BenchmarkFlat(b *testing.B) {
	times := 10
	if testing.Short() {
		times = 1
	}
	b.Run("Sessions", func(b *testing.B) {
		benchFlat(b, func(b *testing.B, _, _ *grasp.ASA, negotiate func() error) {
			for range times * 100_000 {
				require.NoError(b, negotiate())
			}
		})
	})
	b.Run("Objectives", func(b *testing.B) {
		benchFlat(b, func(b *testing.B, server, client *grasp.ASA, _ func() error) {
			for i := range times * 1000 {
				o := grasp.Objective{Name: "example.com:" + strconv.Itoa(i), Neg: true}
				require.NoError(b, server.RegisterObj(o, grasp.RegisterOptions{}))
				require.NoError(b, client.RegisterObj(o, grasp.RegisterOptions{}))
			}
		})
	})
	b.Run("Floods", func(b *testing.B) {
		benchFlat(b, func(b *testing.B, server, client *grasp.ASA, _ func() error) {
			for i := range times * 1000 {
				o := grasp.Objective{Name: "example.com:" + strconv.Itoa(i), Synch: true, Value: i}
				require.NoError(b, server.RegisterObj(o, grasp.RegisterOptions{}))
				require.NoError(b, server.Flood(time.Hour, grasp.TaggedObjective{Objective: o}))
				if i%50 == 0 { // fewer than the network holds
					require.True(b, bed.SoonTrue(func() bool { return floodsOf(client, o) == 1 }))
				}
			}
			require.True(b, bed.SoonTrue(func() bool { return len(client.Instance().Snapshot().Floods) == times*1000 }))
		})
	})
}

// benchFlat compares a pair of ASAs with a history to one without.
func benchFlat(b *testing.B, history func(b *testing.B, server, client *grasp.ASA, negotiate func() error)) {
	fresh, _, _ := flatPair(b)
	old, server, client := flatPair(b)
	history(b, server, client, old)
	const turn = 200
	took := func(f func() error) time.Duration {
		start := time.Now()
		for range turn {
			require.NoError(b, f())
		}
		return time.Since(start)
	}
	took(fresh)
	took(old)
	var ratios []float64
	for b.Loop() {
		without := took(fresh)
		ratios = append(ratios, took(old).Seconds()/without.Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "of-fresh")
}

// flatPair returns two ASAs on a network in memory, and a negotiation of theirs.
func flatPair(b *testing.B) (negotiate func() error, server, client *grasp.ASA) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	server, client = bed.StressPair(b, n.NewNode("server", l), n.NewNode("client", l))
	stop := bed.Serve(b.Context(), server, 1, bed.Respond)
	b.Cleanup(func() { require.NoError(b, stop()) })
	require.True(b, bed.SoonTrue(func() bool { return bed.Listens(server.Instance(), bed.Stressed.Name) }))
	found, err := client.Discover(b.Context(), bed.Stressed, 0, grasp.DiscoverOptions{First: true})
	require.NoError(b, err)
	require.NotEmpty(b, found)
	return func() error {
		o := bed.Stressed
		o.Value = 0 // accepted at once
		s, _, err := client.ReqNegotiate(b.Context(), o, &found[0], 0)
		if s != nil {
			return fmt.Errorf("it goes on")
		}
		return err
	}, server, client
}

// floodsOf counts the flooded values of an objective that an ASA can read.
func floodsOf(a *grasp.ASA, o grasp.Objective) int {
	all, err := a.GetFlood(o)
	if err != nil {
		panic(err)
	}
	return len(all)
}
