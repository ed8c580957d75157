//go:build linux

package interop

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestInteropSynchronization covers K-01 to K-08 and P-07.
func TestInteropSynchronization(t *testing.T) {
	meet(t, func(m *meeting) {
		all := append([]any{encodedNZD(m.t, 7), strings.Repeat("v", 1180), strings.Repeat("v", 2000)}, values...)
		m.t.Run("K01GoAsks", func(t *testing.T) {
			o := synch("EX2", "first")
			m.py.RegisterObj(t, toPy(o), nil)
			m.py.ListenSynchronize(t, toPy(o))
			got, err := m.asa.Synchronize(t.Context(), with(o, nil), nil, 0)
			require.NoError(t, err)
			require.Equal(t, o, got)
			for _, v := range all {
				m.py.ListenSynchronize(t, toPy(with(o, v)))
				got, err := m.asa.Synchronize(t.Context(), with(o, nil), nil, 0)
				require.NoError(t, err)
				require.Equal(t, v, got.Value)
			}
		})
		m.t.Run("K01GraspyAsks", func(t *testing.T) {
			o := m.registered(t, synch("EX4", "first"), grasp.RegisterOptions{})
			require.NoError(t, m.asa.ListenSynchronize(o))
			for _, v := range append([]any{"first"}, all...) {
				require.NoError(t, m.asa.ListenSynchronize(with(o, v)))
				code, got := m.py.Synchronize(t, toPy(with(o, nil)), nil, short)
				require.Zero(t, code)
				require.Equal(t, v, fromPy(got).Value)
			}
		})
		m.t.Run("P07GoAsks", func(t *testing.T) {
			for i, v := range []any{nzd(1), encodedNZD(t, 2), "text"} {
				o := synch(fmt.Sprintf("example.com:py%d", i), v)
				m.py.RegisterObj(t, toPy(o), graspybed.KW{"rapid": true})
				m.py.ListenSynchronize(t, toPy(o))
				requests := m.tape.count(grasp.Sent, "M_REQ_SYN")
				got, err := m.asa.Synchronize(t.Context(), with(o, nil), nil, 0)
				require.NoError(t, err)
				require.Equal(t, o, got)
				require.Equal(t, requests, m.tape.count(grasp.Sent, "M_REQ_SYN"), "the value came with the locator")
			}
		})
		m.t.Run("P07GraspyAsks", func(t *testing.T) {
			for i, v := range []any{nzd(1), "text", int64(5)} {
				o := m.registered(t, synch(fmt.Sprintf("example.com:go%d", i), v), grasp.RegisterOptions{Rapid: true})
				require.NoError(t, m.asa.ListenSynchronize(o))
				requests := m.tape.count(grasp.Received, "M_REQ_SYN")
				code, got := m.py.Synchronize(t, toPy(with(o, nil)), nil, short)
				require.Zero(t, code)
				require.Equal(t, v, fromPy(got).Value)
				require.Equal(t, requests, m.tape.count(grasp.Received, "M_REQ_SYN"), "the value came with the locator")
			}
		})
	})
}

