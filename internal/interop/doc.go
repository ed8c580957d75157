// Package interop has this library meet graspy, the Python prototype by the
// author of GRASP: two independent implementations on one link. Its tests are
// skipped where the environment variable GRASPY names no checkout of graspy.
package interop
