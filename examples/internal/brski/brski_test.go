package brski

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/output"
	"github.com/go-grasp/grasp/internal/wire"
)

// buffer is what a program writes to while a test reads it.
type buffer struct{ output.Buffer }

// events returns the events that were told so far.
func (s *buffer) events(t *testing.T) []Event {
	t.Helper()
	var all []Event
	for line := range strings.Lines(s.String()) {
		var e Event
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		all = append(all, e)
	}
	return all
}

// bench is a network in memory: links for pledges, between proxy and relay, and
// beyond the relay, with a relay.
type bench struct {
	t         *testing.T
	n         *memory.Network
	links     [3]*memory.Link
	stop      context.CancelFunc
	ctx       context.Context
	programs  sync.WaitGroup
	onPledges [][]byte // multicasts on the pledges' link
	end       func()   // of all of it
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, n: memory.NewNetwork(1)}
	b.ctx, b.stop = context.WithCancel(t.Context())
	for i, name := range []string{"pledges", "core", "far"} {
		b.links[i] = b.n.NewLink(memory.LinkConfig{Name: name})
	}
	relay, err := grasp.New(grasp.Config{Plane: b.n.NewNode("relay", b.links[1], b.links[2])})
	require.NoError(t, err)
	ep, err := b.n.NewNode("observer", b.links[0]).Open()
	require.NoError(t, err)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		buf := make([]byte, 4096)
		for {
			n, _, err := ep.Receive(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			b.onPledges = append(b.onPledges, bytes.Clone(buf[:n]))
		}
	}()
	b.end = sync.OnceFunc(func() {
		b.stop()
		b.programs.Wait()
		assert.NoError(t, relay.Close())
		assert.NoError(t, ep.Close())
		<-watched
	})
	t.Cleanup(b.end)
	return b
}

// run runs a program until the bench is closed, and returns what it prints.
func (b *bench) run(args []string, body func(context.Context, *cli.Program) error) *buffer {
	var out buffer
	c := cli.Command{Name: "x", Counts: "contacts", Run: body}
	b.programs.Go(func() {
		var stderr bytes.Buffer
		assert.Zero(b.t, c.Execute(b.ctx, append(args, "-json", "-seed", "1"), nil, &out, &stderr), stderr.String())
	})
	return &out
}

func (b *bench) registrar(r Registrar, name string) *buffer {
	node := b.n.NewNode(name, b.links[2])
	return b.run(nil, func(ctx context.Context, p *cli.Program) error {
		g, err := p.NewInstance(node, grasp.Config{})
		if err != nil {
			return err
		}
		defer g.Close()
		return r.Run(ctx, p, g)
	})
}

func (b *bench) proxy(x Proxy) *buffer {
	outside, inside := b.n.NewNode("proxy outside", b.links[0]), b.n.NewNode("proxy inside", b.links[1])
	return b.run(nil, func(ctx context.Context, p *cli.Program) error {
		dull, err := p.NewDULL(outside, x.Objective)
		if err != nil {
			return err
		}
		defer dull.Close()
		secure, err := p.NewInstance(inside, grasp.Config{})
		if err != nil {
			return err
		}
		defer secure.Close()
		return x.Run(ctx, p, secure, dull)
	})
}

func (b *bench) pledge(args ...string) *buffer { return b.pledgeThat(Pledge{}, args...) }

func (b *bench) pledgeThat(x Pledge, args ...string) *buffer {
	node := b.n.NewNode("pledge", b.links[0])
	return b.run(args, func(ctx context.Context, p *cli.Program) error {
		g, err := p.NewDULL(node, ObjectiveProxy, ObjectivePrototype)
		if err != nil {
			return err
		}
		defer g.Close()
		return x.Run(ctx, p, g)
	})
}

// close ends all programs, and checks what the pledges' link has seen: floods of
// proxies, which go no further, with link-local addresses only.
func (b *bench) close(objective string) {
	b.t.Helper()
	b.end()
	assert.NotEmpty(b.t, b.onPledges)
	for _, raw := range b.onPledges {
		m, err := wire.Parse(raw, wire.Limits{})
		require.NoError(b.t, err)
		require.IsType(b.t, &wire.Flood{}, m)
		flood := m.(*wire.Flood)
		assert.True(b.t, flood.Initiator.IsLinkLocalUnicast(), flood.Initiator)
		require.Len(b.t, flood.Objectives, 1)
		f := flood.Objectives[0]
		// RFC 8995 section 4.1.1: objective-flags = sync-only, which is 4.
		assert.Equal(b.t, wire.Objective{Name: objective, Flags: wire.FlagSynch, LoopCount: 1, Value: []byte{0x60}}, f.Objective)
		assert.True(b.t, f.Locator.Addr.IsLinkLocalUnicast(), f.Locator)
	}
}

