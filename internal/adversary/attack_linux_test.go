package adversary

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// These tell the process of the hostile node what it is to do, and to whom.
const (
	envHostile = "GRASP_HOSTILE" // the name of one of hostileRoles
	envVictims = "GRASP_HOSTILE_VICTIMS"
)

// idleConnections is how many the hostile node keeps open.
const idleConnections = 10_000

// besieged are two instances on a bridge of real links, with a node in a
// namespace and process of its own on a third.
type besieged struct {
	t              testing.TB
	server, client *grasp.ASA
	accounts       []*accountant // of the server and the client
	node           *netbed.Node
}

func newBesieged(t testing.TB, with ...func(*grasp.Config)) *besieged {
	b := &besieged{t: t, node: netbed.NewNode(t, "hostile")}
	// Each connection leaves its port behind for a minute.
	netbed.Sysctl(t, "net/ipv4/ip_local_port_range", "1024 65535")
	b.node.Sysctl(t, "net/ipv4/ip_local_port_range", "1024 65535")
	var ports []string
	for _, name := range []string{"va", "vb", "vh"} {
		netbed.VethPair(t, name+"0", name+"1")
		ports = append(ports, name+"0")
	}
	netbed.Bridge(t, "bridge", ports...)
	b.node.MoveLink(t, "vh1")
	start := func(name, link string) *grasp.ASA {
		netbed.LinkLocal(t, link)
		account := newAccountant()
		with := append([]func(*grasp.Config){func(c *grasp.Config) {
			c.Trace = account.note
			c.MaxWaits, c.MaxWait = hostileWaits, time.Hour
		}}, with...)
		g := bed.InstanceWith(t, &acp.Layer2{Links: []string{link}}, with...)
		a := bed.NewASA(t, g, name)
		for _, o := range []grasp.Objective{bed.Stressed, bed.Neg(bait, nil), bed.Syn("value", nil)} {
			require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
		}
		require.NoError(t, a.ListenSynchronize(bed.Syn("value", make([]byte, 1900))))
		bed.WaitForLink(t, g)
		b.accounts = append(b.accounts, account)
		return a
	}
	b.server, b.client = start("server", "va1"), start("client", "vb1")
	return b
}

// start starts the hostile node in a role. What it says can be read; it ends
// when stop is called, which returns the rest of it.
func (b *besieged) start(role string, victims ...*grasp.ASA) (said *bufio.Reader, stop func() string) {
	var at []string
	for _, a := range victims {
		addr := a.Instance().Snapshot().Links[0].Addr.WithZone("")
		at = append(at, netip.AddrPortFrom(addr, a.Instance().Snapshot().Port).String())
	}
	cmd := b.node.Exec(b.t.Context(), os.Args[0], "-test.run=^TestHostileNode$")
	cmd.Env = append(os.Environ(), envHostile+"="+role, envVictims+"="+strings.Join(at, " "))
	cmd.Stderr = b.t.Output()
	stdin, err := cmd.StdinPipe()
	require.NoError(b.t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(b.t, err)
	require.NoError(b.t, cmd.Start())
	said = bufio.NewReader(stdout)
	return said, func() string {
		require.NoError(b.t, stdin.Close())
		rest, err := io.ReadAll(said)
		require.NoError(b.t, err)
		require.NoError(b.t, cmd.Wait())
		return string(rest)
	}
}

// TestHostileNode is the process of the hostile node. By itself it does nothing.
func TestHostileNode(t *testing.T) {
	role := os.Getenv(envHostile)
	if role == "" {
		return
	}
	over, end := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	var victims []netip.AddrPort
	zone := strconv.Itoa(netbed.Index(t, "vh1"))
	for s := range strings.FieldsSeq(os.Getenv(envVictims)) {
		at := netip.MustParseAddrPort(s)
		victims = append(victims, netip.AddrPortFrom(at.Addr().WithZone(zone), at.Port()))
	}
	switch role {
	case "attacks":
		allAttacks(t, over, victims)
	case "idle":
		keepIdle(t, over, victims)
	}
}

// accounted is what the hostile node says at its end.
type accounted struct {
	Addr netip.Addr
	Want []account
}

// allAttacks does all attacks at once, each again and again, until the context
// ends, and then says what they are to be counted as.
func allAttacks(t *testing.T, over context.Context, victims []netip.AddrPort) {
	netbed.LinkLocal(t, "vh1")
	ep, err := (&acp.Layer2{Links: []string{"vh1"}}).Open()
	require.NoError(t, err)
	netbed.Eventually(t, 30*time.Second, "the link is in use", func() bool { return len(ep.Links()) > 0 })
	me := ep.Links()[0].Addr.WithZone("")
	h := newHostile(t.Context(), ep, victims...)
	h.reset = grasp.ReasonBroken
	h.abort = func(c net.Conn) {
		raw, err := c.(*acp.Stream).Conn.(syscall.Conn).SyscallConn()
		if err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
			})
		}
		_ = c.Close()
	}
	var all sync.WaitGroup
	all.Go(h.listen)
	pauseFor(over, time.Second)
	var attacking sync.WaitGroup
	for _, a := range attacks {
		attacking.Go(func() {
			for over.Err() == nil {
				a.do(h)
				pauseFor(over, 100*time.Millisecond)
			}
		})
	}
	attacking.Wait()
	require.NoError(t, ep.Close())
	all.Wait()
	require.NoError(t, json.NewEncoder(os.Stdout).Encode(accounted{me, h.want}))
}

