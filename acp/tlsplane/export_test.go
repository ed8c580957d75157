package tlsplane

import "github.com/go-grasp/grasp/acp"

// For the tests of package tlsplane_test.
var (
	Announcement = announcement
	IdentityOf   = identityOf
	SourceOf     = sourceOf
)

// Candidates counts those who were announced to an endpoint.
func Candidates(ep acp.Endpoint) int {
	e := ep.(*endpoint)
	e.mu.Lock()
	defer e.mu.Unlock()
	count := 0
	for _, l := range e.links {
		count += len(l.candidates)
	}
	return count
}