// TestInteropFlood covers F-01 to F-07, F-15, O-08 and T-08.
func TestInteropFlood(t *testing.T) {
	meet(t, func(m *meeting) {
		m.t.Run("F04GoFloods", func(t *testing.T) {
			o := m.registered(t, synch("EX1", nil), grasp.RegisterOptions{})
			seen := func(n int) []graspybed.Tagged {
				t.Helper()
				var got []graspybed.Tagged
				netbed.Eventually(t, patience, "flooded", func() bool {
					got = m.py.GetFlood(t, toPy(o))
					return len(got) >= n
				})
				require.Len(t, got, n)
				return got
			}
			flood := func(ttl time.Duration, objs ...grasp.TaggedObjective) {
				t.Helper()
				require.NoError(t, m.asa.Flood(ttl, objs...))
			}
			all := []grasp.TaggedObjective{{Objective: with(o, int64(0))}}
			for i, l := range locators {
				all = append(all, grasp.TaggedObjective{Objective: with(o, int64(i+1)), Source: &l})
			}
			flood(0, all...)
			for i, f := range seen(len(all)) {
				require.Equal(t, int64(i), f.Objective.Value)
				require.Zero(t, f.Source.Expire, "for ever")
				if i == 0 {
					require.Empty(t, f.Source.Kind)
					require.Empty(t, f.Source.Locator)
				} else {
					require.Equal(t, *locatorToPy(locators[i-1]), plainPy(*f.Source))
				}
			}
			// The same tag: replaced, and the youngest.
			flood(time.Minute, grasp.TaggedObjective{Objective: with(o, "new"), Source: &locators[0]})
			netbed.Eventually(t, patience, "replaced", func() bool {
				got := seen(len(all))
				return got[len(all)-1].Objective.Value == "new"
			})
			require.NotZero(t, seen(len(all))[len(all)-1].Source.Expire)
			discoveries := m.tape.count(grasp.Received, "M_DISCOVERY")
			code, first := m.py.Synchronize(t, toPy(o), nil, short)
			require.Zero(t, code)
			require.Equal(t, int64(0), first.Value)
			require.Equal(t, discoveries, m.tape.count(grasp.Received, "M_DISCOVERY"))
		})
		m.t.Run("F04GraspyFloods", func(t *testing.T) {
			o := synch("EX2", nil)
			m.py.RegisterObj(t, toPy(o), nil)
			seen := func(n int) []grasp.TaggedObjective {
				t.Helper()
				var got []grasp.TaggedObjective
				netbed.Eventually(t, patience, "flooded", func() bool {
					var err error
					got, err = m.asa.GetFlood(o)
					require.NoError(t, err)
					return len(got) >= n
				})
				require.Len(t, got, n)
				return got
			}
			all := []graspybed.Tagged{{Objective: toPy(with(o, int64(0)))}}
			for i, l := range locators {
				all = append(all, graspybed.Tagged{Objective: toPy(with(o, int64(i+1))), Source: locatorToPy(l)})
			}
			m.py.Flood(t, 0, all...)
			for i, f := range seen(len(all)) {
				require.Equal(t, int64(i), f.Objective.Value)
				require.True(t, f.Source.Expire.IsZero(), "for ever")
				require.Equal(t, m.link, f.Source.IfIndex)
				if i == 0 {
					require.True(t, f.Source.IsZero())
				} else {
					require.Equal(t, locators[i-1], plain(*f.Source))
				}
			}
			m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: toPy(with(o, "new")), Source: locatorToPy(locators[0])})
			netbed.Eventually(t, patience, "replaced", func() bool {
				got := seen(len(all))
				return got[len(all)-1].Objective.Value == "new"
			})
			last := seen(len(all))[len(all)-1]
			require.InDelta(t, 60, time.Until(last.Source.Expire).Seconds(), 5)
			sent := m.tape.count(grasp.Sent, "M_DISCOVERY")
			first, err := m.asa.Synchronize(t.Context(), o, nil, 0)
			require.NoError(t, err)
			require.Equal(t, int64(0), first.Value)
			require.Equal(t, sent, m.tape.count(grasp.Sent, "M_DISCOVERY"))

			require.NoError(t, m.asa.ExpireFlood(last))
			require.Len(t, seen(len(all)-1), len(all)-1)
		})
		m.t.Run("F15Unspecified", func(t *testing.T) {
			own, py := m.registered(t, synch("EX4", "go"), grasp.RegisterOptions{}), synch("EX5", "py")
			require.NoError(t, m.asa.Flood(time.Minute, grasp.TaggedObjective{
				Objective: own, Source: &grasp.Locator{IP: netip.IPv6Unspecified(), Protocol: grasp.UDP, Port: 4711},
			}))
			var seen []graspybed.Tagged
			netbed.Eventually(t, patience, "flooded", func() bool {
				seen = m.py.GetFlood(t, toPy(own))
				return len(seen) > 0
			})
			require.Equal(t, 1, seen[0].Objective.LoopCount)
			require.Equal(t, m.g.Snapshot().Links[0].Addr.WithZone("").String(), seen[0].Source.Locator)
			require.Equal(t, new(4711), seen[0].Source.Port)
			require.Equal(t, new(grasp.UDP), seen[0].Source.Protocol)

			m.py.RegisterObj(t, toPy(py), nil)
			m.py.Flood(t, time.Minute, graspybed.Tagged{
				Objective: toPy(py), Source: &graspybed.Locator{Kind: "ip", Locator: "::", Protocol: new(6), Port: new(4711)},
			})
			var got []grasp.TaggedObjective
			netbed.Eventually(t, patience, "flooded", func() bool {
				got, _ = m.asa.GetFlood(py)
				return len(got) > 0
			})
			require.Equal(t, uint8(1), got[0].Objective.LoopCount)
			require.True(t, got[0].Source.IP.IsLinkLocalUnicast())
			require.Equal(t, strconv.Itoa(m.link), got[0].Source.IP.Zone())
			require.Equal(t, 4711, got[0].Source.Port)
		})
		m.t.Run("O09OddLocators", func(t *testing.T) {
			odd := []*graspybed.Locator{
				{Kind: "ip", Locator: "fd00:1::1", Protocol: new(41)}, // as in RFC 8995
				{Kind: "ip", Locator: "fd00:1::2", Protocol: new(256), Port: new(443)},
			}
			o := synch("EX0", nil)
			m.py.RegisterObj(t, toPy(o), nil)
			for _, l := range odd {
				flags := toPy(with(o, l.Locator))
				flags.Discoverable = false // O-11
				m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: flags, Source: l})
			}
			var got []grasp.TaggedObjective
			netbed.Eventually(t, patience, "flooded", func() bool {
				got, _ = m.asa.GetFlood(o)
				return len(got) == len(odd)
			})
			require.Equal(t, grasp.Locator{IP: netip.MustParseAddr("fd00:1::1"), Protocol: 41}, plain(*got[0].Source))
			require.Equal(t, grasp.Locator{IP: netip.MustParseAddr("fd00:1::2"), Protocol: 256, Port: 443}, plain(*got[1].Source))
		})
		m.t.Run("F07Lifetime", func(t *testing.T) {
			own, py := m.registered(t, synch("EX6", "go"), grasp.RegisterOptions{}), synch("EX7", "py")
			m.py.RegisterObj(t, toPy(py), nil)
			require.NoError(t, m.asa.Flood(2*time.Second, grasp.TaggedObjective{Objective: own}))
			m.py.Flood(t, 2*time.Second, graspybed.Tagged{Objective: toPy(py)})
			netbed.Eventually(t, patience, "flooded", func() bool {
				got, _ := m.asa.GetFlood(py)
				return len(got) > 0 && len(m.py.GetFlood(t, toPy(own))) > 0
			})
			netbed.Eventually(t, patience, "expired", func() bool {
				got, _ := m.asa.GetFlood(py)
				return len(got) == 0 && len(m.py.GetFlood(t, toPy(own))) == 0
			})
			// And by hand.
			require.NoError(t, m.asa.Flood(time.Minute, grasp.TaggedObjective{Objective: own}))
			var seen []graspybed.Tagged
			netbed.Eventually(t, patience, "flooded", func() bool {
				seen = m.py.GetFlood(t, toPy(own))
				return len(seen) > 0
			})
			m.py.ExpireFlood(t, seen[0])
			require.Empty(t, m.py.GetFlood(t, toPy(own)))
		})
		m.t.Run("C10Values", func(t *testing.T) {
			own, py := m.registered(t, synch("EX8", nil), grasp.RegisterOptions{}), synch("EX9", nil)
			m.py.RegisterObj(t, toPy(py), nil)
			for _, v := range append([]any{encodedNZD(t, 5), strings.Repeat("v", 1150)}, values...) {
				require.NoError(t, m.asa.Flood(time.Minute, grasp.TaggedObjective{Objective: with(own, v)}))
				m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: toPy(with(py, v))})
				netbed.Eventually(t, patience, fmt.Sprintf("both have %v", v), func() bool {
					seen := m.py.GetFlood(t, toPy(own))
					got, _ := m.asa.GetFlood(py)
					return len(seen) == 1 && assert.ObjectsAreEqual(v, fromPy(seen[0].Objective).Value) &&
						len(got) == 1 && assert.ObjectsAreEqual(v, got[0].Objective.Value)
				})
			}
			// graspy sends what it likes, and relies on fragmentation: T-07.
			v := strings.Repeat("v", 1900)
			m.py.Flood(t, time.Minute, graspybed.Tagged{Objective: toPy(with(py, v))})
			netbed.Eventually(t, patience, "the large one came", func() bool {
				got, _ := m.asa.GetFlood(py)
				return len(got) == 1 && got[0].Objective.Value == v
			})
		})
	})
}

