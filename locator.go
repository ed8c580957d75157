package grasp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// The protocols of locators, by their IP numbers.
const (
	TCP = wire.ProtoTCP
	UDP = wire.ProtoUDP
)

// Locator says where an ASA can be reached: asa_locator of RFC 8991 section
// 2.3.2.4. Exactly one of IP, FQDN and URI is set; in the source of a flooded
// objective that came without a locator, none is.
//
// An IP address that came from discovery belongs to a node in the secure domain. The
// host of an FQDN or URI may be outside of it (RFC 8990 section 3).
type Locator struct {
	// IP is an address; a link-local one has the decimal interface index as
	// its zone.
	IP netip.Addr
	// FQDN is a domain name, URI a uniform resource identifier.
	FQDN, URI string
	// Protocol is TCP, UDP or another number. Locators with other numbers are kept,
	// but no call can connect to them. 0 means TCP, and in a URI no protocol (null).
	Protocol int
	// Port is 0 in a URI that gives none.
	Port int
	// IfIndex is the interface by which the locator came, 0 if not known.
	IfIndex int
	// Expire is when the locator ceases to be valid; zero means never.
	Expire time.Time
	// Diverted says that the locator came in a Divert option, from a node other than
	// the one that it leads to.
	Diverted bool
}

// NewLocator returns the locator of an ASA that accepts TCP connections.
func NewLocator(at netip.AddrPort) Locator {
	return Locator{IP: at.Addr(), Protocol: TCP, Port: int(at.Port())}
}

// IsZero reports whether the locator has neither IP nor FQDN nor URI.
func (l Locator) IsZero() bool { return !l.IP.IsValid() && l.FQDN == "" && l.URI == "" }

// String returns address, port and protocol for people, such as
// "[2001:db8::1]:4000" or "example.com:7017/udp".
func (l Locator) String() string {
	var s string
	switch {
	case l.IP.IsValid():
		s = net.JoinHostPort(l.IP.String(), strconv.Itoa(l.Port))
	case l.FQDN != "":
		s = l.FQDN + ":" + strconv.Itoa(l.Port)
	case l.URI != "":
		s = l.URI
		if l.Port != 0 {
			s += " port " + strconv.Itoa(l.Port)
		}
	default:
		return "no locator"
	}
	if l.Protocol == 0 || l.Protocol == TCP {
		return s
	}
	if name := protocolName(l.Protocol); name != "" {
		return s + "/" + name
	}
	return s + "/" + strconv.Itoa(l.Protocol)
}

// protocolName returns the name of a protocol, if it has one. Those above 255
// are the transport identifiers of draft-carpenter-anima-grasp-rendezvous-01.
func protocolName(protocol int) string {
	switch protocol {
	case UDP:
		return "udp"
	case 256:
		return "tls"
	case 257:
		return "dtls"
	case 258:
		return "quic"
	case 259:
		return "http"
	}
	return ""
}

// place is where a locator leads to, whatever its lifetime, and mostly whatever its link.
type place struct {
	ip             netip.Addr
	link           int // of an IPv4 link-local or a loopback address; an IPv6 link-local one has a zone
	fqdn, uri      string
	protocol, port int
}

func (l Locator) place() place {
	link := 0
	if cache.OnLinkOnly(l.IP) && l.IP.Zone() == "" {
		link = l.IfIndex
	}
	return place{l.IP, link, l.FQDN, l.URI, l.Protocol, l.Port}
}

// host returns the place without protocol and port.
func (l Locator) host() place {
	host := l.place()
	host.protocol, host.port = 0, 0
	return host
}

// encode returns the locator as it is sent, no locator if it has no address.
func (l Locator) encode() (wire.Locator, error) {
	l.IP = l.IP.Unmap()
	return l.encodeAsIs()
}

