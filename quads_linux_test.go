package grasp

import (
	"testing"

	"github.com/go-grasp/grasp/internal/netbed"
)

func TestQUADSScenarioOnRealLinks(t *testing.T) {
	t.Parallel() // most of it is waiting
	if !netbed.Enter(t) {
		return
	}
	runScenarioOnRealLinks(t, onQUADS)
}

// BenchmarkRealQUADS is BenchmarkReal's GRASP in a domain with a password.
func BenchmarkRealQUADS(b *testing.B) {
	if !netbed.Enter(b) {
		return
	}
	netbed.Sysctl(b, "net/ipv4/ip_local_port_range", "1024 65535")
	netbed.VethPair(b, "va0", "va1")
	server, client, heard := tracedPair(b, onQUADS(onLinks("va1")), onQUADS(onLinks("va0")))
	waitForLink(b, server.g)
	waitForLink(b, client.g)
	benchPair(b, server, client, heard)
}
