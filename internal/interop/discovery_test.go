//go:build linux

package interop

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// find has each side discover the other, which offers the objective.
func (m *meeting) find(o grasp.Objective) (*grasp.Locator, *graspybed.Locator) {
	m.t.Helper()
	o.Value = nil
	var py []grasp.Locator
	netbed.Eventually(m.t, patience, "graspy is found", func() bool {
		var err error
		py, err = m.asa.Discover(m.t.Context(), o, 0, grasp.DiscoverOptions{First: true})
		require.NoError(m.t, err)
		return len(py) > 0
	})
	var own []graspybed.Locator
	netbed.Eventually(m.t, patience, "graspy finds", func() bool {
		own = m.py.Discover(m.t, toPy(o), 0, true)
		return len(own) > 0
	})
	return &py[0], &own[0]
}

// isGraspy checks a locator of graspy that the instance found.
func (m *meeting) isGraspy(t *testing.T, l grasp.Locator) {
	t.Helper()
	require.Equal(t, m.link, l.IfIndex)
	require.Equal(t, grasp.TCP, l.Protocol)
	require.NotZero(t, l.Port)
	require.False(t, l.Diverted)
	if m.ula {
		require.Equal(t, netip.MustParseAddr(pyAddr), l.IP)
	} else {
		require.True(t, l.IP.IsLinkLocalUnicast())
		require.Equal(t, strconv.Itoa(m.link), l.IP.Zone())
	}
}

// isGo checks a locator of the instance that graspy found.
func (m *meeting) isGo(t *testing.T, l graspybed.Locator) {
	t.Helper()
	here := m.g.Snapshot()
	addr := here.Address
	if !m.ula {
		addr = here.Links[0].Addr.WithZone("")
	}
	require.Equal(t, "ip", l.Kind)
	require.Equal(t, addr.String(), l.Locator)
	require.Equal(t, new(int(here.Port)), l.Port)
	require.Equal(t, new(grasp.TCP), l.Protocol)
	require.NotZero(t, l.IfIndex)
	require.False(t, l.Diverted)
}

// synch is an objective for synchronization.
func synch(name string, value any) grasp.Objective {
	o := grasp.NewObjective(name)
	o.Synch, o.Value = true, value
	return o
}

// registered registers an objective with the instance.
func (m *meeting) registered(t *testing.T, o grasp.Objective, opt grasp.RegisterOptions) grasp.Objective {
	t.Helper()
	require.NoError(t, m.asa.RegisterObj(o, opt))
	return o
}

// discover has the instance discover, for at most two seconds.
func (m *meeting) discover(t *testing.T, o grasp.Objective, opt grasp.DiscoverOptions) []grasp.Locator {
	t.Helper()
	found, err := m.asa.Discover(t.Context(), o, 2*time.Second, opt)
	require.NoError(t, err)
	return found
}

// locators are one of each kind.
var locators = []grasp.Locator{
	{IP: netip.MustParseAddr("fd00:1::1"), Protocol: grasp.TCP, Port: 4001},
	{IP: netip.MustParseAddr("192.0.2.1"), Protocol: grasp.UDP, Port: 4002},
	{FQDN: "grasp.example.com", Protocol: grasp.TCP, Port: 4003},
	{URI: "coap://[2001:db8::1]:4004/g"},
	{URI: "https://example.com/ü", Protocol: grasp.TCP, Port: 4005},
}

// locatorToPy returns a locator as graspy takes and gives it.
func locatorToPy(l grasp.Locator) *graspybed.Locator {
	out := &graspybed.Locator{Protocol: new(l.Protocol), Port: new(l.Port)}
	switch {
	case l.IP.IsValid():
		out.Kind, out.Locator = "ip", l.IP.WithZone("").String()
	case l.FQDN != "":
		out.Kind, out.Locator = "fqdn", l.FQDN
	default:
		out.Kind, out.Locator = "uri", l.URI
		if l.Port == 0 {
			out.Protocol, out.Port = nil, nil
		}
	}
	return out
}

// plainPy returns a locator that graspy found without what differs by time
// and place.
func plainPy(l graspybed.Locator) graspybed.Locator {
	l.IfIndex, l.Expire = 0, 0
	return l
}

// plain does the same for a locator that the instance found.
func plain(l grasp.Locator) grasp.Locator {
	l.IfIndex, l.Expire = 0, time.Time{}
	return l
}

