package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// The scenarios of this file run on topologies in memory, in virtual time
// (topology_memory_test.go), and on real links between processes in network
// namespaces (topology_linux_test.go).

// topologies are those on which all scenarios run: a chain of five (a host,
// three relays, a host), a ring of six, a full mesh of five, hosts behind two
// relays, and a relay with two interfaces on one link.
var topologies = []topology.Topology{
	topology.Chain(5), topology.Ring(6), topology.Mesh(5), topology.Branches(), topology.Doubled(),
}

// coldDiscoveries is how many discoveries in a row must not be lost.
const coldDiscoveries = 200

// acrossTopology runs all scenarios on a bed.
func acrossTopology(t *testing.T, b *topology.Bed) {
	t.Cleanup(func() {
		for _, n := range b.On {
			if t.Failed() {
				t.Logf("%s dropped %v, and of the first discoveries: %v %v", n.Name,
					n.Snapshot().Dropped, n.Traffic("one"), n.Traffic("two"))
			}
		}
	})
	discoverAcross(t, b)
	negotiateAcross(t, b)
	floodAcross(t, b)
	discoverCold(t, b)
}

// neighbours says that two nodes are on one link.
func neighbours(b *topology.Bed, i, j int) bool {
	return slices.ContainsFunc(b.Links, func(members []int) bool {
		return slices.Contains(members, i) && slices.Contains(members, j)
	})
}

// discoverAcross: what is discovered are exactly the right locators, each
// once, whichever way the answers come (trap 21), and the address given there
// is that of the node, not of a relay.
func discoverAcross(t *testing.T, b *topology.Bed) {
	t.Helper()
	to := b.On[b.To]
	to.Offer("one")
	found := finds(t, b, "one", to.At().String())
	assert.Equal(t, !neighbours(b, b.From, b.To), found[0].Diverted, "found through a relay, or not")

	// Two that offer the same: exactly two locators.
	places := []string{to.At().String()}
	to.Offer("two")
	if b.Aside != 0 {
		b.On[b.Aside].Offer("two")
		places = append(places, b.On[b.Aside].At().String())
	}
	for range 3 { // what relays know by now changes nothing
		finds(t, b, "two", places...)
	}
	finds(t, b, "nothing")
}

// finds: a discovery finds exactly these locators. On real links it may take a
// few, as a busy machine may answer too late; in memory it is the first.
func finds(t *testing.T, b *topology.Bed, name string, want ...string) []grasp.Locator {
	t.Helper()
	for try := 1; ; try++ {
		found := topology.Routed(b.On[b.From].Discover(name))
		var got []string
		for _, l := range found {
			got = append(got, l.String())
		}
		require.Subset(t, want, got, name)
		if len(got) == len(want) || !b.Real || try == 10 {
			require.ElementsMatch(t, want, got, name)
			return found
		}
	}
}

// askAlone: in a chain of four the first node asks others alone (sections
// 2.5.4.2 and 2.8.4).
func askAlone(t *testing.T, b *topology.Bed) {
	t.Helper()
	from, next, to := b.On[0], b.On[1], b.On[3]
	there := to.At().String()
	timeout := 5 * time.Second
	if b.Real {
		timeout = netbed.Patience // the machine may be busy
	}
	ask := func(name string, peer grasp.Locator) topology.Reply {
		t.Helper()
		return from.Call(topology.Request{Op: topology.OpDiscover, Objective: name, First: true, Timeout: timeout, Peer: &peer})
	}
	finds := func(name string, peer grasp.Locator, at string, diverted bool) {
		t.Helper()
		out := ask(name, peer)
		require.Empty(t, out.Err, "%v", peer)
		found := topology.Routed(out.Locators)
		require.Len(t, found, 1, "%v", peer)
		assert.Equal(t, at, found[0].String(), "%v", peer)
		assert.Equal(t, diverted, found[0].Diverted, "%v", peer)
	}
	link := from.Snapshot().Links[0].Index
	var near netip.Addr // of the next node, on the link to it
	for _, l := range next.Snapshot().Links {
		addr := l.Addr.WithZone(strconv.Itoa(link))
		out := from.Call(topology.Request{Op: topology.OpDiscover, Objective: "nothing", Peer: &grasp.Locator{IP: addr}})
		require.Empty(t, out.Locators)
		if out.Err == "" {
			near = addr
		}
	}
	require.True(t, near.IsValid())

	// The node itself has it: by its port or that of GRASP, on the link or by a
	// routed path.
	next.Offer("near")
	to.Offer("far")
	for _, peer := range []grasp.Locator{
		{IP: near}, {IP: near, Port: int(next.At().Port())}, {IP: near, Protocol: grasp.UDP},
		{IP: next.At().Addr()}, grasp.NewLocator(next.At()),
	} {
		finds("near", peer, next.At().String(), false)
	}
	for _, peer := range []grasp.Locator{{IP: to.At().Addr()}, grasp.NewLocator(to.At())} {
		finds("far", peer, there, false)
	}
	assert.Equal(t, grasp.ErrSockErr, ask("far", grasp.Locator{IP: to.At().Addr(), Protocol: grasp.UDP}).Code, "no neighbour")

	// It finds it behind itself, then has it cached.
	for protocol, name := range map[int]string{grasp.TCP: "relayed by TCP", grasp.UDP: "relayed by UDP"} {
		to.Offer(name)
		for range 2 {
			finds(name, grasp.Locator{IP: near, Protocol: protocol}, there, true)
		}
	}

	// Nobody is there.
	b.Kill(1)
	out := ask("near", grasp.Locator{IP: near})
	assert.Equal(t, grasp.ErrSockErr, out.Code)
	assert.Contains(t, out.Err, near.String())
	out = from.Call(topology.Request{Op: topology.OpDiscover, Objective: "near", Peer: &grasp.Locator{IP: near, Protocol: grasp.UDP}})
	assert.Empty(t, out.Err)
	assert.Empty(t, out.Locators)
}

