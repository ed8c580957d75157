package cli

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/go-grasp/grasp/acp"
)

// The planes that -plane knows; layer2 is what programs have without it.
const (
	layer2 = "layer2"
	quads  = "quads"
)

// passwordEnv is the environment variable for the domain's password. What is
// given with -password can be read by everybody on the machine.
const passwordEnv = "GRASP_PASSWORD"

func (o *Options) planeFlags(f *flag.FlagSet) {
	f.StringVar(&o.PlaneName, "plane", layer2, "the security `plane`: layer2, which assumes that the links are protected,\nor quads, which encrypts with a password in the Python prototype's way")
	f.StringVar(&o.Password, "password", "", "the domain's password `P` for -plane quads; better, since nobody else sees it,\nput it into the environment as "+passwordEnv)
}

// checkPlane refuses what makes no sense, and completes the rest.
func (o *Options) checkPlane() error {
	switch o.PlaneName {
	case layer2:
		if o.Password != "" {
			return errors.New("-password is for -plane quads")
		}
		return nil
	case quads:
		if o.Password == "" {
			o.Password = os.Getenv(passwordEnv)
		}
		if o.Password == "" {
			return errors.New("-plane quads needs a password: put it into the environment as " + passwordEnv)
		}
		return nil
	}
	return fmt.Errorf("-plane %s: there are only layer2 and quads", o.PlaneName)
}

// protect returns the plane that the user chose, on top of the links of another.
func (p *Program) protect(links acp.Plane) acp.Plane {
	if p.PlaneName == quads {
		return &acp.QUADS{Password: p.Password, Under: links}
	}
	return links
}
