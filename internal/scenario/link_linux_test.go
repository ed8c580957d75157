package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// onLinks is the plane of the operating system's sockets, limited to links.
func onLinks(names ...string) acp.Plane { return &acp.Layer2{Links: names} }

// newInstanceOn starts an instance on real links, and waits until they are in
// use.
func newInstanceOn(t *testing.T, names ...string) *grasp.Instance {
	t.Helper()
	g := bed.NewInstance(t, onLinks(names...))
	netbed.Eventually(t, patience, "the links are in use", func() bool { return len(g.Snapshot().Links) == len(names) })
	return g
}

// process is another process that runs part of a test: see TestProcess.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
}

// processRole tells a process which part it plays.
const processRole = "GRASP_TEST_ROLE"

// newProcess starts a process in a node, nil being the test's own namespace,
// and waits until it is ready.
func newProcess(t *testing.T, node *netbed.Node, role string) *process {
	t.Helper()
	p := &process{t: t, lines: make(chan string, 100)}
	p.cmd = node.Exec(context.Background(), os.Args[0], "-test.run=^TestProcess$", "-test.timeout=5m")
	p.cmd.Env = append(os.Environ(), processRole+"="+role)
	p.cmd.Stderr = os.Stderr
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.stdin.Close() // it ends
		<-read
		require.NoError(t, p.cmd.Wait(), role)
	})
	p.says("ready")
	return p
}

// says waits until the process says something that begins with a word, and
// returns the rest.
func (p *process) says(word string) string {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if rest, ok := strings.CutPrefix(line, word); ok {
				return strings.TrimSpace(rest)
			}
			p.t.Logf("%s: %s", p.cmd.Args, line)
		case <-late:
			require.Fail(p.t, "the process does not say "+word)
			return ""
		}
	}
}

// TestProcess is no test of its own: others run it in processes of theirs. It
// plays its part until its input ends.
func TestProcess(t *testing.T) {
	role := os.Getenv(processRole)
	if role == "" || !netbed.Enter(t) { // never on the machine's own links
		return
	}
	g := bed.NewInstance(t, &acp.Layer2{IPv4: true}) // for links without IPv6
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, g.WaitForLink(ctx))
	asa := bed.NewASA(t, g, role)
	ex3 := bed.Neg("EX3", nil)
	switch role {
	case "seller": // offers half of what is asked for, then accepts
		require.NoError(t, asa.RegisterObj(ex3, grasp.RegisterOptions{}))
		go func() {
			for {
				s, o, err := asa.ListenNegotiate(t.Context(), ex3)
				if err != nil {
					return
				}
				o.Value = o.Value.(int64) / 2
				next, o, err := s.NegotiateStep(t.Context(), o, 0)
				if err == nil && next != nil {
					err = next.EndNegotiate(true, "")
				}
				fmt.Println("outcome", o.Value, err)
			}
		}()
		netbed.Eventually(t, patience, "it listens", func() bool { return bed.Listens(g, "EX3") })
		fmt.Println("ready")
	case "buyer": // asks for 100, and again for three quarters of what it is offered
		require.NoError(t, asa.RegisterObj(ex3, grasp.RegisterOptions{}))
		fmt.Println("ready")
		ex3.Value = 100
		s, o, err := asa.ReqNegotiate(t.Context(), ex3, nil, 0)
		require.NoError(t, err)
		o.Value = o.Value.(int64) * 3 / 4
		_, o, err = s.NegotiateStep(t.Context(), o, 0)
		require.NoError(t, err)
		fmt.Println("outcome", o.Value, s.Source().Addr().IsLinkLocalUnicast())
	case "provider": // has EX4, for those who discover
		require.NoError(t, asa.RegisterObj(bed.Neg("EX4", nil), grasp.RegisterOptions{Discoverable: true}))
		fmt.Println("ready")
	case "asker": // asks the node alone that a line of its input says for EX4
		fmt.Println("ready")
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			at := grasp.Locator{}
			require.NoError(t, json.Unmarshal(in.Bytes(), &at))
			found, err := asa.Discover(t.Context(), bed.Neg("EX4", nil), patience, grasp.DiscoverOptions{Peer: &at, First: true})
			fmt.Println("found", found, err)
		}
	case "relay": // is there
		fmt.Println("ready")
	case "reader": // says what it hears of EX1
		fmt.Println("ready")
		var values []grasp.TaggedObjective
		netbed.Eventually(t, patience, "EX1 is flooded", func() bool {
			var err error
			values, err = asa.GetFlood(bed.Syn("EX1", nil))
			return err != nil || len(values) > 0
		})
		fmt.Println("heard", values[0].Objective.Value)
	default:
		require.Fail(t, "no such role: "+role)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// Two instances in two processes, each in a network namespace of its own, find
