package cli

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/domain"
)

// throwAwayLifetime is that of members of a domain that ends with the process.
const throwAwayLifetime = 30 * 24 * time.Hour

// logger returns a log of what is wrong.
func (p *Program) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelWarn}
	if p.JSON {
		return slog.New(slog.NewJSONHandler(p.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(p.Stderr, o))
}

// overTLS returns a plane for the member that the user named, with its files
// read again when they change; or for a new member of a domain of this
// process's own.
func (p *Program) overTLS(links acp.Plane) (acp.Plane, error) {
	plane := &tlsplane.Plane{Underlay: links, Logger: p.logger()}
	if p.Domain != "" {
		files, err := tlsplane.LoadFiles(tlsplane.InDir(p.Domain, p.Member), plane.Logger)
		if err != nil {
			return nil, err
		}
		plane.Credentials = files
		return plane, nil
	}
	if p.own == nil {
		var err error
		if p.own, err = domain.New("a throw-away domain"); err != nil {
			return nil, err
		}
	}
	p.members++
	cert, err := p.own.Issue(fmt.Sprint("member-", p.members), throwAwayLifetime)
	if err != nil {
		return nil, err
	}
	plane.Credentials = tlsplane.Static{Member: cert, Anchors: p.own.Roots()}
	return plane, nil
}