// TestInteropDiscovery covers D-06 to D-11, D-16 to D-20, O-03 and O-08.
func TestInteropDiscovery(t *testing.T) {
	meet(t, func(m *meeting) {
		m.t.Run("D06GoFinds", func(t *testing.T) {
			for _, o := range []grasp.Objective{synch("EX1", "value"), with(ex3(nil), nil)} {
				m.py.RegisterObj(t, toPy(o), nil)
				require.Empty(t, m.discover(t, o, grasp.DiscoverOptions{}), "registered, but nobody listens")
				if o.Synch {
					m.py.ListenSynchronize(t, toPy(o))
				} else {
					m.py.ListenNegotiate(toPy(o))
				}
				var found []grasp.Locator
				netbed.Eventually(t, patience, "found", func() bool {
					found = m.discover(t, o, grasp.DiscoverOptions{First: true})
					return len(found) > 0
				})
				require.Len(t, found, 1)
				m.isGraspy(t, found[0])
				require.InDelta(t, 600, time.Until(found[0].Expire).Seconds(), 10)

				sent := m.tape.count(grasp.Sent, "M_DISCOVERY")
				require.Equal(t, found, m.discover(t, o, grasp.DiscoverOptions{}), "cached")
				require.Equal(t, sent, m.tape.count(grasp.Sent, "M_DISCOVERY"))
				found = m.discover(t, o, grasp.DiscoverOptions{Flush: true})
				require.Len(t, found, 1)
				require.Equal(t, sent+1, m.tape.count(grasp.Sent, "M_DISCOVERY"))
			}
		})
		m.t.Run("D06GraspyFinds", func(t *testing.T) {
			for _, o := range []grasp.Objective{synch("EX4", "value"), neg("EX5")} {
				m.registered(t, o, grasp.RegisterOptions{})
				if o.Neg { // graspy demands it of whoever discovers
					m.py.RegisterObj(t, toPy(o), nil)
				}
				require.Empty(t, m.py.Discover(t, toPy(o), 0, false), "registered, but nobody listens")
				if o.Synch {
					require.NoError(t, m.asa.ListenSynchronize(o))
				} else {
					go m.asa.ListenNegotiate(t.Context(), o)
				}
				var found []graspybed.Locator
				netbed.Eventually(t, patience, "found", func() bool {
					found = m.py.Discover(t, toPy(o), 0, false)
					return len(found) > 0
				})
				require.Len(t, found, 1)
				m.isGo(t, found[0])
			}
			// Without an address graspy has an initiator of its own making.
			initiator := m.tape.initiator(t, grasp.Received, "M_DISCOVERY")
			if m.ula {
				require.Equal(t, netip.MustParseAddr(pyAddr), initiator)
			} else {
				require.Equal(t, netip.MustParsePrefix("2001:db8:f000:baaa:f000:baaa::/96"), netip.PrefixFrom(initiator, 96).Masked())
			}
		})
		m.t.Run("D17Lifetime", func(t *testing.T) {
			o := synch("EX6", "value")
			m.py.RegisterObj(t, toPy(o), graspybed.KW{"ttl": 1000, "discoverable": true})
			require.Len(t, m.discover(t, o, grasp.DiscoverOptions{First: true}), 1)
			require.Len(t, m.discover(t, o, grasp.DiscoverOptions{CacheOnly: true}), 1)
			netbed.Eventually(t, patience, "it has expired", func() bool {
				return len(m.discover(t, o, grasp.DiscoverOptions{CacheOnly: true})) == 0
			})
		})
		m.t.Run("O03Local", func(t *testing.T) {
			py, own := synch("EX7", "value"), synch("EX8", "value")
			m.py.RegisterObj(t, toPy(py), graspybed.KW{"local": true, "discoverable": true})
			found := m.discover(t, py, grasp.DiscoverOptions{})
			require.Len(t, found, 1)
			require.True(t, found[0].IP.IsLinkLocalUnicast())
			require.Equal(t, strconv.Itoa(m.link), found[0].IP.Zone())

			m.registered(t, own, grasp.RegisterOptions{Local: true, Discoverable: true})
			seen := m.py.Discover(t, toPy(own), 0, false)
			require.Len(t, seen, 1)
			require.Equal(t, m.g.Snapshot().Links[0].Addr.WithZone("").String(), seen[0].Locator)
		})
		m.t.Run("D09LocatorsOfASAs", func(t *testing.T) {
			own := m.registered(t, synch("EX9", "value"), grasp.RegisterOptions{Discoverable: true, Locators: locators})
			var want, seen []graspybed.Locator
			for _, l := range locators {
				want = append(want, *locatorToPy(l))
			}
			for _, l := range m.py.Discover(t, toPy(own), 0, false) {
				seen = append(seen, plainPy(l))
			}
			require.Equal(t, want, seen)

			// graspy gives IPv6 ones only.
			six := []grasp.Locator{
				locators[0],
				{IP: netip.MustParseAddr("fd00:1::2"), Protocol: grasp.UDP, Port: 4006},
			}
			py := synch("EX0", "value")
			m.py.RegisterObj(t, toPy(py), graspybed.KW{
				"discoverable": true,
				"locators":     []any{locatorToPy(six[0]), locatorToPy(six[1])},
			})
			var found []grasp.Locator
			for _, l := range m.discover(t, py, grasp.DiscoverOptions{}) {
				found = append(found, plain(l))
			}
			require.Equal(t, six, found)
		})
		m.t.Run("O07Divert", func(t *testing.T) {
			// What graspy has found it gives away, with URIs cut short.
			o := m.registered(t, synch("example.com:divert", nil), grasp.RegisterOptions{Discoverable: true, Locators: locators})
			require.Len(t, m.py.Discover(t, toPy(o), 0, false), len(locators))
			require.NoError(t, m.asa.DeregisterObj(o))
			var found []grasp.Locator
			for _, l := range m.discover(t, o, grasp.DiscoverOptions{}) {
				require.True(t, l.Diverted)
				l.Diverted = false
				found = append(found, plain(l))
			}
			require.Equal(t, []grasp.Locator{locators[0], locators[2]}, found, "graspy diverts to IPv6 and FQDN only")
		})
		m.t.Run("DiscoveryOnly", func(t *testing.T) {
			o := grasp.NewObjective("example.com:here")
			m.py.RegisterObj(t, toPy(o), graspybed.KW{"discoverable": true})
			found := m.discover(t, o, grasp.DiscoverOptions{})
			require.Len(t, found, 1)
			require.Zero(t, found[0].Port, "graspy has none to give")
			o = m.registered(t, grasp.NewObjective("example.com:there"), grasp.RegisterOptions{Discoverable: true})
			require.Len(t, m.py.Discover(t, toPy(o), 0, false), 1)
		})
		m.t.Run("D15Nobody", func(t *testing.T) {
			require.Empty(t, m.discover(t, synch("example.com:no", nil), grasp.DiscoverOptions{}))
			require.Empty(t, m.py.Discover(t, toPy(synch("example.com:no", nil)), 0, false))
		})
		m.t.Run("N01Undirected", func(t *testing.T) {
			// Without a locator each side discovers by itself.
			py, own := neg("example.com:py"), neg("example.com:go")
			for _, o := range []grasp.Objective{py, own} {
				m.registered(t, o, grasp.RegisterOptions{})
				m.py.RegisterObj(t, toPy(o), graspybed.KW{"discoverable": true})
			}
			listening := m.py.ListenNegotiate(toPy(py))
			var asked <-chan outcome
			netbed.Eventually(t, patience, "it listens", func() bool {
				asked = goOutcome(t.Context(), func() (*grasp.Session, grasp.Objective, error) {
					return m.asa.ReqNegotiate(t.Context(), py, nil, short)
				})
				time.Sleep(200 * time.Millisecond)
				return len(asked) == 0
			})
			s, _, err := listening.Result(patience)
			require.NoError(t, err)
			require.Zero(t, m.py.EndNegotiate(t, s, true, ""))
			accepted(t, asked, nil)

			// In rapid mode it asks with the discovery. To graspy that is
			// a discovery like others (P-08).
			rapid := m.registered(t, neg("example.com:rapid"), grasp.RegisterOptions{Rapid: true})
			m.py.RegisterObj(t, toPy(rapid), nil)
			pys := newListening(m, rapid)
			asked = goOutcome(t.Context(), func() (*grasp.Session, grasp.Objective, error) {
				return m.asa.ReqNegotiate(t.Context(), with(rapid, nzd(1)), nil, long)
			})
			r := <-pys
			require.NoError(t, r.err)
			require.Equal(t, nzd(1), r.objective.Value)
			require.Equal(t, grasp.OK, r.talk.end(t, true, ""))
			accepted(t, asked, nzd(1))

			go func() {
				s, _, err := m.asa.ListenNegotiate(t.Context(), own)
				if assert.NoError(t, err) {
					assert.NoError(t, s.EndNegotiate(true, ""))
				}
			}()
			netbed.Eventually(t, patience, "it listens", func() bool {
				o, err := m.py.ReqNegotiate(toPy(own), nil, short).Result(patience)
				return err == nil && o.Code == 0
			})
		})
	})
}