// each other by multicast and negotiate: by link-local addresses, as there are
// no others.
func TestLinkTwoProcesses(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	nodes := netbed.Chain(t, 2)
	seller := newProcess(t, nodes[0], "seller")
	buyer := newProcess(t, nodes[1], "buyer")
	require.Equal(t, "37 true", buyer.says("outcome"))
	require.Equal(t, "37 <nil>", seller.says("outcome"))
}

// Sections 2.5.4.2 and 2.8.4: a node alone is asked on port 7017, by TCP and by
// UDP, on a link without IPv6.
func TestD21T03AskAloneOverIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a, b := netbed.NewNode(t, "a"), netbed.NewNode(t, "b")
	for _, n := range []*netbed.Node{a, b} {
		n.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
		n.Sysctl(t, "net/ipv6/conf/all/disable_ipv6", "1")
	}
	netbed.Connect(t, a, b)
	a.AddAddr(t, "to-b", "10.0.0.1/24")
	b.AddAddr(t, "to-a", "10.0.0.2/24")
	newProcess(t, b, "provider")
	asker := newProcess(t, a, "asker")
	for _, protocol := range []int{grasp.TCP, grasp.UDP} {
		require.NoError(t, json.NewEncoder(asker.stdin).Encode(grasp.Locator{IP: netip.MustParseAddr("10.0.0.2"), Protocol: protocol}))
		require.Regexp(t, `^\[10\.0\.0\.2:\d+\] <nil>$`, asker.says("found"))
	}
	require.NoError(t, json.NewEncoder(asker.stdin).Encode(grasp.Locator{IP: netip.MustParseAddr("10.0.0.3"), Port: 7017}))
	require.Regexp(t, `^\[\] grasp: discover "EX4": .* 10\.0\.0\.3:7017: `, asker.says("found"))
}

