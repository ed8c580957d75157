package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/diag"
	"github.com/go-grasp/grasp/internal/wire"
)

// seen is a message that was seen on a link or in a capture, or what is in its
// place.
type seen struct {
	Time     *time.Time `json:"time,omitempty"`
	Link     string     `json:"link,omitempty"`
	Source   string     `json:"source,omitempty"`
	Dest     string     `json:"destination,omitempty"`
	Protocol string     `json:"protocol,omitempty"` // udp or tcp
	Message  string     `json:"message,omitempty"`  // its type, such as M_FLOOD
	Session  *uint32    `json:"session,omitempty"`
	// Objectives are the names of its objectives.
	Objectives []string `json:"objectives,omitempty"`
	Words      string   `json:"words,omitempty"`
	Diagnostic string   `json:"diagnostic,omitempty"`
	Hex        string   `json:"hex"`
	Error      string   `json:"error,omitempty"`
	At         *int     `json:"at,omitempty"` // the byte that is wrong, the first being 0
}

// look fills in what the bytes of a message tell.
func (s *seen) look(raw []byte, lim wire.Limits) wire.Message {
	s.Hex = fmt.Sprintf("%x", raw)
	if wire.WellFormed(raw, wire.Limits{Bytes: len(raw), Elements: len(raw) + 1}) == nil {
		s.Diagnostic = diag.Format(raw)
	}
	m, err := wire.Parse(raw, lim)
	if err != nil {
		s.fail(err, len(raw))
		return nil
	}
	s.Message, s.Words = m.Type().String(), words(m)
	if m.Type() != wire.TypeNoop {
		s.Session = new(wire.SessionID(m))
	}
	s.Objectives = names(m)
	if flood, ok := m.(*wire.Flood); ok && flood.LeftOut > 0 {
		s.Error = fmt.Sprintf("%d of its objectives malformed, which receivers pass over", flood.LeftOut)
	}
	return m
}

// fail notes what is wrong with a message of some length.
func (s *seen) fail(err error, length int) {
	at, ok := wire.Offset(err)
	s.Error = err.Error()
	if !ok {
		at = length
		s.Error += fmt.Sprintf(" at byte %d, the end", at)
	}
	s.At = &at
	if bad, ok := errors.AsType[*wire.Error](err); ok {
		if bad.HasType {
			s.Message = bad.Type.String()
		}
		if bad.HasSession {
			s.Session = &bad.SessionID
		}
	}
}

// origin returns when and where it was seen.
func (s *seen) origin() string {
	var parts []string
	if s.Time != nil {
		parts = append(parts, s.Time.Format("15:04:05.000"))
	}
	if s.Link != "" {
		parts = append(parts, s.Link)
	}
	switch {
	case s.Source != "" && s.Dest != "":
		parts = append(parts, s.Source, ">", s.Dest, s.Protocol)
	case s.Source != "":
		parts = append(parts, s.Source)
	}
	return strings.Join(parts, " ")
}

// line returns it on one line.
func (s *seen) line() string {
	what := s.Words
	if s.Error != "" {
		what = strings.TrimLeft(what+"  WRONG: "+s.Error, " ")
	}
	if at := s.origin(); at != "" {
		return at + "  " + what
	}
	return what
}

// words says what a message says. What a peer chose is quoted.
func words(m wire.Message) string {
	begin := fmt.Sprintf("%v session %d", m.Type(), wire.SessionID(m))
	switch m := m.(type) {
	case *wire.Discovery:
		return fmt.Sprintf("%s initiator %v: %s", begin, m.Initiator, objective(&m.Objective))
	case *wire.Response:
		return fmt.Sprintf("%s initiator %v ttl %s: %s", begin, m.Initiator, ttl(m.TTL), strings.Join(responders(m), ", "))
	case *wire.ReqNeg:
		return begin + ": " + objective(&m.Objective)
	case *wire.ReqSyn:
		return begin + ": " + objective(&m.Objective)
	case *wire.Negotiate:
		return begin + ": " + objective(&m.Objective)
	case *wire.Synch:
		return begin + ": " + objective(&m.Objective)
	case *wire.End:
		switch {
		case m.Accept:
			return begin + ": accept"
		case m.Reason == "":
			return begin + ": decline"
		}
		return fmt.Sprintf("%s: decline, %q", begin, m.Reason)
	case *wire.Wait:
		return fmt.Sprintf("%s: %v", begin, time.Duration(m.Wait)*time.Millisecond)
	case *wire.Flood:
		var all []string
		for _, f := range m.Objectives {
			all = append(all, objective(&f.Objective)+" at "+locator(f.Locator))
		}
		return fmt.Sprintf("%s initiator %v ttl %s: %s", begin, m.Initiator, ttl(m.TTL), strings.Join(all, "; "))
	case *wire.Invalid:
		if m.Info != nil {
			return begin + ": " + diag.Format(m.Info)
		}
		return begin
	}
	return m.Type().String() // M_NOOP
}

// ttl is a lifetime in words: 0 is for ever in a flood, and meaningless elsewhere.
func ttl(ms uint32) string {
	if ms == 0 {
		return "0"
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

// responders says what a response gives.
func responders(m *wire.Response) []string {
	var all []string
	for _, l := range m.Locators {
		all = append(all, locator(l))
	}
	for _, l := range m.Diverted {
		all = append(all, "divert to "+locator(l))
	}
	if m.Objective != nil {
		all = append(all, objective(m.Objective))
	}
	return all
}

// flagNames are the flags of an objective by bit.
var flagNames = [...]string{"discovery", "negotiation", "synchronization", "dry run"}

// objective says what an objective is, and its value.
func objective(o *wire.Objective) string {
	var flags []string
	for bit := range 64 {
		switch {
		case o.Flags&(1<<bit) == 0:
		case bit < len(flagNames):
			flags = append(flags, flagNames[bit])
		default:
			flags = append(flags, "flag "+strconv.Itoa(bit))
		}
	}
	value := "no value"
	if o.Value != nil {
		value = diag.Format(o.Value)
	}
	return fmt.Sprintf("%q (%s; loop count %d) = %s", o.Name, strings.Join(flags, ", "), o.LoopCount, value)
}

// locator says what a locator is.
func locator(l wire.Locator) string {
	if l.Kind == 0 {
		return "no locator"
	}
	out := grasp.Locator{IP: l.Addr, Protocol: max(l.Protocol, 0), Port: max(l.Port, 0)}
	switch l.Kind {
	case wire.LocatorFQDN:
		out.FQDN = strings.Trim(strconv.Quote(l.Name), `"`)
	case wire.LocatorURI:
		out.URI = strings.Trim(strconv.Quote(l.Name), `"`)
	}
	return out.String()
}

// names returns the names of the objectives of a message.
func names(m wire.Message) []string {
	switch m := m.(type) {
	case *wire.Discovery:
		return []string{m.Objective.Name}
	case *wire.Response:
		if m.Objective != nil {
			return []string{m.Objective.Name}
		}
	case *wire.ReqNeg:
		return []string{m.Objective.Name}
	case *wire.ReqSyn:
		return []string{m.Objective.Name}
	case *wire.Negotiate:
		return []string{m.Objective.Name}
	case *wire.Synch:
		return []string{m.Objective.Name}
	case *wire.Flood:
		var all []string
		for _, f := range m.Objectives {
			all = append(all, f.Objective.Name)
		}
		return all
	}
	return nil
}

// addrText returns an address for people, a link-local one without its link.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() { // not told by the capture
		return ""
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).String()
}
