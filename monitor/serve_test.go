package monitor

import (
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Only names that nobody else can have resolved to this host are answered to.
func TestHosts(t *testing.T) {
	m := New(Config{Hosts: []string{"Router.example"}})
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:8990": true, "LOCALHOST:1": true, "localhost.": true,
		"127.0.0.1": true, "127.0.0.1:80": true, "[::1]": true, "[::1]:8990": true, "10.1.2.3:8990": true,
		"router.example": true, "router.EXAMPLE:8990": true,
		"": false, "evil.example": false, "evil.example:8990": false, "localhost.evil.example": false,
		"127.0.0.1.evil.example": false, "sub.router.example": false, "::1.evil": false, "[evil]": false,
	} {
		for _, path := range []string{"/", "/snapshot", "/metrics", "/app.js"} {
			w := get(m, path, func(r *http.Request) { r.Host = host })
			if ok {
				assert.Equal(t, http.StatusOK, w.Code, "%s of %s", path, host)
			} else {
				assert.Equal(t, http.StatusForbidden, w.Code, "%s of %s", path, host)
				assert.Contains(t, w.Body.String(), "monitor.Config")
			}
		}
	}
}

func TestPagesFromElsewhere(t *testing.T) {
	m := New(Config{})
	from := func(site, mode string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", site)
			r.Header.Set("Sec-Fetch-Mode", mode)
		}
	}
	assert.Equal(t, http.StatusForbidden, get(m, "/snapshot", from("cross-site", "no-cors")).Code)
	assert.Equal(t, http.StatusForbidden, get(m, "/events", from("cross-site", "cors")).Code)
	assert.Equal(t, http.StatusOK, get(m, "/", from("cross-site", "navigate")).Code, "a link to it")
	assert.Equal(t, http.StatusOK, get(m, "/snapshot", from("same-origin", "cors")).Code)
}

func TestRoutes(t *testing.T) {
	m := New(Config{})
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8", "/style.css": "text/css; charset=utf-8",
		"/icon.svg": "image/svg+xml", "/snapshot": "application/json", "/messages": "application/json",
	} {
		w := get(m, path)
		assert.Equal(t, http.StatusOK, w.Code, path)
		assert.Equal(t, kind, w.Header().Get("Content-Type"), path)
		assert.NotEmpty(t, w.Body.String(), path)
		for name, value := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer",
		} {
			assert.Equal(t, value, w.Header().Get(name), path)
		}
	}
	for _, path := range []string{"/page/", "/page/app.js", "/index.html", "/app", "/..%2fmonitor.go", "/debug/pprof/"} {
		assert.Equal(t, http.StatusNotFound, get(m, path).Code, path)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		w := get(m, "/snapshot", func(r *http.Request) { r.Method = method })
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
	}
	// Below another path, and in another's server.
	mux := http.NewServeMux()
	mux.Handle("/grasp/", http.StripPrefix("/grasp", m))
	assert.HTTPSuccess(t, func(w http.ResponseWriter, r *http.Request) {
		r.Host = "localhost"
		mux.ServeHTTP(w, r)
	}, "GET", "/grasp/snapshot", nil)
}

// The page has all its files, they are all served, and none loads anything from
// elsewhere or makes text into elements.
func TestPage(t *testing.T) {
	index, err := files.ReadFile("page/index.html")
	require.NoError(t, err)
	linked := regexp.MustCompile(`(?:href|src)="([^#"]+)"`).FindAllStringSubmatch(string(index), -1)
	require.NotEmpty(t, linked)
	for _, l := range linked {
		require.Equal(t, http.StatusOK, get(New(Config{}), "/"+l[1]).Code, l[1])
	}
	all, err := fs.Glob(files, "page/*")
	require.NoError(t, err)
	require.Len(t, all, len(assets)+1)
	imported := regexp.MustCompile(`from '\./([^']+)'`)
	for _, name := range all {
		raw, err := files.ReadFile(name)
		require.NoError(t, err)
		text := string(raw)
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "DOMParser", "style=", "onclick", "//cdn"} {
			require.NotContains(t, text, bad, name)
		}
		text = strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "")
		require.NotRegexp(t, `https?://|url\(|@import`, text, name)
		for _, i := range imported.FindAllStringSubmatch(text, -1) {
			require.Contains(t, assets, i[1], name)
		}
	}
}

