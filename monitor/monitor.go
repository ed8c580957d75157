// Package monitor shows people what happens in GRASP instances: a page for a
// browser, and numbers for a monitoring system.
//
// # Use
//
// A [Monitor] watches any number of running instances and serves what it sees:
//
//	mon := monitor.New(monitor.Config{Caption: "bank"})
//	defer mon.Close()
//	mon.Watch("banker", g)
//	url, err := mon.Listen("localhost:8990")
//
// A program that has a server already uses the Monitor as an [http.Handler], at
// the root or, with [http.StripPrefix], below a path that ends in a slash.
// [InitBubbleText] is the call of that name of the Python prototype.
//
// # The page
//
// Its part Bubbles shows each line that an ASA prints with Tprint as a speech
// bubble, with a column for each ASA, and beside them the negotiations as ladders,
// step by step. Its part Node shows an instance: its links and whether they are
// protected, who its neighbours are and whom it refused, its ASAs and objectives, both
// caches with the time left, the sessions, the counters and their last hour, the
// negotiations, and the messages in words and in CBOR's diagnostic notation (RFC 8949
// section 8). A click on an objective, a session or a peer leaves only what has to do
// with it.
//
// Its part Network shows the instances of this monitor and of others that it follows:
// what is wrong first, then a map of nodes and links, what lives where and what is
// flooded where. [Monitor.Follow] names another monitor; [Monitor.Find] follows those
// that announce themselves with [Monitor.Announce].
//
// # For programs
//
// Programs read the same with GET:
//
//   - snapshot: a [State], as JSON, or with the parameter for=network only what the network
//     page shows of it;
//   - messages: an array of [Message], as JSON, the last 2000 at most, filtered
//     by the parameters instance, kind (sent, received, relayed, dropped), type
//     (M_DISCOVERY...), objective and session, each of which may be given several
//     times, peer, a part of its address, and text, a part of what is shown;
//   - history: an array of [History], as JSON, one for each instance or those that the
//     parameter instance names;
//   - network: a [Network], as JSON, of this monitor and those that it follows;
//   - metrics: gauges, counters and histograms in the Prometheus text format; of the
//     sessions and bytes, those since the monitor watches the instance;
//   - events: the lines and messages that the page shows, as server-sent events.
//
// # What it costs and keeps
//
// A monitor keeps the last 1000 lines and the last 2000 messages, and of each the
// first 2048 bytes: some megabytes at most. Of each instance it keeps counters of the
// last hour in steps of five seconds, the nodes that were heard, 256 at most, and, for
// metrics, the sessions under way, 1024 at most, and numbers of 50 objectives. It costs
// an instance one copy of each message (see [grasp.Instance.Observe]); notation and
// filtering are done when somebody looks. At most 16 pages are served at the same time. A
// slow page misses what happened meanwhile and is told how much; it delays nobody. Other
// monitors, 256 at most, are asked only while somebody looks at the network. Their answers
// share 64 MiB, and none may have more than 8 MiB; one that is longer than its share is not
// kept, and is a fault on the page.
//
// # Security
//
// The page is read-only, has no secrets of its own, and loads nothing from
// elsewhere. But whoever can reach it reads the values of objectives. So
// [Monitor.Listen] serves localhost only, unless it is given another address; every
// user of the host can read it there. Elsewhere it serves only who has a token, which the
// URL that Listen returns has as a parameter, and which programs send as a bearer token
// (RFC 6750). It is read by whoever can read the traffic, unless that is protected by
// other means, such as a reverse proxy with TLS. To keep other web pages from reading it by DNS
// rebinding, a monitor refuses requests for host names that are not in [Config].Hosts.
// Whatever ASAs and peers say is shown as text.
package monitor

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
)

// What a monitor keeps and serves at most.
const (
	keptWords    = 1000
	keptMessages = 2000
	keptBytes    = 2048 // of a message, and of a line
	maxPages     = 16
)

// Config is how a monitor is set up. The zero value is ready to use.
type Config struct {
	// Caption is the heading of the page; empty means GRASP.
	Caption string
	// Hosts are the host names that requests may have, beside localhost and
	// addresses, which they always may.
	Hosts []string
	// Token is what readers must have. If it is empty, Listen makes one whenever it
	// serves beyond localhost, and on localhost nobody needs one. Monitors that find each
	// other by [Monitor.Find] must have the same Token.
	Token string
}

