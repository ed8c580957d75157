package prefix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
	"github.com/go-grasp/grasp/internal/longtest"
)

// auditor sees every record that becomes durable, of all devices and in order,
// and knows at any time whose each prefix is: a device's, or, for a while, that
// of one that was given it and has not heard.
type auditor struct {
	mu     sync.Mutex // guards all following fields
	whole  []netip.Prefix
	held   map[netip.Addr]*prefixpool.Pool
	given  prefixpool.Pool // that the taker has not heard of
	takers map[netip.Prefix]taking
	count  map[Change]int
	late   int // takers who had to ask whether they were given something
	faults []string
}

type taking struct {
	taker netip.Addr
	since time.Time
}

func newAuditor(whole ...netip.Prefix) *auditor {
	return &auditor{
		whole: whole, held: make(map[netip.Addr]*prefixpool.Pool),
		takers: make(map[netip.Prefix]taking), count: make(map[Change]int),
	}
}

func (a *auditor) see(device netip.Addr, r Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count[r.What]++
	if a.held[device] == nil {
		a.held[device] = &prefixpool.Pool{}
	}
	ok := true
	switch r.What {
	case Own:
		ok = a.held[device].Put(r.Prefix) == nil
	case Gave:
		ok = a.held[device].Remove(r.Prefix) && a.given.Put(r.Prefix) == nil
		a.takers[r.Prefix] = taking{r.Peer, time.Now()}
	case Got:
		if time.Since(a.takers[r.Prefix].since) > patience {
			a.late++ // its session is over
		}
		ok = a.takers[r.Prefix].taker == device && a.given.Remove(r.Prefix) && a.held[device].Put(r.Prefix) == nil
		delete(a.takers, r.Prefix)
	}
	if !ok {
		a.faults = append(a.faults, fmt.Sprint(device, ": ", r))
	}
	if total := a.count[Gave]; r.What == Gave && total%500 == 0 {
		a.weigh()
	}
}

// weigh finds out whether every address is somewhere, and only once.
func (a *auditor) weigh() {
	before := len(a.faults)
	var sum prefixpool.Pool
	add := func(from *prefixpool.Pool, who any) {
		for p := range from.All() {
			if err := sum.Put(p); err != nil {
				a.faults = append(a.faults, fmt.Sprint(who, ": in two pools: ", p))
			}
		}
	}
	for device, held := range a.held {
		add(held, device)
	}
	add(&a.given, "given")
	if len(a.faults) > before {
		return
	}
	if got := slices.Collect(sum.All()); !slices.Equal(got, a.whole) {
		a.faults = append(a.faults, fmt.Sprint("lost: of all there is only ", got))
	}
}

func (a *auditor) handovers() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count[Got]
}

func TestAuditor(t *testing.T) {
	half := pfx("2001:db8::/33")
	for _, c := range []struct {
		faults  int
		records []Record // of peerA, if the peer is B, and the other way round
	}{
		{0, []Record{{What: Gave, Prefix: half, Peer: peerB}, {What: Got, Prefix: half, Peer: peerA}, {What: Gave, Prefix: half, Peer: peerA}}},
		{1, []Record{{What: Gave, Prefix: half, Peer: peerB}, {What: Got, Prefix: half, Peer: peerA}, {What: Got, Prefix: half, Peer: peerA}}},
		{1, []Record{{What: Gave, Prefix: half, Peer: peerB}, {What: Gave, Prefix: half, Peer: peerB}}},
		{2, []Record{{What: Got, Prefix: half, Peer: peerA}}}, // and so it is in two pools
	} {
		a := newAuditor(network)
		a.see(peerA, Record{What: Own, Prefix: network})
		for _, r := range c.records {
			a.see(map[netip.Addr]netip.Addr{peerA: peerB, peerB: peerA}[r.Peer], r)
		}
		if c.faults == 2 {
			require.NoError(t, a.held[peerB].Put(half))
		}
		a.weigh()
		assert.Len(t, a.faults, c.faults, a.faults)
	}
	a := newAuditor(network)
	a.see(peerA, Record{What: Own, Prefix: half})
	a.weigh()
	assert.Len(t, a.faults, 1, "half of it is nowhere")
}

// device is a node of the network in memory that dies and comes back.
type device struct {
	t       *testing.T
	node    *memory.Node
	lan     *memory.Link
	auditor *auditor
	origin  bool

	mu      sync.Mutex // guards all following fields
	rng     *rand.Rand
	records []Record // durable
	risk    float64  // of dying when something is written
	quiet   bool     // does nothing new
	alive   bool
	dead    chan struct{} // closed by death
}

var errDead = errors.New("dead")

// Append dies now and then: when the records are durable, or just before.
func (d *device) Append(records []Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	die := d.rng.Float64() < d.risk
	if die && d.rng.IntN(2) == 0 {
		d.kill()
	}
	if !d.alive {
		return errDead
	}
	d.records = append(d.records, records...)
	for _, r := range records {
		d.auditor.see(d.node.Addr(), r)
	}
	if die {
		d.kill()
		return errDead
	}
	return nil
}

// Full and Replace are tested with the file.
func (d *device) Full() bool { return false }

func (d *device) Replace([]Record) error { return errors.ErrUnsupported }

