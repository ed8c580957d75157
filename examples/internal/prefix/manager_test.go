package prefix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

// lan is a link in memory.
type lan struct {
	t     *testing.T
	net   *memory.Network
	link  *memory.Link
	count int // of managers that came and went
}

func newLAN(t *testing.T) *lan {
	n := memory.NewNetwork(1)
	return &lan{t: t, net: n, link: n.NewLink(memory.LinkConfig{})}
}

// instance returns an instance on a node of its own.
func (l *lan) instance(name string, out io.Writer) *grasp.Instance {
	l.t.Helper()
	g, err := grasp.New(grasp.Config{
		Plane:    l.net.NewNode(name, l.link),
		Dialogue: grasp.Dialogue{Output: out},
	})
	require.NoError(l.t, err)
	l.t.Cleanup(func() { assert.NoError(l.t, g.Close()) })
	return g
}

// manager is a prefix manager with what is known of it.
type manager struct {
	*Manager
	said     bytes.Buffer // read it when all is over
	outcomes bytes.Buffer
}

func (l *lan) manager(name string, ledger *Ledger, set Settings) *manager {
	l.t.Helper()
	m := &manager{}
	set.Name, set.Outcomes = name, cli.NewOutcomes(&m.outcomes)
	var err error
	m.Manager, err = New(l.instance(name, &m.said), ledger, set)
	require.NoError(l.t, err)
	return m
}

// told returns the outcomes.
func (m *manager) told(t *testing.T) (all []cli.Outcome) {
	t.Helper()
	for d := json.NewDecoder(&m.outcomes); d.More(); {
		var o cli.Outcome
		require.NoError(t, d.Decode(&o))
		all = append(all, o)
	}
	return all
}

func empty(t *testing.T) *Ledger {
	t.Helper()
	l, err := NewLedger(nil, nil)
	require.NoError(t, err)
	return l
}

// serve runs the manager's other half until the test calls stop.
func (m *manager) serve(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- m.Serve(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		assert.NoError(t, <-over)
	}
}

// client is an ASA of another make.
func (l *lan) client(listen bool) *grasp.ASA {
	l.t.Helper()
	a, err := l.instance("client", io.Discard).RegisterASA("client")
	require.NoError(l.t, err)
	require.NoError(l.t, a.RegisterObj(negotiated(objective), grasp.RegisterOptions{Discoverable: listen}))
	return a
}

// An origin and two others, one of which has a role: they delegate as many
// prefixes as they are to, and take the oldest back.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		ledger := newOrigin(t, nil)
		require.NoError(t, ledger.Own(pfx("10.0.0.0/8")))
		origin := l.manager("origin", ledger, Settings{Origin: true, Params: DefaultParams()})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- origin.Run(ctx) }()

		first := l.manager("first", empty(t), Settings{Length6: 64, Length4: 26, Hold: 10, N: 101, Wait: time.Second})
		require.NoError(t, first.Run(t.Context()))
		h := first.ledger.Holdings()
		assert.Len(t, h.Delegated, 10)
		var all prefixpool.Pool
		for _, p := range append(h.Delegated, h.Free...) {
			require.NoError(t, all.Put(p))
		}
		assert.EqualValues(t, 2, all.Len(), "what it was given, and nothing else")

		second := l.manager("second", empty(t), Settings{Role: "ASG", Length6: 60, N: 1, Wait: time.Second})
		require.NoError(t, second.Run(t.Context()))
		assert.EqualValues(t, 1<<16-1, second.ledger.Count(prefixpool.IPv6, 60))

		cancel()
		require.NoError(t, <-over)
		// Two that end at the same moment are told in any order.
		assert.ElementsMatch(t, origin.told(t), []cli.Outcome{
			{ASA: "origin", Asked: "IPv6 /59", Outcome: cli.Agreed, Value: "2001:db8::/59", Steps: 2},
			{ASA: "origin", Asked: "IPv4 /21", Outcome: cli.Agreed, Value: "10.0.0.0/21", Steps: 2},
			{ASA: "origin", Asked: "IPv6 /44", Outcome: cli.Agreed, Value: "2001:db8:10::/44", Steps: 2},
		})
		assert.Equal(t, second.told(t), []cli.Outcome{
			{ASA: "second", Asked: "IPv6 /44", Outcome: cli.Agreed, Value: "2001:db8:10::/44", Steps: 2},
		})
		assert.Contains(t, origin.said.String(), "origin: Gave 2001:db8:10::/44 to fd00::")
		assert.Contains(t, second.said.String(), "second: Parameters: RSG=34,ASG=44,CSG=56\n")
		assert.Contains(t, first.said.String(), "first: Back from its user: 2001:db8::/64\n")
	})
}

