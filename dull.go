package grasp

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-grasp/grasp/acp"
)

// oneLink is an endpoint of which one link only is used: a DULL instance serves
// one interface (RFC 8990 section 2.5.2).
type oneLink struct {
	acp.Endpoint
	index atomic.Int64 // of the link, 0 before there was one
}

// newOneLink refuses an endpoint that has several links already: nobody could
// tell which one is meant. If others come later, the first one stays.
func newOneLink(ep acp.Endpoint) (acp.Endpoint, error) {
	links := ep.Links()
	if len(links) > 1 {
		var names []string
		for _, l := range links {
			names = append(names, l.Name)
		}
		return nil, fmt.Errorf("a DULL instance serves one link (RFC 8990 section 2.5.2), and the plane has %s: "+
			"give it a plane with one of them, and each of the others an instance of its own", strings.Join(names, ", "))
	}
	return &oneLink{Endpoint: ep}, nil
}

// Under is for acp.Overlay.
func (e *oneLink) Under() acp.Endpoint { return e.Endpoint }

// Links returns the link, if it is up. Once it is gone, another may take its
// place.
func (e *oneLink) Links() []acp.Link {
	links := e.Endpoint.Links()
	if len(links) == 0 {
		return nil
	}
	i := max(0, slices.IndexFunc(links, func(l acp.Link) bool { return int64(l.Index) == e.index.Load() }))
	e.index.Store(int64(links[i].Index))
	return links[i : i+1]
}

// uses says that a link is the one in use.
func (e *oneLink) uses(link int) bool {
	return slices.ContainsFunc(e.Links(), func(l acp.Link) bool { return l.Index == link })
}

// Send multicasts on the link.
func (e *oneLink) Send(link int, msg []byte) error {
	if !e.uses(link) {
		return fmt.Errorf("link %d is not the one of this instance", link)
	}
	return e.Endpoint.Send(link, msg)
}

// Receive waits for a datagram that comes by the link.
func (e *oneLink) Receive(buf []byte) (int, acp.Origin, error) {
	for {
		n, from, err := e.Endpoint.Receive(buf)
		if err != nil || e.uses(from.Link) {
			return n, from, err
		}
	}
}

// Accept waits for a stream that comes by the link.
func (e *oneLink) Accept() (*acp.Stream, error) {
	for {
		s, err := e.Endpoint.Accept()
		if err != nil || s.Link == 0 || e.uses(s.Link) {
			return s, err
		}
		_ = s.Close()
	}
}
