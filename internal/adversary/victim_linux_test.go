package adversary

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// full has the tests with a victim try the default limits, which takes minutes.
var full = flag.Bool("full", false, "try idle connections up to the default limits")

// envVictim tells the process of a victim what it is, as JSON of victimConfig.
const envVictim = "GRASP_VICTIM"

// victimConfig is what a victim is to be.
type victimConfig struct {
	Plane, Domain string
	Descriptors   uint64 // the process may have; 0: as many as it likes
	IdleMemory    int
	IdleTimeout   time.Duration // 0: an hour
	MemoryLimit   int64         // of the runtime (GOMEMLIMIT) and, if it is Enforced, of the system
	Enforced      bool
}

// planes are the names that planeOf knows.
var planes = []string{"layer2", "quads", "tls"}

// costliest is the plane on which a connection takes most memory and descriptors.
const costliest = "tls"

func planeOf(name, dir, member, link string) (acp.Plane, error) {
	under := &acp.Layer2{Links: []string{link}}
	switch name {
	case "quads":
		return &quads.Plane{Password: "a password", Under: under}, nil
	case "tls":
		files, err := tlsplane.LoadFiles(tlsplane.InDir(dir, member), nil)
		return &tlsplane.Plane{Underlay: under, Credentials: files}, err
	}
	return under, nil
}

// victimState is what a victim says of itself, when it is asked with a line.
type victimState struct {
	At          netip.AddrPort
	Links       int
	Memory      uint64 // of heap and stacks, the most since the start, garbage included
	Held        uint64 // of heap and stacks now, without garbage
	Descriptors int
	Goroutines  int
	Streams     int
	Sessions    int
	Idle        int
	Dropped     map[grasp.Reason]uint64
	Did         int // in a soak
}

// stateOf says how an instance is, and the process that it has to itself.
func stateOf(g *grasp.Instance) victimState {
	runtime.GC()
	snap := g.Snapshot()
	s := victimState{
		Links: len(snap.Links), Held: bytesOf("heap/objects", "heap/stacks"), Goroutines: runtime.NumGoroutine(),
		Streams: snap.Streams, Sessions: len(snap.Sessions), Idle: snap.Pending, Dropped: snap.Dropped,
	}
	if len(snap.Links) > 0 {
		s.At = netip.AddrPortFrom(snap.Links[0].Addr.WithZone(""), snap.Port)
	}
	open, err := os.ReadDir("/proc/self/fd")
	s.Descriptors = len(open)
	if err != nil {
		s.Descriptors = math.MaxInt // there is none left to look with
	}
	return s
}

// TestVictim is the process of a victim: an instance that accepts whatever is
// negotiated. By itself it does nothing.
func TestVictim(t *testing.T) {
	raw := os.Getenv(envVictim)
	if raw == "" {
		return
	}
	var cfg victimConfig
	require.NoError(t, json.Unmarshal([]byte(raw), &cfg))
	plane, err := planeOf(cfg.Plane, cfg.Domain, "victim", "victim")
	require.NoError(t, err)
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(cfg.MemoryLimit)
	}
	if cfg.Enforced {
		enforce(t, cfg.MemoryLimit)
	}
	if cfg.Descriptors > 0 {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: cfg.Descriptors, Max: cfg.Descriptors}))
	}
	g, err := grasp.New(grasp.Config{
		Plane: plane, Dialogue: grasp.Dialogue{Silent: true},
		Limits: grasp.Limits{IdleMemory: cfg.IdleMemory, IdleTimeout: cmp.Or(cfg.IdleTimeout, time.Hour)},
	})
	require.NoError(t, err)
	defer g.Close()
	a, err := g.RegisterASA("victim")
	require.NoError(t, err)
	require.NoError(t, a.RegisterObj(called, grasp.RegisterOptions{}))
	go acceptAll(t.Context(), a)

	var most atomic.Uint64
	measure := func() {
		most.Store(max(most.Load(), bytesOf("heap/objects", "heap/unused", "heap/stacks")))
	}
	go func() {
		for t.Context().Err() == nil {
			measure()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	var soaking *soaker
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		measure()
		switch what, peer, _ := strings.Cut(asked.Text(), " "); what {
		case "soak":
			soaking = soak(t, g, netip.MustParseAddrPort(peer))
		case "rest":
			soaking.rest()
		}
		state := stateOf(g)
		if soaking != nil {
			state.Did = soaking.total()
		}
		state.Memory = most.Load()
		require.NoError(t, json.NewEncoder(os.Stdout).Encode(state))
	}
}