// encodeAsIs returns the locator as it came, be it with an IPv4 address in the
// form of an IPv6 one.
func (l Locator) encodeAsIs() (wire.Locator, error) {
	w := wire.Locator{Protocol: l.Protocol, Port: l.Port}
	set := 0
	if l.IP.IsValid() {
		set++
		w.Addr = l.IP.WithZone("")
		w.Kind = wire.LocatorIPv6
		if w.Addr.Is4() {
			w.Kind = wire.LocatorIPv4
		}
	}
	if l.FQDN != "" {
		set++
		w.Kind, w.Name = wire.LocatorFQDN, l.FQDN
	}
	if l.URI != "" {
		set++
		w.Kind, w.Name = wire.LocatorURI, l.URI
		if l.Port == 0 {
			w.Port = wire.Null
		}
	}
	switch {
	case set > 1:
		return wire.Locator{}, fmt.Errorf("locator %v: more than one of IP, FQDN and URI", l)
	case set == 0:
		return wire.Locator{}, nil
	}
	if w.Protocol == 0 {
		w.Protocol = TCP
		if l.URI != "" {
			w.Protocol = wire.Null
		}
	}
	if l.Port < 0 || l.Port > 65535 || l.Protocol < 0 {
		return wire.Locator{}, fmt.Errorf("locator %v: protocol or port out of range", l)
	}
	if !utf8.ValidString(w.Name) {
		return wire.Locator{}, fmt.Errorf("locator %q: not UTF-8", w.Name)
	}
	return w, nil
}

// ownLocator is a locator that an ASA registered, with the zone of its address.
type ownLocator struct {
	wire.Locator
	zone string
}

// isFor reports whether a locator may be given on a link (RFC 8990 section 2.9.5.1):
// a link-local address is for its own link only.
func (l ownLocator) isFor(link acp.Link) bool {
	switch {
	case !l.Addr.IsLinkLocalUnicast():
		return true
	case l.zone != "":
		return l.zone == link.Name || l.zone == strconv.Itoa(link.Index)
	}
	return l.Addr == link.Addr.WithZone("")
}

// sending judges the locators that an ASA has sent. The link that a link-local
// one goes with is found when it is.
var sending = origin{onLink: true, local: true}

// encodeLocators returns locators as responses give them.
func encodeLocators(ls []Locator) ([]ownLocator, error) {
	var out []ownLocator
	for _, l := range ls {
		w, err := l.encode()
		if err != nil {
			return nil, err
		}
		if w.Kind == 0 {
			return nil, fmt.Errorf("locator without address")
		}
		if err := sending.check(w); err != nil {
			return nil, err
		}
		out = append(out, ownLocator{w, l.IP.Zone()})
	}
	return out, nil
}

// decodeLocator returns a received locator as an ASA sees it. Link-local
// addresses get the link as their zone.
func decodeLocator(w wire.Locator, link int) Locator {
	l := Locator{IfIndex: link, Protocol: max(w.Protocol, 0), Port: max(w.Port, 0)}
	switch w.Kind {
	case wire.LocatorIPv6, wire.LocatorIPv4:
		l.IP = onLink(w.Addr, link)
	case wire.LocatorFQDN:
		l.FQDN = w.Name
	case wire.LocatorURI:
		l.URI = w.Name
	}
	return l
}

// onLink returns the address with the link as its zone if it is link-local.
func onLink(a netip.Addr, link int) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" && link != 0 {
		return a.WithZone(strconv.Itoa(link))
	}
	return a
}

// origin is where a locator came from. It decides which addresses may be used.
type origin struct {
	onLink   bool // it came by a link, to which a link-local address belongs
	local    bool // it came from this host, so a loopback address leads to the sender
	diverted bool // it came in a Divert option
}

