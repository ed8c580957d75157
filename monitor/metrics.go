package monitor

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// serveMetrics writes the numbers of all instances in the Prometheus text
// format, version 0.0.4.
func (m *Monitor) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(m.State().metrics())
}

// metrics returns the state in the Prometheus text format.
func (s State) metrics() []byte {
	var b bytes.Buffer
	for _, g := range gauges {
		fmt.Fprintf(&b, "# HELP grasp_%s %s\n# TYPE grasp_%s gauge\n", g.name, g.help, g.name)
		for _, i := range s.Instances {
			fmt.Fprintf(&b, "grasp_%s{instance=%s} %d\n", g.name, label(i.Name), g.value(&i))
		}
	}
	b.WriteString("# HELP grasp_messages_total Messages by type and direction, relayed ones for each link.\n" +
		"# TYPE grasp_messages_total counter\n")
	for _, i := range s.Instances {
		for _, d := range []struct {
			name   string
			counts map[string]uint64
		}{{"sent", i.Snapshot.Sent}, {"received", i.Snapshot.Received}, {"relayed", i.Snapshot.Relayed}} {
			for _, t := range slices.Sorted(maps.Keys(d.counts)) {
				fmt.Fprintf(&b, "grasp_messages_total{instance=%s,direction=%s,type=%s} %d\n",
					label(i.Name), label(d.name), label(t), d.counts[t])
			}
		}
	}
	b.WriteString("# HELP grasp_dropped_total Messages, requests and connections dropped, by reason.\n" +
		"# TYPE grasp_dropped_total counter\n")
	for _, i := range s.Instances {
		for _, r := range slices.Sorted(maps.Keys(i.Snapshot.Dropped)) {
			fmt.Fprintf(&b, "grasp_dropped_total{instance=%s,reason=%s} %d\n", label(i.Name), label(r.String()), i.Snapshot.Dropped[r])
		}
	}
	return b.Bytes()
}

// gauges are the numbers that go up and down.
var gauges = []struct {
	name, help string
	value      func(*InstanceState) int
}{
	{"up", "1 while the instance runs, 0 after it was closed.", func(i *InstanceState) int { return oneIf(!i.Closed) }},
	{"secure", "1 while the plane protects what is sent.", func(i *InstanceState) int { return oneIf(i.Snapshot.Status.Secure) }},
	{"links", "Links in use.", func(i *InstanceState) int { return len(i.Snapshot.Links) }},
	{"asas", "Registered ASAs.", func(i *InstanceState) int { return len(i.Snapshot.ASAs) }},
	{"objectives", "Registered objectives.", func(i *InstanceState) int { return len(i.Snapshot.Objectives) }},
	{"requests_waiting", "Requests that wait for a listener.", func(i *InstanceState) (n int) {
		for _, o := range i.Snapshot.Objectives {
			n += o.Waiting
		}
		return n
	}},
	{"discovery_cache_locators", "Locators in the discovery cache.", func(i *InstanceState) int { return len(i.Snapshot.Locators) }},
	{"flood_cache_values", "Values in the flood cache.", func(i *InstanceState) int { return len(i.Snapshot.Floods) }},
	{"sessions", "Negotiations under way.", func(i *InstanceState) int { return len(i.Snapshot.Sessions) }},
	{"connections", "Open connections.", func(i *InstanceState) int { return i.Snapshot.Streams }},
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// label returns the value of a label, in quotes.
func label(s string) string { return `"` + escapes.Replace(s) + `"` }

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
