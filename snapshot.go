package grasp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// Snapshot is what an instance knows at one moment. It can be encoded as JSON.
// Values are in CBOR's diagnostic notation.
type Snapshot struct {
	Status     acp.Status
	Port       uint16
	Address    netip.Addr // given to others; the zero Addr if there is none
	Links      []acp.Link
	ASAs       []string
	Objectives []ObjectiveState
	Locators   []LocatorState // the discovery cache
	Floods     []FloodState   // the flood cache
	Sessions   []SessionState // negotiations
	SessionIDs int            // in use, by all kinds of sessions
	Searches   int            // discoveries under way
	Responses  int            // discovery responses under way
	Streams    int            // open connections
	Pending    int            // of them, those that have not said yet what they are for
	// Sent, Received and Relayed count messages by type (relayed ones for each
	// link), Dropped what was dropped by reason.
	Sent, Received, Relayed, Dropped map[string]uint64
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
	Value           string // answered to synchronization
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
	ASA       string // empty until a listener takes it
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
		Dropped:    make(map[string]uint64),
	}
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
			s.Dropped[Reason(r).String()] = n
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

// states returns the registered objectives in order of their names.
func (t *objectiveTable) states() []ObjectiveState {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []ObjectiveState
	for name, r := range t.byName {
		s := ObjectiveState{
			Name: name,
			Neg:  r.flags&wire.FlagNeg != 0, Dry: r.flags&wire.FlagNegDry != 0, Synch: r.flags&wire.FlagSynch != 0,
			LoopCount: r.loops, TTL: r.opt.TTL,
			Negotiating: r.backlog.listening(), Synchronizing: r.value != nil, Waiting: r.backlog.len(),
		}
		s.Discoverable = r.opt.Discoverable || s.Negotiating || s.Synchronizing
		if r.value != nil {
			s.Value = diagnose(r.value)
		}
		for a := range r.owners {
			s.ASAs = append(s.ASAs, a.name)
		}
		slices.Sort(s.ASAs)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ObjectiveState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// states returns the living locators in order of their objectives.
func (c *locatorCache) states() (out []LocatorState) {
	c.do(func(c *cache.Locators) {
		c.Each(time.Now(), func(name string, l *cache.Locator) {
			out = append(out, LocatorState{name, locatorOf(l)})
		})
	})
	slices.SortStableFunc(out, func(a, b LocatorState) int { return cmp.Compare(a.Objective, b.Objective) })
	return out
}

// len returns how many requests wait.
func (b *backlog) len() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue.Len()
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
		line("Plane: secure %v: %s", s.Status.Secure, s.Status.Reason)
		address := "none but link-local"
		if s.Address.IsValid() {
			address = s.Address.String()
		}
		line("Address: %s, port %d", address, s.Port)
		for _, l := range s.Links {
			line("Link: %d %s %v", l.Index, l.Name, l.Addr)
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
