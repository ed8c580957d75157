package monitor

import (
	"encoding/hex"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/wire"
	"github.com/go-grasp/grasp/internal/words"
)

// Message is a message that was sent, received, relayed or dropped, as JSON
// has it. What is not known is empty.
type Message struct {
	N         uint64 // counts up; missing numbers are messages that the filter left out
	Time      time.Time
	Instance  string // the name under which it is watched
	Kind      string // sent, received, relayed or dropped
	Reason    string `json:",omitempty"` // why it was dropped
	Error     string `json:",omitempty"` // the cause of that
	Type      string `json:",omitempty"` // such as M_DISCOVERY
	SessionID uint32 `json:",omitempty"`
	Objective string `json:",omitempty"` // of the message or, where it has none, of its session
	Peer      string `json:",omitempty"` // address and port; empty for a multicast that was sent
	Link      int    `json:",omitempty"` // the link's index
	Size      int    `json:",omitempty"` // in bytes
	Words     string `json:",omitempty"` // what it says; empty if it is no message, or longer than what is kept
	Text      string `json:",omitempty"` // in diagnostic notation; in hexadecimal digits if that cannot be
	Step      *Step  `json:",omitempty"` // of a negotiation
}

// Step is what a message means in a negotiation.
type Step struct {
	Value     string        `json:",omitempty"` // asked for or offered, in diagnostic notation, without its Tag 24
	LoopCount uint8         `json:",omitempty"`
	Dry       bool          `json:",omitempty"`
	Accept    bool          `json:",omitempty"` // M_END: accepted, else declined
	Why       string        `json:",omitempty"` // M_END: the reason for declining
	Wait      time.Duration `json:",omitempty"` // M_WAIT: the time asked for
}

// filter says which messages are wanted. Empty lists let everything through.
type filter struct {
	instances, kinds, types, objectives, sessions []string
	peer, text                                    string
}

func newFilter(q url.Values) filter {
	return filter{
		instances: given(q["instance"]), kinds: given(q["kind"]), types: given(q["type"]),
		objectives: given(q["objective"]), sessions: given(q["session"]), peer: zone.ReplaceAllString(q.Get("peer"), ""), text: strings.ToLower(q.Get("text")),
	}
}

// given returns the values that are not empty: a form sends empty values for fields
// that were not filled in.
func given(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
}

func (f *filter) wants(m *message, objective string) bool {
	in := func(list []string, what string) bool { return len(list) == 0 || slices.Contains(list, what) }
	return in(f.instances, m.from.name) && in(f.kinds, m.event.Kind.String()) && in(f.types, m.event.Message) &&
		in(f.objectives, objective) && in(f.sessions, strconv.FormatUint(uint64(m.event.SessionID), 10)) &&
		(f.peer == "" || m.event.Peer.IsValid() && strings.Contains(withoutZone(m.event.Peer).String(), f.peer))
}

// withoutZone returns an address as it is known on every host.
func withoutZone(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}

// zone is that of a link-local address.
var zone = regexp.MustCompile(`%[^\]:]*`)

// hasText reports whether a message shows the text that is looked for.
func (f *filter) hasText(m *Message) bool {
	if f.text == "" {
		return true
	}
	for _, shown := range []string{m.Type, m.Kind, m.Reason, m.Error, m.Objective, m.Peer, m.Words, m.Text} {
		if strings.Contains(strings.ToLower(shown), f.text) {
			return true
		}
	}
	return f.text == strconv.FormatUint(uint64(m.SessionID), 10)
}

// messageReader reads the messages of a monitor in order.
type messageReader struct {
	ring   *ring[message]
	filter filter
	at     uint64 // the number of the last one read
	looked bool   // read was called: what was overwritten before does not count as lost
	from   uint64 // messages up to this number are not wanted
	// subjects are the objectives of sessions, because not every message names its
	// objective.
	subjects map[uint32]string
}

// How many messages are taken from the ring at a time, and for how many sessions
// the objective is remembered.
const (
	chunk       = 256
	maxSubjects = 4096
)

