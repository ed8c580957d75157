package netbed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// envHelper chooses what a helper process does. The tests named TestHelper are
// not tests: others run them in processes of their own.
const envHelper = "GRASP_NETBED_HELPER"

func helper(t *testing.T, role string) {
	t.Helper()
	if os.Getenv(envHelper) != role {
		t.Skip("a helper of other tests")
	}
}

// runHelper runs a helper with flags of package testing and returns its output.
func runHelper(t *testing.T, name, role string, flags ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"-test.run=^" + name + "$", "-test.v"}, flags...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GRASP_NETBED_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, envHelper+"="+role)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestEnterIsElsewhere(t *testing.T) {
	here, err := os.Readlink(netnsPath)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(envOutside) == "" {
		t.Setenv("GRASP_NETBED_SEEN", here) // for the child to compare with
	}
	if !Enter(t) {
		return
	}
	if here == os.Getenv("GRASP_NETBED_SEEN") {
		t.Fatalf("the child is in %s, as the parent", here)
	}
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(ifs) != 1 || ifs[0].Name != "lo" || ifs[0].Flags&net.FlagUp == 0 {
		t.Errorf("interfaces %v, want lo alone, up", ifs)
	}
	if os.Getuid() != 0 {
		t.Errorf("uid %d, want 0", os.Getuid())
	}
	t.Run("Sub", func(t *testing.T) {
		if !Enter(t) {
			t.Fatal("a subtest left the namespace")
		}
	})
}

func TestEnterInSubtest(t *testing.T) {
	for _, name := range []string{"one", "two (of 2)", "two (of 2)"} {
		t.Run(name, func(t *testing.T) {
			if Enter(t) {
				VethPair(t, "va0", "va1")
			}
		})
	}
}

func TestHelperFail(t *testing.T) {
	helper(t, "fail")
	if Enter(t) {
		t.Fatal("failed on purpose")
	}
	t.Log("the parent is through")
}

func TestFailingChildFailsParent(t *testing.T) {
	out, err := runHelper(t, "TestHelperFail", "fail")
	if e := new(exec.ExitError); !errors.As(err, &e) {
		t.Fatalf("the parent did not fail: %v\n%s", err, out)
	}
	for _, want := range []string{"| ", "failed on purpose", "--- FAIL: TestHelperFail", "in the namespace: exit status 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output:\n%s", want, out)
		}
	}
	if strings.Contains(out, "the parent is through") {
		t.Errorf("the parent went on:\n%s", out)
	}
}

func TestHelperSkip(t *testing.T) {
	helper(t, "skip")
	if Enter(t) {
		t.Skip("skipped on purpose")
	}
}

func TestSkippedChildSkipsParent(t *testing.T) {
	out, err := runHelper(t, "TestHelperSkip", "skip")
	if err != nil || !strings.Contains(out, "\n--- SKIP: TestHelperSkip") || !strings.Contains(out, "skipped on purpose") {
		t.Errorf("err %v, want a skip with its reason:\n%s", err, out)
	}
}

func TestHelperHang(t *testing.T) {
	helper(t, "hang")
	// The parent has time enough to kill the child and report it, on a machine of any speed.
	deadline = func(testing.TB) (time.Time, bool) { return time.Now().Add(2 * time.Second), true }
	if Enter(t) {
		select {}
	}
}

func TestHangingChildIsKilled(t *testing.T) {
	out, err := runHelper(t, "TestHelperHang", "hang")
	if e := new(exec.ExitError); !errors.As(err, &e) || e.ExitCode() != 1 {
		t.Fatalf("the parent did not end by itself: %v\n%s", err, out)
	}
	if !strings.Contains(out, "test timed out") && !strings.Contains(out, "did not end in time") {
		t.Errorf("the output does not say why:\n%s", out)
	}
	if !strings.Contains(out, "--- FAIL: TestHelperHang") {
		t.Errorf("the parent did not report it:\n%s", out)
	}
}

func TestFlagsReachTheChild(t *testing.T) {
	if Enter(t) {
		return
	}
	args := strings.Join(testArgs(t), " ")
	if !strings.Contains(args, "-test.run=^TestFlagsReachTheChild$") || !strings.Contains(args, "-test.count=1") {
		t.Errorf("arguments %s", args)
	}
	if testing.Short() != strings.Contains(args, "-test.short=true") {
		t.Errorf("arguments %s, short %v", args, testing.Short())
	}
}

