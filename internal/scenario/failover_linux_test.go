package scenario

import (
	"fmt"
	"testing"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/topology"
)

// Failover on real links, behind one relay and behind three.
func TestFailoverInNamespaces(t *testing.T) {
	for _, relays := range []int{1, 3} {
		t.Run(fmt.Sprint(relays), func(t *testing.T) {
			if !netbed.Enter(t) {
				return
			}
			b := topology.Namespaces(t, behindRelays(relays), grasp.Config{})
			failover(t, b.Bed, func(i int) { b.Spaces[i].Down(t, b.Interfaces[i][0]) })
		})
	}
}

// A link that moves to another relay, on real links.
func TestFailoverOfALinkInNamespaces(t *testing.T) {
	t.Parallel() // most of it is waiting
	if !netbed.Enter(t) {
		return
	}
	failoverOfALink(t, topology.Namespaces(t, moving, grasp.Config{}).Bed)
}
