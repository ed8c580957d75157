package main

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// A host without IPv6, such as a plain container, runs the pair on its link.
func TestPairOverIPv4(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	exe := build(t)
	netbed.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "10.0.0.1/24")
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(exe, "-n", "5", "-seed", "1", "-wait", "0", "-link", "va0")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), stderr.String())
	for _, text := range []string{"va0", "10.0.0.1", "Gray: Negotiation succeeded NZD 160\n", "Briggs: #3 Declined: You are mean!\n"} {
		assert.Contains(t, stdout.String(), text)
	}
}

// Where there are no namespaces to be had, the pair is tried all the same.
func TestPairWithoutNamespaces(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.Denied(t, "TestPairOnLoopback")
}
