package scenario

import (
	"testing"

	"github.com/go-grasp/grasp/internal/netbed"
)

func TestQUADSScenarioOnRealLinks(t *testing.T) {
	t.Parallel() // most of it is waiting
	if !netbed.Enter(t) {
		return
	}
	runScenarioOnRealLinks(t, onQUADS)
}
