package wireshark

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

// expected collects the fields that a message must have.
type expected map[string][]string

func (e expected) add(name string, value any) { e[name] = append(e[name], fmt.Sprint(value)) }

func (e expected) initiator(a netip.Addr) {
	if a.Is4() {
		e.add("grasp.initiator4", a)
	} else {
		e.add("grasp.initiator", a)
	}
}

func (e expected) objective(o *wire.Objective) {
	e.add("grasp.objective.name", o.Name)
	e.add("grasp.objective.flags", fmt.Sprintf("0x%016x", uint64(o.Flags)))
	for name, flag := range map[string]wire.Flags{"disc": wire.FlagDisc, "neg": wire.FlagNeg, "synch": wire.FlagSynch, "dry": wire.FlagNegDry} {
		set := "0"
		if o.Flags&flag != 0 {
			set = "1"
		}
		e.add("grasp.objective.flags."+name, set)
	}
	e.add("grasp.objective.loop_count", o.LoopCount)
}

func (e expected) locator(l wire.Locator) {
	switch l.Kind {
	case 0:
		return
	case wire.LocatorIPv6:
		e.add("grasp.locator.ipv6", l.Addr)
	case wire.LocatorIPv4:
		e.add("grasp.locator.ipv4", l.Addr)
	case wire.LocatorFQDN:
		e.add("grasp.locator.fqdn", l.Name)
	case wire.LocatorURI:
		e.add("grasp.locator.uri", l.Name)
	}
	if l.Protocol != wire.Null {
		e.add("grasp.locator.protocol", l.Protocol)
	}
	if l.Port != wire.Null {
		e.add("grasp.locator.port", l.Port)
	}
}

// expect returns the fields of a message.
func expect(m wire.Message) expected {
	e := make(expected)
	e.add("grasp.type", uint8(m.Type()))
	id := func(id uint32) { e.add("grasp.session", id) }
	switch m := m.(type) {
	case *wire.Discovery:
		id(m.SessionID)
		e.initiator(m.Initiator)
		e.objective(&m.Objective)
	case *wire.Response:
		id(m.SessionID)
		e.initiator(m.Initiator)
		e.add("grasp.ttl", m.TTL)
		for _, l := range append(m.Locators, m.Diverted...) {
			e.locator(l)
		}
		if m.Objective != nil {
			e.objective(m.Objective)
		}
	case *wire.ReqNeg:
		id(m.SessionID)
		e.objective(&m.Objective)
	case *wire.ReqSyn:
		id(m.SessionID)
		e.objective(&m.Objective)
	case *wire.Negotiate:
		id(m.SessionID)
		e.objective(&m.Objective)
	case *wire.Synch:
		id(m.SessionID)
		e.objective(&m.Objective)
	case *wire.End:
		id(m.SessionID)
		if m.Reason != "" {
			e.add("grasp.reason", m.Reason)
		}
	case *wire.Wait:
		id(m.SessionID)
		e.add("grasp.wait", m.Wait)
	case *wire.Flood:
		id(m.SessionID)
		e.initiator(m.Initiator)
		e.add("grasp.ttl", m.TTL)
		for i := range m.Objectives {
			e.objective(&m.Objectives[i].Objective)
			e.locator(m.Objectives[i].Locator)
		}
	case *wire.Invalid:
		id(m.SessionID)
	}
	return e
}

// requireFields requires that tshark shows the fields of a message. Where a response or
// a flood has something that is to be ignored, which has fields too, it is not looked at.
func requireFields(t *testing.T, m wire.Message, got message) {
	t.Helper()
	if len(got.wrong["grasp.unknown"]) > 0 {
		return
	}
	for name, want := range expect(m) {
		shown := got.fields[name]
		if slices.ContainsFunc(want, func(s string) bool { return strconv.Quote(s) != `"`+s+`"` }) {
			continue // Wireshark shows such characters in ways of its own
		}
		for i := range shown {
			if a, err := netip.ParseAddr(shown[i]); err == nil && a.Is6() {
				shown[i] = a.String()
			}
		}
		require.Equal(t, want, shown, "%s of %x", name, got.raw)
	}
}
