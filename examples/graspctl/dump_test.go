package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/monitor"
)

func TestSnapshotURL(t *testing.T) {
	for given, want := range map[string]string{
		"":                            "http://localhost:8990/snapshot",
		":1":                          "http://localhost:1/snapshot",
		"[::1]:2":                     "http://[::1]:2/snapshot",
		"http://localhost:3/":         "http://localhost:3/snapshot",
		"https://example.com/x/?y=1":  "https://example.com/x/?y=1",
		"http://localhost:3/snapshot": "http://localhost:3/snapshot",
		"ftp://localhost":             "",
		"http://":                     "",
		"http://%":                    "",
	} {
		var args []string
		if given != "" {
			args = []string{given}
		}
		got, err := snapshotURL(args)
		assert.Equal(t, want == "", err != nil, given)
		assert.Equal(t, want, got)
	}
}

// That a running program has no link shows in the status, as that this host has none does.
func TestLinksOfProgram(t *testing.T) {
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{Name: "lan"})
	m := monitor.New(monitor.Config{})
	defer m.Close()
	url, err := m.Listen("")
	require.NoError(t, err)
	status, _, errOut := ctl(nil, "links", url)
	require.Equal(t, 1, status, "there is no instance")
	require.Contains(t, errOut, "no link")
	g, err := grasp.New(grasp.Config{Plane: n.NewNode("x", link)})
	require.NoError(t, err)
	defer g.Close()
	m.Watch("x", g)
	status, out, _ := ctl(nil, "links", url)
	require.Zero(t, status)
	require.Contains(t, out, "lan")
	link.Down()
	require.Eventually(t, func() bool {
		status, _, _ := ctl(nil, "links", url)
		return status == 1
	}, 30*time.Second, 10*time.Millisecond)
}

func TestDump(t *testing.T) {
	n := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: n.NewNode("x", n.NewLink(memory.LinkConfig{Name: "lan"}))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	a, err := g.RegisterASA("banker")
	require.NoError(t, err)
	o := grasp.Objective{Name: "EX1", Synch: true, Value: "a\x1b[2Jb"}
	require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
	require.NoError(t, a.Flood(time.Hour, grasp.TaggedObjective{Objective: o}))

	slow := make(chan struct{})
	answers := map[string]func(http.ResponseWriter){
		"/snapshot": func(w http.ResponseWriter) {
			var s state
			const raw = `{"Caption": "pair", "Time": "2026-01-02T03:04:05Z", "Instances": [{"Name": "here", "Closed": true}]}`
			require.NoError(t, json.Unmarshal([]byte(raw), &s))
			s.Instances[0].Snapshot = g.Snapshot()
			_ = json.NewEncoder(w).Encode(s)
		},
		"/text": func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, "hello") },
		"/slow": func(http.ResponseWriter) { <-slow },
		"/gone": func(w http.ResponseWriter) { http.Error(w, "no", http.StatusForbidden) },
		"/shut": func(w http.ResponseWriter) { http.Error(w, "no", http.StatusUnauthorized) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w) }))
	t.Cleanup(server.Close) // waits for all answers
	answered := sync.OnceFunc(func() { close(slow) })
	t.Cleanup(answered)

	status, out, errOut := ctl(nil, "dump", server.URL)
	require.Zero(t, status, errOut)
	assert.True(t, strings.HasPrefix(out, "\"pair\" at 2026-01-02 03:04:05\n\nInstance \"here\", closed\nPlane: secure true"), out)
	for _, text := range []string{"Link: 1 lan fe80::", "ASAs: banker\n", "Objective registry: 1\n  EX1 ASAs: banker", "Flood cache: 1\n", "Sent: map[M_FLOOD:1]\n"} {
		assert.Contains(t, out, text)
	}
	assert.NotContains(t, out, "\x1b")

	status, out, _ = ctl(nil, "dump", server.URL, "-json")
	assert.Zero(t, status)
	assert.Equal(t, 1, strings.Count(out, "\n"))
	var s state
	require.NoError(t, json.Unmarshal([]byte(out), &s))
	assert.Equal(t, []string{"banker"}, s.Instances[0].Snapshot.ASAs)

	for path, want := range map[string]string{"/text": "not the state of a monitor", "/gone": "403 Forbidden", "/shut": "it wants its token"} {
		status, out, errOut := ctl(nil, "dump", server.URL+path)
		assert.Equal(t, 3, status)
		assert.Empty(t, out)
		assert.Contains(t, errOut, want)
	}
	status, _, errOut = ctl(nil, "dump", server.URL+"/slow", "-timeout", "10ms")
	assert.Equal(t, 3, status)
	assert.Contains(t, errOut, "deadline exceeded")

	answered()
	server.Close()
	status, _, errOut = ctl(nil, "dump", server.URL)
	assert.Equal(t, 3, status)
	assert.Contains(t, errOut, "; start the program with --monitor "+strings.TrimPrefix(server.URL, "http://")+", or give the URL of its monitor\n")
}

// What a running program's monitor tells is understood.
func TestDumpOfMonitor(t *testing.T) {
	g, err := grasp.New(grasp.Config{Plane: memory.NewNetwork(1).NewNode("x")})
	require.NoError(t, err)
	defer g.Close()
	_, err = g.RegisterASA("banker")
	require.NoError(t, err)
	m := monitor.New(monitor.Config{Caption: "pair"})
	defer m.Close()
	m.Watch("here", g)
	url, err := m.Listen("127.0.0.1:0")
	require.NoError(t, err)
	status, out, errOut := ctl(nil, "dump", url)
	require.Zero(t, status, errOut)
	assert.True(t, strings.HasPrefix(out, "\"pair\" at "), out)
	assert.Contains(t, out, "\nInstance \"here\"\n")
	assert.Contains(t, out, "ASAs: banker\n")
}

// A token in the environment opens all monitors that have it, for each command that asks
// one; none of them learns the token itself. That of the URL goes first.
func TestTokenOfEnvironment(t *testing.T) {
	var asked atomic.Value // what the monitor learned
	m := monitor.New(monitor.Config{Token: "secret"})
	defer m.Close()
	n := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: n.NewNode("x", n.NewLink(memory.LinkConfig{Name: "lan"}))})
	require.NoError(t, err)
	defer g.Close()
	m.Watch("x", g)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(fmt.Sprint(r.Header, r.URL))
		m.ServeHTTP(w, r)
	}))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	for _, command := range []string{"dump", "links"} {
		t.Setenv(cli.TokenVariable, "")
		status, _, errOut := ctl(nil, command, at)
		assert.Equal(t, 3, status)
		assert.Contains(t, errOut, cli.TokenVariable)
		t.Setenv(cli.TokenVariable, "secret")
		status, out, errOut := ctl(nil, command, at)
		require.Zero(t, status, errOut)
		assert.Contains(t, out, "lan")
		assert.Contains(t, asked.Load(), "Authorization")
		assert.NotContains(t, asked.Load(), "secret")
		t.Setenv(cli.TokenVariable, "another")
		status, _, _ = ctl(nil, command, at)
		assert.Equal(t, 3, status)
		status, _, errOut = ctl(nil, command, server.URL+"/?token=secret")
		assert.Zero(t, status, errOut)
	}
}
