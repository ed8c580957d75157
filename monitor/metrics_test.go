package monitor

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
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
				"up": oneIf(!i.Closed), "secure": oneIf(s.Status.Secure), "secure_assumed": oneIf(s.Status.Assumed), "neighbours": 0, "links": len(s.Links), "asas": len(s.ASAs),
				"objectives": len(s.Objectives), "requests_waiting": 0, "discovery_cache_locators": len(s.Locators),
				"flood_cache_values": len(s.Floods), "negotiations": len(s.Sessions), "connections": s.Streams,
				"session_ids": s.SessionIDs, "searches": s.Searches, "responses": s.Responses, "connections_pending": s.Pending,
			} {
				want[key("grasp_"+name, "node="+i.Name)] = float64(n)
			}
			for _, f := range s.Interfaces {
				want[key("grasp_interfaces", "node="+i.Name, "state="+string(f.State))]++
			}
			for direction, counts := range map[string]map[string]uint64{"sent": s.Sent, "received": s.Received, "relayed": s.Relayed} {
				for name, n := range counts {
					want[key("grasp_messages_total", "node="+i.Name, "direction="+direction, "type="+name)] = float64(n)
				}
			}
			for reason, n := range s.Dropped {
				want[key("grasp_dropped_total", "node="+i.Name, "reason="+reason.String())] = float64(n)
			}
		}
		ofSnapshot := maps.Clone(got)
		maps.DeleteFunc(ofSnapshot, func(key string, _ float64) bool {
			return regexp.MustCompile(`^grasp_(build_info|message_bytes|sessions_total|\w+_duration)`).MatchString(key)
		})
		require.Equal(t, want, ofSnapshot)
		require.Zero(t, got[key("grasp_up", "node="+evil)])
		require.NotZero(t, got["grasp_dropped_total node=here|reason=malformed"])
		require.NotZero(t, got["grasp_messages_total node=here|direction=sent|type=M_REQ_NEG"])

		// Each side has seen one negotiation, which was declined at once, and the bytes of it.
		require.Equal(t, 1.0, got["grasp_sessions_total node=here|procedure=negotiation|role=initiator|objective=EX3|outcome=declined"])
		require.Equal(t, 1.0, got["grasp_sessions_total node=there|procedure=negotiation|role=responder|objective=EX3|outcome=declined"])
		require.Equal(t, 1.0, got["grasp_sessions_total node=here|procedure=discovery|role=initiator|objective=EX3|outcome=answered"])
		require.Equal(t, 1.0, got["grasp_negotiation_duration_seconds_count node=here|objective=EX3"])
		require.Equal(t, 1.0, got["grasp_negotiation_duration_seconds_bucket node=here|objective=EX3|le=+Inf"])
		sent := getJSON[[]Message](t, w.m, "/messages?instance=here&kind=sent&type=M_REQ_NEG")
		require.Len(t, sent, 1)
		require.Equal(t, float64(sent[0].Size), got["grasp_message_bytes_total node=here|direction=sent|type=M_REQ_NEG"])
		require.Equal(t, 1.0, got["grasp_message_bytes_total node=here|direction=dropped|type="])
	})
}

// What promtool says of metrics is nothing, with all that there can be of them.
func TestMetricsLint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		w.negotiated(t)
		o := grasp.Objective{Name: "EX2", Synch: true, LoopCount: 6, Value: 1}
		require.NoError(t, w.b.RegisterObj(o, grasp.RegisterOptions{}))
		require.NoError(t, w.b.ListenSynchronize(o))
		_, err := w.a.Synchronize(t.Context(), o, nil, 0)
		require.NoError(t, err)
		w.flood(t, "EX1", 1)
		time.Sleep(time.Second)
		text := w.m.metrics()
		refused := new(exposition)
		refused.refused([]counted{{InstanceState: InstanceState{Name: "x", Snapshot: grasp.Snapshot{
			Neighbourhood: acp.Neighbourhood{Refused: map[string]uint64{"foreign": 2, "by the peer": 1}},
		}}}})
		require.Contains(t, refused.String(), `grasp_refused_total{node="x",reason="by the peer"} 1`+"\n"+`grasp_refused_total{node="x",reason="foreign"} 2`+"\n")
		text = bytes.Replace(text, []byte("# HELP grasp_refused_total Peers that were refused, or expelled, by reason.\n# TYPE grasp_refused_total counter\n"), refused.Bytes(), 1)
		problems, err := promlint.New(bytes.NewReader(text)).Lint()
		require.NoError(t, err)
		require.Empty(t, problems)
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
		require.NoError(t, err)
		for _, name := range dashboardMetrics(t) {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			require.True(t, families[name] != nil || families[base] != nil, "the dashboard uses %s", name)
		}

		// The lint sees what is wrong.
		problems, err = promlint.New(strings.NewReader("# TYPE grasp_x counter\ngrasp_x 1\n")).Lint()
		require.NoError(t, err)
		require.Len(t, problems, 2, "no HELP, no _total")
	})
}

// dashboardMetrics returns the metrics that the dashboard for Grafana uses.
func dashboardMetrics(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("grafana.json")
	require.NoError(t, err)
	var board struct {
		Title, UID string
		Panels     []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &board))
	require.NotEmpty(t, board.Title)
	require.NotEmpty(t, board.UID)
	var out []string
	for _, p := range board.Panels {
		require.NotEmpty(t, p.Title)
		for _, target := range p.Targets {
			found := regexp.MustCompile(`\bgrasp_\w+`).FindAllString(target.Expr, -1)
			require.NotEmpty(t, found, p.Title)
			out = append(out, found...)
		}
	}
	require.Greater(t, len(out), 15)
	return out
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
			require.Contains(t, []string{"counter", "gauge", "histogram"}, words[1])
			require.Equal(t, words[1] == "counter", strings.HasSuffix(family, "_total"), family)
			families[family] = words[1]
			continue
		}
		metric := name.FindString(line)
		if families[family] == "histogram" {
			require.Regexp(t, "^"+family+"_(bucket|sum|count)$", metric, line)
		} else {
			require.Equal(t, family, metric, line)
		}
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
	require.Len(t, families, len(gauges)+7+int(procedures), "%v", slices.Sorted(maps.Keys(families)))
	return out
}