// The origin ends when it has given what it was to give.
func TestOriginCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		origin := l.manager("origin", newOrigin(t, nil), Settings{Origin: true, N: 2})
		over := make(chan error)
		go func() { over <- origin.Run(t.Context()) }()
		m := l.manager("m", empty(t), Settings{})
		for range 2 {
			synctest.Wait()
			_, err := m.Obtain(t.Context(), prefixpool.IPv6, 48, 64)
			require.NoError(t, err)
		}
		require.NoError(t, <-over)
	})
}

func TestNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLAN(t).manager("m", empty(t), Settings{Length6: 64, N: 1})
		start := time.Now()
		assert.ErrorIs(t, m.Run(t.Context()), ErrNobody)
		assert.GreaterOrEqual(t, time.Since(start), searchTime)
		_, err := m.Obtain(t.Context(), prefixpool.IPv6, 48, 64)
		assert.ErrorIs(t, err, grasp.ErrNoASA)
	})
}

// Whoever cannot keep its promises makes none.
func TestBrokenJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		j := &memoryJournal{}
		broken := errors.New("disk full")
		origin := l.manager("origin", newOrigin(t, j), Settings{Origin: true})
		over := make(chan error)
		go func() { over <- origin.Run(t.Context()) }()
		synctest.Wait()
		j.mu.Lock()
		j.fail = broken
		j.mu.Unlock()
		m := l.manager("m", empty(t), Settings{})
		_, err := m.Obtain(t.Context(), prefixpool.IPv6, 48, 64)
		assert.ErrorIs(t, err, grasp.ErrNoPeer)
		assert.ErrorIs(t, <-over, broken)
	})
}

// A smaller prefix than was asked for is better than none, down to a limit.
func TestObtainLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		ledger := empty(t)
		require.NoError(t, ledger.Own(pfx("2001:db8::/56")))
		giver := l.manager("giver", ledger, Settings{})
		stop := giver.serve(t)
		m := l.manager("m", empty(t), Settings{})
		_, err := m.Obtain(t.Context(), prefixpool.IPv6, 40, 48)
		assert.EqualError(t, err, insufficient)
		_, err = m.Obtain(t.Context(), prefixpool.IPv4, 20, 32)
		requireDeclined(t, err, noPrefix)
		p, err := m.Obtain(t.Context(), prefixpool.IPv6, 40, 64)
		require.NoError(t, err)
		assert.Equal(t, pfx("2001:db8::/56"), p)
		stop()
		assert.Empty(t, giver.ledger.Holdings().InDoubt)
		assert.Empty(t, giver.ledger.Holdings().Free)
	})
}

