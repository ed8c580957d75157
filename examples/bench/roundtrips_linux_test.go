package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

var roundTrips = flag.Bool("roundtrips", false, "measure calls in round trips, by as many as that takes")

// Calls over links with delay, in round trips of one link: the median of 11, for which
// -roundtrips asks, since it takes minutes. With FastOpen requests and responses go with
// the opening of their connections. Behind a relay the peer is two links away, and the
// relay knows it.
func TestRoundTrips(t *testing.T) {
	if !*roundTrips {
		longtest.Need(t)
	}
	exe := build(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	one, near, far := netbed.NewNode(t, "one"), netbed.NewNode(t, "near"), netbed.NewNode(t, "far")
	for _, n := range []*netbed.Node{one, near, far} {
		n.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	}
	wires := []*netbed.Wire{
		netbed.NewWire(t, 1, one, "wa0", near, "wa1", netbed.Trouble{}),
		netbed.NewWire(t, 2, one, "wb0", nil, "wb1", netbed.Trouble{}),
		netbed.NewWire(t, 3, nil, "wc0", far, "wc1", netbed.Trouble{}),
	}
	for _, a := range []struct {
		node         *netbed.Node
		link, prefix string
	}{{one, "wb0", "fd01::2/64"}, {nil, "wb1", "fd01::1/64"}, {nil, "wc0", "fd02::1/64"}, {far, "wc1", "fd02::2/64"}} {
		a.node.AddAddr(t, a.link, a.prefix)
	}
	one.IP(t, "route", "add", "fd02::/64", "via", "fd01::1")
	far.IP(t, "route", "add", "fd01::/64", "via", "fd02::1")
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")

	calls, delays := 1, []time.Duration{time.Millisecond}
	if *roundTrips {
		calls, delays = 11, []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond}
	}
	table := []string{"| delay | call | without | with FastOpen |", "|---|---|---|---|"}
	for _, delay := range delays {
		for _, w := range wires {
			w.Set(netbed.Trouble{Delay: delay})
		}
		for _, c := range []struct {
			call, verb, link, peerLink string
			peer                       *netbed.Node
		}{
			{"known peer", "neg", "wa0", "wa1", near}, {"synchronization, known peer", "syn", "wa0", "wa1", near},
			{"cold", "cold", "wa0", "wa1", near}, {"rapid mode", "rapid", "wa0", "wa1", near},
			{"cold, behind a relay", "cold", "wb0", "wc1", far},
		} {
			row := fmt.Sprintf("| %v | %s |", delay, c.call)
			for _, fast := range []bool{false, true} {
				relay, err := grasp.New(grasp.Config{Plane: &acp.Layer2{Links: []string{"wb1", "wc0"}, FastOpen: fast}})
				require.NoError(t, err)
				bed.WaitForLink(t, relay)
				with := "-fastopen=" + strconv.FormatBool(fast)
				serving := benchIn(t, c.peer, exe, "serve", "-link", c.peerLink, with)
				r := benchIn(t, one, exe, c.verb, "-link", c.link, with, strconv.Itoa(calls))()
				require.Equal(t, calls, r.OK)
				serving()
				require.NoError(t, relay.Close())
				row += fmt.Sprintf(" %.2f (%.1f ms) |", r.P50/float64(2*delay.Milliseconds()), r.P50)
			}
			table = append(table, row)
		}
	}
	t.Log("\n" + strings.Join(table, "\n"))
}
