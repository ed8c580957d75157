package grasp

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/time/rate"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/outlet"
	"github.com/go-grasp/grasp/internal/wire"
)

// Dialogue says what an instance prints. The Python prototype asks for these settings
// on the terminal when it starts; here a program may call [AskDialogue].
type Dialogue struct {
	// Testing turns on test mode: Ttprint prints.
	Testing bool
	// Diagnosing prints why messages were dropped.
	Diagnosing bool
	// Silent prints nothing, whatever else is set.
	Silent bool
	// Output is where to print; nil means standard output. Calls that print wait for
	// it. What Diagnosing prints waits in a queue of 8192 lines, so that it holds up
	// nobody; further lines are lost and counted under ReasonSlowReceiver.
	Output io.Writer
}

// AskDialogue asks the questions of the Python prototype on out and reads the answers,
// a line each, from in. An answer that begins with y means yes, any other answer and
// the end of the input mean no. It blocks while reading from in does.
func AskDialogue(in io.Reader, out io.Writer) (Dialogue, error) {
	var d Dialogue
	lines := bufio.NewScanner(in)
	for _, q := range []struct {
		text string
		set  *bool
	}{
		{"Test mode (many extra diagnostics)? Y/N: ", &d.Testing},
		{"Print message syntax diagnostics? Y/N: ", &d.Diagnosing},
		{"Run silently? Y/N: ", &d.Silent},
	} {
		if _, err := io.WriteString(out, q.text); err != nil {
			return d, err
		}
		if !lines.Scan() {
			break
		}
		answer := strings.TrimSpace(lines.Text())
		*q.set = strings.HasPrefix(answer, "y") || strings.HasPrefix(answer, "Y")
	}
	return d, lines.Err()
}

// printer prints lines, each with one write.
type printer struct {
	dialogue  Dialogue
	observers *observers             // nil if there can be none
	limiter   *rate.Limiter          // of what diagnose prints; nil: none
	lines     *outlet.Outlet[string] // by which the instance prints
	turn      chan struct{}          // one slot, full while somebody writes; the instance never waits for it
}

// newPrinter returns a printer. It calls lost for each line that the instance
// prints but Output is too slow for.
func newPrinter(d Dialogue, o *observers, lost func()) *printer {
	if d.Output == nil {
		d.Output = os.Stdout
	}
	p := &printer{dialogue: d, observers: o, turn: make(chan struct{}, 1)}
	p.lines = outlet.New(p.write, lost)
	return p
}

// say prints things, separated by spaces, after the name of who says it, and
// tells the observers.
func (p *printer) say(who string, things []any) {
	heard := p.observers != nil && len(p.observers.list()) > 0
	if p.dialogue.Silent && !heard {
		return
	}
	who, text := printable(who), line(things)
	if heard {
		p.observers.words(who, text)
	}
	if who != "" {
		text = who + ": " + text
	}
	p.write(text + "\n")
}

// line returns things, separated by spaces, fit to be printed on a line.
func line(things []any) string {
	return printable(strings.TrimSuffix(fmt.Sprintln(things...), "\n"))
}

