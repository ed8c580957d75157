//go:build !linux

package acp

import (
	"fmt"
	"net"
	"net/netip"
)

// interfaces takes a snapshot of the interfaces and their IPv6 addresses.
// Which of them cannot be used yet is not told here: sends fail until they
// can.
func interfaces() ([]netif, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("acp: list interfaces: %w", err)
	}
	ifs := make([]netif, len(list))
	for i := range list {
		ifs[i] = flagsOf(&list[i])
		addrs, err := list[i].Addrs()
		if err != nil {
			continue // it is gone
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Is6() && !ip.Is4In6() {
				ifs[i].addrs = append(ifs[i].addrs, netifAddr{ip: ip})
			}
		}
	}
	return ifs, nil
}