// Monitor watches instances and serves what it sees. Its methods may be called
// from several goroutines at once.
type Monitor struct {
	caption  string
	hosts    []string
	run      string // differs from that of an earlier monitor on the same address
	handler  http.Handler
	words    *ring[word]
	messages *ring[message]
	pages    chan struct{} // a token for each page being served
	token    string
	closing  <-chan struct{}
	ctx      context.Context // ends when the monitor is closed
	cancel   context.CancelFunc
	working  sync.WaitGroup
	parsing  sync.Mutex // held while the answer of another monitor is decoded

	mu      sync.Mutex // guards all following fields
	watched []*watched
	servers []*server
	follows []*follow
	closed  bool
}

// New returns a monitor that watches nothing yet. Close ends it.
func New(cfg Config) *Monitor {
	m := &Monitor{
		caption: cfg.Caption, hosts: slices.Clone(cfg.Hosts), run: rand.Text(),
		words: newRing[word](keptWords), messages: newRing[message](keptMessages),
		pages: make(chan struct{}, maxPages), token: cfg.Token,
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.closing = m.ctx.Done()
	if m.caption == "" {
		m.caption = "GRASP"
	}
	m.handler = m.routes()
	if m.token != "" {
		m.handler = m.guarded(m.token, m.handler)
	}
	return m
}

// watched is an instance that a monitor watches.
type watched struct {
	m     *Monitor
	name  string
	g     *grasp.Instance
	tally *tally
	past  *past
	ears  *ears
	since time.Time
	stop  func()
}

// word is a line that an ASA said.
type word struct {
	at   time.Time
	from *watched
	asa  string
	text string
}

// message is what is kept of an event. The bytes of event.Raw are the ring's own.
type message struct {
	at    time.Time
	from  *watched
	event grasp.Event
	size  int // of the whole message
}

// Watch shows an instance under a name, until stop is called or the monitor is
// closed. If the name is in use, a number is added to it. An instance that is
// closed meanwhile is still shown, as it was last. Watch does not block.
func (m *Monitor) Watch(name string, g *grasp.Instance) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return func() {}
	}
	w := &watched{m: m, name: m.freeNameLocked(name), g: g, tally: newTally(), past: newPast(time.Now()), ears: newEars(), since: time.Now()}
	w.stop = g.Observe(grasp.Observer{Trace: w.trace, Words: w.say})
	m.watched = append(m.watched, w)
	return w.unwatch
}

// freeNameLocked returns the name, with a number if it is taken.
func (m *Monitor) freeNameLocked(name string) string {
	name = strings.ToValidUTF8(name, "\ufffd")
	free := name
	for i := 2; slices.ContainsFunc(m.watched, func(w *watched) bool { return w.name == free }); i++ {
		free = name + "-" + strconv.Itoa(i)
	}
	return free
}

func (w *watched) unwatch() {
	w.stop()
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.watched = slices.DeleteFunc(w.m.watched, func(other *watched) bool { return other == w })
}

// trace keeps an event, and counts it.
func (w *watched) trace(e grasp.Event) {
	w.tally.count(&e)
	w.past.count(&e)
	w.ears.listen(&e)
	w.m.messages.put(func(m *message) {
		raw := append(m.event.Raw[:0], e.Raw[:min(len(e.Raw), keptBytes)]...)
		*m = message{at: e.Time, from: w, event: e, size: len(e.Raw)}
		m.event.Raw = raw
	})
}

// say keeps a line.
func (w *watched) say(asa, text string) {
	if len(text) > keptBytes {
		text = strings.ToValidUTF8(text[:keptBytes], "") + "…"
	}
	w.m.words.put(func(s *word) { *s = word{at: time.Now(), from: w, asa: asa, text: text} })
}

// all returns the watched instances in the order in which they were added.
func (m *Monitor) all() []*watched {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.watched)
}

// Close ends the monitor: it stops watching, ends the pages being served and the
// servers that Listen started, and waits for these to end. It may be called more
// than once. The instances are not closed.
func (m *Monitor) Close() error {
	m.mu.Lock()
	m.closed = true
	m.cancel()
	watched, servers := m.watched, m.servers
	m.watched, m.servers = nil, nil
	m.mu.Unlock()
	for _, w := range watched {
		w.stop()
	}
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.close())
	}
	m.working.Wait()
	return errors.Join(errs...)
}