// TestInteropSendReceive: gsend and grecv, in both roles.
func TestInteropSendReceive(t *testing.T) {
	meet(t, func(m *meeting) {
		o := ex3(nil)
		m.registered(m.t, o, grasp.RegisterOptions{Discoverable: true})
		m.py.RegisterObj(m.t, toPy(o), graspybed.KW{"discoverable": true})
		py, own := m.find(o)
		things := append([]any{
			strings.Repeat("s", 1195), strings.Repeat("s", 1199), strings.Repeat("s", 2048), strings.Repeat("s", 60_000),
		}, values...)
		exchange := func(t *testing.T, s *grasp.Session, p *graspybed.Session) {
			for _, v := range things {
				require.NoError(t, s.Send(v))
				code, got := m.py.Recv(t, p, patience)
				require.Zero(t, code)
				require.Equal(t, v, got)
				m.py.Send(t, p, v)
				back, err := s.Recv(t.Context(), patience)
				require.NoError(t, err)
				require.Equal(t, v, back)
			}
		}
		m.t.Run("GoOpens", func(t *testing.T) {
			pys := newListening(m, o)
			s, err := m.asa.OpenSession(t.Context(), with(o, "hello"), py, 0)
			require.NoError(t, err)
			p := <-pys
			require.NoError(t, p.err)
			require.Equal(t, "hello", p.objective.Value)
			exchange(t, s, p.talk.(pyTalk).s)
			// Several in one segment.
			for _, v := range things {
				m.py.Send(t, p.talk.(pyTalk).s, v)
			}
			for _, v := range things {
				got, err := s.Recv(t.Context(), patience)
				require.NoError(t, err)
				require.Equal(t, v, got)
			}
			require.NoError(t, s.EndNegotiate(true, ""))
			code, v := m.py.Recv(t, p.talk.(pyTalk).s, patience)
			require.Zero(t, code, "M_END is an item like others to it")
			require.IsType(t, []any{}, v)
		})
		m.t.Run("GraspyOpens", func(t *testing.T) {
			c := make(chan request, 1)
			go func() {
				s, o, err := m.asa.ListenNegotiate(t.Context(), o)
				c <- request{goTalk{t.Context(), s}, o, err}
			}()
			var p *graspybed.Session
			netbed.Eventually(t, patience, "it listens", func() bool {
				states := m.g.Snapshot().Objectives
				return len(states) > 0 && states[0].Negotiating
			})
			p = m.py.OpenSession(t, toPy(with(o, "hello")), own)
			r := <-c
			require.NoError(t, r.err)
			require.Equal(t, "hello", r.objective.Value)
			s := r.talk.(goTalk).s
			exchange(t, s, p)
			require.Zero(t, m.py.EndNegotiate(t, p, true, ""))
			v, err := s.Recv(t.Context(), patience)
			require.NoError(t, err)
			require.IsType(t, []any{}, v)
			_, err = s.Recv(t.Context(), patience)
			require.ErrorIs(t, err, grasp.ErrNoPeer)
		})
	})
}

