package grasp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/negotiation"
	"github.com/go-grasp/grasp/internal/outlet"
	"github.com/go-grasp/grasp/internal/wire"
)

// EventKind says what happened to a message.
type EventKind uint8

// The kinds of events.
const (
	Sent EventKind = iota + 1
	Received
	Relayed
	Dropped
)

var kindNames = [...]string{Sent: "sent", Received: "received", Relayed: "relayed", Dropped: "dropped"}

func (k EventKind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown"
}

// MarshalText returns the word for the kind, and nothing for 0.
func (k EventKind) MarshalText() ([]byte, error) { return wordOf(k, kindNames[:]), nil }

// UnmarshalText is the inverse of MarshalText. It fails for other words.
func (k *EventKind) UnmarshalText(text []byte) error { return setWord(k, text, kindNames[:]) }

// wordOf returns the word for a number, and nothing if there is none.
func wordOf[T ~uint8](n T, words []string) []byte {
	if int(n) >= len(words) {
		return nil
	}
	return []byte(words[n])
}

// setWord sets a number to that of a word. 0 has the empty word.
func setWord[T ~uint8](n *T, text []byte, words []string) error {
	i := slices.Index(words, string(text))
	if i < 0 {
		return fmt.Errorf("unknown word %q", text)
	}
	*n = T(i)
	return nil
}

// Reason says why a message, a request or a connection was dropped.
type Reason uint8

// The reasons.
const (
	ReasonMalformed        Reason = iota + 1 // not well-formed CBOR, or cut short
	ReasonInvalid                            // CBOR, but not a GRASP message
	ReasonUnknownType                        // of a type that is not assigned
	ReasonTooLong                            // longer than Config.MaxMessage, or than Config.MaxTransfer in Session.Recv
	ReasonTooDeep                            // nested deeper than Config.MaxNesting
	ReasonTooManyItems                       // of more items than Config.MaxItems
	ReasonUnexpected                         // a message that does not belong there
	ReasonIdle                               // a connection that did not say within Config.IdleTimeout what it wants
	ReasonTooManyIdle                        // the oldest of too many such connections: Config.MaxIdle, Config.IdlePerPeer
	ReasonBroken                             // a connection that broke
	ReasonForeign                            // not from a member of the domain, says the plane: of another key, or from outside Layer2.Accept
	ReasonNoSecurity                         // came while the plane was not secure
	ReasonOwn                                // our own multicast, come back
	ReasonNoOtherLink                        // a discovery that this node cannot answer, nor relay for want of links
	ReasonLoopCount                          // a discovery that its loop count forbids to relay
	ReasonRelayedBefore                      // a discovery or flood that was relayed before
	ReasonRate                               // a discovery or flood beyond Config.RelayRate
	ReasonUnsolicited                        // a response to a discovery that is over or never was
	ReasonBadLocator                         // a locator that must not be used
	ReasonLinkLocalSource                    // a flood with link-local source that claims to go further
	ReasonNoListener                         // a request that nobody listens for
	ReasonBacklogFull                        // a request beyond Config.Backlog
	ReasonStale                              // a request that waited for longer than its timeout
	ReasonIDClash                            // a request whose session ID is in use, or a copy of one
	ReasonTooManySessions                    // a request beyond Config.MaxSessions
	ReasonPeerSessions                       // a request beyond Config.SessionsPerPeer
	ReasonTooManyWaits                       // a session whose peer asked for more time more often than Config.MaxWaits
	ReasonLongWait                           // what a peer asked for beyond Config.MaxWait
	ReasonTooManyFound                       // a locator beyond Config.MaxFound
	ReasonCacheFull                          // a locator or flooded value that was evicted from a full cache: Config.MaxCached and its like
	ReasonLifetime                           // what a peer gave beyond Config.LocatorLifetime or Config.FloodLifetime
	ReasonTooManyResponses                   // a discovery while too many are being answered
	ReasonSendFailed                         // a message of ours that could not be sent
	ReasonLogRate                            // a line of the log beyond Config.LogRate
	ReasonSlowReceiver                       // an event or a line for which an observer, the log or Dialogue.Output was too slow
	ReasonUnauthorized                       // what Config.Authorize refused
	ReasonRelayedByOther                     // what need not be relayed to a link, since another relay did: Config.RelayWait
	reasonCount
)

