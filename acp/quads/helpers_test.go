package quads_test

import "github.com/go-grasp/grasp/internal/acptest"

// What tests of planes have in common.
var (
	item      = acptest.Item
	testPlane = acptest.Plane
)
