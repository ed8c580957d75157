package scenario

import (
	"testing"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

func TestQUADSScenarioOnRealLinks(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	runScenarioOnRealLinks(t, onQUADS)
}