var reasonNames = [reasonCount]string{
	ReasonMalformed:        "malformed",
	ReasonInvalid:          "invalid",
	ReasonUnknownType:      "unknown type",
	ReasonTooLong:          "too long",
	ReasonTooDeep:          "too deep",
	ReasonTooManyItems:     "too many items",
	ReasonUnexpected:       "unexpected",
	ReasonIdle:             "idle",
	ReasonTooManyIdle:      "too many idle",
	ReasonBroken:           "broken",
	ReasonForeign:          "foreign",
	ReasonNoSecurity:       "no security",
	ReasonOwn:              "own multicast",
	ReasonNoOtherLink:      "no other link",
	ReasonLoopCount:        "loop count",
	ReasonRelayedBefore:    "relayed before",
	ReasonRate:             "relay rate",
	ReasonUnsolicited:      "unsolicited",
	ReasonBadLocator:       "bad locator",
	ReasonLinkLocalSource:  "link-local source",
	ReasonNoListener:       "no listener",
	ReasonBacklogFull:      "backlog full",
	ReasonStale:            "stale",
	ReasonIDClash:          "ID clash",
	ReasonTooManySessions:  "too many sessions",
	ReasonPeerSessions:     "too many sessions of a peer",
	ReasonTooManyWaits:     "too many waits",
	ReasonLongWait:         "long wait",
	ReasonTooManyFound:     "too many found",
	ReasonCacheFull:        "cache full",
	ReasonLifetime:         "lifetime",
	ReasonTooManyResponses: "too many responses",
	ReasonSendFailed:       "send failed",
	ReasonLogRate:          "log rate",
	ReasonSlowReceiver:     "slow receiver",
	ReasonUnauthorized:     "unauthorized",
	ReasonRelayedByOther:   "relayed by another",
}

func (r Reason) String() string {
	if r < reasonCount && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return "unknown"
}

// MarshalText returns the words for the reason, and nothing for 0.
func (r Reason) MarshalText() ([]byte, error) { return wordOf(r, reasonNames[:]), nil }

// UnmarshalText is the inverse of MarshalText. It fails for other words.
func (r *Reason) UnmarshalText(text []byte) error { return setWord(r, text, reasonNames[:]) }

// Event is what an [Observer] is told of a message. Which fields are set depends
// on what is known of it.
type Event struct {
	Time      time.Time // when it happened
	Kind      EventKind
	Reason    Reason         // why it was dropped
	Message   string         // its type, such as "M_DISCOVERY"
	SessionID uint32         // of the message
	Objective string         // the name of its first objective
	Peer      netip.AddrPort // where it came from or, by unicast, went to
	Link      int            // the link's index, 0 if not known
	Raw       []byte         // the message; observers share it and must not change it
	Err       error          // the cause
}

// MarshalJSON returns the event with its cause as text.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	text := struct {
		plain
		Err string
	}{plain: plain(e)}
	if e.Err != nil {
		text.Err = e.Err.Error()
	}
	return json.Marshal(text)
}

// Observer has functions that [Instance.Observe] calls with what happens in an
// instance. A nil function is not called.
type Observer struct {
	// Trace is called for every message sent, received, relayed or dropped, like
	// Config.Trace.
	Trace func(Event)
	// Words is called for every line of Tprint, and in test mode of Ttprint, whether
	// it is printed or not. asa is the ASA's name, empty for the functions of the
	// package; text is the line without the name, safe to print.
	Words func(asa, text string)
}

// Observe makes the instance report what happens to an observer from now on, until
// stop is called or the instance is closed.
//
// Each observer has a goroutine of its own, which calls its functions one at a time and
// in order, soon after an event: a received flood, for one, is in the cache by then. The
// functions may call the instance, and may take their time. At most 8192 events, or
// 2 MiB of messages, wait for one observer. It misses further events, and
// [Snapshot].Dropped counts them under [ReasonSlowReceiver].
//
// stop waits, for half a second at most, until the observer has got all that happened
// before; [Instance.Close] does so, too. The observer itself must not call stop.
func (g *Instance) Observe(o Observer) (stop func()) {
	told := g.observers.add(o, g.countLost)
	return func() {
		g.observers.remove(told)
		until, cancel := flushTime()
		defer cancel()
		told.out.Flush(until)
		told.out.Close()
	}
}

// observers are those of one instance.
type observers struct {
	mu  sync.Mutex // keeps changes apart
	all atomic.Pointer[[]*observer]
}

// observer is an observer with what it is to be told.
type observer struct {
	Observer
	out *outlet.Outlet[news]
}

// news is an event, or a line that an ASA said.
type news struct {
	event     Event
	isWords   bool
	asa, text string
}

func (o *observer) receive(n news) {
	switch {
	case !n.isWords:
		o.Trace(n.event)
	default:
		o.Words(n.asa, n.text)
	}
}

// list returns the observers of this moment. It must not be changed.
func (s *observers) list() []*observer {
	if all := s.all.Load(); all != nil {
		return *all
	}
	return nil
}

func (s *observers) add(o Observer, lost func()) *observer {
	added := &observer{Observer: o}
	added.out = outlet.New(added.receive, lost)
	s.change(func(all []*observer) []*observer { return append(all, added) })
	return added
}

func (s *observers) remove(o *observer) {
	s.change(func(all []*observer) []*observer {
		return slices.DeleteFunc(all, func(other *observer) bool { return other == o })
	})
}

// change has f change a copy.
func (s *observers) change(f func([]*observer) []*observer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := f(slices.Clone(s.list()))
	s.all.Store(&all)
}

