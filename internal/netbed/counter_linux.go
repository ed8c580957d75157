package netbed

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// Counter returns what the node's kernel has counted, which it does whatever else is
// lost: TcpInSegs and the like of /proc/net/snmp, Udp6RcvbufErrors and the like of
// /proc/net/snmp6.
func (n *Node) Counter(t testing.TB, name string) int {
	t.Helper()
	all := make(map[string]string)
	var err error
	n.Do(t, func() { err = readCounters(all) })
	if err != nil {
		t.Fatalf("netbed: %v: %v", n, err)
	}
	count, err := strconv.Atoi(all[name])
	if err != nil {
		t.Fatalf("netbed: %v: the kernel does not count %s: %v", n, name, err)
	}
	return count
}

// Counter is [Node.Counter] for the test's namespace.
func Counter(t testing.TB, name string) int {
	t.Helper()
	return (*Node)(nil).Counter(t, name)
}

// readCounters reads what is counted in the namespace of this thread.
func readCounters(all map[string]string) error {
	raw, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return err
	}
	var names []string // of a protocol, whose counts are in the next line
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names[1:] {
			all[strings.TrimSuffix(names[0], ":")+name] = fields[1+i]
		}
		names = nil
	}
	if raw, err = os.ReadFile("/proc/thread-self/net/snmp6"); err != nil {
		return err
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			all[fields[0]] = fields[1]
		}
	}
	return nil
}
