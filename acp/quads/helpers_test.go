package quads_test

import "github.com/go-grasp/grasp/internal/acptest"

// What tests of planes have in common.
var (
	endpointOf = acptest.EndpointOf
	item       = acptest.Item
	pair       = acptest.Pair
	testPlane  = acptest.Plane
)
