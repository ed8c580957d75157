package grasptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/grasptest"
)

// A flood crosses a relay, once on each link, and after its lifetime nobody
// has it any more.
func TestChain(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.Chain(grasptest.LinkConfig{Delay: 10 * time.Millisecond}, "left", "middle", "right")
		o := grasp.Objective{Name: "example.com:news", Synch: true, Value: "hello"}
		asa := nodes[0].ASA("reporter")
		grasptest.Objective(t, asa, o)
		require.NoError(t, asa.Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
		reader := nodes[2].ASA("reader")
		n.Settle()
		got, err := reader.GetFlood(o)
		require.NoError(t, err)
		assert.Empty(t, got, "it is still under way")

		n.Advance(20 * time.Millisecond)
		got, err = reader.GetFlood(o)
		require.NoError(t, err)
		require.Len(t, got, 1)
		assert.Equal(t, "hello", got[0].Objective.Value)
		n.Capture().Expect(t, 1, grasptest.Filter{Node: "left", Kind: grasp.Sent, Type: "M_FLOOD"})
		n.Capture().Expect(t, 1, grasptest.Filter{Node: "middle", Kind: grasp.Relayed, Objective: o.Name})
		arrived := n.Capture().Messages(grasptest.Filter{Node: "right", Kind: grasp.Received})
		require.Len(t, arrived, 1)
		assert.Equal(t, 20*time.Millisecond, arrived[0].At)
		assert.Contains(t, arrived[0].String(), `20ms     right received M_FLOOD [9, `)
		assert.Contains(t, arrived[0].String(), `"example.com:news"`)

		n.Advance(time.Minute)
		got, err = reader.GetFlood(o)
		require.NoError(t, err)
		assert.Empty(t, got)
		n.Capture().Reset()
		assert.Empty(t, n.Capture().String())
	})
}

// failures counts what fails, instead of failing.
type failures struct {
	testing.TB
	text []string
}

func (f *failures) Helper()                           {}
func (f *failures) Errorf(format string, args ...any) { f.text = append(f.text, format) }

// Expect fails when the number is another, and tells what there was.
func TestExpectFails(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b")
		found, err := nodes[0].ASA("seeker").Discover(t.Context(), grasp.Objective{Name: "example.com:nothing"}, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)
		assert.Empty(t, found)
		f := &failures{TB: t}
		n.Capture().Expect(f, 1, grasptest.Filter{Kind: grasp.Sent, Type: "M_FLOOD"})
		assert.Len(t, f.text, 1)
		n.Capture().Expect(f, 1, grasptest.Filter{Node: "b", Kind: grasp.Received, Type: "M_DISCOVERY"})
		assert.Len(t, f.text, 1)
		assert.Contains(t, n.Capture().String(), "0s       a sent M_DISCOVERY [1, ")
	})
}

// A link that is cut carries nothing until it is mended.
func TestCut(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		a, b := n.Node("a", link), n.Node("b", link)
		o := grasp.Objective{Name: "example.com:x", Neg: true}
		server := b.ASA("server")
		grasptest.Objective(t, server, o)
		go func() {
			for {
				s, _, err := server.ListenNegotiate(t.Context(), o)
				if err != nil {
					return
				}
				_ = s.EndNegotiate(true, "")
			}
		}()
		client := a.ASA("client")
		grasptest.Objective(t, client, o)
		link.Cut(a.Host, b.Host)
		_, _, err := client.ReqNegotiate(t.Context(), o, nil, time.Second)
		require.ErrorIs(t, err, grasp.ErrNoDiscReply)
		link.Mend(a.Host, b.Host)
		s, _, err := client.ReqNegotiate(t.Context(), o, nil, time.Second)
		require.NoError(t, err)
		assert.Nil(t, s)
	})
}