// neg is an objective for negotiation.
func neg(name string) grasp.Objective {
	o := grasp.NewObjective(name)
	o.Neg = true
	return o
}

// TestInteropN13K06NobodyListens: a request for which nobody listens is
// refused by closing, and each side says so.
func TestInteropN13K06NobodyListens(t *testing.T) {
	meet(t, func(m *meeting) {
		negotiated, synchronized := ex3(nil), synch("EX2", nil)
		for _, o := range []grasp.Objective{negotiated, synchronized} {
			m.registered(m.t, o, grasp.RegisterOptions{Discoverable: true})
			m.py.RegisterObj(m.t, toPy(o), graspybed.KW{"discoverable": true})
			py, own := m.find(o)
			if o.Neg {
				_, _, err := m.asa.ReqNegotiate(m.t.Context(), o, py, 0)
				require.ErrorIs(m.t, err, grasp.ErrNoPeer)
				out, err := m.py.ReqNegotiate(toPy(o), own, patience).Result(patience)
				require.NoError(m.t, err)
				require.Equal(m.t, int(grasp.ErrNoPeer), out.Code)
			} else {
				_, err := m.asa.Synchronize(m.t.Context(), o, py, 0)
				require.ErrorIs(m.t, err, grasp.ErrNoListener)
				code, _ := m.py.Synchronize(m.t, toPy(o), own, patience)
				require.Equal(m.t, int(grasp.ErrNoListener), code)
			}
		}
	})
}
