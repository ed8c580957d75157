package main

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// The prototype's rate beside that of this library: negotiations with a known
// peer that accepts at once, over the same link, in turns, each end a process.
// It takes GRASPY, as all tests with the prototype do, and prints the ratios.
func TestInteropPrototypeRate(t *testing.T) {
	graspybed.Checkout(t)
	exe := build(t)
	for _, n := range []struct{ times, turns, theirs, ours int }{
		{times: 1, turns: 5, theirs: 1000, ours: 4000},
		{times: 64, turns: 5, theirs: 320, ours: 20_000},
	} {
		t.Run(fmt.Sprint(n.times), func(t *testing.T) {
			if !netbed.Enter(t) {
				return
			}
			server, client := twoNodes(t)
			serving := benchIn(t, server, exe, "serve")
			asked := newPrototypes(t, server, client, n.times)

			var ratios, theirs, ours []float64
			failed := map[int]int{}
			agreed := 0
			for range n.turns {
				r := asked(n.theirs)
				agreed += r.Agreed
				for code, many := range r.Failed {
					failed[code] += many
				}
				theirs = append(theirs, r.PerSecond())

				line := benchIn(t, client, exe, "neg", strconv.Itoa(n.ours), strconv.Itoa(n.times))()
				assert.Equal(t, n.ours, line.OK)
				assert.Equal(t, n.ours, line.N)
				ours = append(ours, line.PerSecond)
				ratios = append(ratios, line.PerSecond/r.PerSecond())
			}
			served := serving()
			assert.Equal(t, n.turns*n.ours, served.OK)
			assert.Equal(t, served.OK, served.N)
			assert.Positive(t, agreed)
			slices.Sort(ratios)
			t.Logf("%d at a time: ours %.0f /s, the prototype's %.0f /s, ratio %.1f; of its %d failed, by code: %v",
				n.times, ours, theirs, ratios[len(ratios)/2], n.turns*n.theirs, failed)
		})
	}
}

// newPrototypes starts the prototype in two nodes. The function returned has one
// negotiate with the other n times, so many at a time.
func newPrototypes(t *testing.T, server, client *netbed.Node, times int) func(n int) graspybed.Rate {
	t.Helper()
	o := graspybed.Objective{Name: "example.com:prototype", Neg: true, LoopCount: 6, Discoverable: true, Value: 1}
	var ends []*graspybed.ASA
	for _, node := range []*netbed.Node{server, client} {
		a := graspybed.Start(t, node, node.Name).RegisterASA(t, node.Name, graspybed.Options{})
		a.RegisterObj(t, o, nil)
		ends = append(ends, a)
	}
	ends[0].AcceptAll(t, o, times)
	var found []graspybed.Locator
	netbed.Eventually(t, time.Minute, "the prototype finds itself", func() bool {
		found = ends[1].Discover(t, o, 2*time.Second, true)
		return len(found) > 0
	})
	return func(n int) graspybed.Rate {
		return ends[1].NegotiateMany(t, o, &found[0], 10*time.Second, n, times)
	}
}
