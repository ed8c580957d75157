package netbed

import (
	"net"
	"testing"
	"time"
)

// Loopback is [Enter] for a test that needs no link but the loopback interface, whose
// name it returns, or "" to the parent. Where the system gives no namespaces the test
// runs on the machine's own loopback, which nothing leaves, either, when no other test
// does.
//
// The plane for it is acp.Layer2 with this name in Links, and with IPv4: Linux has
// no route for multicasts of IPv6 on a loopback, unless somebody with privileges made one.
func Loopback(t testing.TB) (name string) {
	t.Helper()
	entered, err := enter(t)
	if err == nil && !entered {
		return ""
	}
	if err != nil {
		t.Logf("netbed: on the loopback of the machine: %v", err)
		await(t)
	}
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatalf("netbed: %v", err)
	}
	for _, ifi := range ifs {
		if ifi.Flags&(net.FlagLoopback|net.FlagUp) == net.FlagLoopback|net.FlagUp {
			return ifi.Name
		}
	}
	unavailable(t, "no loopback interface is up")
	return ""
}

// turn is bound by the test that has the loopback of the machine, for no other purpose.
const turn = "127.0.0.1:17017"

// await waits until no other test, of whatever process, has the loopback of the machine.
func await(t testing.TB) {
	t.Helper()
	Eventually(t, 5*time.Minute, "no other test has the loopback", func() bool {
		l, err := net.Listen("tcp4", turn)
		if err != nil {
			return false
		}
		t.Cleanup(func() { _ = l.Close() })
		return true
	})
}
