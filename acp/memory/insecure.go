package memory

import (
	"net/netip"

	"github.com/go-grasp/grasp/acp"
)

// Insecure is a plane that is never secure, for networks without protection:
// an instance runs on it only where RFC 8990 allows that. It has the links and
// sockets of the plane it wraps, and none of its security. The zero value has
// no links and reaches nobody.
type Insecure struct {
	acp.Plane
}

// Status returns a status that is not secure.
func (p Insecure) Status() acp.Status {
	return acp.Status{Reason: "insecure: nobody is authenticated and nothing is protected"}
}

// Open opens an endpoint of the wrapped plane. Without one, the endpoint works
// but never has a link or an address.
func (p Insecure) Open() (acp.Endpoint, error) {
	if p.Plane != nil {
		return p.Plane.Open()
	}
	lone := NewNetwork(0).NewNode("insecure")
	if err := lone.SetAddr(netip.Addr{}); err != nil {
		return nil, err
	}
	return lone.Open()
}