func TestPledgeFindsProxyFindsRegistrar(t *testing.T) {
	for _, objective := range []string{ObjectiveProxy, ObjectivePrototype} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			pledge := b.pledge("-n", "12", "-wait", "10s")
			proxy := b.proxy(Proxy{Objective: objective, Port: 11800, Every: time.Minute})
			time.Sleep(time.Minute)
			// There is no registrar: pledges need not know of the proxy.
			assert.Equal(t, []Event{{Event: "none", Objective: ObjectiveRegistrar}}, proxy.events(t))
			assert.Empty(t, pledge.events(t))

			registrar := b.registrar(Registrar{Port: 8443, Loops: 255, Every: time.Minute}, "registrar")
			time.Sleep(10*time.Minute + 30*time.Second)
			told := registrar.events(t)
			require.Len(t, told, 1+len(earlyPauses)+10)
			assert.Equal(t, "flooded", told[0].Event)
			at := netip.MustParseAddrPort(told[0].Locator)
			assert.EqualValues(t, 8443, at.Port())
			heard := proxy.events(t)
			assert.Equal(t, Event{"found", ObjectiveRegistrar, at.String(), "TCP", "EST-TLS"}, heard[1])
			assert.Equal(t, Event{"flooded", objective, "[::]:11800", "TCP", ""}, heard[2])
			assert.InDelta(t, 12, len(heard), 2)

			kinds := make(map[string]int)
			for _, e := range pledge.events(t) {
				kinds[e.Event]++
				assert.Equal(t, objective, e.Objective)
				assert.True(t, netip.MustParseAddrPort(e.Locator).Addr().IsLinkLocalUnicast())
				assert.EqualValues(t, 11800, netip.MustParseAddrPort(e.Locator).Port())
			}
			assert.Equal(t, 12, kinds["chosen"])
			assert.Positive(t, kinds["failed"])
			// What failed is forgotten until it is flooded again.
			assert.Contains(t, []int{kinds["failed"], kinds["failed"] + 1}, kinds["found"])
			b.close(objective)
		})
	}
}

// A registrar that is gone is forgotten after its flood's life, and so is the proxy by
// its pledges; when another comes they hear of it within seconds.
func TestRegistrarGoesAndComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		proxy := b.proxy(Proxy{Objective: ObjectiveProxy, Port: 11800, Every: time.Minute})
		time.Sleep(time.Second + lookAgain/2) // between two of its looks
		asa := b.n.NewNode("first", b.links[2])
		g, err := grasp.New(grasp.Config{Plane: asa})
		require.NoError(t, err)
		a, err := g.RegisterASA("first")
		require.NoError(t, err)
		o := grasp.Objective{Name: ObjectiveRegistrar, Synch: true, Value: "EST-TLS"}
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
		tcp := grasp.NewLocator(netip.MustParseAddrPort("[2001:db8::1]:443"))
		udp, nowhere, odd := tcp, grasp.Locator{}, tcp
		udp.Protocol, odd.Protocol = grasp.UDP, 41
		for _, l := range []grasp.Locator{tcp, udp, nowhere, odd} {
			require.NoError(t, a.Flood(3*time.Minute, grasp.TaggedObjective{Objective: o, Source: &l}))
		}
		time.Sleep(2 * time.Second)
		require.NoError(t, g.Close())
		var methods []string
		for _, e := range proxy.events(t) {
			if e.Event == "flooded" {
				methods = append(methods, e.Method)
			}
		}
		assert.Equal(t, []string{"TCP", "UDP"}, methods)
		time.Sleep(4 * time.Minute)
		all := proxy.events(t)
		assert.Equal(t, "none", all[len(all)-1].Event)
		time.Sleep(time.Hour)
		assert.Len(t, proxy.events(t), len(all), "nothing is flooded any more")
		b.registrar(Registrar{Port: 8443, Loops: 255, Every: time.Minute}, "second")
		time.Sleep(3 * time.Second)
		all = proxy.events(t)
		assert.Equal(t, "flooded", all[len(all)-1].Event)
		b.close(ObjectiveProxy)
	})
}

