//go:build !linux

package main

import (
	"errors"
	"net/netip"
)

var errNoCalls = errors.New("the floor needs a C compiler: cc")

// serveCalls has no port for the floor, which only the client misses.
func serveCalls() (port uint16, stop func(), err error) { return 0, func() {}, nil }

func newCalls(netip.AddrPort, int, int) (floor, error) { return nil, errNoCalls }
