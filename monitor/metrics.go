package monitor

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// serveMetrics writes the numbers of all instances in the Prometheus text
// format, version 0.0.4.
func (m *Monitor) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(m.metrics())
}

// counted is an instance with what its tally has counted.
type counted struct {
	InstanceState
	tallied
}

// metrics returns the numbers of all instances in the Prometheus text format.
func (m *Monitor) metrics() []byte {
	var all []counted
	for _, w := range m.all() {
		i := w.state()
		w.tally.settle(i.Snapshot.Sessions, time.Now())
		all = append(all, counted{i, w.tally.copy()})
	}
	e := new(exposition)
	version, revision := build()
	e.family("build_info", "gauge", "The library that is monitored; always 1.")
	e.sample("", "1", "version", version, "revision", revision, "goversion", runtime.Version())
	for _, g := range gauges {
		e.family(g.name, "gauge", g.help)
		for i := range all {
			e.sample("", strconv.Itoa(g.value(&all[i].InstanceState)), "node", all[i].Name)
		}
	}
	e.interfaces(all)
	e.messages(all)
	e.refused(all)
	e.sessions(all)
	e.times(all)
	return e.Bytes()
}

// build returns the version of this module and the revision of the program, as far as
// the program was built with them.
func build() (version, revision string) {
	const module = "github.com/go-grasp/grasp"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", ""
	}
	for _, d := range append(info.Deps, &info.Main) {
		if d.Path == module {
			version = d.Version
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Path == module {
			revision = s.Value
		}
	}
	return cmp.Or(version, "unknown"), revision
}

// exposition is a text of metrics.
type exposition struct {
	bytes.Buffer
	name string // of the family that is being written
}

// family begins a metric.
func (e *exposition) family(name, kind, help string) {
	e.name = "grasp_" + name
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", e.name, help, e.name, kind)
}