// A registrar with several variations at one place, and others over UDP, as in figure 4
// of draft-ietf-anima-brski-discovery-09: the proxy has a place for each, and a
// pledge finds the one it can do.
func TestVariations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		pledge := b.pledgeThat(Pledge{Variations: []string{"prm"}}, "-n", "5", "-wait", "10s")
		proxy := b.proxy(Proxy{Objective: ObjectiveProxy, Port: 5553, Every: time.Minute})
		time.Sleep(time.Second)
		b.registrar(Registrar{
			Port: 4443, Variations: []string{"", "prm", "not-known-yet"}, UDP: 4684, Stateless: 4686, Loops: 255, Every: time.Minute,
		}, "registrar")
		time.Sleep(2*time.Minute + 30*time.Second)
		found := make(map[string]bool)
		flooded := make(map[string]bool)
		for _, e := range proxy.events(t) {
			switch e.Event {
			case "found":
				at := netip.MustParseAddrPort(strings.TrimSuffix(e.Locator, "/udp"))
				found[fmt.Sprint(e.Objective, " ", e.Method, " ", at.Port(), " ", e.Value)] = true
			case "flooded":
				flooded[fmt.Sprint(e.Locator, " ", e.Value)] = true
			}
		}
		assert.Equal(t, map[string]bool{
			"AN_join_registrar TCP 4443 ": true, "AN_join_registrar TCP 4443 prm": true,
			"AN_join_registrar TCP 4443 not-known-yet": true,
			"AN_join_registrar UDP 4684 rrm":           true, "AN_join_registrar_rjp UDP 4686 rrm": true,
		}, found)
		assert.Equal(t, map[string]bool{
			"[::]:5553 ": true, "[::]:5554 not-known-yet": true, "[::]:5555 prm": true, "[::]:5553/udp rrm": true,
		}, flooded)
		chosen := 0
		for _, e := range pledge.events(t) {
			assert.Equal(t, "prm", e.Value)
			assert.EqualValues(t, 5555, netip.MustParseAddrPort(e.Locator).Port())
			if e.Event == "chosen" {
				chosen++
			}
		}
		assert.Equal(t, 5, chosen)
		b.end()
	})
}

func TestCheckVariations(t *testing.T) {
	assert.NoError(t, CheckVariations([]string{"", "prm"}))
	assert.Error(t, CheckVariations(make([]string, maxVariations+1)))
	assert.Error(t, CheckVariations([]string{strings.Repeat("x", maxVariation+1)}))
}

func TestChecks(t *testing.T) {
	assert.NoError(t, CheckEvery(time.Minute))
	assert.Error(t, CheckEvery(time.Millisecond))
	assert.Error(t, CheckEvery(2*time.Hour))
	assert.NoError(t, CheckPort(65535))
	assert.Error(t, CheckPort(0))
	assert.Error(t, CheckPort(65536))
	assert.NoError(t, CheckPorts(11800))
	assert.Error(t, CheckPorts(65530))
	assert.Error(t, CheckPorts(0))
}

// RFC 8990 section 2.5.6.2: who missed the floods may ask a registrar.
func TestRegistrarIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer stop()
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		start := func(name string) *grasp.Instance {
			g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, link), Dialogue: grasp.Dialogue{Silent: true}})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, g.Close()) })
			return g
		}
		registrar, late := start("registrar"), start("late")
		c := cli.Command{Name: "registrar", Run: func(ctx context.Context, p *cli.Program) error {
			return Registrar{Port: 443, Loops: 6, Every: time.Minute}.Run(ctx, p, registrar)
		}}
		var out, stderr buffer
		go c.Execute(ctx, nil, nil, &out, &stderr)
		synctest.Wait()
		a, err := late.RegisterASA("late")
		require.NoError(t, err)
		at := registrar.Snapshot()
		peer := grasp.NewLocator(netip.AddrPortFrom(at.Address, at.Port))
		got, err := a.Synchronize(ctx, grasp.Objective{Name: ObjectiveRegistrar, Synch: true}, &peer, 0)
		require.NoError(t, err)
		require.Equal(t, "EST-TLS", got.Value)
	})
}

// What a pledge says to people.
func TestPledgeSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.registrar(Registrar{Port: 8443, Loops: 255, Every: time.Minute}, "registrar")
		b.proxy(Proxy{Objective: ObjectiveProxy, Port: 11800, Every: time.Minute})
		var out, errOut bytes.Buffer
		c := cli.Command{Name: "x", Counts: "contacts", Run: func(ctx context.Context, p *cli.Program) error {
			g, err := p.NewDULL(b.n.NewNode("talking pledge", b.links[0]), ObjectiveProxy, ObjectivePrototype)
			if err != nil {
				return err
			}
			defer g.Close()
			return Pledge{}.Run(ctx, p, g)
		}}
		require.Zero(t, c.Execute(b.ctx, []string{"-n", "1", "-wait", "0s"}, nil, &out, &errOut), errOut.String())
		assert.Contains(t, out.String(), "Looking for a proxy, which floods about once a minute\n")
		assert.Regexp(t, `Pretending to contact the proxy at \[fe80::\S+\]:11800\n`, out.String())
		b.close(ObjectiveProxy)
	})
}
