//go:build !linux

package netbed

import "testing"

// Enter skips the test: only Linux has network namespaces. The other
// functions of the package do not exist here; tests that use them have the
// suffix _linux_test.go.
func Enter(t testing.TB) bool {
	t.Helper()
	unavailable(t, "no network namespaces on this system")
	return false
}
