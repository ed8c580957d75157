package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
)

// peerFlag is how a peer is given.
const peerFlag = "ask the one at `locator` instead of discovering one: [address]:port, where a link-local\naddress has its link, as in [fe80::1%eth0]:4000, or name:port"

// parseLocator reads a locator as it is printed: an address or name with a
// port, and with a protocol unless that is TCP; or a URI.
func parseLocator(s string) (grasp.Locator, error) {
	if strings.Contains(s, "://") {
		return grasp.Locator{URI: s}, nil
	}
	at, protocol, given := strings.Cut(s, "/")
	l := grasp.Locator{Protocol: grasp.TCP}
	if given {
		var err error
		if l.Protocol, err = parseProtocol(protocol); err != nil {
			return l, fmt.Errorf("locator %q: %w", s, err)
		}
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return l, fmt.Errorf("locator %q: %w", s, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return l, fmt.Errorf("locator %q: port: %w", s, err)
	}
	l.Port = int(n)
	if l.IP, err = netip.ParseAddr(host); err == nil {
		return l, resolveZone(&l)
	}
	l.IP = netip.Addr{}
	if host == "" || strings.ContainsAny(host, ":%") {
		return l, fmt.Errorf("locator %q: neither address nor name", s)
	}
	l.FQDN = host
	return l, nil
}

// protocols are the names of protocols; those above 255 are the transport
// identifiers of draft-carpenter-anima-grasp-rendezvous-01.
var protocols = map[string]int{"tcp": grasp.TCP, "udp": grasp.UDP, "tls": 256, "dtls": 257, "quic": 258, "http": 259}

func parseProtocol(s string) (int, error) {
	if n, ok := protocols[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, errors.New("the protocol is neither tcp, udp, tls, dtls, quic or http, nor a number")
	}
	return int(n), nil
}

// resolveZone replaces the name of a link by its index.
func resolveZone(l *grasp.Locator) error {
	zone := l.IP.Zone()
	if zone == "" {
		return nil
	}
	index, err := strconv.Atoi(zone)
	if err != nil {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return fmt.Errorf("link %s: %w", zone, err)
		}
		index = i.Index
	}
	l.IP, l.IfIndex = l.IP.WithZone(strconv.Itoa(index)), index
	return nil
}

// locatorResult is a locator in JSON.
type locatorResult struct {
	Objective string `json:"objective"`
	Locator   string `json:"locator"` // as --peer takes it
	Address   string `json:"address,omitempty"`
	Name      string `json:"name,omitempty"`
	URI       string `json:"uri,omitempty"`
	Protocol  int    `json:"protocol,omitempty"`
	Port      int    `json:"port,omitempty"`
	Link      string `json:"link,omitempty"` // by which it came
	Seconds   int    `json:"ttl,omitempty"`  // how long it is valid, rounded up
	Diverted  bool   `json:"diverted"`
}

func resultOf(objective string, l grasp.Locator) locatorResult {
	r := locatorResult{Objective: objective, Name: l.FQDN, URI: l.URI, Protocol: l.Protocol, Port: l.Port, Diverted: l.Diverted}
	if l.IfIndex != 0 {
		r.Link = linkName(l.IfIndex)
	}
	if l.IP.IsValid() {
		r.Address = l.IP.WithZone("").String()
		if l.IP.Zone() != "" {
			l.IP = l.IP.WithZone(linkName(l.IfIndex))
		}
	}
	if !l.Expire.IsZero() {
		r.Seconds = int((time.Until(l.Expire) + time.Second - 1) / time.Second)
	}
	r.Locator = l.String()
	return r
}

// linkName returns the name of a link, or its index if it is gone.
func linkName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return strconv.Itoa(index)
}
