package scenario

import (
	"testing"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Where there are no namespaces to be had, these are tried all the same.
func TestLoopbackWithoutNamespaces(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.Denied(t, "TestWorksOnLoopback", "TestScenarioOnLoopback")
}
