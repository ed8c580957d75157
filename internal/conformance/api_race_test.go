package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// swallowing is a plane on which nothing comes back from some addresses.
type swallowing struct {
	acp.Plane
	addrs netip.Prefix

	mu   sync.Mutex // guards all following fields
	now  int        // attempts under way
	most int
	all  []netip.Addr
}

type swallowingEndpoint struct {
	acp.Endpoint
	plane *swallowing
}

func (p *swallowing) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return swallowingEndpoint{ep, p}, err
}

func (e swallowingEndpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	if !e.plane.addrs.Contains(to.Addr()) {
		return e.Endpoint.Dial(ctx, to)
	}
	e.plane.count(1, to.Addr())
	defer e.plane.count(-1, netip.Addr{})
	<-ctx.Done()
	return nil, ctx.Err()
}

func (p *swallowing) count(n int, to netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += n
	p.most = max(p.most, p.now)
	if to.IsValid() {
		p.all = append(p.all, to)
	}
}

// swallowed is an address that swallows, as a locator option.
func swallowed(i int) arr { return bed.IPv6(fmt.Sprintf("fd00:dead::%x", i), 4000) }

// inSwallowingBed runs a test whose instance gets nothing from fd00:dead::/64.
func inSwallowingBed(t *testing.T, test func(b *bed.Bed, p *swallowing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed.Bed{T: t, Net: memory.NewNetwork(1), Events: &bed.EventLog{}}
		b.Links = append(b.Links, b.Net.NewLink(memory.LinkConfig{}))
		b.Node = b.Net.NewNode("under test", b.Links...)
		p := &swallowing{Plane: b.Node, addrs: netip.MustParsePrefix("fd00:dead::/64")}
		b.G = bed.InstanceWith(t, p)
		b.ASA = bed.NewASA(t, b.G, "ASA under test")
		b.Peer = b.NewPeer("peer", b.Links[0])
		test(b, p)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Zero(t, p.now, "attempts that outlive their call")
		require.LessOrEqual(t, p.most, 64)
	})
}

// A peer gives many locators, of which one lives: it is reached within a second
// of what it takes alone, be it the first or the last.
func TestManyLocatorsOneLives(t *testing.T) {
	for _, place := range []int{0, 1, 31, 63} {
		t.Run(fmt.Sprint(place), func(t *testing.T) {
			inSwallowingBed(t, func(b *bed.Bed, p *swallowing) {
				o := bed.Neg("EX1", 1)
				b.Register(o)
				var all []any
				for i := range 64 {
					all = append(all, swallowed(i))
				}
				all[place] = b.Peer.Option()
				start := time.Now()
				call := b.Request(o, nil, 0)
				m := b.Peer.Only()
				b.Peer.Respond(m, append(arr{2, m.ID(b), m.Items(b)[2], 60000}, all...))
				time.Sleep(time.Second - bed.Soon)
				s := b.Peer.Dialed()
				s.Send(arr{6, s.Next().ID(b), arr{101}})
				a := call.Ok()
				require.Less(b, a.At.Sub(start), time.Second)
			})
		})
	}
}