// negotiateAcross: with the peer that was discovered the routed path is used,
// both ways; cold, in one call, too.
func negotiateAcross(t *testing.T, b *topology.Bed) {
	t.Helper()
	from, to := b.On[b.From], b.On[b.To]
	to.Offer("money")
	to.Provide("news", 7)
	for range 3 {
		out := from.Call(topology.Request{Op: topology.OpNegotiate, Objective: "money", Value: 100})
		require.Empty(t, out.Err)
		require.EqualValues(t, 50, out.Value)
	}
	out := from.Call(topology.Request{Op: topology.OpSynchronize, Objective: "news"})
	require.Empty(t, out.Err)
	require.EqualValues(t, 7, out.Value)

	// All of them at once, each with all others.
	var all sync.WaitGroup
	for i, n := range b.On {
		name := fmt.Sprint("all", i)
		n.Offer(name)
		for j, m := range b.On {
			if i == j {
				continue
			}
			all.Go(func() {
				out := m.Call(topology.Request{Op: topology.OpNegotiate, Objective: name, Value: int64(2 * j)})
				assert.Empty(t, out.Err, "%d with %d", j, i)
				assert.EqualValues(t, j, out.Value)
			})
		}
	}
	all.Wait()
	b.Eventually(t, 10*time.Second, "all sessions are over", func() bool {
		return !slices.ContainsFunc(b.On, func(n *topology.Node) bool {
			s := n.Snapshot()
			return len(s.Sessions) > 0 || s.Streams > 0
		})
	})
}

// floodAcross: a flood of each node is in everybody's cache, once, and each
// link carries it at most once for each interface on it.
func floodAcross(t *testing.T, b *topology.Bed) {
	t.Helper()
	for i, n := range b.On {
		name := fmt.Sprint("flood", i)
		n.Flood(name, int64(i+1), 255)
		b.Eventually(t, 10*time.Second, name+" is everywhere", func() bool {
			sent, heard := 0, 0
			for _, m := range b.On {
				for _, c := range m.Traffic(name) {
					switch c.Did {
					case "sent", "relayed":
						sent += c.Times
					}
				}
				heard += len(m.Flooded(name))
			}
			return heard == b.Nodes && sent >= b.FloodPackets() && allReceived(b, name)
		})
	}
	// Should there be more to come, it is there by now.
	for i := range b.On {
		name := fmt.Sprint("flood", i)
		packets := checkFlood(t, b, name)
		assert.Equal(t, b.FloodPackets(), packets, name)
		for _, n := range b.On {
			assert.Equal(t, []int64{int64(i + 1)}, n.Flooded(name))
		}
	}
	t.Logf("a flood to %d nodes on %d links: %d packets, the fewest possible are %d",
		b.Nodes, len(b.Links), b.FloodPackets(), b.FewestPackets())
}

// checkFlood checks that nobody sent a message about an objective, of which
// there was one, twice by an interface, and that what was sent on a link was
// received by all others on it. It returns how many packets there were.
func checkFlood(t *testing.T, b *topology.Bed, name string) int {
	t.Helper()
	packets := 0
	for i, n := range b.On {
		for _, c := range n.Traffic(name) {
			if c.Did == "sent" || c.Did == "relayed" {
				require.GreaterOrEqual(t, c.Link, 0)
				assert.Equal(t, 1, c.Times, "node %d sent %s on link %d", i, name, c.Link)
				packets += c.Times
			}
		}
	}
	eachLink(b, name, func(link, node, want, got int) {
		assert.Equal(t, want, got, "node %d heard %s on link %d", node, name, link)
	})
	return packets
}

// allReceived says that what was sent about an objective so far has been received.
func allReceived(b *topology.Bed, name string) bool {
	all := true
	eachLink(b, name, func(_, _, want, got int) { all = all && got >= want })
	return all
}

