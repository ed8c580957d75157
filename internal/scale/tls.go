package scale

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/topology"
)

// Members is what happens on a LAN of members of a domain, over TLS: each has a
// connection with each other.
type Members struct {
	Nodes      int
	Known      time.Duration // from the start of all until each knows all others
	Handshakes uint64        // each counts at both ends
	StartCPU   time.Duration // of all nodes, as all below
	Memory     uint64        // bytes of each node
	Goroutines float64       // of each node

	RestCPU time.Duration // in ten minutes at rest
	Clear   uint64        // multicasts in clear in that time, of all nodes

	Flood    time.Duration // until the last node has it
	FloodCPU time.Duration

	// The link goes down and up again.
	Back    time.Duration // until each knows all others
	BackCPU time.Duration

	// Every member gets a new certificate, and ten minutes later the old ones expire:
	// node 0 floods each second from a minute before that until a minute after.
	Rotated    uint64 // handshakes until the old ones expired
	ExpiredCPU time.Duration
	Missed     int // floods, by all nodes, of Flooded
	Flooded    int
}

// credentials are those of a member.
type credentials struct {
	mu    sync.Mutex // guards cert
	cert  tls.Certificate
	roots *x509.CertPool
}

func (c *credentials) Certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cert := c.cert
	return &cert, nil
}

func (c *credentials) Roots() (*x509.CertPool, error) { return c.roots, nil }

func (c *credentials) Revoked([]*x509.Certificate) error { return nil }

// Join measures. It has to be called in a bubble.
func Join(t testing.TB, nodes int) *Members {
	t.Helper()
	m := &Members{Nodes: nodes}
	d, err := domain.New("scale")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(i int) tls.Certificate {
		cert, err := d.Issue(fmt.Sprint("node", i), 20*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	var all []*credentials
	for i := range nodes {
		all = append(all, &credentials{cert: issue(i), roots: d.Roots()})
	}

	before, goroutines, cpu, start := usedMemory(), runtime.NumGoroutine(), usedCPU(), time.Now()
	network := memory.NewNetwork(1)
	l := network.NewLink(memory.LinkConfig{Delay: Delay})
	n := &Network{Topology: topology.Topology{Nodes: nodes}, t: t, links: []*memory.Link{l}}
	var planes []*tlsplane.Plane
	for i := range nodes {
		plane := &tlsplane.Plane{Underlay: network.NewNode(fmt.Sprint("n", i), l), Credentials: all[i]}
		g, err := grasp.New(grasp.Config{Plane: plane, Dialogue: grasp.Dialogue{Silent: true}})
		if err != nil {
			t.Fatal(err)
		}
		asa, err := g.RegisterASA("scale")
		if err != nil {
			t.Fatal(err)
		}
		planes, n.nodes = append(planes, plane), append(n.nodes, &node{g: g, asa: asa, stop: func() {}})
	}
	t.Cleanup(n.close)
	handshakes := func() (total uint64) {
		for _, p := range planes {
			total += p.Stats().Handshakes
		}
		return total
	}
	known := func() time.Duration {
		start := time.Now()
		for _, p := range planes {
			for len(p.Stats().Neighbours) < nodes-1 {
				if time.Since(start) > time.Hour {
					t.Fatal("not all neighbours are known within an hour")
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		return time.Since(start)
	}
	known()
	m.Known = time.Since(start)
	time.Sleep(settle)
	m.StartCPU, m.Handshakes = usedCPU()-cpu, handshakes()
	m.Memory = (usedMemory() - before) / uint64(nodes)
	m.Goroutines = float64(runtime.NumGoroutine()-goroutines) / float64(nodes)

	o := grasp.NewObjective("scale")
	o.Synch = true
	for i := range nodes {
		n.watch(i, o)
	}
	if err := n.nodes[0].asa.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	value, cpu, start := int64(0), usedCPU(), time.Now()
	flood := func() {
		value++
		o.Value = value
		if err := n.nodes[0].asa.Flood(time.Hour, grasp.TaggedObjective{Objective: o}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		m.Flooded += nodes
		for _, here := range n.nodes {
			if here.last() != value {
				m.Missed++
			}
		}
	}
	flood()
	if reached := n.arrivals(value, start); len(reached) == nodes {
		m.Flood = reached[nodes-1]
	}
	m.FloodCPU = usedCPU() - cpu

	cpu = usedCPU()
	l.Down()
	time.Sleep(time.Second)
	l.Up()
	m.Back = known()
	time.Sleep(settle)
	m.BackCPU = usedCPU() - cpu

	cpu = usedCPU()
	sent := n.sent()
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	m.RestCPU, m.Clear = usedCPU()-cpu, n.sent()-sent

	expiry := all[0].cert.Leaf.NotAfter
	for i, c := range all {
		cert := issue(i)
		c.mu.Lock()
		c.cert = cert
		c.mu.Unlock()
	}
	before = handshakes()
	time.Sleep(time.Until(expiry.Add(-time.Minute)))
	m.Rotated = handshakes() - before
	cpu = usedCPU()
	m.Missed, m.Flooded = 0, 0
	for range 120 {
		flood()
	}
	m.ExpiredCPU = usedCPU() - cpu
	known()
	return m
}

// membersTable returns the figures in Markdown, a column for each.
func membersTable(all []*Members) string {
	return columns(all, []row[*Members]{
		{"", func(m *Members) string { return fmt.Sprintf("%d members", m.Nodes) }},
		{"connections", func(m *Members) string { return fmt.Sprint(m.Nodes * (m.Nodes - 1) / 2) }},
		{"all know all others within", func(m *Members) string { return fmt.Sprint(m.Known) }},
		{"handshakes", func(m *Members) string { return fmt.Sprint(m.Handshakes / 2) }},
		{"CPU time of that, each member", func(m *Members) string { return each(m.StartCPU, m.Nodes) }},
		{"memory of a member", func(m *Members) string { return kib(m.Memory) }},
		{"goroutines of a member", func(m *Members) string { return fmt.Sprintf("%.1f", m.Goroutines) }},
		{"ten minutes at rest: CPU time of a member", func(m *Members) string { return each(m.RestCPU, m.Nodes) }},
		{"multicasts in clear, each member", func(m *Members) string { return fmt.Sprint(m.Clear / uint64(m.Nodes)) }},
		{"a flood reaches the last member after", func(m *Members) string { return fmt.Sprint(m.Flood) }},
		{"CPU time of that, each member", func(m *Members) string { return each(m.FloodCPU, m.Nodes) }},
		{"the link was down: all know all others within", func(m *Members) string { return fmt.Sprint(m.Back) }},
		{"CPU time of that, each member", func(m *Members) string { return each(m.BackCPU, m.Nodes) }},
		{"certificates rotated: handshakes", func(m *Members) string { return fmt.Sprint(m.Rotated / 2) }},
		{"the old ones expire: floods missed", func(m *Members) string { return fmt.Sprintf("%d of %d", m.Missed, m.Flooded) }},
		{"CPU time of these two minutes, each member", func(m *Members) string { return each(m.ExpiredCPU, m.Nodes) }},
	})
}
