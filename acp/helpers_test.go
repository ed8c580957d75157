package acp_test

import "github.com/go-grasp/grasp/internal/acptest"

// What tests of planes have in common.
type (
	member = acptest.Member
)

const patience = acptest.Patience

var (
	accept    = acptest.Accept
	hear      = acptest.Hear
	join      = acptest.Join
	nonce     = acptest.Nonce
	open      = acptest.Open
	receive   = acptest.Receive
	say       = acptest.Say
	testPlane = acptest.Plane
)