// Every length changes hands, by either objective: RFC 8992 section 5.1 has 0 to 128.
func TestObtainAnyLength(t *testing.T) {
	for _, tagged := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLAN(t)
			ledger := empty(t)
			all := []netip.Prefix{pfx("8000::/1"), pfx("2000::/31"), pfx("2100::/97"), pfx("2200::/112"), pfx("2300::2/127"), pfx("2400::1/128"),
				pfx("128.0.0.0/1"), pfx("10.0.0.0/8"), pfx("11.0.0.0/31"), pfx("12.0.0.1/32")}
			for _, p := range all {
				require.NoError(t, ledger.Own(p))
			}
			stop := l.manager("giver", ledger, Settings{}).serve(t)
			m := l.manager("m", empty(t), Settings{Tagged: tagged})
			for _, p := range all {
				got, err := m.Obtain(t.Context(), prefixpool.FamilyOf(p), p.Bits(), p.Bits())
				require.NoError(t, err)
				assert.Equal(t, p, got)
			}
			stop()
			assert.Empty(t, ledger.Holdings().Free)
			assert.Len(t, m.ledger.Holdings().Free, len(all))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		ledger := empty(t)
		require.NoError(t, ledger.Own(pfx("::/0")))
		stop := l.manager("giver", ledger, Settings{}).serve(t)
		m := l.manager("m", empty(t), Settings{})
		p, err := m.Obtain(t.Context(), prefixpool.IPv6, 0, 0)
		require.NoError(t, err)
		assert.Equal(t, pfx("::/0"), p)
		stop()
	})
}

func requireDeclined(t *testing.T, err error, reason string) {
	t.Helper()
	var declined *grasp.DeclinedError
	require.ErrorAs(t, err, &declined)
	require.Equal(t, reason, declined.Reason)
}

// Requests that make no sense, and takers of another make: those that accept
// at once, decline, want something else or leave.
func TestOtherTakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		giver := l.manager("giver", newOrigin(t, nil), Settings{})
		stop := giver.serve(t)
		client := l.client(false)
		ask := func(v any, dry bool) (*grasp.Session, grasp.Objective, error) {
			o := negotiated(objective)
			o.Value, o.Dry = v, dry
			return client.ReqNegotiate(t.Context(), o, nil, 0)
		}
		for name, v := range nonsense {
			if name == "truncated" {
				continue // cannot be sent
			}
			_, _, err := ask(v, false)
			requireDeclined(t, err, invalidRequest)
		}
		_, _, err := ask([]any{6, 129}, false)
		requireDeclined(t, err, outOfRange)
		_, _, err = ask([]any{6, 64}, true)
		requireDeclined(t, err, noDryRun)
		_, _, err = ask([]any{6, 60, bytes6}, false)
		requireDeclined(t, err, notGiven)
		assert.Equal(t, []netip.Prefix{network}, giver.ledger.Holdings().Free)

		// In the forms of RFC 8992 and of the prototype, and Tag 24.
		raw, err := grasp.Encode([]any{6, 64, nil})
		require.NoError(t, err)
		for _, v := range []any{[]any{64}, []any{6, 64}, []any{6, 64, nil}, raw} {
			s, o, err := ask(v, false)
			require.NoError(t, err)
			offered, err := parseValue(o)
			require.NoError(t, err)
			asked, err := parseValue(grasp.Objective{Value: v})
			require.NoError(t, err)
			assert.Equal(t, asked.of(offered.prefix), offered)
			require.NoError(t, s.EndNegotiate(true, ""))
			synctest.Wait()
			assert.False(t, giver.ledger.Holdings().Free[0].Overlaps(offered.prefix), "accepted: given")
		}

		free := giver.ledger.Holdings().Free
		s, _, err := ask([]any{6, 48}, false)
		require.NoError(t, err)
		require.NoError(t, s.EndNegotiate(false, "no"))
		s, o, err := ask([]any{6, 48}, false)
		require.NoError(t, err)
		o.Value = []any{6, 47}
		_, _, err = s.NegotiateStep(t.Context(), o, 0)
		requireDeclined(t, err, notOffered)
		s, o, err = ask([]any{6, 48}, false)
		require.NoError(t, err)
		o.LoopCount = 1
		_, _, err = s.NegotiateStep(t.Context(), o, 0)
		require.ErrorIs(t, err, grasp.ErrLoopExhausted)
		require.NoError(t, s.EndNegotiate(false, "enough"))
		synctest.Wait()
		assert.Equal(t, free, giver.ledger.Holdings().Free)

		s, _, err = ask([]any{6, 48}, false)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		synctest.Wait()
		assert.Len(t, giver.ledger.Holdings().InDoubt, 1)
		stop()
	})
}

