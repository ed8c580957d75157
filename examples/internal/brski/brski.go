// Package brski has the part of BRSKI (RFC 8995) that uses GRASP: how a new device, the
// pledge, finds its registrar. The registrar floods its locators through the secure
// network. Join proxies receive them, and flood their own locators, without security, to
// the pledges on their links. The BRSKI exchange that follows is not here, and not in the
// Python prototype's ASAs of that kind.
package brski

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// The objectives of RFC 8995 sections 4.1.1 and 4.3.
const (
	ObjectiveProxy     = "AN_Proxy"
	ObjectiveRegistrar = "AN_join_registrar"
	// ObjectiveStateless is a registrar's for stateless join proxies, of
	// draft-ietf-anima-brski-discovery-09 section 3.5.2.2.
	ObjectiveStateless = "AN_join_registrar_rjp"
	// ObjectivePrototype is how the Python prototype spells AN_Proxy.
	ObjectivePrototype = "AN_proxy"
)

// Only is what the programs say of themselves.
const Only = "The BRSKI exchange itself is not part of it."

// lifetimes is how many times a flood is sent while it lives.
const lifetimes = 3

// lookAgain is how often the flood cache is looked at.
const lookAgain = time.Second

// The variations of BRSKI are what a registrar, or a proxy for one, can do: the
// values of its objective. Those that share a place are flooded in one message, for
// the next one replaces them (draft-ietf-anima-brski-discovery-09 section 3.5.2.2).
const (
	// VariationESTTLS is RFC 8995's value for EST over TLS, for which the draft
	// has the empty string.
	VariationESTTLS = "EST-TLS"
	// VariationRRM is the value of constrained BRSKI, over UDP.
	VariationRRM = "rrm"
)

// variationOf returns the variation of a registrar or proxy, with one name for
// what has two.
func variationOf(f grasp.TaggedObjective) string {
	v, _ := f.Objective.Value.(string)
	if v == VariationESTTLS {
		return ""
	}
	return v
}

// CheckVariations refuses variations that do not fit one message.
func CheckVariations(all []string) error {
	if len(all) > maxVariations {
		return fmt.Errorf("--variations: %d are more than %d", len(all), maxVariations)
	}
	for _, v := range all {
		if len(v) > maxVariation {
			return fmt.Errorf("--variations: %q is longer than %d bytes", v, maxVariation)
		}
	}
	return nil
}

// The draft has proxies limit what they map to 10 registrars for a variation.
const (
	maxVariations = 10
	maxVariation  = 32 // bytes
)

// Event is what the programs tell.
type Event struct {
	Event     string `json:"event"` // flooded, found, chosen, failed, none
	Objective string `json:"objective,omitempty"`
	Locator   string `json:"locator,omitempty"`
	Method    string `json:"method,omitempty"` // TCP, UDP or a number
	Value     string `json:"value,omitempty"`
}

// teller prints what an ASA does.
type teller struct {
	p *cli.Program
	a *grasp.ASA
}

// tell prints an event, as a line of words, of which some may be empty, and with --json as an
// object.
func (t teller) tell(e Event, words ...any) error {
	t.a.Tprint(slices.DeleteFunc(words, func(w any) bool { return w == "" })...)
	if !t.p.JSON {
		return nil
	}
	return json.NewEncoder(t.p.Stdout).Encode(e)
}

// eventOf returns an event about a flooded objective.
func eventOf(what string, f grasp.TaggedObjective) Event {
	value, _ := f.Objective.Value.(string)
	return Event{Event: what, Objective: f.Objective.Name, Locator: f.Source.String(), Method: method(f.Source.Protocol), Value: value}
}

// method returns the transport of a registrar or proxy in words.
func method(protocol int) string {
	switch protocol {
	case grasp.TCP:
		return "TCP"
	case grasp.UDP:
		return "UDP"
	}
	return fmt.Sprint("protocol ", protocol)
}

// usable reports whether a flood says where somebody is.
func usable(f grasp.TaggedObjective) bool {
	return !f.Source.IsZero()
}

// CheckEvery refuses an interval between floods that makes no sense.
func CheckEvery(every time.Duration) error {
	if every < time.Second || every > time.Hour {
		return errors.New("--every must be from 1s to 1h")
	}
	return nil
}

// CheckPorts refuses what is no port, or has too few after it for the variations.
func CheckPorts(port int) error {
	if port > 65535-maxVariations {
		return fmt.Errorf("--port must be %d at most, for the variations have the ports after it", 65535-maxVariations)
	}
	return CheckPort(port)
}

// CheckPort refuses what is no port.
func CheckPort(port int) error {
	if port < 1 || port > 65535 {
		return errors.New("--port must be from 1 to 65535")
	}
	return nil
}
