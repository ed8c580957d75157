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
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			a := netifAddr{ip: ip.Unmap()}
			if a.ip.Is4() {
				bits, _ := n.Mask.Size()
				a.onLink, _ = a.ip.Prefix(bits)
			}
			ifs[i].addrs = append(ifs[i].addrs, a)
		}
	}
	return ifs, nil
}
