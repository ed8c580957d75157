package topology

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// envNode, if set in a process's environment, makes it a node of a bed: the
// test binary starts itself so.
const envNode = "GRASP_TOPOLOGY_NODE"

func init() {
	if os.Getenv(envNode) == "" {
		return
	}
	if err := serveLines(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "topology:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Host is how a node on real links is to run.
type Host struct {
	Plane     acp.Layer2
	RelayRate int
	// Refuse is what the kernel is not to do for it.
	Refuse []netbed.Refusal
}

// line is what goes between a bed and the process of a node.
type line struct {
	ID      uint64
	Request Request `json:",omitzero"`
	Reply   Reply   `json:",omitzero"`
}

// serveLines is an agent on the real links of this namespace, until the end of
// in.
func serveLines(in io.Reader, out io.Writer) error {
	here, err := os.Readlink("/proc/self/ns/net")
	if outside := os.Getenv("GRASP_NETBED_OUTSIDE"); err != nil || outside == "" || here == outside {
		return fmt.Errorf("not in a namespace of its own: %w", errors.Join(err))
	}
	var host Host
	if err := json.Unmarshal([]byte(os.Getenv(envNode)), &host); err != nil {
		return err
	}
	if len(host.Refuse) > 0 {
		if err := netbed.RefuseHere(host.Refuse...); err != nil {
			return err
		}
	}
	var cfg grasp.Config
	cfg.RelayRate = host.RelayRate
	a, err := newAgent(&host.Plane, cfg)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	enc := json.NewEncoder(out)
	dec := json.NewDecoder(in)
	for {
		var l line
		if err := dec.Decode(&l); err != nil {
			return a.close()
		}
		go func() {
			l.Reply, l.Request = a.do(l.Request), Request{}
			mu.Lock()
			defer mu.Unlock()
			_ = enc.Encode(l) // whoever asked is gone
		}()
	}
}

// NamespaceBed is a bed of namespaces.
type NamespaceBed struct {
	*Bed
	Spaces []*netbed.Node
	// Interfaces holds the names of each node's interfaces on links.
	Interfaces [][]string

	t        testing.TB
	scripts  [][]string // by link: what brings up the first member's end
	names    []string   // by link: that end
	numbered []int      // how many addresses a node has had
	stop     []func()
}

// address returns the address of a node after it was renumbered some times.
func address(node, times int) string { return fmt.Sprintf("fd00:0:%x::%x", node+1, times+1) }

// Namespaces runs a topology on real links, a process in a namespace for each
// node, until the end of the test, which must have been entered. Streams
// between global addresses are routed by the kernel.
func Namespaces(t testing.TB, top Topology, cfg grasp.Config) *NamespaceBed {
	t.Helper()
	b := &NamespaceBed{
		Bed: &Bed{Topology: top, Real: true}, t: t,
		Interfaces: make([][]string, top.Nodes), numbered: make([]int, top.Nodes), stop: make([]func(), top.Nodes),
	}
	scripts := make([][]string, top.Nodes)
	for i := range top.Nodes {
		b.Spaces = append(b.Spaces, netbed.NewNode(t, fmt.Sprint("n", i)))
		// An interface that no link takes down, for the address.
		scripts[i] = []string{
			"link add stub type veth peer name stubx", "link set stub up", "link set stubx up",
			"addr add " + address(i, 0) + "/128 dev stub nodad",
		}
	}
	var here []string
	for k, members := range top.Links {
		end := func(m int) string { return fmt.Sprintf("l%dm%d", k, m) }
		pair := func(a, b string) string { return "link add " + a + " type veth peer name " + b }
		if len(members) == 2 {
			here = append(here, pair(end(0), end(1)))
		} else {
			here = append(here, fmt.Sprintf("link add b%d type bridge mcast_snooping 0", k), fmt.Sprintf("link set b%d up", k))
			for m := range members {
				port := fmt.Sprintf("p%dm%d", k, m)
				here = append(here, pair(end(m), port), fmt.Sprintf("link set %s master b%d up", port, k))
			}
		}
		for m, i := range members {
			b.Interfaces[i] = append(b.Interfaces[i], end(m))
		}
	}
	batch(t, nil, here)
	for k, members := range top.Links {
		for m, i := range members {
			name := fmt.Sprintf("l%dm%d", k, m)
			b.Spaces[i].MoveLink(t, name)
			up := []string{
				"link set " + name + " up",
				"addr replace fe80::" + fmt.Sprintf("%x:%x", k+1, m+1) + "/64 dev " + name + " nodad",
			}
			for far, hop := range top.nextHops(i) {
				if hop[0] != k || firstOf(members, i) != m {
					continue
				}
				up = append(up, fmt.Sprintf("route replace fd00:0:%x::/64 via fe80::%x:%x dev %s",
					far+1, k+1, firstOf(members, hop[1])+1, name))
			}
			scripts[i] = append(append(scripts[i], "link set "+name+" down addrgenmode none"), up...)
			if m == 0 {
				b.scripts, b.names = append(b.scripts, up), append(b.names, name)
			}
		}
	}
	for i, n := range b.Spaces {
		batch(t, n, scripts[i])
		out, err := n.Exec(t.Context(), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding").CombinedOutput()
		if err != nil {
			t.Fatalf("topology: forwarding: %v: %s", err, out)
		}
	}
	for i := range top.Nodes {
		b.On = append(b.On, &Node{Name: fmt.Sprint("n", i), t: t})
		b.start(i, cfg)
	}
	for i := range top.Nodes {
		b.ready(i)
	}
	b.set = b.setLink
	b.renumber = b.renumberNode
	b.kill = func(i int) { b.stop[i]() }
	b.restart = func(i int) {
		b.start(i, cfg)
		b.ready(i)
	}
	return b
}

func firstOf(members []int, node int) int {
	for m, i := range members {
		if i == node {
			return m
		}
	}
	return -1
}

// batch runs commands of ip, all with one process.
func batch(t testing.TB, n *netbed.Node, commands []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.IP(t, "-6", "-batch", file)
}

// ready waits until a node uses all its links.
func (b *NamespaceBed) ready(i int) {
	b.t.Helper()
	Eventually(b.t, netbed.Patience, "the links are in use", func() bool {
		// A new link that is up may lose what is sent on it until the kernel
		// has noticed its carrier, which takes up to a second.
		links := b.Spaces[i].IP(b.t, "-o", "link", "show", "up")
		return b.uses(i) && strings.Count(links, " state UP ") == b.Topology.Interfaces(i)+2 // stub and its peer
	})
}

func (b *NamespaceBed) setLink(link int, up bool) {
	n := b.Spaces[b.Topology.Links[link][0]]
	if up {
		batch(b.t, n, b.scripts[link])
	} else {
		n.Down(b.t, b.names[link])
	}
}

func (b *NamespaceBed) renumberNode(i int) {
	old := address(i, b.numbered[i])
	b.numbered[i]++
	batch(b.t, b.Spaces[i], []string{
		"addr add " + address(i, b.numbered[i]) + "/128 dev stub nodad",
		"addr del " + old + "/128 dev stub",
	})
}

// start starts the process of a node.
func (b *NamespaceBed) start(i int, cfg grasp.Config) {
	b.t.Helper()
	host := Host{Plane: acp.Layer2{Links: b.Interfaces[i]}, RelayRate: cfg.RelayRate}
	b.On[i].do, b.stop[i] = startHost(b.t, b.Spaces[i], host)
}

// Start starts a node in a namespace, until the end of the test. It does not
// wait for links.
func Start(t testing.TB, n *netbed.Node, host Host) *Node {
	t.Helper()
	do, _ := startHost(t, n, host)
	return &Node{Name: n.String(), t: t, do: do}
}

func startHost(t testing.TB, n *netbed.Node, host Host) (do func(Request) Reply, kill func()) {
	t.Helper()
	settings, err := json.Marshal(host)
	if err != nil {
		t.Fatal(err)
	}
	cmd := n.Exec(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), envNode+"="+string(settings))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{enc: json.NewEncoder(in), waiting: make(map[uint64]chan Reply)}
	p.reading.Go(func() { p.read(bufio.NewReader(out)) })
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			_ = in.Close()
			p.reading.Wait()
			if err := cmd.Wait(); err != nil {
				t.Errorf("topology: node %v: %v", n, err)
			}
		})
	})
	return p.do, func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			p.reading.Wait()
			_ = cmd.Wait()
		})
	}
}

// process is the process of a node.
type process struct {
	reading sync.WaitGroup

	mu      sync.Mutex // guards all following fields
	enc     *json.Encoder
	last    uint64
	waiting map[uint64]chan Reply
	gone    bool
}

func (p *process) do(r Request) Reply {
	answer, err := p.ask(r)
	if err != nil {
		return Reply{Err: err.Error()}
	}
	return <-answer
}

func (p *process) ask(r Request) (<-chan Reply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil, io.ErrClosedPipe
	}
	p.last++
	if err := p.enc.Encode(line{ID: p.last, Request: r}); err != nil {
		return nil, err
	}
	answer := make(chan Reply, 1)
	p.waiting[p.last] = answer
	return answer, nil
}

// read hands out replies until the process ends.
func (p *process) read(out io.Reader) {
	dec := json.NewDecoder(out)
	for {
		var l line
		err := dec.Decode(&l)
		p.mu.Lock()
		if err != nil {
			p.gone = true
			for _, answer := range p.waiting {
				answer <- Reply{Err: "the process ended: " + err.Error()}
			}
			p.mu.Unlock()
			return
		}
		p.waiting[l.ID] <- l.Reply
		delete(p.waiting, l.ID)
		p.mu.Unlock()
	}
}
