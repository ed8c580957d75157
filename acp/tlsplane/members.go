package tlsplane

import (
	"errors"
	"sync"
	"time"
)

// members are the standing connections. A timer has them checked for as long as there
// are any, because streams may outlive their endpoint.
type members struct {
	mu    sync.Mutex // guards all following fields
	conns map[*conn]struct{}
	armed bool
}

func (m *members) remove(c *conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, c)
}

// all returns the connections. If there are none, the timer stays off.
func (m *members) all() []*conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*conn, 0, len(m.conns))
	for c := range m.conns {
		all = append(all, c)
	}
	m.armed = len(all) > 0
	return all
}

// admit enters a connection whose handshake succeeded.
func (p *Plane) admit(c *conn) {
	m := &p.members
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conns == nil {
		m.conns = make(map[*conn]struct{})
	}
	m.conns[c] = struct{}{}
	if !m.armed {
		m.armed = true
		time.AfterFunc(p.checkInterval(), p.checkMembers)
	}
}

// checkMembers ends the connections of those who are no longer members, and
// all of them if this node is not.
func (p *Plane) checkMembers() {
	all := p.members.all()
	if len(all) == 0 {
		return
	}
	defer time.AfterFunc(p.checkInterval(), p.checkMembers)
	own := p.lookAgain()
	_, roots, err := p.own()
	verdicts := make(map[string]error) // by certificate: many connections have the same
	for _, c := range all {
		if !own.Secure || err != nil {
			c.expel(&RefusedError{Reason: ReasonOwn, Identity: c.identity, Err: errors.New(own.Reason)})
			continue
		}
		key := string(c.shown[0].Raw)
		verdict, known := verdicts[key]
		if !known {
			_, verdict = p.verify(c.shown, roots, c.usage)
			verdicts[key] = verdict
		}
		var refused *RefusedError
		if errors.As(verdict, &refused) {
			c.expel(refused)
		}
	}
}
