package main

import (
	"context"
	"net"

	"github.com/pion/mdns/v2"
	"golang.org/x/net/ipv6"
)

// dnsName is the name that is asked for.
const dnsName = "grasp-bench-peers.local"

// openDNS takes part in multicast DNS on the link.
func openDNS(link string, names ...string) (*mdns.Conn, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}
	addr, err := net.ResolveUDPAddr("udp6", mdns.DefaultAddressIPv6)
	if err != nil {
		return nil, err
	}
	c, err := net.ListenUDP("udp6", addr)
	if err != nil {
		return nil, err
	}
	return mdns.Server(nil, ipv6.NewPacketConn(c), &mdns.Config{LocalNames: names, Interfaces: []net.Interface{*ifi}})
}

// serveDNS answers for the name.
func serveDNS(link string) (stop func(), err error) {
	c, err := openDNS(link, dnsName)
	if err != nil {
		return nil, err
	}
	return func() { _ = c.Close() }, nil
}

// dns is a client of multicast DNS.
type dns struct{ conn *mdns.Conn }

func newDNS(link string) (*dns, error) {
	c, err := openDNS(link)
	return &dns{c}, err
}

func (d *dns) close() { _ = d.conn.Close() }

func (d *dns) query(ctx context.Context) error {
	_, _, err := d.conn.QueryAddr(ctx, dnsName)
	return err
}
