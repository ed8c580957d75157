package memory

import (
	"context"
	"net/netip"

	"github.com/go-grasp/grasp/acp"
)

// Pipe returns the two ends of a stream that goes from a node to itself,
// without any network: buffered, with deadlines, and closed like TCP.
func Pipe() (dialed, accepted *acp.Stream, err error) {
	node := NewNetwork(0).NewNode("self")
	ep, err := node.Open()
	if err != nil {
		return nil, nil, err
	}
	dialed, err = ep.Dial(context.Background(), netip.AddrPortFrom(ep.Addr(), ep.Port()))
	if err == nil {
		accepted, err = ep.Accept()
	}
	if err == nil {
		err = ep.Close() // the streams go on
	}
	return dialed, accepted, err
}
