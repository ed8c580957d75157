// Package dnssd finds services by DNS-SD (RFC 6763) on behalf of nodes that
// have GRASP only, by negotiation of the objective "SRV.", as the prototype's
// agents AskDNSSD2 and GetDNSSD2 do: the asker names a service and a domain,
// the answerer looks them up in the DNS and sends one instance with each step,
// and the asker answers each with "ACK", until the answerer accepts.
//
//	asker                         answerer
//	M_REQ_NEG   a service ------>
//	            <------ M_NEGOTIATE  an instance
//	M_NEGOTIATE "ACK"     ------>
//	            <------ M_NEGOTIATE  the next instance
//	M_NEGOTIATE "ACK"     ------>
//	            <------ M_END        accept
//
// If there is no such service the answerer declines. It sends encoded CBOR (Tag
// 24) if the request was.
package dnssd

import (
	"cmp"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
)

// The objective, and what askers answer.
const (
	objectiveName = "SRV."
	ack           = "ACK"
	loopCount     = 20
	patience      = 10 * time.Second // for a step of the peer
)

func objective() grasp.Objective {
	return grasp.Objective{Name: objectiveName, Neg: true, LoopCount: loopCount}
}

// Service is an instance of a service (RFC 6763 section 4).
type Service struct {
	Instance string         `json:"instance"`
	Service  string         `json:"service"` // such as printer._tcp, without the first underscore
	Domain   string         `json:"domain"`
	Priority uint16         `json:"priority"`
	Weight   uint16         `json:"weight"`
	Text     map[string]any `json:"text"` // of a key without a value: true
	At       []Place        `json:"at"`
}

// Place is where an instance is to be found.
type Place struct {
	Addr     netip.Addr `json:"addr,omitzero"`
	Host     string     `json:"host,omitzero"` // its name, if Addr is not valid
	Protocol int        `json:"protocol"`      // 6 for TCP, 17 for UDP
	Port     uint16     `json:"port"`
}

// value is the value of the objective.
type value struct {
	Element *element `cbor:"@rfcXXXX"`
}

type element struct {
	LoopCount int   `cbor:"1,keyasint"`
	Service   *body `cbor:"2,keyasint"`
}

// The types of messages in a body.
const (
	describe        = 0
	describeRequest = 1
)

// body is what is known or asked of a service; null is for what is not.
type body struct {
	Type     int            `cbor:"1,keyasint"`
	Service  *string        `cbor:"2,keyasint"`
	Instance *string        `cbor:"3,keyasint"`
	Domain   *string        `cbor:"4,keyasint"`
	Priority uint16         `cbor:"5,keyasint"`
	Weight   uint16         `cbor:"6,keyasint"`
	Text     map[string]any `cbor:"7,keyasint"`
	Locators []located      `cbor:"9,keyasint"`
}

// located is a locator and the realm in which it means something.
type located struct {
	_       struct{} `cbor:",toarray"`
	Realm   string
	Locator locator
}

// locator is a locator option of RFC 8990 section 2.9.5, which is not looked at
// closer by GRASP.
type locator struct {
	_        struct{} `cbor:",toarray"`
	Kind     int
	Value    any
	Protocol int
	Port     uint16
}

// The kinds of locators that have a protocol and a port.
const (
	ipv6Locator = 103
	ipv4Locator = 104
	fqdnLocator = 105
)

const internet = "Internet"

// request returns the value that asks for a service.
func request(service, domain string) value {
	return value{&element{loopCount, &body{Type: describeRequest, Service: &service, Domain: &domain, Text: map[string]any{}}}}
}

// reply returns the value that describes an instance.
func reply(s Service) value {
	b := &body{
		Type: describe, Service: &s.Service, Instance: &s.Instance, Domain: &s.Domain,
		Priority: s.Priority, Weight: s.Weight, Text: s.Text, Locators: []located{},
	}
	for _, p := range s.At {
		l := locator{Protocol: p.Protocol, Port: p.Port}
		switch {
		case p.Addr.Is4():
			l.Kind, l.Value = ipv4Locator, p.Addr.AsSlice()
		case p.Addr.IsValid():
			l.Kind, l.Value = ipv6Locator, p.Addr.AsSlice()
		default:
			l.Kind, l.Value = fqdnLocator, p.Host
		}
		b.Locators = append(b.Locators, located{Realm: internet, Locator: l})
	}
	return value{&element{loopCount, b}}
}

// refusal is a reason for which a request is declined.
type refusal string

func (r refusal) Error() string { return string(r) }

// Those of requests that make no sense, in the prototype's words.
const (
	errFormat   refusal = "Not RFCXXXX format"
	errElement  refusal = "No service element"
	errDescribe refusal = "Not describe_request"
	errService  refusal = "No service name"
	errDomain   refusal = "No domain name"
)

// asked returns the service and the domain that a request is about.
func asked(o grasp.Objective) (service, domain string, err error) {
	var v value
	switch err := o.Decode(&v); {
	case err != nil, v.Element == nil:
		return "", "", errFormat
	case v.Element.Service == nil:
		return "", "", errElement
	}
	b := v.Element.Service
	switch {
	case b.Type != describeRequest:
		return "", "", errDescribe
	case b.Service == nil || *b.Service == "":
		return "", "", errService
	case b.Domain == nil || *b.Domain == "":
		return "", "", errDomain
	}
	return *b.Service, *b.Domain, nil
}

// described returns the instance that a reply describes. Locators of a kind
// that it does not know are left out.
func described(o grasp.Objective) (Service, error) {
	var v value
	switch err := o.Decode(&v); {
	case err != nil:
		return Service{}, err
	case v.Element == nil, v.Element.Service == nil, v.Element.Service.Type != describe:
		return Service{}, errors.New("the peer sent something else than an instance of a service")
	}
	b := v.Element.Service
	s := Service{
		Instance: text(b.Instance), Service: text(b.Service), Domain: text(b.Domain),
		Priority: b.Priority, Weight: b.Weight, Text: b.Text,
	}
	for _, l := range b.Locators {
		p := Place{Protocol: l.Locator.Protocol, Port: l.Locator.Port}
		switch v := l.Locator.Value.(type) {
		case []byte:
			p.Addr, _ = netip.AddrFromSlice(v)
		case string:
			p.Host = v
		}
		if p.Addr.IsValid() || p.Host != "" {
			s.At = append(s.At, p)
		}
	}
	return s, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// protocolOf returns the protocol that the name of a service ends with.
func protocolOf(service string) int {
	labels := strings.Split(service, ".")
	return cmp.Or(map[string]int{"_tcp": 6, "_udp": 17}[strings.ToLower(labels[len(labels)-1])], 17)
}
