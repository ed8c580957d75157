//go:build !linux

package acp

import (
	"fmt"
	"net"
	"net/netip"
)

// interfaces takes a snapshot of the interfaces and their addresses.
// Which of them cannot be used yet is not told here: sends fail until they
// can.
func interfaces([]string) ([]netif, error) {
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
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			a := netifAddr{ip: ip.Unmap()}
			if !isLinkLocal(a.ip) {
				bits, _ := n.Mask.Size()
				a.onLink, _ = a.ip.Prefix(bits)
			}
			ifs[i].addrs = append(ifs[i].addrs, a)
		}
	}
	return ifs, nil
}

// flagsOf takes what a snapshot needs from package net.
func flagsOf(ifi *net.Interface) netif {
	const up = net.FlagUp | net.FlagRunning
	return netif{
		index:     ifi.Index,
		name:      ifi.Name,
		hw:        string(ifi.HardwareAddr),
		mtu:       ifi.MTU,
		up:        ifi.Flags&up == up,
		multicast: ifi.Flags&net.FlagMulticast != 0,
		loopback:  ifi.Flags&net.FlagLoopback != 0,
		noCarrier: ifi.Flags&up == net.FlagUp,
	}
}
