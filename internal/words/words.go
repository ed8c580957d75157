// Package words says in words what is in a message, for people.
package words

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/wire"
)

// Notation returns an encoded item in diagnostic notation (RFC 8949 section 8), or as
// h'...' if it is none, or nested deeper than a message may be.
func Notation(item []byte) string {
	text, err := cbor.Diagnose(item)
	if err != nil {
		return fmt.Sprintf("h'%x'", item)
	}
	return text
}

// Of returns what a message says. Texts that a peer chose are quoted.
func Of(m wire.Message) string {
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
			return begin + ": " + Notation(m.Info)
		}
		return begin
	}
	return m.Type().String() // M_NOOP
}

// ttl returns a lifetime in words. 0 stays 0: it means for ever in a flood, and a default
// of the receiver's in a response (RFC 8990 sections 2.8.11 and 2.8.5).
func ttl(ms uint32) string {
	if ms == 0 {
		return "0"
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

// responders returns what a response gives.
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

// objective returns the name, the flags, the loop count and the value of an objective.
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
		value = Notation(o.Value)
	}
	return fmt.Sprintf("%q (%s; loop count %d) = %s", o.Name, strings.Join(flags, ", "), o.LoopCount, value)
}

// locator returns a locator as grasp.Locator.String does, with names quoted.
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

// Objectives returns the names of the objectives of a message.
func Objectives(m wire.Message) []string {
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
