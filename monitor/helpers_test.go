package monitor

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// watching is a monitor of two instances on a link in memory.
type watching struct {
	m           *Monitor
	here, there *grasp.Instance
	a, b        *grasp.ASA
	stranger    acp.Endpoint // a node without an instance
	link        int          // the stranger's
}

func newWatching(t testing.TB) *watching {
	t.Helper()
	n := memory.NewNetwork(1)
	// With a delay, a message is traced as sent before anybody answers it.
	link := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
	w := &watching{m: New(Config{Caption: "test"})}
	t.Cleanup(func() { require.NoError(t, w.m.Close()) })
	w.here, w.a = w.instance(t, n.NewNode("here", link), "here", "A")
	w.there, w.b = w.instance(t, n.NewNode("there", link), "there", "B")
	var err error
	w.stranger, err = n.NewNode("stranger", link).Open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.stranger.Close()) })
	w.link = w.stranger.Links()[0].Index
	return w
}

func (w *watching) instance(t testing.TB, node *memory.Node, name, asa string) (*grasp.Instance, *grasp.ASA) {
	t.Helper()
	g, err := grasp.New(grasp.Config{Plane: node, Dialogue: grasp.Dialogue{Silent: true}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	w.m.Watch(name, g)
	a, err := g.RegisterASA(asa)
	require.NoError(t, err)
	return g, a
}

// flood floods an objective from here.
func (w *watching) flood(t testing.TB, name string, value any) {
	t.Helper()
	o := grasp.Objective{Name: name, Synch: true, Value: value}
	if err := w.a.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		require.ErrorIs(t, err, grasp.ErrObjReg) // by a call before
	}
	require.NoError(t, w.a.Flood(0, grasp.TaggedObjective{Objective: o}))
}

// get asks the monitor as a program on this host does.
func get(m *Monitor, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:8990"+path, nil)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv6loopback, Port: 8990}))
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

func getJSON[T any](t testing.TB, m *Monitor, path string) (v T) {
	t.Helper()
	w := get(m, path)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

// pipes is a listener of connections in memory, which take part in the virtual
// time of testing/synctest.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serve serves a monitor until the test ends, and returns what connects to it.
func serve(t testing.TB, m *Monitor) (dial func() net.Conn) {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: m}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(p) }) // until it is closed
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		serving.Wait()
	})
	return func() net.Conn {
		ours, theirs := net.Pipe()
		p.conns <- theirs
		return ours
	}
}

// client is one that reads events.
type client struct {
	net.Conn
	lines *bufio.Scanner
	id    string // of the last event
}

// event is one that a client got.
type event struct{ name, data string }

// ask has a new client ask for events, and returns it with the status.
func ask(t testing.TB, conn net.Conn, query string, header ...string) (*client, *http.Response) {
	t.Helper()
	request := "GET /events?" + query + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(header, "") + "\r\n"
	_, err := conn.Write([]byte(request))
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	c := &client{Conn: conn, lines: bufio.NewScanner(response.Body)}
	c.lines.Buffer(nil, 10<<20)
	t.Cleanup(func() { _ = conn.Close() })
	return c, response
}

// next returns the next event. It is false at the end.
func (c *client) next() (e event, ok bool) {
	for c.lines.Scan() {
		name, value, _ := strings.Cut(c.lines.Text(), ": ")
		switch name {
		case "id":
			c.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e, true
			}
		}
	}
	return e, false
}

// nextOf returns what the next event with a name says.
func nextOf[T any](t testing.TB, c *client, name string) (v T) {
	t.Helper()
	for {
		e, ok := c.next()
		require.True(t, ok, "no more events; wanted %s", name)
		if e.name == name {
			require.NoError(t, json.Unmarshal([]byte(e.data), &v))
			return v
		}
	}
}
