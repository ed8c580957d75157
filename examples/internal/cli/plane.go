package cli

import (
	"fmt"

	"github.com/go-grasp/grasp/acp"
)

// layer2 is the plane that programs have if -plane does not say otherwise.
const layer2 = "layer2"

const planeUsage = "the security `plane`: layer2, which assumes that the links are protected"

func (o Options) checkPlane() error {
	switch o.PlaneName {
	case layer2:
		return nil
	}
	return fmt.Errorf("-plane %s: there is only layer2", o.PlaneName)
}

// protect returns the plane that the user chose, on top of the links of another.
func (p *Program) protect(links acp.Plane) acp.Plane {
	return links
}