// With none that lives the time of the call is what it says, for all of them
// together, whatever the call.
func TestManyLocatorsNoneLives(t *testing.T) {
	const timeout = 2 * time.Second
	for name, call := range map[string]func(b *bed.Bed) bed.Pending{
		"ReqNegotiate": func(b *bed.Bed) bed.Pending { return b.Request(bed.Neg("EX1", 1), nil, timeout) },
		"OpenSession": func(b *bed.Bed) bed.Pending {
			return b.Call(func() bed.Answer {
				_, err := b.ASA.OpenSession(bed.Forever, bed.Neg("EX1", 1), nil, timeout)
				return bed.Answer{Err: err}
			})
		},
		"Synchronize": func(b *bed.Bed) bed.Pending { return b.Synchronize(bed.Syn("EX1", nil), nil, timeout) },
	} {
		t.Run(name, func(t *testing.T) {
			inSwallowingBed(t, func(b *bed.Bed, p *swallowing) {
				if name != "Synchronize" {
					b.Register(bed.Neg("EX1", 1))
				}
				start := time.Now()
				pending := call(b)
				m := b.Peer.Only()
				response := arr{2, m.ID(b), m.Items(b)[2], 60000}
				for i := range 64 + 8 {
					response = append(response, swallowed(i%64))
				}
				b.Peer.Respond(m, response)
				a := pending.Within(timeout)
				require.Contains(b, []grasp.ErrorCode{grasp.ErrSockErrNegRq, grasp.ErrSockErrSynRq}, grasp.Code(a.Err))
				var timed interface{ Timeout() bool }
				require.ErrorAs(b, a.Err, &timed)
				require.True(b, timed.Timeout())
				require.Equal(b, timeout, a.At.Sub(start))
				require.Len(b, p.all, 64, "each is tried once")
				require.Empty(b, b.G.Snapshot().Locators, "they are of no use")
			})
		})
	}
}

// The addresses of a name are raced, too: of a peer that is given, and of one
// that is asked alone.
func TestAddressesOfANameAreRaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{})
		server := bed.NewInstance(t, n.NewNode("server", l))
		o := bed.Neg("EX1", 1)
		answering := bed.NewASA(t, server, "answering")
		bed.Registered(t, o, answering)
		listen(t, answering, o)
		var addrs []netip.Addr
		for i := range 63 {
			addrs = append(addrs, netip.MustParseAddr(fmt.Sprintf("fd00:dead::%x", i)))
		}
		at := bed.At(server)
		p := &swallowing{Plane: n.NewNode("asking", l), addrs: netip.MustParsePrefix("fd00:dead::/64")}
		asking := bed.NewASA(t, bed.InstanceWith(t, p, func(c *grasp.Config) {
			c.Resolver = names{"many.example": append(addrs, at.IP), "dead.example": addrs}
		}), "asking")
		bed.Registered(t, o, asking)
		many := grasp.Locator{FQDN: "many.example", Port: at.Port}
		dead := grasp.Locator{FQDN: "dead.example", Port: at.Port}
		for name, call := range map[string]func(*grasp.Locator, time.Duration) error{
			"ReqNegotiate": func(l *grasp.Locator, timeout time.Duration) error {
				s, _, err := asking.ReqNegotiate(t.Context(), o, l, timeout)
				_ = s.Close()
				return err
			},
			"OpenSession": func(l *grasp.Locator, timeout time.Duration) error {
				s, err := asking.OpenSession(t.Context(), o, l, timeout)
				_ = s.Close()
				return err
			},
			"Discover": func(l *grasp.Locator, timeout time.Duration) error {
				found, err := asking.Discover(t.Context(), o, timeout, grasp.DiscoverOptions{Peer: l})
				if err == nil && len(found) != 1 {
					return fmt.Errorf("found %v", found)
				}
				return err
			},
		} {
			var err error
			require.Less(t, bed.Took(func() { err = call(&many, 10*time.Second) }), time.Second, name)
			require.NoError(t, err, name)
			require.Equal(t, 2*time.Second, bed.Took(func() { err = call(&dead, 2*time.Second) }), name)
			require.Error(t, err, name)
		}
	})
}

// listen has an ASA decline whoever asks.
func listen(t *testing.T, a *grasp.ASA, o grasp.Objective) {
	go func() {
		for {
			s, _, err := a.ListenNegotiate(t.Context(), o)
			if err != nil {
				return
			}
			_ = s.EndNegotiate(true, "")
		}
	}()
	synctest.Wait()
}