// The same from end to end of a chain: the processes between relay.
func TestLinkRelays(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	nodes := netbed.Chain(t, 3)
	// Streams are routed; here by the kernel of the middle node.
	for i, prefix := range []string{"fd00:1::%d/64", "fd00:2::%d/64"} {
		nodes[i].AddAddr(t, "to-"+nodes[i+1].Name, fmt.Sprintf(prefix, 1))
		nodes[i+1].AddAddr(t, "to-"+nodes[i].Name, fmt.Sprintf(prefix, 2))
	}
	nodes[0].IP(t, "route", "add", "fd00:2::/64", "via", "fd00:1::2")
	nodes[2].IP(t, "route", "add", "fd00:1::/64", "via", "fd00:2::1")
	out, err := nodes[1].Exec(t.Context(), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding").CombinedOutput()
	require.NoError(t, err, "%s", out)
	seller := newProcess(t, nodes[0], "seller")
	newProcess(t, nodes[1], "relay")
	buyer := newProcess(t, nodes[2], "buyer")
	require.Equal(t, "37 false", buyer.says("outcome"))
	require.Equal(t, "37 <nil>", seller.says("outcome"))
}

// Sections 2.6 and 2.3: an instance is a member of ff02::13 on each of its
// links, and listens on UDP port 7017, which it shares with every other
// instance and process of the node: all of them hear a flood.
func TestT01T02T12PortIsShared(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	var asas []*grasp.ASA
	for _, links := range [][]string{{"va0", "vb0"}, {"va0"}} {
		asas = append(asas, bed.NewASA(t, newInstanceOn(t, links...), "reader"))
	}
	reader := newProcess(t, nil, "reader")
	members, err := os.ReadFile("/proc/net/igmp6")
	require.NoError(t, err)
	group := fmt.Sprintf("%x", acp.Group6().As16())
	for _, name := range []string{"va0", "vb0"} {
		require.Regexp(t, `(?m)^\d+ +`+name+` +`+group+` `, string(members))
	}

	// From a socket that knows nothing of GRASP.
	send(t, "va1", arr{9, 7, bed.IP("2001:db8::1"), 0, arr{arr{"EX1", 5, 1, "value"}, arr{}}})
	require.Equal(t, "value", reader.says("heard"))
	for _, a := range asas {
		hears(t, a, "EX1", "value")
	}
	// What comes by a link that an instance is not limited to passes it by.
	send(t, "vb1", arr{9, 8, bed.IP("2001:db8::1"), 0, arr{arr{"EX2", 5, 1, "b"}, arr{}}})
	hears(t, asas[0], "EX2", "b")
	send(t, "va1", arr{9, 9, bed.IP("2001:db8::1"), 0, arr{arr{"EX4", 5, 1, "after it"}, arr{}}})
	hears(t, asas[1], "EX4", "after it")
	values, err := asas[1].GetFlood(bed.Syn("EX2", nil))
	require.NoError(t, err)
	require.Empty(t, values)
	// An instance's own flood is heard by the others on its node, too.
	require.NoError(t, asas[0].RegisterObj(bed.Syn("EX5", nil), grasp.RegisterOptions{}))
	require.NoError(t, asas[0].Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX5", "own")}))
	hears(t, asas[1], "EX5", "own")
}

// send sends a datagram to the group, from a plain socket.
func send(t *testing.T, link string, message any) {
	t.Helper()
	netbed.LinkLocal(t, link) // has an address, from which it comes
	c, err := net.DialUDP("udp6", nil, &net.UDPAddr{IP: net.ParseIP("ff02::13"), Port: 7017, Zone: link})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	_, err = c.Write(bed.Encoded(t, message))
	require.NoError(t, err)
}

// hears waits until an objective was flooded.
func hears(t *testing.T, a *grasp.ASA, name string, value any) {
	t.Helper()
	var values []grasp.TaggedObjective
	netbed.Eventually(t, patience, name+" is heard", func() bool {
		var err error
		values, err = a.GetFlood(bed.Syn(name, nil))
		return err != nil || len(values) > 0
	})
	require.Len(t, values, 1)
	require.Equal(t, value, values[0].Objective.Value)
}

// Section 2.2: malformed datagrams are dropped, and the next good one is heard.
func TestC11MalformedDatagrams(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	a := bed.NewASA(t, newInstanceOn(t, "va0"), "reader")
	for _, raw := range bed.Garbage {
		send(t, "va1", raw)
	}
	send(t, "va1", bytes.Repeat([]byte{0x00}, 8000)) // in fragments
	send(t, "va1", arr{9, 7, bed.IP("2001:db8::1"), 0, arr{arr{"EX1", 5, 1, "value"}, arr{}}})
	hears(t, a, "EX1", "value")
	dropped := a.Instance().Snapshot().Dropped
	require.EqualValues(t, len(bed.Garbage)+1, dropped[grasp.ReasonMalformed]+dropped[grasp.ReasonInvalid]+dropped[grasp.ReasonTooLong]+dropped[grasp.ReasonTooDeep], "%v", dropped)
}

// Section 2.5.3: the largest multicast passes the smallest link whole.
func TestT07T08LargestMulticastOnTheSmallestLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	for _, name := range []string{"va0", "va1"} {
		netbed.IP(t, "link", "set", name, "mtu", "1280")
	}
	a, b := bed.NewASA(t, newInstanceOn(t, "va0"), "source"), bed.NewASA(t, newInstanceOn(t, "va1"), "reader")
	require.NoError(t, a.RegisterObj(bed.Syn("EX1", nil), grasp.RegisterOptions{}))
	own, err := onLinks("va0").Open()
	require.NoError(t, err)
	require.Equal(t, acp.MaxMulticast, own.MaxMulticast())
	require.NoError(t, own.Close())
	value := bed.Sized(t, acp.MaxMulticast, func(value string) any {
		return arr{9, uint32(1 << 31), bed.IP("fe80::1"), 0, arr{arr{"EX1", 5, 6, value}, arr{}}}
	})
	// The session ID has five bytes, but for one in 65536 that has fewer.
	require.NoError(t, a.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", value)}))
	hears(t, b, "EX1", value)
	bed.IsCode(t, a.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", value+"xxx")}), grasp.ErrTooLong)
	stat, err := os.ReadFile("/proc/net/snmp6")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^Ip6FragCreates\s+0$`, string(stat))
}

// Section 2.8.4: on real sockets, too, responses are awaited on the TCP port
// that the discovery came from, and given there.
func TestT11D11ResponsesOnRealSockets(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	a := bed.NewASA(t, newInstanceOn(t, "va0"), "ASA")
	peer, err := onLinks("va1").Open()
	require.NoError(t, err)
	defer func() { require.NoError(t, peer.Close()) }()
	netbed.Eventually(t, patience, "the link is in use", func() bool { return len(peer.Links()) == 1 })
	link := peer.Links()[0]

	found := make(chan []grasp.Locator, 1)
	go func() {
		locators, err := a.Discover(t.Context(), bed.Syn("EX1", nil), patience, grasp.DiscoverOptions{First: true})
		if err != nil {
			t.Error(err)
		}
		found <- locators
	}()
	buf := make([]byte, 2048)
	n, from, err := peer.Receive(buf)
	require.NoError(t, err)
	m := bed.Packet{Raw: buf[:n]}
	require.Equal(t, a.Instance().Snapshot().Port, from.Addr.Port())
	require.Equal(t, link.Index, from.Link)
	c, err := peer.Dial(t.Context(), from.Addr)
	require.NoError(t, err)
	s := &bed.Stream{T: t, Stream: c}
	_, err = s.Write(bed.Encoded(t, arr{2, m.ID(t), m.Items(t)[2], 60000, arr{103, bed.IP("fd00::1"), 6, 7017}}))
	require.NoError(t, err)
	require.Len(t, <-found, 1)
	_, err = s.NextWithin(patience)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, s.Close())

	require.NoError(t, a.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
	require.NoError(t, peer.Send(link.Index, bed.Encoded(t, arr{1, 7, bed.IP("2001:db8::1"), arr{"EX3", 3, 6, nil}})))
	c, err = peer.Accept()
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	s = &bed.Stream{T: t, Stream: c}
	m, err = s.NextWithin(patience)
	require.NoError(t, err)
	own := netbed.LinkLocal(t, "va0").WithZone("")
	m.Is(t, fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, bed.Hex(bed.IP("2001:db8::1")), bed.Hex(own.AsSlice()), a.Instance().Snapshot().Port))
	require.Equal(t, own, s.Peer.Addr().WithZone(""))
	require.Equal(t, bed.Zone(link.Index), s.Peer.Addr().Zone())
}

// Section 2.2, trap 12: an instance that is started before there is a link comes
// alive with the first one, and again after each change.
func TestG03LinksComeAndGo(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	a := bed.NewASA(t, bed.NewInstance(t, onLinks("va0")), "early")
	require.Empty(t, a.Instance().Snapshot().Links)
	ex1 := bed.Syn("EX1", "value")
	require.NoError(t, a.RegisterObj(ex1, grasp.RegisterOptions{}))
	require.NoError(t, a.Flood(0, grasp.TaggedObjective{Objective: ex1}), "no link is no error")
	require.NoError(t, a.ListenSynchronize(ex1))
	found, err := a.Discover(t.Context(), bed.Syn("EX2", nil), time.Millisecond, grasp.DiscoverOptions{})
	require.NoError(t, err)
	require.Empty(t, found)

	netbed.VethPair(t, "va0", "va1")
	b := bed.NewASA(t, newInstanceOn(t, "va1"), "late")
	alive := func(why string) {
		t.Helper()
		netbed.Eventually(t, patience, why, func() bool {
			o, err := b.Synchronize(t.Context(), bed.Syn("EX1", nil), nil, 2*time.Second)
			return err == nil && o.Value == "value"
		})
		bed.Flush(t, b, "EX1")
	}
	alive("it comes alive")
	netbed.Down(t, "va0")
	netbed.Eventually(t, patience, "the link is gone", func() bool { return len(a.Instance().Snapshot().Links) == 0 })
	netbed.Up(t, "va0")
	alive("it is back after the link was down")
	netbed.Delete(t, "va0")
	netbed.Eventually(t, patience, "the link is gone", func() bool { return len(a.Instance().Snapshot().Links) == 0 })
	netbed.VethPair(t, "va0", "va1")
	alive("it is back on a link of the same name")
	netbed.AddAddr(t, "va0", "fd00::1/64")
	netbed.Eventually(t, patience, "it has the address", func() bool { return a.Instance().Snapshot().Address == netip.MustParseAddr("fd00::1") })
	alive("it is found by its new address")

	// What it says of itself can be shown to people and programs.
	text, err := json.Marshal(a.Instance().Snapshot())
	require.NoError(t, err)
	require.Contains(t, string(text), "va0")
}