// fit returns the address of a locator in the form in which it is used, or an
// error that says why it must not be used. All addresses are judged here: those
// of responses, Diverts and floods, those that names resolve to, and those that
// callers give. An IPv4-mapped IPv6 address (::ffff:a.b.c.d) is judged as the
// IPv4 address, since that is what a socket connects to.
func (from origin) fit(a netip.Addr) (netip.Addr, error) {
	a = a.Unmap()
	var why string
	switch {
	case a.IsUnspecified(): // a socket takes it for this host
		why = "unspecified"
	case a.Is4() && a.As4()[0] == 0, ipv4Compatible.Contains(a) && !a.IsLoopback():
		why = "reserved"
	case a.IsMulticast():
		why = "multicast"
	case a == ipv4Broadcast:
		why = "broadcast"
	case a.IsLoopback() && (!from.local || from.diverted):
		why = "loopback"
	case a.IsLinkLocalUnicast() && from.diverted: // RFC 8990 section 2.9.5.1
		why = "link-local in a Divert"
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" && !from.onLink:
		why = "link-local without interface"
	default:
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("%v: %s address", a, why)
}

var (
	ipv4Broadcast  = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	ipv4Compatible = netip.PrefixFrom(netip.IPv6Unspecified(), 96) // RFC 4291 section 2.5.5.1
)

// check returns an error that says why a locator must not be used, or nil. Names
// are judged when they are resolved.
func (from origin) check(w wire.Locator) error {
	if w.Kind != wire.LocatorIPv6 && w.Kind != wire.LocatorIPv4 {
		return nil
	}
	_, err := from.fit(w.Addr)
	return err
}

// isLinkLocal reports whether a locator is of use on one link only.
func isLinkLocal(w wire.Locator) bool { return cache.OnLinkOnly(w.Addr) }

// ownLocators returns the locators of this instance for a peer on a link (0:
// beyond the links), the best one first. local asks for the address on the link
// alone.
func (g *Instance) ownLocators(link int, local bool) []wire.Locator {
	addrs := acp.Addrs(g.ep, link)
	if local {
		addrs = nil
		for _, l := range g.ep.Links() {
			if l.Index == link {
				addrs = []netip.Addr{l.Addr}
			}
		}
	}
	var out []wire.Locator
	for _, a := range addrs {
		if w, err := NewLocator(netip.AddrPortFrom(a, g.ep.Port())).encode(); err == nil {
			out = append(out, w)
		}
	}
	return out
}

// isOwn reports whether an address and port are this instance's own.
func (g *Instance) isOwn(at netip.AddrPort) bool {
	if at.Port() != g.ep.Port() {
		return false
	}
	addr := at.Addr()
	return addr.IsLoopback() || slices.Contains(acp.Addrs(g.ep, 0), addr) ||
		slices.ContainsFunc(g.ep.Links(), func(l acp.Link) bool { return l.Addr == addr })
}

// Resolver finds the addresses of a host. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// resolve returns the addresses to connect to for a locator, or why there are none.
// For a name it may block until the context ends.
func (g *Instance) resolve(ctx context.Context, l Locator) ([]netip.AddrPort, error) {
	if l.Protocol != 0 && l.Protocol != TCP {
		return nil, fmt.Errorf("%v: not TCP", l)
	}
	return g.placesOf(ctx, l, 0)
}

// placesOf returns the addresses of a locator, whatever its protocol. The locator must
// have a port unless there is a usual one. For a name it may block until the context
// ends.
func (g *Instance) placesOf(ctx context.Context, l Locator, usual int) ([]netip.AddrPort, error) {
	host, port := l.FQDN, l.Port
	if l.URI != "" {
		var err error
		if host, port, err = hostOf(l.URI, l.Port); err != nil {
			return nil, err
		}
	}
	if port == 0 {
		port = usual
	}
	if port <= 0 || port > 65535 {
		return nil, fmt.Errorf("%v: no port", l)
	}
	addrs := []netip.Addr{l.IP}
	// A peer must not make this host connect to itself by giving a name.
	from := origin{onLink: l.IfIndex != 0, local: l.IP.IsValid()}
	if !l.IP.IsValid() {
		var err error
		if addrs, err = g.lookUp(ctx, host); err != nil {
			return nil, err
		}
	}
	var out []netip.AddrPort
	var errs []error
	for _, addr := range addrs {
		addr, err := from.fit(addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, netip.AddrPortFrom(onLink(addr, l.IfIndex), uint16(port)))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%v has no address to connect to: %w", l, errors.Join(errs...))
	}
	return out, nil
}

// hostOf returns host and port of a URI; the locator's port comes first.
func hostOf(uri string, port int) (string, int, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", 0, err
	}
	if u.Hostname() == "" {
		return "", 0, fmt.Errorf("%q: no host", uri)
	}
	if port == 0 && u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return "", 0, fmt.Errorf("%q: %w", uri, err)
		}
	}
	return u.Hostname(), port, nil
}

