package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// A peer that gives 64 locators, of which the kernel sends 63 into a hole, is
// reached all the same, and if the last is not one, either, the call is over when
// it says.
func TestLocatorsIntoAHole(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	at := netbed.LinkLocal(t, "va1")
	netbed.LinkLocal(t, "va0")
	// Without neighbour discovery all that goes there is sent, and lost.
	netbed.VethPair(t, "hole", "holex")
	netbed.IP(t, "link", "set", "hole", "arp", "off")
	netbed.AddAddr(t, "hole", "fd00:dead::1/64")

	server, client := newInstanceOn(t, "va1"), newInstanceOn(t, "va0")
	answering, asking := bed.NewASA(t, server, "answering"), bed.NewASA(t, client, "asking")
	port := int(server.Snapshot().Port)
	dead := make([]grasp.Locator, 64)
	for i := range dead {
		dead[i] = grasp.Locator{IP: netip.MustParseAddr(fmt.Sprintf("fd00:dead::%x", i+2)), Port: 4000}
	}
	living := append(dead[1:64:64], grasp.Locator{IP: at.WithZone("va1"), Port: port})
	register := func(name string, locators []grasp.Locator) grasp.Objective {
		o := grasp.Objective{Name: name, Neg: true, LoopCount: grasp.DefaultLoopCount}
		require.NoError(t, answering.RegisterObj(o, grasp.RegisterOptions{Discoverable: true, Locators: locators}))
		require.NoError(t, asking.RegisterObj(o, grasp.RegisterOptions{}))
		go func() {
			for {
				s, _, err := answering.ListenNegotiate(t.Context(), o)
				if err != nil {
					return
				}
				_ = s.EndNegotiate(true, "")
			}
		}()
		netbed.Eventually(t, patience, "it listens", func() bool { return bed.Listens(server, name) })
		return o
	}
	request := func(o grasp.Objective, timeout time.Duration) (time.Duration, error) {
		start := time.Now()
		_, _, err := asking.ReqNegotiate(t.Context(), o, nil, timeout)
		return time.Since(start), err
	}
	took, err := request(register("alone", living[63:]), time.Minute)
	require.NoError(t, err)
	t.Logf("alone it takes %v", took)
	took, err = request(register("among others", living), time.Minute)
	require.NoError(t, err)
	t.Logf("among 63 that are lost it takes %v", took)
	none := register("none", dead)
	found, err := asking.Discover(t.Context(), none, patience, grasp.DiscoverOptions{First: true}) // so as to take none of the time
	require.NoError(t, err)
	require.Len(t, found, len(dead))
	took, err = request(none, 2*time.Second)
	bed.IsCode(t, err, grasp.ErrSockErrNegRq)
	var timed interface{ Timeout() bool }
	require.True(t, errors.As(err, &timed) && timed.Timeout(), "%v", err)
	require.GreaterOrEqual(t, took, 2*time.Second)
	t.Logf("with none that lives a call of 2 s takes %v", took)
}
