package grasp

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// defaultDULL are the objectives that a DULL instance deals with if
// Config.DULLObjectives is empty: those of RFC 8994 section 6.4 and RFC 8995
// section 4.1.1.
var defaultDULL = []string{"AN_ACP", "AN_Proxy"}

var errDULL = errors.New("a DULL instance")

// secure returns why the instance must not do what needs protection, or nil.
// RFC 8990 section 2.5.2: a DULL instance never does.
func (g *Instance) secure() error {
	if g.cfg.DULL {
		return errDULL
	}
	if st := g.cfg.Plane.Status(); !st.Secure {
		return errors.New(st.Reason)
	}
	return nil
}

// mayMulticast returns why the instance must not discover or flood an
// objective, or nil. A DULL instance may, if the objective is for it.
func (g *Instance) mayMulticast(name string) error {
	switch {
	case !g.cfg.DULL:
		return g.secure()
	case !slices.Contains(g.cfg.DULLObjectives, name):
		return fmt.Errorf("%w, and %q is not in Config.DULLObjectives", errDULL, name)
	}
	return nil
}

// mayServe says that a stream's first message may be heeded: in a DULL
// instance only an answer to its own discovery.
func (g *Instance) mayServe(m wire.Message, s *stream) bool {
	if !g.cfg.DULL {
		return g.secure() == nil
	}
	_, ok := m.(*wire.Response)
	return ok && (cache.OnLinkOnly(s.Peer.Addr()) || s.local)
}

// watchPlane follows the plane's status and links until the instance is closed.
// When it
// ceases to be secure, all that needs protection ends at once.
func (g *Instance) watchPlane() {
	was := g.secure() == nil
	var links linkLog
	for {
		links.log(g)
		select {
		case <-g.ctx.Done():
			return
		case <-g.ep.Changed():
		}
		g.changed.broadcast()
		err := g.secure()
		switch now := err == nil; {
		case was && !now:
			g.log.Error("the plane is no longer secure: sessions and listening end", "reason", err)
			g.lockDown()
		case !was && now:
			g.log.Info("the plane is secure")
		}
		was = err == nil
	}
}

// lockDown ends sessions, listening and discoveries. Their calls return
// ErrNoSecurity.
func (g *Instance) lockDown() {
	g.objectives.stopAll(ErrNoSecurity)
	for _, s := range g.sessions.All() {
		s.finish()
	}
	g.streams.closeAll()
	g.searches.fail(ErrNoSecurity)
}
