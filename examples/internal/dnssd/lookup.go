package dnssd

import (
	"context"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// querier asks for the resources of a type that a name has; none is no error.
type querier interface {
	query(ctx context.Context, name string, kind dnsmessage.Type) ([]dnsmessage.ResourceBody, error)
}

// maxInstances bounds the instances that are looked up for one request.
const maxInstances = 64

// lookup finds the instances of a service, such as printer._tcp, in a domain
// (RFC 6763 sections 4 to 6). An instance has one Service for each of its SRV
// records. One that has none or cannot be looked up has no places.
func lookup(ctx context.Context, q querier, service, domain string) ([]Service, error) {
	suffix := "_" + service + "." + strings.TrimSuffix(domain, ".") + "."
	names, err := q.query(ctx, suffix, dnsmessage.TypePTR)
	if err != nil {
		return nil, err
	}
	var all []Service
	for _, b := range names[:min(len(names), maxInstances)] {
		name := b.(*dnsmessage.PTRResource).PTR.String()
		found, err := describeInstance(ctx, q, name, Service{
			Instance: strings.TrimSuffix(name, "."+suffix), Service: service, Domain: domain,
		})
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func describeInstance(ctx context.Context, q querier, name string, s Service) ([]Service, error) {
	texts, err := q.query(ctx, name, dnsmessage.TypeTXT)
	if err != nil {
		return nil, err
	}
	s.Text = make(map[string]any)
	for _, b := range texts {
		addPairs(s.Text, b.(*dnsmessage.TXTResource).TXT)
	}
	servers, err := q.query(ctx, name, dnsmessage.TypeSRV)
	if err != nil || len(servers) == 0 {
		return []Service{s}, err
	}
	var all []Service
	for _, b := range servers[:min(len(servers), maxInstances)] {
		r := b.(*dnsmessage.SRVResource)
		one := s
		one.Priority, one.Weight = r.Priority, r.Weight
		if one.At, err = places(ctx, q, r, protocolOf(s.Service)); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// addPairs adds the attributes of a TXT record (RFC 6763 section 6.4): of each
// key the first counts.
func addPairs(to map[string]any, texts []string) {
	for _, t := range texts {
		key, v, has := strings.Cut(t, "=")
		if _, there := to[key]; there || key == "" {
			continue
		}
		to[key] = true
		if has {
			to[key] = strings.ToValidUTF8(v, "\uFFFD")
		}
	}
}

// places returns the addresses of the host that a SRV record names, and its name.
func places(ctx context.Context, q querier, r *dnsmessage.SRVResource, protocol int) ([]Place, error) {
	host := r.Target.String()
	if host == "." {
		return nil, nil // RFC 2782: the service is decidedly not available
	}
	var all []Place
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeAAAA, dnsmessage.TypeA} {
		addrs, err := q.query(ctx, host, kind)
		if err != nil {
			return nil, err
		}
		for _, b := range addrs[:min(len(addrs), maxInstances)] {
			p := Place{Protocol: protocol, Port: r.Port}
			switch b := b.(type) {
			case *dnsmessage.AAAAResource:
				p.Addr = netip.AddrFrom16(b.AAAA)
			case *dnsmessage.AResource:
				p.Addr = netip.AddrFrom4(b.A)
			}
			all = append(all, p)
		}
	}
	return append(all, Place{Host: host, Protocol: protocol, Port: r.Port}), nil
}