// write writes lines that are fit to be printed.
func (p *printer) write(text string) {
	if p.dialogue.Silent {
		return
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	_, _ = io.WriteString(p.dialogue.Output, text)
}

// test prints in test mode only.
func (p *printer) test(who string, things []any) {
	if p.dialogue.Testing {
		p.say(who, things)
	}
}

// diagnose prints why something was dropped if Diagnosing is set, except for this
// instance's own multicasts, which come back all the time. It returns false if that was
// one line too many in a second.
func (p *printer) diagnose(e Event) bool {
	if !p.dialogue.Diagnosing || p.dialogue.Silent || e.Reason == ReasonOwn {
		return true
	}
	if p.limiter != nil && !p.limiter.Allow() {
		return false
	}
	things := []any{"Dropped:", e.Reason}
	if e.Message != "" {
		things = append(things, e.Message)
	}
	if e.Objective != "" {
		things = append(things, strconv.Quote(e.Objective))
	}
	if e.Peer.IsValid() {
		things = append(things, "from", e.Peer)
	}
	if e.Err != nil {
		things = append(things, e.Err)
	}
	text := line(things) + "\n"
	p.lines.Put(text, len(text))
	return true
}

// printable makes text that may come from a peer safe to print: it has no command for
// the terminal, and no line breaks.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// Tprint prints things, separated by spaces, on a line that begins with the ASA's
// name. It may be called concurrently. Text from a peer is safe to print: control
// characters and what is not UTF-8 are replaced. Config.Dialogue says whether and where
// it prints; observers get the line, too, see [Instance.Observe].
func (a *ASA) Tprint(things ...any) { a.g.print.say(a.name, things) }

// Ttprint prints like Tprint, in test mode only.
func (a *ASA) Ttprint(things ...any) { a.g.print.test(a.name, things) }

// DumpAll prints what the instance knows, from a [Snapshot]: all of it, or
// with partial the objectives and flooded values only.
func (g *Instance) DumpAll(partial bool) {
	g.print.write(g.Snapshot().text(partial))
}

// Snapshot is what an instance knows at one moment. It can be encoded as JSON.
// Values are in CBOR's diagnostic notation.
type Snapshot struct {
	Status     acp.Status
	Port       uint16
	Address    netip.Addr // given to others; the zero Addr if there is none
	Links      []acp.Link
	Interfaces []acp.Interface // which interfaces are links, and why others are not
	// LinkTrouble is what keeps the plane from using or knowing some links, ""
	// if nothing does.
	LinkTrouble       string
	acp.Neighbourhood // empty if the plane does not tell members from others one by one
	ASAs              []string
	Objectives        []ObjectiveState
	Locators          []LocatorState // the discovery cache
	Floods            []FloodState   // the flood cache
	Sessions          []SessionState // negotiations
	SessionIDs        int            // in use, by all kinds of sessions
	Searches          int            // discoveries under way
	Responses         int            // discovery responses under way
	Streams           int            // open connections
	Pending           int            // of them, those that have not said yet what they are for
	// Sent, Received and Relayed count messages by type, such as "M_FLOOD";
	// those relayed count for each link.
	Sent, Received, Relayed map[string]uint64
	Dropped                 map[Reason]uint64
}

// ObjectiveState is a registered objective.
type ObjectiveState struct {
	Name            string
	ASAs            []string
	Neg, Dry, Synch bool
	LoopCount       uint8
	TTL             time.Duration
	Discoverable    bool   // discovery is answered
	Negotiating     bool   // an ASA listens for negotiation
	Synchronizing   bool   // an ASA listens for synchronization
	Waiting         int    // requests that wait for a listener
	Value           string // given to ListenSynchronize
}

// LocatorState is a cached locator.
type LocatorState struct {
	Objective string
	Locator   Locator
}

// FloodState is a flooded value.
type FloodState struct {
	Objective string
	LoopCount uint8
	Source    Locator
	Value     string
}

// SessionState is a negotiation under way.
type SessionState struct {
	ID        uint32
	Objective string
	ASA       string // empty while the request is queued
	Peer      netip.AddrPort
	Initiator bool // this side asked
}

// Snapshot returns what the instance knows now. Its parts are taken one after
// the other: each is consistent in itself.
func (g *Instance) Snapshot() Snapshot {
	s := Snapshot{
		Status:     g.cfg.Plane.Status(),
		Port:       g.ep.Port(),
		Address:    g.ep.Addr(),
		Links:      slices.Clone(g.ep.Links()),
		ASAs:       g.names(),
		Objectives: g.objectives.states(),
		Locators:   g.locators.states(),
		SessionIDs: g.sessions.Len(),
		Searches:   g.searches.len(),
		Responses:  g.responders.len(),
		Sent:       make(map[string]uint64),
		Received:   make(map[string]uint64),
		Relayed:    make(map[string]uint64),
		Dropped:    make(map[Reason]uint64),
	}
	interfaces, amiss := acp.Interfaces(g.ep)
	s.Interfaces = slices.Clone(interfaces)
	if amiss != nil {
		s.LinkTrouble = amiss.Error()
	}
	s.Neighbourhood, _ = acp.NeighbourhoodOf(g.ep)
	s.Streams, s.Pending = g.streams.count()
	for _, e := range g.floods.all() {
		source := decodeLocator(e.Place.Locator, e.Link)
		source.Expire = e.Expire
		s.Floods = append(s.Floods, FloodState{e.Objective.Name, e.Objective.LoopCount, source, diagnose(e.Objective.Value)})
	}
	slices.SortStableFunc(s.Floods, func(a, b FloodState) int { return cmp.Compare(a.Objective, b.Objective) })
	for _, n := range g.sessions.All() {
		state := SessionState{ID: n.key.ID, Objective: n.name, Peer: n.Source(), Initiator: !n.key.Initiator.IsValid()}
		if asa := n.owner(); asa != nil {
			state.ASA = asa.name
		}
		s.Sessions = append(s.Sessions, state)
	}
	slices.SortFunc(s.Sessions, func(a, b SessionState) int { return cmp.Compare(a.ID, b.ID) })
	for t := range g.counters.sent {
		if n := g.counters.sent[t].Load(); n > 0 {
			s.Sent[wire.Type(t).String()] = n
		}
		if n := g.counters.received[t].Load(); n > 0 {
			s.Received[wire.Type(t).String()] = n
		}
		if n := g.counters.relayed[t].Load(); n > 0 {
			s.Relayed[wire.Type(t).String()] = n
		}
	}
	for r := range g.counters.dropped {
		if n := g.counters.dropped[r].Load(); n > 0 {
			s.Dropped[Reason(r)] = n
		}
	}
	return s
}

// names returns the names of the ASAs in order.
func (g *Instance) names() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for name := range g.asas {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// diagnose returns a value in diagnostic notation.
func diagnose(value []byte) string {
	text, err := cbor.Diagnose(value)
	if err != nil {
		return fmt.Sprintf("h'%x'", value)
	}
	return text
}

// String returns the snapshot for people, in lines: what [Instance.DumpAll] prints.
func (s Snapshot) String() string { return s.text(false) }

// text returns the snapshot for people, or with partial its objectives and
// floods.
func (s Snapshot) text(partial bool) string {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(printable(fmt.Sprintf(format, args...)))
		b.WriteByte('\n')
	}
	if !partial {
		secure := strconv.FormatBool(s.Status.Secure)
		if s.Status.Secure && s.Status.Assumed {
			secure += ", assumed"
		}
		line("Plane: secure %s: %s", secure, s.Status.Reason)
		address := "none but link-local"
		if s.Address.IsValid() {
			address = s.Address.String()
		}
		line("Address: %s, port %d", address, s.Port)
		for _, l := range s.Links {
			line("Link: %d %s %v", l.Index, l.Name, l.Addr)
		}
		for _, i := range s.Interfaces {
			if i.State != acp.LinkInUse {
				line("No link: %d %v", i.Index, i)
			}
		}
		if s.LinkTrouble != "" {
			line("Trouble with links: %s", s.LinkTrouble)
		}
		for _, n := range s.Neighbours {
			line("Neighbour: %s at %v", n.Identity, n.Addr)
		}
		for _, r := range s.Refusals {
			line("Refused: %s at %v: %s", cmp.Or(r.Identity, "somebody"), r.Peer, r.Reason)
		}
		line("ASAs: %s", strings.Join(s.ASAs, ", "))
	}
	line("Objective registry: %d", len(s.Objectives))
	for _, o := range s.Objectives {
		line("  %s ASAs: %s Neg: %v Dry: %v Synch: %v Count: %d Discoverable: %v Waiting: %d Value: %s",
			o.Name, strings.Join(o.ASAs, ", "), o.Neg, o.Dry, o.Synch, o.LoopCount, o.Discoverable, o.Waiting, o.Value)
	}
	line("Flood cache: %d", len(s.Floods))
	for _, f := range s.Floods {
		line("  %s count: %d value: %s source: %v%s", f.Objective, f.LoopCount, f.Value, f.Source, left(f.Source.Expire))
	}
	if partial {
		return b.String()
	}
	line("Discovery cache: %d", len(s.Locators))
	for _, l := range s.Locators {
		line("  %s %v diverted: %v%s", l.Objective, l.Locator, l.Locator.Diverted, left(l.Locator.Expire))
	}
	line("Sessions: %d", len(s.Sessions))
	for _, n := range s.Sessions {
		line("  %d %s ASA: %s peer: %v initiator: %v", n.ID, n.Objective, n.ASA, n.Peer, n.Initiator)
	}
	line("Connections: %d", s.Streams)
	line("Sent: %v", s.Sent)
	line("Received: %v", s.Received)
	line("Relayed: %v", s.Relayed)
	line("Dropped: %v", s.Dropped)
	return b.String()
}

// left says how long something lives.
func left(expire time.Time) string {
	if expire.IsZero() {
		return ""
	}
	return fmt.Sprintf(" expires in %v", time.Until(expire).Round(time.Second))
}

// standard is the default instance: the one piece of state that belongs to
// the package.
var standard struct {
	mu       sync.Mutex // guards all following fields
	g        *Instance
	dialogue Dialogue
}

// Default returns the default instance, which the package-level functions
// serve. The first call starts it, with the zero Config and what
// [SkipDialogue] set; so does a call after it was closed.
func Default() (*Instance, error) {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	if standard.g != nil && standard.g.ctx.Err() == nil {
		return standard.g, nil
	}
	g, err := New(Config{Dialogue: standard.dialogue})
	if err != nil {
		return nil, err
	}
	standard.g = g
	return g, nil
}

// RegisterASA registers an ASA with the default instance, which it starts if
// need be. See [Instance.RegisterASA].
func RegisterASA(name string) (*ASA, error) {
	g, err := Default()
	if err != nil {
		return nil, err
	}
	return g.RegisterASA(name)
}

// SkipDialogue sets how the default instance prints. It has an effect only
// before the default instance is first used.
func SkipDialogue(d Dialogue) {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	if standard.g == nil {
		if d.Output != nil {
			d.Output = inTurn{d.Output, make(chan struct{}, 1)}
		}
		standard.dialogue = d
	}
}

// inTurn writes for several printers, one at a time: those that print before the default
// instance starts, and its own.
type inTurn struct {
	io.Writer
	turn chan struct{}
}

func (w inTurn) Write(b []byte) (int, error) {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	return w.Writer.Write(b)
}

// standardPrinter returns the printer of the default instance, started or not.
func standardPrinter() *printer {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	if standard.g != nil {
		return standard.g.print
	}
	return newPrinter(standard.dialogue, nil, func() {})
}

// Tprint prints with the settings of the default instance. See [ASA.Tprint].
func Tprint(things ...any) { standardPrinter().say("", things) }

// Ttprint prints in test mode only. See [ASA.Tprint].
func Ttprint(things ...any) { standardPrinter().test("", things) }

// DumpAll prints what the default instance knows. See [Instance.DumpAll].
// Before it was first used there is nothing to print.
func DumpAll(partial bool) {
	standard.mu.Lock()
	g := standard.g
	standard.mu.Unlock()
	if g != nil {
		g.DumpAll(partial)
	}
}
