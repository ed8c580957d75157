package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
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
	if !l.IP.IsValid() {
		var err error
		if addrs, err = g.lookUp(ctx, host); err != nil {
			return nil, err
		}
	}
	var out []netip.AddrPort
	for _, addr := range addrs {
		addr = onLink(addr.Unmap(), l.IfIndex)
		if addr.Is6() && addr.IsLinkLocalUnicast() && addr.Zone() == "" {
			return nil, fmt.Errorf("%v: link-local without interface", l)
		}
		out = append(out, netip.AddrPortFrom(addr, uint16(port)))
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
	var addrs []netip.Addr
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{addr}
	} else if addrs, err = g.cfg.Resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	// A peer that gives a name must not make us talk to ourselves.
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		a = a.Unmap()
		return a.IsLoopback() || a.IsUnspecified() || a.IsMulticast()
	})
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%q has no address to connect to", host)
	}
	return addrs, nil
}
