package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	interval  = 100 * time.Millisecond // how often to look for something new
	stateTime = time.Second            // between snapshots
	quietTime = 15 * time.Second       // a page that got nothing for that long gets a comment
	writeTime = 10 * time.Second       // how long a client may take to read an event
	history   = 300                    // how many lines and messages a new page gets
)

// Words is a line that an ASA said.
type Words struct {
	N        uint64 // counts up
	Time     time.Time
	Instance string // the name under which it is watched
	ASA      string // empty for the program as a whole
	Text     string
}

// hello is the first event of a page.
type hello struct {
	Caption, Run string
}

// serveEvents sends what the parameters ask for (lines, messages, snapshots and more) as
// it happens, until the client goes or the monitor is closed. Nothing is queued for a
// client: it gets what the rings hold when it is ready to read.
func (m *Monitor) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case m.pages <- struct{}{}:
		defer func() { <-m.pages }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	p := &page{m: m, w: w, control: http.NewResponseController(w)}
	q := r.URL.Query()
	wants := func(what string) bool { return slices.Contains(q["want"], what) }
	words, messages := p.resume(r.Header.Get("Last-Event-ID"))
	if wants("words") {
		p.words = &wordReader{ring: m.words, at: words}
	}
	if wants("messages") {
		p.messages = newMessageReader(m.messages, newFilter(q), messages)
	}
	p.state, p.network = wants("state"), wants("network")
	p.history, p.names = wants("history"), given(q["instance"])

	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method != http.MethodHead {
		p.run(r)
	}
}

// page is a client of serveEvents.
type page struct {
	m        *Monitor
	w        http.ResponseWriter
	control  *http.ResponseController
	words    *wordReader    // nil if not wanted
	messages *messageReader // nil if not wanted
	state    bool
	stated   time.Time // when the last snapshot was sent
	network  bool
	netted   time.Time // when the last network was sent
	history  bool
	told     time.Time // the end of the last history that was sent
	names    []string  // of the instances whose history is wanted; none: all
	wrote    time.Time
	err      error // the first of writing
}

// run serves the page.
func (p *page) run(r *http.Request) {
	p.send("hello", hello{Caption: p.m.caption, Run: p.m.run})
	p.catchUp()
	p.mayNetwork(r.Context())
	every := time.NewTicker(interval)
	defer every.Stop()
	for p.err == nil {
		select {
		case <-every.C:
			p.news()
			p.mayNetwork(r.Context())
		case <-r.Context().Done():
			return
		case <-p.m.closing:
			p.send("closing", nil)
			return
		}
	}
}

// resume returns the numbers of the last line and the last message that a client
// has got, from the id of the last event it got.
func (p *page) resume(last string) (words, messages uint64) {
	var w, n uint64
	if _, err := fmt.Sscanf(last, p.m.run+".%d.%d", &w, &n); err != nil {
		return 0, 0 // nothing, or of another run
	}
	return w, n
}

// id returns the id of the event being sent.
func (p *page) id() string {
	var words, messages uint64
	if p.words != nil {
		words = p.words.at
	}
	if p.messages != nil {
		messages = max(p.messages.at, p.messages.from)
	}
	return fmt.Sprintf("%s.%d.%d", p.m.run, words, messages)
}

// catchUp shows the past to a new page.
func (p *page) catchUp() {
	if p.words != nil {
		sendSome(p, "words", readAll(p.words.read, history))
	}
	if p.messages != nil {
		sendSome(p, "messages", readAll(p.messages.read, history))
	}
	p.mayState()
	p.mayHistory()
}

// missed tells the page how much it missed because it was too slow.
type missed struct {
	Words, Messages uint64
}

// news sends what is new, or the first part of it if that is much.
func (p *page) news() {
	var gap missed
	if p.words != nil {
		var some []Words
		some, _, gap.Words = p.words.read()
		sendSome(p, "words", some)
	}
	if p.messages != nil {
		var some []Message
		some, _, gap.Messages = p.messages.read()
		sendSome(p, "messages", some)
	}
	if gap != (missed{}) {
		p.send("missed", gap)
	}
	p.mayState()
	p.mayHistory()
	if time.Since(p.wrote) > quietTime {
		p.write(": still here\n\n")
	}
}

func (p *page) mayState() {
	if p.state && time.Since(p.stated) >= stateTime {
		p.stated = time.Now()
		p.send("state", p.m.pageState())
	}
}

// mayHistory sends the last hour whenever another step of it is over.
func (p *page) mayHistory() {
	if !p.history {
		return
	}
	now := time.Now()
	if d := now.Sub(p.told); d >= 0 && d < historyStep { // below 0: the clock was set back
		return
	}
	p.told = now.Truncate(historyStep)
	p.send("history", p.m.histories(p.names, now))
}

func (p *page) mayNetwork(ctx context.Context) {
	if p.network && time.Since(p.netted) >= followTime {
		p.netted = time.Now()
		p.send("network", p.m.Network(ctx))
	}
}

// sendSome sends an event with a list, unless the list is empty.
func sendSome[T any](p *page, name string, things []T) {
	if len(things) > 0 {
		p.send(name, things)
	}
}

// send sends an event.
func (p *page) send(name string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		p.err = err
		return
	}
	p.write(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", p.id(), name, b))
}

// write writes at once, if nothing failed before.
func (p *page) write(text string) {
	if p.err != nil {
		return
	}
	p.wrote = time.Now()
	_ = p.control.SetWriteDeadline(p.wrote.Add(writeTime)) // where the server cannot, it has its own
	if _, p.err = p.w.Write([]byte(text)); p.err == nil {
		p.err = p.control.Flush()
	}
}

// wordReader reads the words of a monitor in order.
type wordReader struct {
	ring   *ring[word]
	at     uint64 // the number of the last one read
	looked bool   // read was called: what was overwritten before does not count as lost
}

// read returns the next words, whether there are more, and how many were lost.
func (r *wordReader) read() (out []Words, more bool, missed uint64) {
	r.at, missed = r.ring.after(r.at, chunk, func(n uint64, w *word) {
		out = append(out, Words{N: n, Time: w.at, Instance: w.from.name, ASA: w.asa, Text: w.text})
	})
	if !r.looked {
		r.looked, missed = true, 0
	}
	return out, len(out) == chunk, missed
}

// readAll reads everything that a ring had at the beginning, at least, and returns the
// last few, as many as asked for. It does not go on for as long as more comes than it can
// read.
func readAll[T any](read func() ([]T, bool, uint64), most int) (out []T) {
	for range 1 + max(keptWords, keptMessages)/chunk {
		some, more, _ := read()
		out = append(out, some...)
		out = out[max(0, len(out)-most):]
		if !more {
			break
		}
	}
	return out
}
