package grasptest_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/grasptest"
)

// A test of an ASA: three nodes in a row, of which the one in the middle relays.
// In a real test the function is a Test of its own.
func ExampleRun() {
	testFlood := func(t *testing.T) {
		grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
			nodes := n.Chain(grasptest.LinkConfig{Delay: 10 * time.Millisecond}, "left", "middle", "right")
			left, right := nodes[0].ASA("reporter"), nodes[2].ASA("reader")
			news := grasptest.Objective(t, left, grasp.Objective{Name: "example.com:news", Synch: true})
			news.Value = "hello"
			if err := left.Flood(time.Minute, grasp.TaggedObjective{Objective: news}); err != nil {
				t.Fatal(err)
			}
			n.Advance(20 * time.Millisecond)
			got, err := right.GetFlood(news)
			if err != nil || len(got) != 1 {
				t.Errorf("flooded: %v, %v", got, err)
			}
			n.Capture().Expect(t, 1, grasptest.Filter{Node: "middle", Kind: grasp.Relayed})
			for _, m := range n.Capture().Messages(grasptest.Filter{Node: "right"}) {
				t.Log(m)
			}
		})
	}
	fmt.Println(passes(testFlood))
	// Output: true
}

// Links that lose and delay, nodes with settings of their own, a cut, and what
// was recorded since.
func ExampleNetwork() {
	testPartition := func(t *testing.T) {
		grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
			link := n.Link(grasptest.LinkConfig{Loss: 0.1})
			a := n.Node("a", link)
			b := n.NodeWith("b", grasp.Config{Limits: grasp.Limits{Backlog: 1}}, link)
			lan := n.LAN("c", "d") // two nodes on a link of their own
			b.ASA("server")
			link.Cut(a.Host, b.Host)
			n.Settle()
			n.Capture().Reset()
			link.Mend(a.Host, b.Host)
			t.Log(a.Name(), lan[0].Name(), n.Capture())
		})
	}
	fmt.Println(passes(testPartition))
	// Output: true
}

// passes runs a test, and says nothing of its own: go test -v would have it printed in
// the midst of the example's output.
func passes(test func(*testing.T)) bool {
	verbose := flag.Lookup("test.v").Value
	before := verbose.String()
	_ = verbose.Set("false")
	defer func() { _ = verbose.Set(before) }()
	all := func(pattern, name string) (bool, error) { return true, nil }
	return testing.RunTests(all, []testing.InternalTest{{Name: "Test", F: test}})
}