// TestVethPair: both ends in one namespace are a link for multicast and for
// TCP to the address of the other end.
func TestVethPair(t *testing.T) {
	if !Enter(t) {
		return
	}
	VethPair(t, "va0", "va1")
	a, b := LinkLocal(t, "va0"), LinkLocal(t, "va1")

	group := &net.UDPAddr{IP: net.ParseIP("ff02::13"), Port: 9000}
	ifi, err := net.InterfaceByIndex(Index(t, "va1"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := net.ListenMulticastUDP("udp6", ifi, group)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := net.ListenUDP("udp6", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.WriteToUDPAddrPort([]byte("hello"), netip.AddrPortFrom(netip.MustParseAddr("ff02::13").WithZone(a.Zone()), 9000)); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	n, from, err := r.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "hello" || from.Addr().WithZone("") != a.WithZone("") {
		t.Fatalf("heard %q from %v: %v; want hello from %v", buf[:n], from, err, a)
	}

	l, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	c, err := net.DialTimeout("tcp6", netip.AddrPortFrom(b.WithZone(a.Zone()), port).String(), Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if peer := in.RemoteAddr().(*net.TCPAddr); peer.Zone != "va1" {
		t.Errorf("accepted from %v, want it to come in by va1", peer)
	}
}

func TestDAD(t *testing.T) {
	if !Enter(t) {
		return
	}
	VethPair(t, "va0", "va1")
	DAD(t, true)
	Sysctl(t, "net/ipv6/conf/default/dad_transmits", "60") // a second each
	VethPair(t, "vb0", "vb1")
	LinkLocal(t, "va0")
	LinkLocal(t, "vb0")
	if out := IP(t, "-6", "addr", "show", "dev", "va0"); strings.Contains(out, "tentative") {
		t.Errorf("off, but tentative: %s", out)
	}
	if out := IP(t, "-6", "addr", "show", "dev", "vb0"); !strings.Contains(out, "tentative") {
		t.Errorf("on, but not tentative: %s", out)
	}
}

func TestHelperHear(t *testing.T) {
	helper(t, "hear")
	LinkLocal(t, "to-n1")
	r, err := net.ListenMulticastUDP("udp6", nil, &net.UDPAddr{IP: net.ParseIP("ff02::1"), Port: 9000})
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("\nready\n")
	buf := make([]byte, 64)
	for {
		n, from, err := r.ReadFromUDP(buf)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("heard " + string(buf[:n]) + " by " + from.Zone + "\n")
	}
}

func TestHelperSay(t *testing.T) {
	helper(t, "say")
	LinkLocal(t, os.Getenv("BY"))
	c, err := net.Dial("udp6", "[ff02::1%"+os.Getenv("BY")+"]:9000")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(os.Getenv("WHAT"))); err != nil {
		t.Fatal(err)
	}
}

// TestChain: nodes hear their neighbours and nobody else.
func TestChain(t *testing.T) {
	if !Enter(t) {
		return
	}
	ns := Chain(t, 3)
	say := func(n *Node, by, what string) {
		t.Helper()
		cmd := n.Exec(t.Context(), os.Args[0], "-test.run=^TestHelperSay$")
		cmd.Env = append(os.Environ(), envHelper+"=say", "BY="+by, "WHAT="+what)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", n, err, out)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := ns[2].Exec(ctx, os.Args[0], "-test.run=^TestHelperHear$")
	cmd.Env = append(os.Environ(), envHelper+"=hear")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	lines := bufio.NewScanner(out)
	next := func() string {
		for lines.Scan() {
			if s := lines.Text(); s != "" {
				return s
			}
		}
		return "(end)"
	}
	if got := next(); got != "ready" {
		t.Fatalf("got %q", got)
	}
	say(ns[0], "to-n1", "far")
	say(ns[1], "to-n2", "near")
	if got := next(); got != "heard near by to-n1" {
		t.Errorf("got %q, want near, by to-n1, first", got)
	}
}

func TestTopologies(t *testing.T) {
	if !Enter(t) {
		return
	}
	count := func(n *Node) int {
		return strings.Count(n.IP(t, "-o", "link"), "\n") // and lo has no newline before it
	}
	for i, n := range Ring(t, 6) {
		if got := count(n); got != 2 {
			t.Errorf("ring: %v has %d links, want 2", n, got)
		}
		if own := strconv.Itoa(i); n.Name != "n"+own {
			t.Errorf("node %d is %v", i, n)
		}
	}
	for _, n := range Mesh(t, 4) {
		if got := count(n); got != 3 {
			t.Errorf("mesh: %v has %d links, want 3", n, got)
		}
	}
}

func TestNode(t *testing.T) {
	if !Enter(t) {
		return
	}
	var pid int
	t.Run("Inside", func(t *testing.T) {
		n := NewNode(t, "n")
		pid = n.pid
		VethPair(t, "va0", "va1")
		n.MoveLink(t, "va1")
		n.AddAddr(t, "va1", "fd00::1/64")
		if _, err := net.InterfaceByName("va1"); err == nil {
			t.Error("va1 is still here")
		}
		out, err := n.Exec(t.Context(), "ip", "-6", "addr", "show", "dev", "va1").CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("fd00::1")) {
			t.Errorf("%v: %s", err, out)
		}
		err = n.Exec(t.Context(), "sh", "-c", "exit 7").Run()
		if e := new(exec.ExitError); !errors.As(err, &e) || e.ExitCode() != 7 {
			t.Errorf("%v, want exit status 7", err)
		}
		n.Down(t, "va1")
		n.Delete(t, "va1")
		Eventually(t, 30*time.Second, "va0 is gone too", func() bool {
			_, err := net.InterfaceByName("va0")
			return err != nil
		})
	})
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
		t.Errorf("the process %d of the node is still there", pid)
	}
}

func TestBridge(t *testing.T) {
	if !Enter(t) {
		return
	}
	VethPair(t, "va0", "va1")
	VethPair(t, "vb0", "vb1")
	Bridge(t, "br0", "va1", "vb1")
	if out := IP(t, "-o", "link", "show", "master", "br0"); strings.Count(out, "\n") != 1 ||
		!strings.Contains(out, ": va1: ") || !strings.Contains(out, ": vb1: ") {
		t.Errorf("ports: %s", out)
	}
}

func BenchmarkEnter(b *testing.B) {
	if !Enter(b) {
		return
	}
	for b.Loop() {
	}
}

func TestDo(t *testing.T) {
	if !Enter(t) {
		return
	}
	n := NewNode(t, "n")
	VethPair(t, "va0", "va1")
	n.MoveLink(t, "va1")
	for node, name := range map[*Node]string{nil: "va0", n: "va1"} {
		node.Do(t, func() {
			ifi, err := net.InterfaceByName(name)
			if err != nil || ifi.Name != name {
				t.Errorf("%v: %v", node, err)
			}
		})
	}
	n.Sysctl(t, "net/ipv6/conf/va1/disable_ipv6", "1")
	value := func() string {
		b, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	n.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
	var there string
	n.Do(t, func() { there = value() })
	if there != "1\n" || value() != "0\n" {
		t.Errorf("%q in the node, %q here", there, value())
	}
}

// What netbed does not know of the command ip is an error, and so is what cannot be
// done.
func TestIPErrors(t *testing.T) {
	if !Enter(t) {
		return
	}
	VethPair(t, "va0", "va1")
	for _, args := range []string{
		"", "link", "link add", "link set va0 sideways", "link set va0 mtu", "link set va0 mtu large", "link set va0 mtu 1",
		"link set va9 up", "link del va9", "link add va0 type veth peer name va1", "link add v type rope", "addr show",
		"addr add fd00::1/129 dev va0", "addr add fd00::1/64 dev va9", "addr add fd00::1/64 on va0", "addr flush",
		"route add fd01::/64 via fd02::1 dev va0", "route show", "maddr show", "-batch /nowhere", "link show on va0",
	} {
		if out, err := ip(strings.Fields(args)); err == nil && args != "link" {
			t.Errorf("ip %s: %q and no error", args, out)
		}
	}
}