// eachLink tells, for each link and node, how many of the messages about an objective
// the node is to receive there, by what others have sent, and how many it has received.
func eachLink(b *topology.Bed, name string, do func(link, node, want, got int)) {
	sent := make([]map[int]int, len(b.Links)) // by link and node
	for l := range sent {
		sent[l] = make(map[int]int)
	}
	origin := -1
	traffic := make([][]topology.Traffic, b.Nodes)
	for i, n := range b.On {
		traffic[i] = n.Traffic(name)
		for _, c := range traffic[i] {
			if c.Did == "sent" {
				origin = i
			}
			if c.Link >= 0 && (c.Did == "sent" || c.Did == "relayed") {
				sent[c.Link][i] += c.Times
			}
		}
	}
	for l, members := range b.Links {
		for i := range b.On {
			interfaces := 0
			for _, m := range members {
				if m == i {
					interfaces++
				}
			}
			others := 0
			for j, times := range sent[l] {
				if j != i {
					others += times
				}
			}
			// A second interface hears the first.
			want, got := others*interfaces+sent[l][i]*max(0, interfaces-1), 0
			if i == origin {
				want = 0 // what comes back to its origin is dropped
			}
			for _, c := range traffic[i] {
				if c.Link == l && c.Did == "received" {
					got += c.Times
				}
			}
			do(l, i, want, got)
		}
	}
}

// discoverCold: discoveries one after the other, of which nobody on the way
// knows the answer. None is lost.
func discoverCold(t *testing.T, b *topology.Bed) {
	t.Helper()
	from, to := b.On[b.From], b.On[b.To]
	for i := range coldDiscoveries {
		to.Offer(fmt.Sprint("cold", i))
	}
	lost, start := 0, time.Now()
	request := topology.Request{Op: topology.OpDiscover, First: true}
	if b.Real {
		request.Timeout = netbed.Patience // the machine may be busy
	}
	discover := func(name string) {
		request.Objective = name
		if len(topology.Routed(from.Call(request).Locators)) != 1 {
			lost++
		}
	}
	for i := range coldDiscoveries {
		discover(fmt.Sprint("cold", i))
	}
	took := time.Since(start)
	assert.Zero(t, lost, "of %d discoveries", coldDiscoveries)
	// And from the caches of relays.
	for range coldDiscoveries {
		discover("cold0")
	}
	assert.Zero(t, lost, "of %d discoveries, the relays knowing the answer", coldDiscoveries)
	t.Logf("%d cold discoveries, one after the other, took %v", coldDiscoveries, took)
	limited := uint64(0)
	for _, n := range b.On {
		limited += n.Snapshot().Dropped[grasp.ReasonRate]
	}
	t.Logf("the rates of relays dropped %d packets", limited)
}

// changeAcross changes a ring of six under its nodes: the next message already
// follows each change.
func changeAcross(t *testing.T, b *topology.Bed, asleep func()) {
	t.Helper()
	from, to := b.On[b.From], b.On[b.To]
	reaches := func(name string, nodes ...int) {
		t.Helper()
		to.Flood(name, 1, 6)
		b.Eventually(t, 5*time.Second, name+" is everywhere", func() bool {
			return !slices.ContainsFunc(nodes, func(i int) bool { return len(b.On[i].Flooded(name)) != 1 })
		})
	}
	to.Offer("before")
	old := to.At()
	finds(t, b, "before", old.String())

	// Another address: the next response gives it, and is reached there.
	b.Renumber(b.To)
	start := time.Now()
	b.Eventually(t, 5*time.Second, "the new address is noticed", func() bool {
		return to.At().Addr() != old.Addr() && to.At().Addr().IsValid()
	})
	t.Logf("the new address was noticed after %v", time.Since(start))
	to.Offer("renumbered")
	finds(t, b, "renumbered", to.At().String())
	out := from.Call(topology.Request{Op: topology.OpNegotiate, Objective: "renumbered", Value: 10})
	require.Empty(t, out.Err)

	// A relay dies: there is another way.
	dead := b.From + 1
	b.Kill(dead)
	to.Offer("killed")
	finds(t, b, "killed", to.At().String())
	reaches("flooded", 0, 2, 3, 4, 5)
	b.Restart(dead)
	to.Offer("restarted")
	finds(t, b, "restarted", to.At().String())
	reaches("flooded again", 0, 1, 2, 3, 4, 5)

	// A host sleeps, and wakes up with all as it was.
	var mine []int
	for l, members := range b.Links {
		if slices.Contains(members, b.From) {
			mine = append(mine, l)
			b.SetLink(l, false)
		}
	}
	asleep()
	reaches("slept through", 1, 2, 3, 4, 5)
	for _, l := range mine {
		b.SetLink(l, true)
	}
	start = time.Now()
	b.Eventually(t, 5*time.Second, "all links are in use", b.Ready)
	t.Logf("awake, all links were in use after %v", time.Since(start))
	to.Offer("awake")
	finds(t, b, "awake", to.At().String())
	reaches("flooded to the awake", 0, 1, 2, 3, 4, 5)
	assert.Empty(t, from.Flooded("slept through"))
}