// What is in doubt for long enough is back in the pool, if the operator says so.
func TestDoubtExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		ledger := newOrigin(t, nil)
		origin := l.manager("origin", ledger, Settings{Origin: true, Doubt: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- origin.Run(ctx) }()
		synctest.Wait()
		client := l.client(false)
		o := negotiated(objective)
		o.Value = []any{6, 48}
		s, _, err := client.ReqNegotiate(t.Context(), o, nil, 0)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		time.Sleep(50 * time.Second)
		assert.Len(t, ledger.Holdings().InDoubt, 1)
		time.Sleep(20 * time.Second)
		assert.Equal(t, []netip.Prefix{network}, ledger.Holdings().Free)
		cancel()
		require.NoError(t, <-over)
	})
}

// A giver of another make, which like the prototype knows no confirmation, and
// is taken at its word.
func TestOtherGivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		giver := l.client(true)
		offers := make(chan any, 100)
		given := 0
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan bool)
		go func() {
			defer close(over)
			for {
				s, o, err := giver.ListenNegotiate(ctx, negotiated(objective))
				if err != nil {
					return
				}
				asked, err := parseValue(o)
				if err != nil {
					return
				}
				if asked.prefix == nobodys {
					o.Value = []any{6, 64, bytes6}
				} else {
					o.Value = <-offers
				}
				if s, _, err = s.NegotiateStep(ctx, o, 0); err == nil && s == nil {
					given++
				} else if err == nil {
					_ = s.EndNegotiate(false, "Insufficient resource")
				}
			}
		}()
		m := l.manager("m", empty(t), Settings{})
		for name, v := range nonsense {
			if name == "truncated" {
				continue // cannot be sent
			}
			offers <- v
			_, err := m.Obtain(t.Context(), prefixpool.IPv6, 48, 64)
			assert.EqualError(t, err, invalidOffer)
		}
		offers <- []any{4, 24, bytes4}
		_, err := m.Obtain(t.Context(), prefixpool.IPv6, 48, 64)
		assert.EqualError(t, err, invalidOffer)

		offers <- []any{6, 60, bytes6}
		p, err := m.Obtain(t.Context(), prefixpool.IPv6, 60, 64)
		require.NoError(t, err)
		assert.Equal(t, pfx("2001:db8:0:1200::/60"), p)
		offers <- []any{6, 60, bytes6}
		_, err = m.Obtain(t.Context(), prefixpool.IPv6, 60, 64)
		assert.EqualError(t, err, heldAlready)
		offers <- []any{4, 24, bytes4}
		_, err = m.Obtain(t.Context(), prefixpool.IPv4, 24, 26)
		require.NoError(t, err)

		// Of what it cannot say it gave, it says so with another offer.
		require.NoError(t, m.ledger.Claim(pfx("2001:db9::/48"), address(giver.Instance().Snapshot().Address)))
		offers <- []any{6, 48, append([]byte{0x20, 1, 0xd, 0xba}, make([]byte, 12)...)}
		offers <- []any{4, 25, []byte{198, 51, 100, 0}}
		_, err = m.Obtain(t.Context(), prefixpool.IPv4, 25, 26)
		require.NoError(t, err)
		assert.Empty(t, m.ledger.Claims())
		assert.Equal(t, []netip.Prefix{p, pfx("192.0.2.0/24"), pfx("198.51.100.0/25")}, m.ledger.Holdings().Free)
		synctest.Wait()
		cancel()
		<-over
		assert.Equal(t, 3, given)
	})
}