func TestListen(t *testing.T) {
	m := New(Config{Caption: "here"})
	for address, want := range map[string]string{
		"": `^http://(127\.0\.0\.1|\[::1\]):\d+/$`, ":0": `^http://(127\.0\.0\.1|\[::1\]):\d+/$`,
		"localhost:0": `^http://(127\.0\.0\.1|\[::1\]):\d+/$`, "127.0.0.1:0": `^http://127\.0\.0\.1:\d+/$`,
	} {
		url, err := m.Listen(address)
		require.NoError(t, err, address)
		require.Regexp(t, want, url)
		r, err := http.Get(url + "snapshot")
		require.NoError(t, err)
		var s State
		require.NoError(t, json.NewDecoder(r.Body).Decode(&s))
		require.NoError(t, r.Body.Close())
		require.Equal(t, "here", s.Caption)
	}
	for at, want := range map[string]string{
		"[::]:8990": "localhost:8990", "[::ffff:10.0.0.1]:80": "10.0.0.1:80", "[fe80::1%eth0]:8990": "[fe80::1%25eth0]:8990",
	} {
		require.Equal(t, want, urlHost(netip.MustParseAddrPort(at)), "as a URL has it")
	}
	for _, bad := range []string{"localhost", "8990", "localhost:x", "[::1", "1.2.3.4.5:0", "localhost:65536"} {
		_, err := m.Listen(bad)
		require.ErrorContains(t, err, "monitor: ", bad)
	}
	url, err := m.Listen("")
	require.NoError(t, err)
	_, err = m.Listen(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"))
	require.ErrorContains(t, err, "in use")
	require.NoError(t, m.Close())
	_, err = http.Get(url)
	require.Error(t, err, "it is closed")
	require.NoError(t, m.Close())
}

// Who opens a connection and says nothing does not keep Close waiting.
func TestCloseWithIdleConnections(t *testing.T) {
	m := New(Config{})
	url, err := m.Listen("127.0.0.1:0")
	require.NoError(t, err)
	for range 3 {
		c, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "http:"), "/"))
		require.NoError(t, err)
		defer c.Close()
	}
	done := make(chan error)
	go func() { done <- m.Close() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		require.Fail(t, "Close waits for clients")
	}
}

// Names are told apart, and free again.
func TestWatch(t *testing.T) {
	w := newWatching(t)
	names := func() (all []string) {
		for _, i := range w.m.State().Instances {
			all = append(all, i.Name)
		}
		return all
	}
	second, third := w.m.Watch("here", w.there), w.m.Watch("here", w.there)
	require.Equal(t, []string{"here", "there", "here-2", "here-3"}, names())
	second()
	second()
	require.Equal(t, []string{"here", "there", "here-3"}, names())
	w.m.Watch("here", w.there)
	w.m.Watch("\xff", w.there)
	require.Equal(t, []string{"here", "there", "here-3", "here-2", "\ufffd"}, names())
	third()
	w.b.Tprint("heard by three")
	said := func() uint64 {
		n, _ := w.m.words.after(0, keptWords, func(uint64, *word) {})
		return n
	}
	require.Eventually(t, func() bool { return said() == 3 }, time.Minute, time.Millisecond)
}

// What is too much for the page is cut, and counted.
func TestForPage(t *testing.T) {
	s := grasp.Snapshot{}
	for range 3 * pageRows {
		s.Floods = append(s.Floods, grasp.FloodState{Value: strings.Repeat("ж", pageValue)})
		s.Objectives = append(s.Objectives, grasp.ObjectiveState{Value: "short"})
	}
	p := forPage(InstanceState{Name: "x", Snapshot: s})
	require.Len(t, p.Snapshot.Floods, pageRows)
	require.Equal(t, 3*pageRows, p.Counts["Floods"])
	require.Equal(t, strings.Repeat("ж", pageValue/2)+"…", p.Snapshot.Floods[0].Value)
	require.Equal(t, "short", p.Snapshot.Objectives[0].Value)
	require.Zero(t, p.Counts["Links"])
}

// Bubbles go with the instance.
func TestBubbles(t *testing.T) {
	g, err := grasp.New(grasp.Config{Plane: memory.NewNetwork(1).NewNode("x"), Dialogue: grasp.Dialogue{Silent: true}})
	require.NoError(t, err)
	url, err := bubbles("a caption", g)
	require.NoError(t, err)
	a, err := g.RegisterASA("Briggs")
	require.NoError(t, err)
	a.Tprint("hello")
	r, err := http.Get(url + "events?want=words")
	require.NoError(t, err)
	defer r.Body.Close()
	buf := make([]byte, 1000)
	var text string
	for !strings.Contains(text, "hello") {
		n, err := r.Body.Read(buf)
		require.NoError(t, err)
		text += string(buf[:n])
		text = strings.Replace(text, "event: hello", "", 1)
	}
	require.Contains(t, text, `"Caption":"a caption"`)
	require.NoError(t, g.Close())
	require.Eventually(t, func() bool {
		r, err := http.Get(url)
		if err == nil {
			_ = r.Body.Close()
		}
		return err != nil
	}, 30*time.Second, 10*time.Millisecond)
}

// InitBubbleText is about the default instance, which is on real links.
func TestInitBubbleText(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	url, err := InitBubbleText("caption")
	require.NoError(t, err)
	g, err := grasp.Default()
	require.NoError(t, err)
	defer g.Close()
	grasp.Tprint("said by nobody")
	r, err := http.Get(url + "snapshot")
	require.NoError(t, err)
	defer r.Body.Close()
	var s State
	require.NoError(t, json.NewDecoder(r.Body).Decode(&s))
	require.Len(t, s.Instances, 1)
	require.Equal(t, g.Snapshot().Port, s.Instances[0].Snapshot.Port)
}

// Who only imports grasp gets no web server.
func TestCoreWithoutHTTP(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "..").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "github.com/go-grasp/grasp/internal/wire\n")
	require.NotContains(t, string(out), "net/http")
	require.NotContains(t, string(out), "github.com/go-grasp/grasp/monitor")
}