// A peer that was found and has nobody who listens is not asked again as long as
// there is another, even if a relay goes on to answer with it.
func TestNobodyListensThere(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		second := b.NewPeer("second", b.Links[0])
		call := b.Request(o, nil, 0)
		b.RespondAll(60_000, b.Peer.Option())
		s := b.Peer.Dialed()
		s.Next()
		s.CloseNow()
		bed.IsCode(b, call.Done().Err, grasp.ErrNoPeer)
		require.Empty(b, b.G.Snapshot().Locators)

		second.All()
		b.Peer.All()
		call = b.Request(o, nil, 0)
		m := second.Only()
		b.Peer.Respond(b.Peer.Only(), arr{2, m.ID(b), m.Items(b)[2], 60000, arr{100, b.Peer.Option()}})
		b.Peer.NotDialed()
		call.Blocks()
		time.Sleep(10 * time.Millisecond)
		second.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, second.Option()})
		s = second.Dialed()
		s.Send(arr{6, s.Next().ID(b), arr{101}})
		call.Ok()
		b.Peer.NotDialed()

		// If there is no other it is asked again, after a round.
		bed.Flush(b, b.ASA, "EX1")
		b.Peer.All()
		call = b.Request(o, nil, 0)
		start := time.Now()
		b.RespondAll(60_000, b.Peer.Option())
		time.Sleep(600*time.Millisecond - time.Since(start))
		s = b.Peer.Dialed()
		s.Send(arr{6, s.Next().ID(b), arr{101}})
		call.Ok()
	})
}

// RFC 8991 section 2.3.4: with a timeout the network is asked although something
// is cached, and what is cached and lives is among the results.
func TestRefresh(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		call := b.Discover(o, time.Second/2, grasp.DiscoverOptions{})
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60_000, bed.IPv6("fd00::1", 1)})
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 1_000, bed.IPv6("fd00::2", 2)})
		require.Len(b, call.Within(time.Second).Found, 2)
		start := time.Now()
		call = b.Discover(o, 2*time.Second, grasp.DiscoverOptions{Refresh: true})
		b.RespondAll(90_000, bed.IPv6("fd00::3", 3), bed.IPv6("fd00::1", 1))
		a := call.Within(2 * time.Second)
		require.NoError(b, a.Err)
		require.Equal(b, 2*time.Second, a.At.Sub(start))
		require.Equal(b, []string{"[fd00::1]:1", "[fd00::3]:3"}, bed.Texts(a.Found), "what has expired meanwhile is not")
		require.Equal(b, start.Add(90*time.Second), a.Found[0].Expire, "as it was told last")

		// With minimum_TTL, what lives no longer than that goes first.
		b.Peer.All()
		call = b.Discover(o, time.Second, grasp.DiscoverOptions{Refresh: true, MinimumTTL: time.Hour})
		require.Len(b, b.Peer.All(), 1)
		require.Empty(b, call.Within(time.Second).Found)

		// Nobody answers: what is known is the result.
		b.Learn(b.Peer, "EX1", 60_000, bed.IPv6("fd00::1", 1))
		b.Peer.All()
		call = b.Discover(o, time.Second, grasp.DiscoverOptions{Refresh: true})
		require.Equal(b, []string{"[fd00::1]:1"}, bed.Texts(call.Within(time.Second).Found))

		// With First, the first answer ends it.
		call = b.Discover(o, time.Minute, grasp.DiscoverOptions{Refresh: true, First: true})
		call.Blocks()
		b.RespondAll(60_000, bed.IPv6("fd00::4", 4))
		require.Equal(b, []string{"[fd00::1]:1", "[fd00::4]:4"}, bed.Texts(call.Ok().Found))
	})
}

// all links are asked. One that comes into use is asked at once.
func TestR01NewLinkIsAsked(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		second := b.Net.NewLink(memory.LinkConfig{})
		there := b.NewPeer("there", second)
		call := b.Discover(bed.Neg("EX1", nil), time.Hour, grasp.DiscoverOptions{First: true})
		first := b.Peer.Only()
		time.Sleep(time.Minute)
		b.Peer.All()
		b.Node.Attach(second)
		m := there.Only()
		require.NotEqual(b, first.ID(b), m.ID(b), "a new session")
		b.Peer.None()
		there.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, there.Option()})
		require.Equal(b, []string{there.Locator().String()}, bed.Texts(call.Ok().Found))
	})
}
