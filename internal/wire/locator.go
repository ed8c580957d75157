package wire

import (
	"fmt"
	"math"
	"net/netip"
)

// LocatorKind is the option number of a locator, RFC 8990 section 2.9.5. Zero stands
// for no locator.
type LocatorKind uint8

// The kinds of locators.
const (
	LocatorIPv6 LocatorKind = 103 // O_IPv6_LOCATOR
	LocatorIPv4 LocatorKind = 104 // O_IPv4_LOCATOR
	LocatorFQDN LocatorKind = 105 // O_FQDN_LOCATOR
	LocatorURI  LocatorKind = 106 // O_URI_LOCATOR
)

// String returns the name RFC 8990 has for the option.
func (k LocatorKind) String() string {
	switch k {
	case 0:
		return "no locator"
	case LocatorIPv6:
		return "O_IPv6_LOCATOR"
	case LocatorIPv4:
		return "O_IPv4_LOCATOR"
	case LocatorFQDN:
		return "O_FQDN_LOCATOR"
	case LocatorURI:
		return "O_URI_LOCATOR"
	default:
		return fmt.Sprintf("option %d", uint8(k))
	}
}

// The transport protocols of RFC 8990 section 2.9.5.
const (
	ProtoTCP = 6
	ProtoUDP = 17
)

// Null is a Protocol or Port that is null on the wire.
const Null = -1

const (
	maxProtocol = math.MaxInt32
	maxPort     = math.MaxUint16
)

// Locator is a locator option, RFC 8990 section 2.9.5. The zero value is no locator.
// Two locators are the same if they are equal by ==.
type Locator struct {
	Kind     LocatorKind
	Addr     netip.Addr // of LocatorIPv6 and LocatorIPv4; a zone is not sent
	Name     string     // of LocatorFQDN and LocatorURI
	Protocol int        // ProtoTCP, ProtoUDP, another number, or Null
	Port     int        // up to 65535, or Null
}

// isLocator reports whether an option of that number is a locator.
func isLocator(number uint64) bool {
	return number >= uint64(LocatorIPv6) && number <= uint64(LocatorURI)
}

// locator reads a locator. RFC 8990 section 4:
//
//	ipv6-locator-option = [O_IPv6_LOCATOR, ipv6-address, transport-proto, port-number]
//	ipv4-locator-option = [O_IPv4_LOCATOR, ipv4-address, transport-proto, port-number]
//	fqdn-locator-option = [O_FQDN_LOCATOR, text, transport-proto, port-number]
//	uri-locator-option = [O_URI_LOCATOR, text, transport-proto / null, port-number / null]
func (r *reader) locator() Locator {
	var l Locator
	a := r.open("locator")
	l.Kind = LocatorKind(r.uint(&a, "option number", uint64(LocatorURI)))
	at := r.i
	switch l.Kind {
	case LocatorIPv6, LocatorIPv4:
		l.Addr = r.addr(&a, "address of the locator")
		if r.err == nil && l.Addr.Is4() != (l.Kind == LocatorIPv4) {
			r.fail(at, "address of an %v has %d bits", l.Kind, l.Addr.BitLen())
		}
	case LocatorFQDN, LocatorURI:
		l.Name = r.text(&a, "name of the locator")
	default:
		r.fail(at, "%v is no locator", l.Kind)
	}
	l.Protocol = r.numberOrNull(&a, "protocol", maxProtocol, false)
	l.Port = r.numberOrNull(&a, "port", maxPort, true)
	r.end(&a, "locator")
	return l
}

// numberOrNull reads an unsigned integer or null. The grammar allows null in URI
// locators; senders use it in others as well (O-09). With hard, an integer out of
// range makes the whole message invalid.
func (r *reader) numberOrNull(a *array, what string, limit uint64, hard bool) int {
	if !r.need(a, what) {
		return 0
	}
	at := r.i
	h := r.head()
	switch {
	case r.err != nil:
		return 0
	case r.b[at] == nullByte:
		return Null
	case h.major == majorUint && h.arg <= limit:
		return int(h.arg)
	default:
		r.err = &fault{
			class: ErrInvalid,
			what:  fmt.Sprintf("%s is not null and not an unsigned integer up to %d", what, limit),
			at:    at,
			hard:  hard && h.major <= majorNegint,
		}
		return 0
	}
}

// locator writes l, which must not be "no locator".
func (w *writer) locator(l *Locator) {
	switch l.Kind {
	case LocatorIPv6, LocatorIPv4:
		if !l.Addr.IsValid() || l.Addr.Is4() != (l.Kind == LocatorIPv4) || l.Name != "" {
			w.fail("%v with address %v and name %q", l.Kind, l.Addr, l.Name)
			return
		}
	case LocatorFQDN, LocatorURI:
		if l.Addr.IsValid() {
			w.fail("%v with address %v", l.Kind, l.Addr)
			return
		}
	default:
		w.fail("%v where a locator must be", l.Kind)
		return
	}
	w.head(majorArray, 4)
	w.head(majorUint, uint64(l.Kind))
	if l.Addr.IsValid() {
		w.addr("address of the locator", l.Addr)
	} else {
		w.text("name of the locator", l.Name)
	}
	w.numberOrNull("protocol", l.Protocol, maxProtocol)
	w.numberOrNull("port", l.Port, maxPort)
}

func (w *writer) numberOrNull(what string, v, limit int) {
	switch {
	case v == Null:
		w.b = append(w.b, nullByte)
	case v < 0 || v > limit:
		w.fail("%s %d is not up to %d", what, v, limit)
	default:
		w.head(majorUint, uint64(v))
	}
}
