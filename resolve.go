package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
)

// Resolver finds the addresses of a host. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// resolve returns where a locator of an ASA leads to, or why one cannot connect
// there. It may block until the context ends, for a name.
func (g *Instance) resolve(ctx context.Context, l Locator) ([]netip.AddrPort, error) {
	if l.Protocol != 0 && l.Protocol != TCP {
		return nil, fmt.Errorf("%v: not TCP", l)
	}
	return g.placesOf(ctx, l, 0)
}

// placesOf returns where a locator leads to, whatever its protocol. It has to
// give a port unless there is a usual one. It may block until the context ends,
// for a name.
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
	// A peer that gives a name must not make us talk to ourselves.
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
	return g.cfg.Resolver.LookupNetIP(ctx, "ip", host)
}