// bytesOf is the sum of the memory classes of package runtime/metrics that are named.
func bytesOf(classes ...string) (sum uint64) {
	samples := make([]metrics.Sample, len(classes))
	for i, class := range classes {
		samples[i].Name = "/memory/classes/" + class + ":bytes"
	}
	metrics.Read(samples)
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	return sum
}

// acceptAll accepts what is offered, until the context ends.
func acceptAll(ctx context.Context, a *grasp.ASA) {
	for ctx.Err() == nil {
		if s, _, err := a.ListenNegotiate(ctx, called); err == nil {
			go func() { _ = s.EndNegotiate(true, "") }()
		}
	}
}

var called = grasp.Objective{Name: "called", Neg: true, LoopCount: 6, Value: 1}

// victim is an instance in a namespace and process of its own, on a bridge with
// the links "bad" and "good" of this one.
type victim struct {
	*testing.T
	cfg    victimConfig
	node   *netbed.Node
	stdin  io.WriteCloser
	stdout *bufio.Scanner
	dead   chan error
}

func newVictim(t *testing.T, cfg victimConfig) *victim {
	t.Helper()
	node := netbed.NewNode(t, "victim")
	for _, n := range []*netbed.Node{nil, node} {
		n.Sysctl(t, "net/ipv4/ip_local_port_range", "1024 65535")
		n.Sysctl(t, "net/core/somaxconn", "4096")
	}
	var ports []string
	for _, link := range []string{"victim", "bad", "good"} {
		netbed.VethPair(t, "p-"+link, link)
		ports = append(ports, "p-"+link)
	}
	netbed.Bridge(t, "bridge", ports...)
	node.MoveLink(t, "victim")
	netbed.LinkLocal(t, "bad")
	netbed.LinkLocal(t, "good")
	cfg.Domain = t.TempDir()
	d, err := domain.Create(cfg.Domain, "testers")
	require.NoError(t, err)
	for _, name := range []string{"victim", "bad", "good"} {
		cert, err := d.Issue(name, time.Hour)
		require.NoError(t, err)
		require.NoError(t, domain.SaveMember(cfg.Domain, name, cert))
	}
	raw, err := json.Marshal(cfg)
	require.NoError(t, err)
	cmd := node.Exec(context.Background(), os.Args[0], "-test.run=^TestVictim$") // it is ended after the context is
	cmd.Env = append(os.Environ(), envVictim+"="+string(raw))
	cmd.Stderr = t.Output()
	v := &victim{T: t, cfg: cfg, node: node, dead: make(chan error, 1)}
	v.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	v.stdout = bufio.NewScanner(stdout)
	v.stdout.Buffer(nil, 1<<20)
	t.Cleanup(func() {
		_ = v.stdin.Close()
		for v.stdout.Scan() {
		}
		assert.NoError(t, cmd.Wait(), "the victim")
	})
	netbed.Eventually(t, 30*time.Second, "the victim has its link", func() bool { return v.state().Links == 1 })
	return v
}

// state asks the victim.
func (v *victim) state() victimState {
	v.Helper()
	return v.tell("")
}

// tell has the victim do something: see TestVictim.
func (v *victim) tell(what string) (s victimState) {
	v.Helper()
	_, err := fmt.Fprintln(v.stdin, what)
	require.NoError(v, err)
	require.True(v, v.stdout.Scan(), "the victim is gone")
	require.NoError(v, json.Unmarshal(v.stdout.Bytes(), &s), "%s", v.stdout.Text())
	return s
}

// instance is one of a member, on the link of the same name.
func (v *victim) instance(name string, limits grasp.Limits) *grasp.Instance {
	v.Helper()
	plane, err := planeOf(v.cfg.Plane, v.cfg.Domain, name, name)
	require.NoError(v, err)
	g, err := grasp.New(grasp.Config{Plane: plane, Dialogue: grasp.Dialogue{Silent: true}, Limits: limits})
	require.NoError(v, err)
	v.Cleanup(func() { _ = g.Close() })
	netbed.Eventually(v, 30*time.Second, "a member has its link", func() bool { return len(g.Snapshot().Links) == 1 })
	return g
}

// endpoint is one of a member, on the link of the same name, and where it finds the
// victim.
func (v *victim) endpoint(name string) (e acp.Endpoint, to netip.AddrPort) {
	v.Helper()
	plane, err := planeOf(v.cfg.Plane, v.cfg.Domain, name, name)
	require.NoError(v, err)
	e, err = plane.Open()
	require.NoError(v, err)
	v.Cleanup(func() { _ = e.Close() })
	netbed.Eventually(v, 30*time.Second, "a member has its link", func() bool { return len(e.Links()) == 1 })
	at := v.state().At
	return e, netip.AddrPortFrom(at.Addr().WithZone(fmt.Sprint(e.Links()[0].Index)), at.Port())
}

