package monitor

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
)

// The metrics are those of the snapshots, in the text format.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		w.negotiated(t)
		w.flood(t, "EX1", 1)
		require.NoError(t, w.stranger.Send(w.link, []byte{0xff}))
		evil := "evil \" \\ \n {} name"
		g, err := grasp.New(grasp.Config{Plane: memory.NewNetwork(1).NewNode("evil")})
		require.NoError(t, err)
		w.m.Watch(evil, g)
		require.NoError(t, g.Close())
		time.Sleep(time.Second)

		answer := get(w.m, "/metrics")
		require.Equal(t, http.StatusOK, answer.Code)
		require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", answer.Header().Get("Content-Type"))
		got := parseMetrics(t, answer.Body.String())

		want := make(map[string]float64)
		key := func(name string, labels ...string) string { return name + " " + strings.Join(labels, "|") }
		for _, i := range w.m.State().Instances {
			s := i.Snapshot
			for name, n := range map[string]int{
				"up": oneIf(!i.Closed), "secure": oneIf(s.Status.Secure), "links": len(s.Links), "asas": len(s.ASAs),
				"objectives": len(s.Objectives), "requests_waiting": 0, "discovery_cache_locators": len(s.Locators),
				"flood_cache_values": len(s.Floods), "sessions": len(s.Sessions), "connections": s.Streams,
			} {
				want[key("grasp_"+name, "instance="+i.Name)] = float64(n)
			}
			for direction, counts := range map[string]map[string]uint64{"sent": s.Sent, "received": s.Received, "relayed": s.Relayed} {
				for name, n := range counts {
					want[key("grasp_messages_total", "instance="+i.Name, "direction="+direction, "type="+name)] = float64(n)
				}
			}
			for reason, n := range s.Dropped {
				want[key("grasp_dropped_total", "instance="+i.Name, "reason="+reason.String())] = float64(n)
			}
		}
		require.Equal(t, want, got)
		require.Zero(t, got[key("grasp_up", "instance="+evil)])
		require.NotZero(t, got["grasp_dropped_total instance=here|reason=malformed"])
		require.NotZero(t, got["grasp_messages_total instance=here|direction=sent|type=M_REQ_NEG"])
	})
}

// parseMetrics parses the Prometheus text format as strictly as its
// specification allows: families one after the other, each with HELP and TYPE
// first, no sample twice, and a line feed at the end.
func parseMetrics(t *testing.T, text string) map[string]float64 {
	t.Helper()
	name := regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	label := regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|\})`)
	unescape := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
	require.True(t, strings.HasSuffix(text, "\n"))
	out := make(map[string]float64)
	families := make(map[string]string) // and their types
	family, helped := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if help, found := strings.CutPrefix(line, "# HELP "); found {
			helped = name.FindString(help)
			require.NotContains(t, families, helped, "a family is in one piece")
			require.NotContains(t, help, `\`)
			continue
		}
		if kind, found := strings.CutPrefix(line, "# TYPE "); found {
			words := strings.Split(kind, " ")
			require.Len(t, words, 2)
			family = words[0]
			require.Equal(t, helped, family)
			require.Contains(t, []string{"counter", "gauge"}, words[1])
			require.Equal(t, words[1] == "counter", strings.HasSuffix(family, "_total"), family)
			families[family] = words[1]
			continue
		}
		metric := name.FindString(line)
		require.Equal(t, family, metric, line)
		rest, found := strings.CutPrefix(line[len(metric):], "{")
		require.True(t, found, line)
		var labels []string
		for closed := false; !closed; {
			m := label.FindStringSubmatch(rest)
			require.NotNil(t, m, line)
			labels = append(labels, m[1]+"="+unescape.Replace(m[2]))
			rest, closed = rest[len(m[0]):], m[3] == "}"
		}
		value, err := strconv.ParseFloat(strings.TrimPrefix(rest, " "), 64)
		require.NoError(t, err, line)
		key := metric + " " + strings.Join(labels, "|")
		require.NotContains(t, out, key)
		out[key] = value
	}
	require.Len(t, families, len(gauges)+2, "%v", slices.Sorted(maps.Keys(families)))
	return out
}
