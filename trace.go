package grasp

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/negotiation"
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
	ReasonForeign                            // not from a member of the domain, says the plane: of another key, for one
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
	ReasonIDClash                            // a request whose session ID is in use
	ReasonTooManySessions                    // a request beyond Config.MaxSessions
	ReasonPeerSessions                       // a request beyond Config.SessionsPerPeer
	ReasonTooManyWaits                       // a session whose peer asked for more time more often than Config.MaxWaits
	ReasonLongWait                           // what a peer asked for beyond Config.MaxWait
	ReasonTooManyFound                       // a locator beyond Config.MaxFound
	ReasonCacheFull                          // a locator or flooded value that gave way to another: Config.MaxCached and its like
	ReasonLifetime                           // what a peer gave beyond Config.LocatorLifetime or Config.FloodLifetime
	ReasonTooManyResponses                   // a discovery while too many are being answered
	ReasonSendFailed                         // a message of ours that could not be sent
	ReasonLogRate                            // a line of the log beyond Config.LogRate
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
}

func (r Reason) String() string {
	if r < reasonCount && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return "unknown"
}

// Event is what Config.Trace is told of a message. Which fields are set
// depends on what is known of it.
type Event struct {
	Kind      EventKind
	Reason    Reason         // why it was dropped
	Message   string         // its type, such as "M_DISCOVERY"
	SessionID uint32         // of the message
	Objective string         // the name of its first objective
	Peer      netip.AddrPort // where it came from or, by unicast, went to
	Link      int            // the link's index, 0 if not known
	Raw       []byte         // the message; valid during the call only
	Err       error          // the cause
}

// counters count events.
type counters struct {
	sent, received, relayed [256]atomic.Uint64 // by message type
	dropped                 [reasonCount]atomic.Uint64
}

// drop counts and traces something that was dropped. A drop without this is a
// bug.
func (g *Instance) drop(e Event) {
	g.dropUnprinted(e)
	if !g.print.diagnose(e) {
		g.logRefused()
	}
}

func (g *Instance) dropUnprinted(e Event) {
	e.Kind = Dropped
	g.counters.dropped[e.Reason].Add(1)
	g.observers.trace(e)
}

// logRefused counts a line that was not printed or logged.
func (g *Instance) logRefused() { g.dropUnprinted(Event{Reason: ReasonLogRate}) }

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

// tell is apart from trace to keep events off the stacks of those who do
// without.
func (g *Instance) tell(m wire.Message, kind EventKind, raw []byte, peer netip.AddrPort, link int) {
	g.observers.trace(eventOf(m, Event{Kind: kind, Raw: raw, Peer: peer, Link: link}))
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
