//go:build !linux

package netbed

import (
	"errors"
	"testing"
)

// Enter skips the test: only Linux has network namespaces. The other
// functions of the package, but for [Loopback], do not exist here; tests that use them
// have the suffix _linux_test.go.
func Enter(t testing.TB) bool {
	t.Helper()
	_, err := enter(t)
	unavailable(t, err.Error())
	return false
}

func enter(testing.TB) (bool, error) {
	return false, errors.New("no network namespaces on this system")
}