// keepIdle keeps connections open that say nothing, until the context ends.
// When all are open for the first time it says so.
func keepIdle(t *testing.T, over context.Context, victims []netip.AddrPort) {
	netbed.LinkLocal(t, "vh1")
	var all sync.WaitGroup
	var open atomic.Int64
	dialing := make(chan struct{}, 64)
	for i := range idleConnections {
		all.Go(func() {
			first := true
			for over.Err() == nil {
				dialing <- struct{}{}
				c, err := (&net.Dialer{Timeout: netbed.Patience}).DialContext(over, "tcp", victims[i%len(victims)].String())
				<-dialing
				if err != nil {
					pauseFor(over, 100*time.Millisecond)
					continue
				}
				if first && open.Add(1) == idleConnections {
					fmt.Println("open")
				}
				first = false
				stop := context.AfterFunc(over, func() { _ = c.Close() })
				drain(c, time.Hour)
				stop()
				_ = c.Close()
			}
		})
	}
	all.Wait()
}

// peak is the most memory that the program held while watched: what the garbage
// collector found alive, and stacks. How much garbage there is besides depends on
// how busy the machine is.
type peak struct {
	most uint64
	done chan struct{}
	over chan struct{}
}

func watchMemory() *peak {
	p := &peak{done: make(chan struct{}), over: make(chan struct{})}
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	go func() {
		defer close(p.over)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(samples)
			p.most = max(p.most, samples[0].Value.Uint64()+samples[1].Value.Uint64())
			select {
			case <-p.done:
				return
			case <-tick.C:
			}
		}
	}()
	return p
}

func (p *peak) stop() uint64 {
	close(p.done)
	<-p.over
	return p.most
}

// memoryBound is what two instances that are attacked in all ways, by ten
// thousand idle connections among others, may use for heap and stacks.
const memoryBound = 256 << 20

