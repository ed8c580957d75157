package memory_test

import "github.com/go-grasp/grasp/internal/acptest"

// What tests of planes have in common.
type (
	member   = acptest.Member
	received = acptest.Received
)

const patience = acptest.Patience

var (
	endpointOf            = acptest.EndpointOf
	hear                  = acptest.Hear
	join                  = acptest.Join
	pair                  = acptest.Pair
	planeTests            = acptest.Tests
	receive               = acptest.Receive
	say                   = acptest.Say
	testOriginCanBeDialed = acptest.OriginCanBeDialed
	testPlane             = acptest.Plane
	within                = acptest.Within
)
