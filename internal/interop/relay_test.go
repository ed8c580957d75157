//go:build linux

package interop

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestInteropT12SharedPort: two instances and a graspy process share port 7017
// on a node; all hear a node beside it, and each other.
func TestInteropT12SharedPort(t *testing.T) {
	meet(t, func(m *meeting) {
		far, first := m.py, m.asa
		near := newGraspy(m.t, nil, graspybed.Options{Selfing: true}, m.settings...)
		_, second, _ := newTapedWith(m.t, grasp.Config{Plane: m.plane}) // graspy has the port already
		floodGo := func(t *testing.T, a *grasp.ASA, name string) {
			t.Helper()
			o := synch(name, "value of "+name)
			require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
			require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
		}
		floodPy := func(t *testing.T, a *graspybed.ASA, name string) {
			t.Helper()
			o := toPy(synch(name, "value of "+name))
			a.RegisterObj(t, o, nil)
			a.Flood(t, time.Minute, graspybed.Tagged{Objective: o})
		}
		m.t.Run("Floods", func(t *testing.T) {
			floodPy(t, far, "EX0")
			floodPy(t, near, "EX1")
			floodGo(t, first, "EX2")
			floodGo(t, second, "EX4")
			for _, name := range []string{"EX0", "EX1", "EX2", "EX4"} {
				for _, a := range []*grasp.ASA{first, second} {
					require.Equal(t, "value of "+name, flooded(t, a, name).Objective.Value)
				}
				for _, a := range []*graspybed.ASA{near, far} {
					if name != "EX0" || a != far { // it does not hear itself
						require.Equal(t, "value of "+name, floodedPy(t, a, name).Objective.Value)
					}
				}
			}
		})
		m.t.Run("Discovery", func(t *testing.T) {
			for i, a := range []*grasp.ASA{first, second} {
				o := synch(fmt.Sprint("example.com:go", i), i)
				require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
				require.Len(t, far.Discover(t, toPy(o), short, false), 1)
				require.Len(t, near.Discover(t, toPy(o), short, false), 1)
			}
			py := synch("example.com:py", nil)
			near.RegisterObj(t, toPy(py), graspybed.KW{"discoverable": true})
			require.Len(t, far.Discover(t, toPy(py), short, false), 1)

			// One that everybody has: far and near, and the other instance.
			all := synch("example.com:all", nil)
			for _, a := range []*graspybed.ASA{near, far} {
				a.RegisterObj(t, toPy(all), graspybed.KW{"discoverable": true})
			}
			require.NoError(t, second.RegisterObj(all, grasp.RegisterOptions{Discoverable: true}))
			found, err := first.Discover(t.Context(), all, 2*time.Second, grasp.DiscoverOptions{})
			require.NoError(t, err)
			require.Len(t, found, 3)
		})
		m.t.Run("Negotiation", func(t *testing.T) {
			here := &meeting{t: t, asa: second, py: near}
			goes, pys := newGoAgent(t, second, ex3(nil)), newPyAgent(t, near, ex3(nil))
			goes.peer, pys.peer = here.find(ex3(nil))
			for _, s := range scenarios[:3] {
				s.run(t, goes, pys)
				s.run(t, pys, goes)
			}
		})
	})
}

