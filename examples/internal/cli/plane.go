package cli

import (
	"errors"
	"fmt"
	"os"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/quads"
)

// The planes that --plane knows; layer2 is what programs have without it.
const (
	PlaneLayer2 = "layer2"
	PlaneTLS    = "tls"
	PlaneQUADS  = "quads"
)

// Planes are all of them.
var Planes = []string{PlaneLayer2, PlaneTLS, PlaneQUADS}

// PasswordEnv is the environment variable for the domain's password. What is
// given with --password can be read by everybody on the machine.
const PasswordEnv = "GRASP_PASSWORD"

// planeFlags adds the flags for planes. A program with all sides in one process
// can do without the directory of a domain.
func (o *Options) planeFlags(f *flag.FlagSet, inOne bool) {
	f.StringVar(&o.PlaneName, "plane", PlaneLayer2, "the security `plane`: layer2, which assumes that the links are protected; tls, for members of a domain with certificates; or quads, which encrypts with a password in the Python prototype's way")
	f.StringVar(&o.Password, "password", "", "the domain's password `P` for --plane quads; better, since nobody else sees it, put it into the environment as "+PasswordEnv)
	without := ""
	if inOne {
		without = "; without it the program makes one for itself alone"
	}
	f.StringVar(&o.Domain, "domain", "", "the `directory` of the domain for --plane tls, as examples/domain makes it"+without)
	f.StringVar(&o.Member, "member", "", "the `name` of this member of the domain")
}

// checkPlane refuses what makes no sense, and completes the rest.
func (o *Options) checkPlane(inOne bool) error {
	switch {
	case o.PlaneName != PlaneLayer2 && o.PlaneName != PlaneQUADS && o.PlaneName != PlaneTLS:
		return fmt.Errorf("--plane %s: there are only layer2, tls and quads", o.PlaneName)
	case o.PlaneName != PlaneQUADS && o.Password != "":
		return errors.New("--password is for --plane quads")
	case o.PlaneName != PlaneTLS && (o.Domain != "" || o.Member != ""):
		return errors.New("--domain and --member are for --plane tls")
	case o.PlaneName == PlaneTLS && ((o.Domain == "") != (o.Member == "") || o.Domain == "" && !inOne):
		return errors.New("--plane tls needs --domain and --member")
	}
	if o.PlaneName == PlaneQUADS && o.Password == "" {
		o.Password = os.Getenv(PasswordEnv)
		if o.Password == "" {
			return errors.New("--plane quads needs a password: put it into the environment as " + PasswordEnv)
		}
	}
	return nil
}

// Protect returns the plane that the user chose, on top of the links of another.
func (p *Program) Protect(links acp.Plane) (acp.Plane, error) {
	switch p.PlaneName {
	case PlaneTLS:
		return p.overTLS(links)
	case PlaneQUADS:
		return &quads.Plane{Password: p.Password, Under: links}, nil
	}
	return links, nil
}