// trace tells of an event. Its Raw is copied.
func (s *observers) trace(e Event) {
	e.Raw = slices.Clone(e.Raw)
	e.Time = time.Now()
	for _, o := range s.list() {
		if o.Trace != nil {
			o.out.Put(news{event: e}, len(e.Raw))
		}
	}
}

// words tells of a line.
func (s *observers) words(asa, text string) {
	for _, o := range s.list() {
		if o.Words != nil {
			o.out.Put(news{isWords: true, asa: asa, text: text}, len(text))
		}
	}
}

// counters count events.
type counters struct {
	sent, received, relayed [wire.TypeInvalid + 1]atomic.Uint64 // by message type, of which this is the last
	dropped                 [reasonCount]atomic.Uint64
}

// drop counts and traces something that was dropped. Whatever is dropped must be
// passed to it.
func (g *Instance) drop(e Event) {
	g.dropUnprinted(e)
	if !g.print.diagnose(e) {
		g.logRefused()
	}
}

func (g *Instance) dropUnprinted(e Event) {
	e.Kind = Dropped
	g.counters.dropped[e.Reason].Add(1)
	if len(g.observers.list()) > 0 {
		g.observers.trace(e)
	}
}

// logRefused counts a line that LogRate forbids to print or log.
func (g *Instance) logRefused() { g.dropUnprinted(Event{Reason: ReasonLogRate}) }

// countLost counts what a receiver was too slow for. It does not trace that, which
// would only add to the queue.
func (g *Instance) countLost() { g.counters.dropped[ReasonSlowReceiver].Add(1) }

// trace counts and traces a message that was sent, received or relayed.
func (g *Instance) trace(kind EventKind, m wire.Message, raw []byte, peer netip.AddrPort, link int) {
	switch kind {
	case Sent:
		g.counters.sent[m.Type()].Add(1)
	case Received:
		g.counters.received[m.Type()].Add(1)
	case Relayed:
		g.counters.relayed[m.Type()].Add(1)
	}
	if len(g.observers.list()) > 0 {
		g.tell(m, kind, raw, peer, link)
	}
}

// tell is a function of its own so that trace needs no stack for an event when there
// is no observer.
func (g *Instance) tell(m wire.Message, kind EventKind, raw []byte, peer netip.AddrPort, link int) {
	g.observers.trace(eventOf(m, Event{Kind: kind, Raw: raw, Peer: peer, Link: link}))
}

// flushTime returns a channel that is closed when it is time to give up waiting
// for receivers outside, and a function that frees it.
func flushTime() (<-chan struct{}, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	return ctx.Done(), cancel
}

// flushTimeout is how long receivers outside are waited for when all is over.
const flushTimeout = 500 * time.Millisecond

// flush waits until observers, the printer and the logger have got everything, or it
// is time to give up.
func (g *Instance) flush() {
	until, cancel := flushTime()
	defer cancel()
	for _, o := range g.observers.list() {
		o.out.Flush(until)
	}
	g.print.lines.Flush(until)
	g.logged.Flush(until)
}

// closeOutlets ends what goes to observers, the printer and the logger.
func (g *Instance) closeOutlets() {
	for _, o := range g.observers.list() {
		o.out.Close()
	}
	g.print.lines.Close()
	g.logged.Close()
}

// eventOf completes an event with what a message says of itself.
func eventOf(m wire.Message, e Event) Event {
	e.Message = m.Type().String()
	e.SessionID = wire.SessionID(m)
	if o := objectiveOf(m); o != nil && e.Objective == "" {
		e.Objective = o.Name
	}
	return e
}

// objectiveOf returns the first objective of a message, nil if it has none.
func objectiveOf(m wire.Message) *wire.Objective {
	switch m := m.(type) {
	case *wire.Discovery:
		return &m.Objective
	case *wire.Response:
		return m.Objective
	case *wire.ReqNeg:
		return &m.Objective
	case *wire.ReqSyn:
		return &m.Objective
	case *wire.Negotiate:
		return &m.Objective
	case *wire.Synch:
		return &m.Objective
	case *wire.Flood:
		if len(m.Objectives) > 0 {
			return &m.Objectives[0].Objective
		}
	}
	return nil
}

// reasonOf returns the reason that stands for an error of reading a message.
func reasonOf(err error) Reason {
	var bad *wire.Error
	switch {
	case errors.Is(err, acp.ErrForeign):
		return ReasonForeign
	case errors.Is(err, wire.ErrTooLong):
		return ReasonTooLong
	case errors.Is(err, wire.ErrTooDeep):
		return ReasonTooDeep
	case errors.Is(err, wire.ErrTooMany):
		return ReasonTooManyItems
	case errors.Is(err, negotiation.ErrTooManyWaits):
		return ReasonTooManyWaits
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrTruncated), errors.Is(err, io.ErrUnexpectedEOF):
		return ReasonMalformed
	case errors.Is(err, wire.ErrUnknownType):
		return ReasonUnknownType
	case errors.Is(err, wire.ErrInvalid):
		return ReasonInvalid
	case errors.As(err, &bad):
		return ReasonUnexpected
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonIdle
	default:
		return ReasonBroken
	}
}
