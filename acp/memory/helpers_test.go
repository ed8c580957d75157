package memory_test

import "github.com/go-grasp/grasp/internal/acptest"

// What tests of planes have in common.
type (
	member   = acptest.Member
	received = acptest.Received
)

const patience = acptest.Patience

var (
	accept                = acptest.Accept
	hear                  = acptest.Hear
	item                  = acptest.Item
	join                  = acptest.Join
	nonce                 = acptest.Nonce
	open                  = acptest.Open
	planeTests            = acptest.Tests
	receive               = acptest.Receive
	say                   = acptest.Say
	testOriginCanBeDialed = acptest.OriginCanBeDialed
	testPlane             = acptest.Plane
	within                = acptest.Within
)
