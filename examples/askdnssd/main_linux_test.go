package main

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/clitest"
	"github.com/go-grasp/grasp/examples/internal/dnssd/dnstest"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// dns is where a node that serveDNS was called for has its DNS server.
const dns = "127.0.0.1:53"

// serveDNS serves the example zone in a node.
func serveDNS(t *testing.T, node *netbed.Node) {
	t.Helper()
	node.Do(t, func() {
		udp, err := net.ListenPacket("udp4", dns)
		require.NoError(t, err)
		tcp, err := net.Listen("tcp4", dns)
		require.NoError(t, err)
		dnstest.Example().Serve(t, udp, tcp)
	})
}

// gateway runs getdnssd in a node with a DNS server.
func gateway(t *testing.T, node *netbed.Node) *clitest.Process {
	t.Helper()
	serveDNS(t, node)
	p := clitest.Start(t, node, clitest.Build(t, "getdnssd"), "--server", dns)
	netbed.Eventually(t, time.Minute, "it is ready", func() bool { return strings.Contains(p.Progress.String(), "Looking up services") })
	return p
}

// A device finds printers through a gateway on another host, which alone has a
// DNS server.
func TestAskAndGet(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	l := netbed.NewLAN(t, "dns", false)
	gateway(t, l.Node(t, "gateway"))
	device, exe := l.Node(t, "device"), clitest.Build(t, "askdnssd")
	var out, progress bytes.Buffer
	cmd := device.Exec(t.Context(), exe, "_printer._tcp", "example.org")
	cmd.Stdout, cmd.Stderr = &out, &progress
	require.NoError(t, cmd.Run(), progress.String())
	assert.Equal(t, `"First Floor" 2001:db8::1 515 priority 0 weight 5 ["duplex" "note=on the = left" "rp=main"]
"First Floor" 192.0.2.1 515 priority 0 weight 5 ["duplex" "note=on the = left" "rp=main"]
"First Floor" first.example.org. 515 priority 0 weight 5 ["duplex" "note=on the = left" "rp=main"]
"Büro" 192.0.2.2 631 priority 10 weight 0 []
"Büro" second.example.org. 631 priority 10 weight 0 []
`, out.String())

	failed, err := device.Exec(t.Context(), exe, "scanner._tcp", "example.org").CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 1, exit.ExitCode())
	assert.Contains(t, string(failed), "Service not found")
}

// TestInteropAskDNSSD2 has the prototype's client ask getdnssd.
func TestInteropAskDNSSD2(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	l := netbed.NewLAN(t, "dna", false)
	p := gateway(t, l.Node(t, "gateway"))
	ask := graspybed.RunASA(t, l.Node(t, "ask"), "AskDNSSD2", true)
	for _, text := range []string{
		"req_negotiate error: Service not found",
		"2: 'printer._sub._http._tcp', 3: 'Web._http._tcp.dns-sd.org.'",
		"2: 'http._tcp', 3: 'Web', 4: 'dns-sd.org.', 5: 0, 6: 0, 7: {'path': True, '/index': True}, 9: [['Internet', [105, 'web.dns-sd.org.', 6, 80]]]",
		"End of replies",
	} {
		netbed.Eventually(t, 2*time.Minute, text, func() bool { return strings.Contains(ask.String(), text) })
	}
	assert.Empty(t, ask.Complaints())
	assert.GreaterOrEqual(t, len(p.Outcomes()), 3)
}

// TestInteropGetDNSSD2 asks the prototype's server.
func TestInteropGetDNSSD2(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	graspybed.NeedsDNSPython(t)
	if !netbed.Enter(t) {
		return
	}
	l := netbed.NewLAN(t, "dng", false)
	node := l.Node(t, "getdnssd2")
	serveDNS(t, node)
	get := graspybed.RunASA(t, node, "GetDNSSD2", true, graspybed.DNS(dns))
	netbed.Eventually(t, time.Minute, "it listens", func() bool { return strings.Contains(get.String(), "GetDNSSD2 is listening") })
	device, exe := l.Node(t, "device"), clitest.Build(t, "askdnssd")
	run := func(service, domain string) string {
		out, _ := device.Exec(t.Context(), exe, service, domain).CombinedOutput() // the text says how it ended
		return string(out)
	}
	assert.Contains(t, run("http._tcp", "dns-sd.org"), `"Web" web.dns-sd.org. 80 priority 0 weight 0 ["path=/index"]`+"\n")
	assert.Contains(t, run("nothing._tcp", "dns-sd.org"), "Service not found")
	printers := run("printer._tcp", "example.org")
	assert.Contains(t, printers, `"First Floor" 2001:db8::1 515 priority 0 weight 5`)
	assert.Contains(t, printers, `"Büro" nowhere`, "it does not find the records of such a name")
	assert.Empty(t, get.Complaints())
}
