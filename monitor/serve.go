package monitor

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

//go:embed page
var files embed.FS

// assets are the files of the page and their types, which must not be left to
// the tables of the system.
var assets = map[string]string{
	"style.css":       "text/css; charset=utf-8",
	"app.js":          "text/javascript; charset=utf-8",
	"elements.js":     "text/javascript; charset=utf-8",
	"bubbles.js":      "text/javascript; charset=utf-8",
	"negotiations.js": "text/javascript; charset=utf-8",
	"instance.js":     "text/javascript; charset=utf-8",
	"log.js":          "text/javascript; charset=utf-8",
	"history.js":      "text/javascript; charset=utf-8",
	"network.js":      "text/javascript; charset=utf-8",
	"map.js":          "text/javascript; charset=utf-8",
	"icon.svg":        "image/svg+xml",
}

func (m *Monitor) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", asset("index.html", "text/html; charset=utf-8"))
	for name, kind := range assets {
		mux.HandleFunc("GET /"+name, asset(name, kind))
	}
	mux.HandleFunc("GET /events", m.serveEvents)
	mux.HandleFunc("GET /metrics", m.serveMetrics)
	mux.HandleFunc("GET /network", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, m.Network(r.Context())) })
	mux.HandleFunc("GET /snapshot", func(w http.ResponseWriter, r *http.Request) {
		s := m.State()
		if r.URL.Query().Get("for") == "network" {
			s = s.forNetwork()
		}
		writeJSON(w, s)
	})
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, m.histories(given(r.URL.Query()["instance"]), time.Now()))
	})
	mux.HandleFunc("GET /messages", func(w http.ResponseWriter, r *http.Request) {
		all := readAll(newMessageReader(m.messages, newFilter(r.URL.Query()), 0).read, keptMessages)
		writeJSON(w, append([]Message{}, all...)) // none is an empty array
	})
	return mux
}

func asset(name, kind string) http.HandlerFunc {
	content, err := files.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(content)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // fails only if the client is gone
}

// policy lets the page load its own files and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP serves the page and what programs read: see the package's
// documentation. It gives up a client that does not send its request, or does not read
// its answer, within 10 s.
func (m *Monitor) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.serve(w, r, m.handler) }

// serve has a handler serve a request, if the request may be served at all.
func (m *Monitor) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	switch {
	case !m.isOurs(r.Host):
		http.Error(w, fmt.Sprintf("this monitor is not to be asked as %q: see Hosts in monitor.Config", r.Host), http.StatusForbidden)
		return
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate":
		http.Error(w, "not for pages from elsewhere", http.StatusForbidden)
		return
	}
	// Where the server cannot set deadlines, it has its own. It takes back that for writing
	// when it has sent the rest of the answer.
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime))
	if r.ContentLength != 0 { // the server waits for the body, which nobody wants
		_ = control.SetReadDeadline(time.Now().Add(writeTime))
	}
	next.ServeHTTP(w, r)
}

// isOurs reports whether a Host header names this host, as opposed to a name that
// somebody else has made resolve to it.
func (m *Monitor) isOurs(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		return true
	}
	return host == "localhost" || slices.ContainsFunc(m.hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// maxConnections bounds those to a server.
const maxConnections = 128

// server is one that Listen started.
type server struct {
	http.Server
	at   netip.AddrPort
	done chan struct{} // closed when it serves no more
}

// Listen serves the monitor at an address and port, such as "localhost:8990". A
// port alone, such as ":8990", is that port of localhost; "" is a free port of
// localhost. Listen returns the page's URL at once, and the server runs until Close.
// To serve other hosts, give an address, such as [::]:8990 for all: then it serves only
// who has [Config].Token or, without one, a token that Listen makes. The URL has it.
func (m *Monitor) Listen(address string) (url string, err error) {
	host, port, err := net.SplitHostPort(address)
	if address == "" {
		port, err = "0", nil
	}
	if err != nil {
		return "", fmt.Errorf("monitor: listen: %w", err)
	}
	if host == "" {
		host = "localhost"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return "", fmt.Errorf("monitor: %w", err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	var handler http.Handler = m
	url, token := "http://"+urlHost(at)+"/", m.token
	if token == "" && !at.Addr().IsLoopback() {
		token = rand.Text()
		handler = m.behind(token)
	}
	if token != "" {
		url = withToken(url, token)
	}
	s := &server{done: make(chan struct{}), at: at, Server: http.Server{
		Handler: handler, ReadHeaderTimeout: writeTime, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // what clients do wrong is of no interest
	}}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return "", fmt.Errorf("monitor: %w", errors.Join(net.ErrClosed, l.Close()))
	}
	m.servers = append(m.servers, s)
	go func() {
		defer close(s.done)
		_ = s.Serve(netutil.LimitListener(l, maxConnections)) // until close
	}()
	return url, nil
}

// urlHost returns where a browser on this host finds a listener.
func urlHost(at netip.AddrPort) string {
	if at.Addr().IsUnspecified() {
		return fmt.Sprintf("localhost:%d", at.Port())
	}
	return urlHostPort(at.Addr(), int(at.Port()), at.Addr().Zone())
}

// urlHostPort returns a host and port as a URL has them (RFC 6874).
func urlHostPort(addr netip.Addr, port int, zone string) string {
	host := addr.Unmap().WithZone("").String()
	if zone != "" {
		host += "%25" + zone
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// close ends the server. Requests that are being served have a second to end.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	<-s.done
	return err
}