// TestInteropF09R08InstanceRelays: two graspy processes with an instance
// between them, which relays (R-02 to, F-08 to F-10, O-01).
func TestInteropF09R08InstanceRelays(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	var ends []*graspybed.ASA
	for _, x := range []string{"a", "b"} {
		node := netbed.NewNode(t, x)
		netbed.VethPair(t, "v"+x+"0", "v"+x+"1")
		node.MoveLink(t, "v"+x+"1")
		netbed.AddAddr(t, "v"+x+"0", "fd00:"+x+"::1/64")
		node.AddAddr(t, "v"+x+"1", "fd00:"+x+"::2/64")
		node.IP(t, "route", "add", "default", "via", "fd00:"+x+"::1")
		netbed.LinkLocal(t, "v"+x+"0")
		ends = append(ends, newGraspy(t, node, graspybed.Options{}))
	}
	newTaped(t)
	a, b := ends[0], ends[1]

	far, near := toPy(synch("EX1", "far")), toPy(synch("EX2", "near"))
	near.LoopCount = 1
	for _, o := range []graspybed.Objective{far, near} {
		a.RegisterObj(t, o, nil)
	}
	a.Flood(t, time.Minute, graspybed.Tagged{Objective: near})
	a.Flood(t, time.Minute, graspybed.Tagged{Objective: far, Source: graspybed.NewLocator(netip.MustParseAddrPort("[fd00:a::2]:4711"), 0)})
	got := floodedPy(t, b, "EX1")
	require.Equal(t, far.LoopCount-1, got.Objective.LoopCount)
	require.Equal(t, "far", got.Objective.Value)
	require.Equal(t, "fd00:a::2", got.Source.Locator)
	require.Empty(t, b.GetFlood(t, near), "a loop count of 1")

	agents := []*pyAgent{newPyAgent(t, a, ex3(nil)), newPyAgent(t, b, ex3(nil))}
	synchronized := synch("EX4", "unicast")
	a.RegisterObj(t, toPy(synchronized), nil)
	a.ListenSynchronize(t, toPy(synchronized))
	var found []graspybed.Locator
	netbed.Eventually(t, patience, "b finds a", func() bool {
		found = b.Discover(t, toPy(synchronized), short, true)
		return len(found) > 0
	})
	require.Len(t, found, 1)
	require.True(t, found[0].Diverted)
	require.Equal(t, "fd00:a::2", found[0].Locator)
	code, o := b.Synchronize(t, toPy(with(synchronized, nil)), nil, short)
	require.Zero(t, code)
	require.Equal(t, "unicast", o.Value)

	// Both listen for EX3, so that a's discovery finds b.
	netbed.Eventually(t, patience, "a finds b", func() bool {
		found = a.Discover(t, toPy(ex3(nil)), short, true)
		return len(found) > 0
	})
	agents[0].peer = &found[0]
	scenarios[0].run(t, agents[0], agents[1])
}

// TestInteropF09R08GraspyRelays: two instances with a graspy process between
// them. It keeps what it finds to itself until it is asked again.
func TestInteropF09R08GraspyRelays(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	relay := netbed.NewNode(t, "relay")
	var ends []*grasp.ASA
	var tapes []*tape
	for _, x := range []string{"a", "b"} {
		netbed.VethPair(t, "v"+x+"0", "v"+x+"1")
		relay.MoveLink(t, "v"+x+"1")
		netbed.AddAddr(t, "v"+x+"0", "fd00:"+x+"::1/64")
		relay.AddAddr(t, "v"+x+"1", "fd00:"+x+"::2/64")
		netbed.LinkLocal(t, "v"+x+"0")
	}
	newGraspy(t, relay, graspybed.Options{})
	for _, x := range []string{"a", "b"} {
		_, asa, tape := newTaped(t, "v"+x+"0")
		ends, tapes = append(ends, asa), append(tapes, tape)
	}
	a, b := ends[0], ends[1]
	far, near := synch("EX1", encodedNZD(t, 1)), synch("EX2", "near")
	near.LoopCount = 1
	for _, o := range []grasp.Objective{far, near} {
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	}
	require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: near}))
	require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: far, Source: &locators[0]}))
	got := flooded(t, b, "EX1")
	require.Equal(t, far.LoopCount-1, got.Objective.LoopCount)
	require.Equal(t, encodedNZD(t, 1), got.Objective.Value)
	require.Equal(t, locators[0], plain(*got.Source))
	none, err := b.GetFlood(near)
	require.NoError(t, err)
	require.Empty(t, none, "a loop count of 1")

	synchronized := synch("EX4", "unicast")
	require.NoError(t, a.RegisterObj(synchronized, grasp.RegisterOptions{}))
	require.NoError(t, a.ListenSynchronize(synchronized))
	found, err := b.Discover(t.Context(), synchronized, patience, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.NotEmpty(t, found) // and the other address of this host
	require.True(t, found[0].Diverted)
	require.Equal(t, netip.MustParseAddr("fd00:a::1"), found[0].IP)
	require.GreaterOrEqual(t, tapes[1].count(grasp.Sent, "M_DISCOVERY"), 2)
	o, err := b.Synchronize(t.Context(), with(synchronized, nil), nil, 0)
	require.NoError(t, err)
	require.Equal(t, "unicast", o.Value)
}

