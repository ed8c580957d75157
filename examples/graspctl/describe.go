package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/go-grasp/grasp/examples/internal/diag"
	"github.com/go-grasp/grasp/internal/wire"
	"github.com/go-grasp/grasp/internal/words"
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
	s.Message, s.Words = m.Type().String(), words.Of(m)
	if m.Type() != wire.TypeNoop {
		s.Session = new(wire.SessionID(m))
	}
	s.Objectives = words.Objectives(m)
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

// addrText returns an address for people, a link-local one without its link.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() { // not told by the capture
		return ""
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).String()
}