// lookUp returns the addresses of a host, which may be an address itself.
func (g *Instance) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "" {
		return nil, errors.New("no address")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	addrs, err := g.cfg.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", host, err)
	}
	return addrs, nil
}

// Addr returns the address by which others reach the instance, and the port of all
// its ASAs, for an ASA that announces itself by other means than GRASP. It is the
// address for nodes beyond the link, if there is one, else that of the first link,
// with the decimal interface index as its zone, else ::1. It changes when the network
// does.
func (g *Instance) Addr() netip.AddrPort {
	addr := g.ep.Addr()
	if links := g.ep.Links(); !addr.IsValid() || g.cfg.DULL {
		addr = netip.IPv6Loopback()
		if len(links) > 0 {
			addr = links[0].Addr
		}
	}
	return netip.AddrPortFrom(addr, g.ep.Port())
}

// Locator is [Instance.Addr] as a locator.
func (g *Instance) Locator() Locator { return NewLocator(g.Addr()) }

// errNoLink says why there is no link.
func (g *Instance) errNoLink() error {
	all, amiss := acp.Interfaces(g.ep)
	errs := []error{errors.New("no link")}
	for _, i := range all {
		if i.State != acp.LinkInUse && i.State != acp.LinkUnnamed && i.State != acp.LinkLoopback {
			errs = append(errs, errors.New(i.String()))
		}
	}
	return errors.Join(append(errs, amiss)...)
}

// linkLog logs what changes about the links of an instance.
type linkLog struct {
	all   []acp.Interface
	amiss string
}

// log logs what has changed, a line for each interface.
func (l *linkLog) log(g *Instance) {
	all, err := acp.Interfaces(g.ep)
	amiss := ""
	if err != nil {
		amiss = err.Error()
	}
	if amiss != l.amiss && amiss != "" {
		g.log.Warn("something is wrong with the links", "error", err)
	}
	for _, i := range all {
		if slices.Contains(l.all, i) {
			continue
		}
		args := []any{"interface", i.Name, "index", i.Index, "state", string(i.State)}
		if i.Detail != "" {
			args = append(args, "detail", i.Detail)
		}
		switch i.State {
		case acp.LinkInUse:
			g.log.Info("a link is in use", args...)
		case acp.LinkUnnamed, acp.LinkLoopback:
			g.log.Debug("an interface is no link", args...)
		case acp.LinkMissing, acp.LinkRefused, acp.LinkDuplicate:
			g.log.Warn("an interface is no link", args...)
		default:
			g.log.Info("an interface is no link", args...)
		}
	}
	for _, i := range l.all {
		if i.Index != 0 && !slices.ContainsFunc(all, func(now acp.Interface) bool { return now.Index == i.Index }) {
			g.log.Info("an interface is gone", "interface", i.Name, "index", i.Index)
		}
	}
	l.all, l.amiss = all, amiss
}

// errUnsent returns the error for a multicast that could not be sent on any link.
func (g *Instance) errUnsent(errs []error) error {
	if len(errs) == 0 { // there is no link, which is an error only if none can be known
		_, amiss := acp.Interfaces(g.ep)
		if amiss == nil {
			return nil
		}
		errs = []error{fmt.Errorf("no link: %w", amiss)}
	}
	return &withCode{ErrSockErr, errors.Join(errs...)}
}
