// Package longtest says which tests run at length: go test ./... is to be over in
// a minute, and .ci/run sets the environment variable [Env] and takes its time.
package longtest

import (
	"os"
	"testing"
)

// Env is the environment variable that has all tests run at their full length.
const Env = "GRASP_LONG"

// On reports whether tests are to run at their full length.
func On() bool { return os.Getenv(Env) != "" }

// Need skips a test that takes long, unless tests are to run at their full length.
func Need(t testing.TB) {
	t.Helper()
	if !On() {
		t.Skipf("takes long: it runs with %s=1 in the environment, as in .ci/run", Env)
	}
}

// Scaled returns n if tests are to run at their full length, else a tenth of it.
func Scaled(n int) int {
	if On() {
		return n
	}
	return max(1, n/10)
}
