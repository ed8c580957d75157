// Package bed puts an instance beside peers that a test drives by hand: nodes
// whose endpoints the test uses itself, so that it decides every byte that is
// sent and sees every byte that comes. Messages are written as arrays and
// compared in CBOR's diagnostic notation, so that they look like the RFC's.
//
// Most of it is for a bubble of package synctest, in virtual time.
package bed

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// Arr is an array as the grammar of RFC 8990 writes it.
type Arr = []any

// Soon is how long something that needs no timer may take in a bubble, where
// time passes only when nothing else is left to do.
const Soon = time.Millisecond

// Ever is longer than any timer of GRASP.
const Ever = 2 * time.Hour

// Bed is an instance under test on links in memory. Each link has a peer that
// the test drives by hand.
type Bed struct {
	*testing.T
	Net    *memory.Network
	Links  []*memory.Link
	Node   *memory.Node
	G      *grasp.Instance
	ASA    *grasp.ASA
	Peer   *Peer // on the first link
	Far    *Peer // on the second link, if there is one
	Events *EventLog

	Nodes map[*grasp.Instance]*memory.Node // of other instances
}

// In runs a test in virtual time, with an instance on one link.
func In(t *testing.T, test func(b *Bed)) {
	t.Helper()
	InLinks(t, 1, grasp.Config{}, test)
}

// InLinks is inBed with any number of links and with settings.
func InLinks(t *testing.T, links int, cfg grasp.Config, test func(b *Bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &Bed{T: t, Net: memory.NewNetwork(1), Events: &EventLog{}}
		for range links {
			b.Links = append(b.Links, b.Net.NewLink(memory.LinkConfig{}))
		}
		b.Node = b.Net.NewNode("under test", b.Links...)
		if cfg.Plane == nil {
			cfg.Plane = b.Node
		}
		cfg.Trace = b.Events.Add
		g, err := grasp.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		b.G, b.ASA = g, NewASA(t, g, "ASA under test")
		b.Peer = b.NewPeer("peer", b.Links[0])
		if links > 1 {
			b.Far = b.NewPeer("far", b.Links[1])
		}
		test(b)
	})
}

// EventLog keeps what an instance tells its trace.
type EventLog struct {
	mu     sync.Mutex // guards all following fields
	events []grasp.Event
}

func (l *EventLog) Add(e grasp.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Raw = slices.Clone(e.Raw)
	l.events = append(l.events, e)
}

// Dropped returns what was dropped for a reason.
func (l *EventLog) Dropped(reason grasp.Reason) []grasp.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []grasp.Event
	for _, e := range l.events {
		if e.Kind == grasp.Dropped && e.Reason == reason {
			out = append(out, e)
		}
	}
	return out
}

// Traced returns what the instance has told its trace.
func (b *Bed) Traced() []grasp.Event {
	synctest.Wait() // the trace is told apart from what happens
	b.Events.mu.Lock()
	defer b.Events.mu.Unlock()
	return slices.Clone(b.Events.events)
}

// Dropped returns what the instance has dropped for a reason.
func (b *Bed) Dropped(reason grasp.Reason) []grasp.Event {
	synctest.Wait()
	return b.Events.Dropped(reason)
}

// WantDrop checks that something was dropped for a reason, that often since
// the instance began.
func (b *Bed) WantDrop(reason grasp.Reason, times int) {
	b.Helper()
	require.Len(b, b.Dropped(reason), times, "dropped as %v", reason)
	require.EqualValues(b, times, b.G.Snapshot().Dropped[reason], "counter of %v", reason)
}

// At is where the instance takes streams: its address and port.
func (b *Bed) At() netip.AddrPort { return netip.AddrPortFrom(b.Node.Addr(), b.G.Snapshot().Port) }

// Index is what the instance calls a link.
func (b *Bed) Index(l *memory.Link) int { return LinkOf(b.Node, l).Index }

// LinkOf is what a node calls a link.
func LinkOf(n *memory.Node, l *memory.Link) acp.Link {
	link, ok := n.Link(l)
	if !ok {
		panic("the node is not on the link")
	}
	return link
}

// Zone is an index as a zone.
func Zone(index int) string { return strconv.Itoa(index) }

// IsCode checks that an error is, or wraps, a code and no other.
func IsCode(t testing.TB, err error, code grasp.ErrorCode) {
	t.Helper()
	require.ErrorIs(t, err, code)
	require.Equal(t, code, grasp.Code(err))
	require.False(t, errors.Is(err, grasp.ErrDeclined) && code != grasp.ErrDeclined)
}

// flagsOf are the flags of an objective as they are sent.
func flagsOf(o grasp.Objective) int {
	flags := 1
	for bit, set := range []bool{o.Neg, o.Synch, o.Dry} {
		if set {
			flags |= 2 << bit
		}
	}
	return flags
}