// TestInteropD18StaleLocator: graspy is restarted, and what the instance knows
// of it has not expired.
func TestInteropD18StaleLocator(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	node := netbed.NewNode(t, "py")
	netbed.VethPair(t, "va0", "va1")
	node.MoveLink(t, "va1")
	netbed.LinkLocal(t, "va0")
	_, asa, _ := newTaped(t)
	o := neg("EX3")
	require.NoError(t, asa.RegisterObj(o, grasp.RegisterOptions{}))
	for range 2 {
		peer := graspybed.Start(t, node, "py")
		newPyAgent(t, peer.RegisterASA(t, "peer", graspybed.Options{}), o)
		netbed.Eventually(t, patience, "it answers", func() bool {
			s, _, err := asa.ReqNegotiate(t.Context(), with(o, "hello"), nil, short)
			require.Nil(t, s)
			return grasp.Code(err) == grasp.ErrNoNegReply // it was heard
		})
		peer.Stop()
	}
	_, _, err := asa.ReqNegotiate(t.Context(), o, nil, short)
	require.ErrorIs(t, err, grasp.ErrNoDiscReply)
}

// TestInteropL02DULL: DULL instances find each other and flood, on the link
// only, and do nothing else (L-01 to L-07).
func TestInteropL02DULL(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	node := netbed.NewNode(t, "py")
	netbed.VethPair(t, "va0", "va1")
	node.MoveLink(t, "va1")
	netbed.AddAddr(t, "va0", goAddr+"/64")
	node.AddAddr(t, "va1", pyAddr+"/64")
	addr := netbed.LinkLocal(t, "va0")
	_, asa, _ := newTapedWith(t, grasp.Config{
		Plane: &acp.Layer2{Links: []string{"va0"}}, DULL: true, DULLObjectives: []string{"AN_ACP", "AN_Proxy", "EX3"},
	})
	py := newGraspy(t, node, graspybed.Options{DULL: true})

	own, theirs := synch("AN_ACP", "IKEv2"), synch("AN_Proxy", "")
	require.NoError(t, asa.RegisterObj(own, grasp.RegisterOptions{Discoverable: true}))
	py.RegisterObj(t, toPy(theirs), graspybed.KW{"discoverable": true})
	at := grasp.Locator{IP: netip.IPv6Unspecified(), Protocol: grasp.UDP, Port: 15000}
	require.NoError(t, asa.Flood(time.Minute, grasp.TaggedObjective{Objective: own, Source: &at}))
	seen := floodedPy(t, py, own.Name)
	require.Equal(t, "IKEv2", seen.Objective.Value)
	require.Equal(t, 1, seen.Objective.LoopCount)
	require.Equal(t, addr.WithZone("").String(), seen.Source.Locator)
	require.Equal(t, new(15000), seen.Source.Port)
	code, o := py.Synchronize(t, toPy(with(own, nil)), nil, short)
	require.Zero(t, code)
	require.Equal(t, "IKEv2", o.Value)

	py.Flood(t, time.Minute, graspybed.Tagged{
		Objective: toPy(theirs), Source: &graspybed.Locator{Kind: "ip", Locator: "::", Protocol: new(6), Port: new(4443)},
	})
	got := flooded(t, asa, theirs.Name)
	require.Equal(t, uint8(1), got.Objective.LoopCount)
	require.True(t, got.Source.IP.IsLinkLocalUnicast())
	require.Equal(t, addr.Zone(), got.Source.IP.Zone())

	found := py.Discover(t, toPy(own), short, false)
	require.Len(t, found, 1)
	require.Equal(t, addr.WithZone("").String(), found[0].Locator)
	answers, err := asa.Discover(t.Context(), theirs, 0, grasp.DiscoverOptions{})
	require.NoError(t, err)
	require.Len(t, answers, 1)
	require.True(t, answers[0].IP.IsLinkLocalUnicast())

	n := neg("EX3")
	require.NoError(t, asa.RegisterObj(n, grasp.RegisterOptions{}))
	py.RegisterObj(t, toPy(n), nil)
	_, _, err = asa.ReqNegotiate(t.Context(), n, &answers[0], 0)
	require.ErrorIs(t, err, grasp.ErrNoSecurity)
	out, err := py.ReqNegotiate(toPy(n), &found[0], short).Result(patience)
	require.NoError(t, err)
	require.Equal(t, int(grasp.ErrNoSecurity), out.Code)
}