// caller is an honest member on the link "good".
func (v *victim) caller() *grasp.ASA {
	v.Helper()
	g := v.instance("good", grasp.Limits{})
	a, err := g.RegisterASA("caller")
	require.NoError(v, err)
	require.NoError(v, a.RegisterObj(called, grasp.RegisterOptions{}))
	return a
}

// call negotiates a number of times and returns how many calls failed.
func (v *victim) call(a *grasp.ASA, times int) (failed int) {
	v.Helper()
	for range times {
		s, _, err := a.ReqNegotiate(v.Context(), called, nil, netbed.Patience)
		if s != nil {
			_ = s.Close()
		}
		if err != nil {
			v.Logf("a call failed: %v", err)
			failed++
		}
	}
	return failed
}

// unfinished is a message of which the end is missing: nothing costs more memory
// while it is waited for.
var unfinished = append([]byte{0x59, 0x07, 0xf0}, make([]byte, 2000)...)

// held are connections of the hostile member.
type held struct {
	opened atomic.Int64 // since the start
	enough atomic.Bool  // those that are ended are not replaced any more
}

// hold has the hostile member keep a number of connections open on which the first
// message does not end. When one is ended by the victim it opens another, until there
// are enough or the test ends.
func (v *victim) hold(count int) *held {
	v.Helper()
	e, to := v.endpoint("bad")
	ctx, cancel := context.WithCancel(v.Context())
	h := new(held)
	dialing := make(chan struct{}, 4) // at the same time
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			for ctx.Err() == nil && !h.enough.Load() {
				dialing <- struct{}{}
				one, end := context.WithTimeout(ctx, 5*time.Second)
				s, err := e.Dial(one, to)
				end()
				<-dialing
				if err != nil {
					continue
				}
				_, _ = s.Write(unfinished)
				h.opened.Add(1)
				stop := context.AfterFunc(ctx, func() { _ = s.Close() })
				_, _ = s.Read(make([]byte, 1)) // until it is ended
				stop()
				_ = s.Close()
			}
		})
	}
	v.Cleanup(func() {
		cancel()
		all.Wait()
	})
	return h
}

// When a process may open no more files, the oldest idle connection of whoever
// has most gives way, and no honest call fails.
func TestOutOfDescriptors(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	for _, plane := range planes {
		t.Run(plane, func(t *testing.T) {
			if plane != costliest {
				longtest.Need(t)
			}
			v := newVictim(t, victimConfig{Plane: plane, Descriptors: 128})
			a := v.caller()
			require.Zero(t, v.call(a, 1))
			hostile := v.hold(300)
			netbed.Eventually(t, time.Minute, "the victim has no more descriptors", func() bool {
				return v.state().Dropped[grasp.ReasonTooManyIdle] > 100
			})
			require.Zero(t, v.call(a, 50), "honest calls that failed")
			s := v.state()
			t.Logf("%s: %d connections opened, %d idle, %d descriptors, %d MiB of memory", plane, hostile.opened.Load(), s.Idle, s.Descriptors, s.Memory>>20)
			require.LessOrEqual(t, s.Idle, 128)
		})
	}
}

// Idle connections take no more memory than is granted, on any plane, whatever
// one of them costs there.
func TestIdleMemory(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	memory, connections := 4<<20, 1200
	if *full {
		memory, connections = grasp.Limits{}.IdleMemory, 12_000
	}
	for _, plane := range planes {
		t.Run(plane, func(t *testing.T) {
			if plane != costliest {
				longtest.Need(t)
			}
			v := newVictim(t, victimConfig{Plane: plane, IdleMemory: memory})
			a := v.caller()
			require.Zero(t, v.call(a, 10))
			before := v.state()
			hostile := v.hold(connections)
			netbed.Eventually(t, 5*time.Minute, "they are opened", func() bool { return hostile.opened.Load() >= int64(connections) })
			require.Zero(t, v.call(a, 20), "honest calls that failed")
			s := v.state()
			t.Logf("%s: %d opened, %d idle, at most %d KiB more memory, %d KiB more held, %d descriptors",
				plane, hostile.opened.Load(), s.Idle, (s.Memory-before.Memory)>>10, (int64(s.Held)-int64(before.Held))>>10, s.Descriptors)
			if *full {
				require.Less(t, s.Memory, uint64(256<<20)) // which SECURITY.md says
				return
			}
			hostile.enough.Store(true)
			most := before.Held + 2*uint64(memory) + 4<<20 // the race detector makes stacks larger
			netbed.Eventually(t, time.Minute, "it holds no more than is granted", func() bool { return v.state().Held < most })
		})
	}
}
