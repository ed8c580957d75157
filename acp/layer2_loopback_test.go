package acp_test

import (
	"testing"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestLayer2OnLoopback: the contract, over multicasts on the loopback interface, which
// every machine has.
func TestLayer2OnLoopback(t *testing.T) {
	name := netbed.Loopback(t)
	if name == "" {
		return
	}
	p := &acp.Layer2{Links: []string{name}, IPv4: true}
	testPlane(t, p, p)
}