// kill is the sudden death of the device: nothing more becomes durable, and
// nothing more is sent. The caller holds the lock.
func (d *device) kill() {
	if d.alive {
		d.alive = false
		d.node.Kill()
		close(d.dead)
	}
}

func (d *device) die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kill()
}

func (d *device) isQuiet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.quiet
}

func (d *device) random(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

// live brings the device up, with what its journal tells, and has it work
// until it dies or the context ends.
func (d *device) live(ctx context.Context) {
	d.mu.Lock()
	d.alive, d.dead = true, make(chan struct{})
	dead, records, seed := d.dead, slices.Clone(d.records), d.rng.Uint64()
	d.mu.Unlock()

	d.node.Attach(d.lan)
	g, err := grasp.New(grasp.Config{Plane: d.node, Dialogue: grasp.Dialogue{Silent: true}})
	require.NoError(d.t, err)
	defer g.Close()
	l, err := NewLedger(records, d)
	require.NoError(d.t, err)
	if d.origin {
		for _, p := range d.auditor.whole {
			if l.Own(p) != nil {
				return // it died at once
			}
		}
	}
	m, err := New(g, l, Settings{Seed: seed, Outcomes: cli.NewOutcomes(nil)})
	require.NoError(d.t, err)

	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = m.Serve(ctx) })
	running.Go(func() { d.work(ctx, m) })
	select {
	case <-dead:
	case <-ctx.Done():
	}
	cancel()
	running.Wait()
}

// work asks for prefixes, uses some, and has others come back from their
// users.
func (d *device) work(ctx context.Context, m *Manager) {
	for cli.Sleep(ctx, time.Duration(d.random(200))*time.Millisecond) {
		if d.isQuiet() && len(m.ledger.Claims()) == 0 {
			continue
		}
		f, length, longest := prefixpool.IPv6, 44+d.random(16), 64
		if d.random(4) == 0 {
			f, length, longest = prefixpool.IPv4, 18+d.random(8), 28
		}
		switch d.random(6) {
		case 0:
			if _, err := m.ledger.Delegate(f, longest, ""); err != nil && !errors.Is(err, ErrNothing) {
				return
			}
		case 1:
			if all := m.ledger.Holdings().Delegated; len(all) > 0 {
				if m.ledger.Release(all[d.random(len(all))]) != nil {
					return
				}
			}
		default:
			_, _ = m.Obtain(ctx, f, length, longest) // nobody may have any
		}
	}
}

// A network of devices that hand prefixes to and fro, while they die at any
// moment, in the middle of a handover too, and links between them fail: no
// prefix is ever in two pools, and none is lost.
func TestDevicesDie(t *testing.T) {
	const devices = 8
	enough := 10_000
	if !longtest.On() {
		enough = 1_000
	}
	synctest.Test(t, func(t *testing.T) {
		net := memory.NewNetwork(1)
		lan := net.NewLink(memory.LinkConfig{Delay: 3 * time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.02})
		a := newAuditor(pfx("2001:db8::/40"), pfx("10.0.0.0/12"))
		ctx, cancel := context.WithCancel(t.Context())
		var all []*device
		var running sync.WaitGroup
		deaths := 0
		var mu sync.Mutex
		for i := range devices {
			d := &device{
				t: t, node: net.NewNode(fmt.Sprint("device", i)), lan: lan, auditor: a, origin: i == 0,
				rng: rand.New(rand.NewPCG(uint64(i), 1)), risk: 0.02,
			}
			all = append(all, d)
			running.Go(func() {
				for ctx.Err() == nil {
					d.live(ctx)
					mu.Lock()
					deaths++
					mu.Unlock()
					cli.Sleep(ctx, time.Duration(d.random(10_000))*time.Millisecond)
				}
			})
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for start := time.Now(); a.handovers() < enough; {
			require.Less(t, time.Since(start), 24*time.Hour)
			time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
			one, other := all[rng.IntN(devices)], all[rng.IntN(devices)]
			if one == other {
				one.die()
				continue
			}
			lan.Cut(one.node, other.node)
			time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
			lan.Mend(one.node, other.node)
		}
		before := a.handovers()

		// All is well again, and becomes quiet: what is open gets settled.
		for _, d := range all {
			d.mu.Lock()
			d.risk, d.quiet = 0, true
			d.mu.Unlock()
		}
		time.Sleep(2 * time.Minute)
		cancel()
		running.Wait()
		for _, d := range all {
			l, err := NewLedger(d.records, nil)
			require.NoError(t, err)
			h := l.Holdings()
			assert.Empty(t, h.Claims)
			var held prefixpool.Pool
			for _, p := range slices.Concat(h.Free, h.Delegated) {
				require.NoError(t, held.Put(p))
			}
			for _, o := range h.InDoubt {
				require.NoError(t, held.Put(o.Prefix))
			}
			assert.Equal(t, slices.Collect(a.held[d.node.Addr()].All()), slices.Collect(held.All()))
		}
		a.weigh()
		assert.Empty(t, a.takers, "given, and the taker never heard")
		assert.Empty(t, a.faults)

		// Whatever can go wrong did.
		t.Log(before, "handovers,", deaths, "deaths;", a.late, "takers had to ask; all records:", a.count)
		assert.Positive(t, a.late)
		assert.Positive(t, a.count[Dropped])
		assert.Positive(t, a.count[Back])
		assert.Greater(t, deaths, enough/100)
	})
}
