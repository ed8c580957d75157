package grasptest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp"
)

// Message is something that happened to a message at a node: it was sent,
// received, relayed or dropped there.
type Message struct {
	// At is when it happened, since the network was made.
	At time.Duration
	// Node is the name of the node.
	Node string
	// Event says what happened. Its Raw may be kept.
	grasp.Event
}

// String returns the message on one line, its content in CBOR's diagnostic
// notation.
func (m Message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8v %s %v", m.At, m.Node, m.Kind)
	if m.Kind == grasp.Dropped {
		fmt.Fprintf(&b, " (%v)", m.Reason)
	}
	b.WriteString(" " + m.Event.Message)
	if text, err := cbor.Diagnose(m.Raw); err == nil {
		b.WriteString(" " + text)
	}
	return b.String()
}

// Filter selects messages. The zero value of a field lets all through.
type Filter struct {
	Node      string
	Kind      grasp.EventKind
	Type      string // such as "M_FLOOD"
	Objective string
	Reason    grasp.Reason
}

func (f Filter) matches(m Message) bool {
	return (f.Node == "" || f.Node == m.Node) && (f.Kind == 0 || f.Kind == m.Kind) &&
		(f.Type == "" || f.Type == m.Event.Message) && (f.Objective == "" || f.Objective == m.Objective) &&
		(f.Reason == 0 || f.Reason == m.Reason)
}

// Capture records what happens to messages at all nodes of a network.
type Capture struct {
	start time.Time

	mu       sync.Mutex // guards all following fields
	messages []Message
}

// watch records what happens at a node from now on.
func (c *Capture) watch(node string, g *grasp.Instance) {
	g.Observe(grasp.Observer{Trace: func(e grasp.Event) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.messages = append(c.messages, Message{At: e.Time.Sub(c.start), Node: node, Event: e})
	}})
}

// Messages returns the messages that a filter selects, in the order of their times. It
// first waits as [Network.Settle] does.
func (c *Capture) Messages(f Filter) []Message {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	meant := slices.DeleteFunc(slices.Clone(c.messages), func(m Message) bool { return !f.matches(m) })
	slices.SortStableFunc(meant, func(a, b Message) int { return cmp.Compare(a.At, b.At) })
	return meant
}

// Reset forgets what was recorded. It first waits as [Network.Settle] does.
func (c *Capture) Reset() {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages = nil
}

// Expect fails the test unless a filter selects as many messages as are wanted. The
// failure lists all that was recorded.
func (c *Capture) Expect(t testing.TB, want int, f Filter) {
	t.Helper()
	if got := c.Messages(f); len(got) != want {
		t.Errorf("%d messages %+v, not %d. All that was recorded:\n%s", len(got), f, want, c)
	}
}

// String returns all that was recorded, a message a line.
func (c *Capture) String() string {
	var b strings.Builder
	for _, m := range c.Messages(Filter{}) {
		b.WriteString(m.String() + "\n")
	}
	return b.String()
}