func newMessageReader(r *ring[message], f filter, from uint64) *messageReader {
	return &messageReader{ring: r, filter: f, from: from, subjects: make(map[uint32]string)}
}

// read takes the next chunk of messages and returns those that are wanted, whether
// there are more chunks, and how many messages were lost since the last call.
func (r *messageReader) read() (out []Message, more bool, missed uint64) {
	kept := make([]message, 0, chunk)
	r.at, missed = r.ring.after(r.at, chunk, func(_ uint64, m *message) {
		kept = append(kept, *m)
		kept[len(kept)-1].event.Raw = slices.Clone(m.event.Raw)
	})
	if !r.looked {
		r.looked, missed = true, 0
	}
	n := r.at - uint64(len(kept))
	for i := range kept {
		n++
		objective := r.subject(&kept[i].event)
		if n > r.from && r.filter.wants(&kept[i], objective) {
			if m := kept[i].describe(n, objective); r.filter.hasText(&m) {
				out = append(out, m)
			}
		}
	}
	return out, len(kept) == chunk, missed
}

// subject returns the objective that a message is about.
func (r *messageReader) subject(e *grasp.Event) string {
	switch {
	case e.SessionID == 0:
	case e.Objective == "":
		return r.subjects[e.SessionID]
	default:
		if len(r.subjects) >= maxSubjects {
			clear(r.subjects)
		}
		r.subjects[e.SessionID] = e.Objective
	}
	return e.Objective
}

// describe returns the message as the page and JSON have it.
func (m *message) describe(n uint64, objective string) Message {
	e := &m.event
	out := Message{
		N: n, Time: m.at, Instance: m.from.name, Kind: e.Kind.String(), Type: e.Message,
		SessionID: e.SessionID, Objective: objective, Link: e.Link, Size: m.size,
	}
	if e.Kind == grasp.Dropped {
		out.Reason = e.Reason.String()
	}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	if e.Peer.IsValid() {
		out.Peer = e.Peer.String()
	}
	if len(e.Raw) > 0 {
		out.Text = m.notation()
		if parsed, err := wire.Parse(e.Raw, keptLimits); err == nil && len(e.Raw) == m.size {
			out.Words, out.Step = words.Of(parsed), negotiationStep(parsed)
		}
	}
	return out
}

// notation returns the message in diagnostic notation, or what was kept of it
// in hexadecimal digits.
func (m *message) notation() string {
	if len(m.event.Raw) == m.size {
		if text, err := cbor.Diagnose(m.event.Raw); err == nil {
			return text
		}
	}
	text := "h'" + hex.EncodeToString(m.event.Raw) + "'"
	if len(m.event.Raw) < m.size {
		text += " …"
	}
	return text
}

// embedded shows the CBOR in byte strings, which is how values travel in Tag
// 24.
var embedded, _ = cbor.DiagOptions{ByteStringEmbeddedCBOR: true}.DiagMode() // these options are valid

// keptLimits are those of the messages that are kept whole.
var keptLimits = wire.Limits{Bytes: keptBytes, Depth: wire.DefaultDepth, Elements: keptBytes}

// negotiationStep returns what a message means in a negotiation, nil if nothing.
func negotiationStep(m wire.Message) *Step {
	switch m := m.(type) {
	case *wire.ReqNeg:
		return offer(&m.Objective)
	case *wire.Negotiate:
		return offer(&m.Objective)
	case *wire.End:
		return &Step{Accept: m.Accept, Why: m.Reason}
	case *wire.Wait:
		return &Step{Wait: time.Duration(m.Wait) * time.Millisecond}
	}
	return nil
}

func offer(o *wire.Objective) *Step {
	s := &Step{LoopCount: o.LoopCount, Dry: o.Flags&wire.FlagNegDry != 0, Value: "null"}
	if len(o.Value) == 0 {
		return s
	}
	text, err := embedded.Diagnose(o.Value)
	if err != nil {
		text = "h'" + hex.EncodeToString(o.Value) + "'"
	}
	if in, found := strings.CutPrefix(text, "24(<<"); found {
		text = strings.TrimSuffix(in, ">>)")
	}
	s.Value = text
	return s
}