// newListening has graspy listen for one request, and returns once it does.
func newListening(m *meeting, o grasp.Objective) <-chan request {
	m.t.Helper()
	c := make(chan request, 1)
	l := m.py.ListenNegotiate(toPy(o))
	go func() {
		s, o, err := l.Result(time.Minute)
		c <- request{pyTalk{m.py, s}, fromPy(o), err}
	}()
	time.Sleep(300 * time.Millisecond) // graspy has no call that tells
	return c
}

// flooded waits until an ASA has one flooded value of an objective.
func flooded(t *testing.T, a *grasp.ASA, name string) grasp.TaggedObjective {
	t.Helper()
	var got []grasp.TaggedObjective
	netbed.Eventually(t, patience, name+" is flooded", func() bool {
		var err error
		got, err = a.GetFlood(synch(name, nil))
		require.NoError(t, err)
		return len(got) > 0
	})
	require.Len(t, got, 1)
	return got[0]
}

// floodedPy is flooded for graspy.
func floodedPy(t *testing.T, a *graspybed.ASA, name string) graspybed.Tagged {
	t.Helper()
	var got []graspybed.Tagged
	netbed.Eventually(t, patience, name+" is flooded", func() bool {
		got = a.GetFlood(t, toPy(synch(name, nil)))
		return len(got) > 0
	})
	require.Len(t, got, 1)
	return got[0]
}