// sample adds a value of it. Labels are names and values in turn.
func (e *exposition) sample(suffix, value string, labels ...string) {
	e.WriteString(e.name + suffix)
	separator := "{"
	for i := 0; i < len(labels); i += 2 {
		e.WriteString(separator + labels[i] + `="` + escapes.Replace(labels[i+1]) + `"`)
		separator = ","
	}
	e.WriteString("} " + value + "\n")
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func digits(n uint64) string { return strconv.FormatUint(n, 10) }

// interfaces counts the interfaces by what keeps them from being links.
func (e *exposition) interfaces(all []counted) {
	e.family("interfaces", "gauge", "Network interfaces by state; those in use are links.")
	for i := range all {
		states := make(map[acp.LinkState]uint64)
		for _, f := range all[i].Snapshot.Interfaces {
			states[f.State]++
		}
		for _, s := range slices.Sorted(maps.Keys(states)) {
			e.sample("", digits(states[s]), "node", all[i].Name, "state", string(s))
		}
	}
}

// messages counts messages, their bytes, and what was dropped.
func (e *exposition) messages(all []counted) {
	e.family("messages_total", "counter", "Messages by type and direction, relayed ones for each link.")
	for i := range all {
		s := &all[i].Snapshot
		for _, d := range []struct {
			name   string
			counts map[string]uint64
		}{{"sent", s.Sent}, {"received", s.Received}, {"relayed", s.Relayed}} {
			for _, t := range slices.Sorted(maps.Keys(d.counts)) {
				e.sample("", digits(d.counts[t]), "node", all[i].Name, "direction", d.name, "type", t)
			}
		}
	}
	e.family("message_bytes_total", "counter", "Bytes of messages by type and direction, since the monitor watches. Those dropped before their type was known have none.")
	for i := range all {
		keys := slices.SortedFunc(maps.Keys(all[i].traffic), func(a, b trafficKey) int {
			return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
		})
		for _, k := range keys {
			e.sample("", digits(all[i].traffic[k].bytes), "node", all[i].Name, "direction", k.kind.String(), "type", k.name)
		}
	}
	e.family("dropped_total", "counter", "Messages, requests and connections dropped, by reason.")
	for i := range all {
		for _, r := range slices.Sorted(maps.Keys(all[i].Snapshot.Dropped)) {
			e.sample("", digits(all[i].Snapshot.Dropped[r]), "node", all[i].Name, "reason", r.String())
		}
	}
}

// refused counts peers that were not taken for members.
func (e *exposition) refused(all []counted) {
	e.family("refused_total", "counter", "Peers that were refused, or expelled, by reason.")
	for i := range all {
		counts := all[i].Snapshot.Refused
		for _, reason := range slices.Sorted(maps.Keys(counts)) {
			e.sample("", digits(counts[reason]), "node", all[i].Name, "reason", reason)
		}
	}
}

// sessions counts sessions by how they ended.
func (e *exposition) sessions(all []counted) {
	e.family("sessions_total", "counter", "Sessions that ended since the monitor watches, by how; role says whether the node asked or was asked. "+
		"Objectives beyond the first "+strconv.Itoa(maxObjectives)+" that the node has to do with have no name.")
	for i := range all {
		compare := func(a, b outcomeKey) int {
			return cmp.Or(cmp.Compare(a.what, b.what), cmp.Compare(role(a.asked), role(b.asked)),
				cmp.Compare(a.objective, b.objective), cmp.Compare(a.outcome, b.outcome))
		}
		for _, k := range slices.SortedFunc(maps.Keys(all[i].tallied.sessions), compare) {
			e.sample("", digits(all[i].tallied.sessions[k]), "node", all[i].Name, "procedure", procedureNames[k.what],
				"role", role(k.asked), "objective", k.objective, "outcome", string(k.outcome))
		}
	}
}

func role(asked bool) string {
	if asked {
		return "initiator"
	}
	return "responder"
}

// times has a histogram of durations for each procedure.
func (e *exposition) times(all []counted) {
	for p, what := range [procedures]string{
		"From a discovery to the first answer.", "From a request to synchronize to its answer, on either side.",
		"From a request to negotiate to its end, on either side.",
	} {
		e.family(procedureNames[p]+"_duration_seconds", "histogram", what)
		for i := range all {
			for _, k := range slices.SortedFunc(maps.Keys(all[i].tallied.times), func(a, b timesKey) int { return cmp.Compare(a.objective, b.objective) }) {
				if k.what == procedure(p) {
					h := all[i].tallied.times[k]
					e.histogram(&h, "node", all[i].Name, "objective", k.objective)
				}
			}
		}
	}
}

func (e *exposition) histogram(h *histogram, labels ...string) {
	var n uint64
	for i, in := range h.counts {
		n += in
		bound := "+Inf"
		if i < len(bounds) {
			bound = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		e.sample("_bucket", digits(n), append(slices.Clone(labels), "le", bound)...)
	}
	e.sample("_sum", strconv.FormatFloat(h.sum.Seconds(), 'g', -1, 64), labels...)
	e.sample("_count", digits(n), labels...)
}

// gauges are the values that a snapshot has one of.
var gauges = []struct {
	name, help string
	value      func(*InstanceState) int
}{
	{"up", "1 while the instance runs, 0 after it was closed.", func(i *InstanceState) int { return oneIf(!i.Closed) }},
	{"secure", "1 while the plane protects what is sent.", func(i *InstanceState) int { return oneIf(i.Snapshot.Status.Secure) }},
	{"secure_assumed", "1 while the plane is secure only by assumption.", func(i *InstanceState) int {
		return oneIf(i.Snapshot.Status.Secure && i.Snapshot.Status.Assumed)
	}},
	{"neighbours", "Neighbours that have proven to be members.", func(i *InstanceState) int { return len(i.Snapshot.Neighbours) }},
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
	{"negotiations", "Negotiations under way.", func(i *InstanceState) int { return len(i.Snapshot.Sessions) }},
	{"session_ids", "Session IDs in use, by all kinds of sessions.", func(i *InstanceState) int { return i.Snapshot.SessionIDs }},
	{"searches", "Discoveries under way.", func(i *InstanceState) int { return i.Snapshot.Searches }},
	{"responses", "Responses to discoveries under way.", func(i *InstanceState) int { return i.Snapshot.Responses }},
	{"connections", "Open connections.", func(i *InstanceState) int { return i.Snapshot.Streams }},
	{"connections_pending", "Open connections that have not said yet what they are for.", func(i *InstanceState) int { return i.Snapshot.Pending }},
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
