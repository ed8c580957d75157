//go:build !linux

package acp

import (
	"errors"
	"net"
)

// isOption: other systems are not known to refuse options of package net.
func isOption(error) bool { return false }

func plainTCP(uint16) (*net.TCPListener, error) { return nil, errors.ErrUnsupported }

func plainUDP(string, uint16, bool) (*net.UDPConn, error) { return nil, errors.ErrUnsupported }