// All attacks at once, on real links, by another process, while honest
// negotiations go on: none of them fails, memory stays below the bound, and
// what was sent is received or dropped for the reasons that fit.
func TestHostilePeerReal(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	b := newBesieged(t)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	for _, a := range []*grasp.ASA{b.server, b.client} {
		serving.Go(func() { takeBait(ctx, a) })
		serving.Go(func() { askAround(ctx, a) })
		serving.Go(func() { serveAll(ctx, a, bed.Stressed) })
	}
	require.True(t, bed.SoonTrue(func() bool { return bed.Listens(b.server.Instance(), bed.Stressed.Name) }))
	peer := b.atServer()
	_, stop := b.start("attacks", b.server, b.client)
	memory := watchMemory()
	const length = 25 * time.Second // of which idle connections last ten
	ends := time.Now().Add(length)
	var negotiations atomic.Int64
	var honest sync.WaitGroup
	for range 8 {
		honest.Go(func() {
			for time.Now().Before(ends) && !t.Failed() {
				if err := bed.InitiateTo(t.Context(), b.client, peer, negotiations.Add(1)); err != nil {
					t.Errorf("negotiation: %v", err)
				}
			}
		})
	}
	honest.Wait()
	var said accounted
	require.NoError(t, json.Unmarshal([]byte(firstLine(stop())), &said))
	used := memory.stop()
	cancel()
	serving.Wait()

	lost := netbed.Counter(t, "Udp6RcvbufErrors") // datagrams that the kernel had no room for
	total := 0
	for i, want := range said.Want {
		want.alike()
		total += want.total()
		var have account
		settled := func() bool { // all has been counted that came
			have = b.accounts[i].about(said.Addr)
			have.alike()
			for what, n := range want {
				if have[what] < n-lost {
					return false
				}
			}
			return true
		}
		if !bed.SoonTrue(settled) {
			t.Errorf("victim %d has not settled", i)
		}
		if lost == 0 {
			require.Equal(t, want, have, "victim %d", i)
		}
		for what, n := range want {
			require.LessOrEqual(t, have[what], n, "victim %d: %s", i, what)
			require.GreaterOrEqual(t, have[what], n-lost, "victim %d: %s", i, what)
		}
	}
	t.Logf("%d negotiations while %d messages and connections of the hostile node were received or dropped; the kernel lost %d; at most %d MiB of heap and stacks",
		negotiations.Load(), total, lost, used>>20)
	require.Less(t, used, uint64(memoryBound))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// atServer is where the client reaches the server.
func (b *besieged) atServer() *grasp.Locator {
	link := b.client.Instance().Snapshot().Links[0]
	l := grasp.NewLocator(netip.AddrPortFrom(b.server.Instance().Snapshot().Links[0].Addr.WithZone(bed.Zone(link.Index)), b.server.Instance().Snapshot().Port))
	return &l
}

// pacing is how negotiations went, 64 at a time.
type pacing struct {
	perSecond float64
	cpu       time.Duration // of this process, for each
	streams   int           // of the server, at the end
}

// measureIdle measures so many negotiations before, while and after ten thousand
// connections to the server, which has one port, say nothing.
func measureIdle(t testing.TB, negotiations int) (before, during, after pacing) {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.Greater(t, limit.Cur, uint64(idleConnections+1000), "file descriptors")
	// They are there all the time, however long the rest takes.
	b := newBesieged(t, func(c *grasp.Config) { c.IdleTimeout = time.Hour })
	stop := bed.Serve(t.Context(), b.server, bed.StressListeners, bed.Respond)
	require.True(t, bed.SoonTrue(func() bool { return bed.Listens(b.server.Instance(), bed.Stressed.Name) }))
	peer := b.atServer()
	measure := func() pacing {
		start, cpu := time.Now(), cpuTime(t)
		err := bed.Pool(t.Context(), 64, negotiations, func(ctx context.Context, i int) error {
			return bed.InitiateTo(ctx, b.client, peer, int64(i))
		})
		require.NoError(t, err)
		return pacing{
			perSecond: float64(negotiations) / time.Since(start).Seconds(),
			cpu:       (cpuTime(t) - cpu) / time.Duration(negotiations),
			streams:   b.server.Instance().Snapshot().Streams,
		}
	}
	measure() // warm
	before = measure()
	said, end := b.start("idle", b.server)
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)
	during = measure()
	require.Greater(t, b.server.Instance().Snapshot().Streams, idleConnections*9/10)
	end()
	netbed.Eventually(t, time.Minute, "no connection is left", func() bool { return b.server.Instance().Snapshot().Streams == 0 })
	after = measure()
	require.NoError(t, stop())
	return before, during, after
}

// cpuTime is how much time of processors this process has used.
func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Connections that say nothing, ten thousand of them, have no negotiation fail.
func TestTenThousandIdleConnections(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	before, during, after := measureIdle(t, bed.Scaled(bed.StressNegotiations)/4)
	t.Logf("negotiations/s, and processor time for each: %.0f, %v; with %d idle connections %.0f, %v; and then %.0f, %v",
		before.perSecond, before.cpu, during.streams, during.perSecond, during.cpu, after.perSecond, after.cpu)
}

// BenchmarkIdleConnections reports the rates of negotiations, 64 at a time,
// without and with ten thousand connections that say nothing.
func BenchmarkIdleConnections(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	before, during, after := measureIdle(b, max(2000, b.N))
	b.ReportMetric(before.perSecond, "before/s")
	b.ReportMetric(during.perSecond, "during/s")
	b.ReportMetric(after.perSecond, "after/s")
	b.ReportMetric(200*during.perSecond/(before.perSecond+after.perSecond), "%")
	b.ReportMetric(float64(before.cpu.Microseconds()), "before-cpu-µs")
	b.ReportMetric(float64(during.cpu.Microseconds()), "during-cpu-µs")
	b.ReportMetric(float64(during.streams), "idle")
}
