package tlsplane

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// Bounds on what announcements, which anybody can forge, can cause.
const (
	maxDials     = 16               // to neighbours, at the same time
	perAddress   = 16               // candidates with the same address
	minLifetime  = 10 * time.Second // of a candidate
	firstBackoff = time.Second
	maxDoublings = 6 // of firstBackoff: about a minute
)

// candidate is who was announced on a link, a neighbour or not.
type candidate struct {
	expires  time.Time
	next     time.Time // not to be dialed before
	failures int       // in a row
	dialing  bool
	key      peerKey // who it turned out to be, when it was dialed last
}

// backoff returns how long to wait after some failures in a row.
func backoff(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	d := firstBackoff << min(failures-1, maxDoublings)
	return d + rand.N(d/4) // or all would dial at the same time
}

// consider notes an announcement. It returns true if somebody has to be dialed.
func (e *endpoint) consider(index int, to netip.AddrPort, ttl time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[index]
	if l == nil {
		return false
	}
	now := time.Now()
	c := l.candidates[to]
	if c == nil {
		if !l.roomForLocked(to, 2*e.plane.maxNeighbours()) {
			return false
		}
		c = &candidate{}
		l.candidates[to] = c
	}
	c.expires = now.Add(min(max(ttl, minLifetime), lifetime(maxInterval)))
	return l.wantsLocked(to, c, now)
}

// roomForLocked makes room for a candidate: of those that are not connected the
// one that failed most often goes, if any failed.
func (l *link) roomForLocked(to netip.AddrPort, most int) bool {
	same := 0
	var worst netip.AddrPort
	failures := 0
	for addr, c := range l.candidates {
		if addr.Addr() == to.Addr() {
			same++
		}
		if c.failures > failures && !c.dialing && !l.isConnectedLocked(addr, c) {
			worst, failures = addr, c.failures
		}
	}
	if len(l.candidates) < most && same < perAddress {
		return true
	}
	if failures == 0 || same >= perAddress && worst.Addr() != to.Addr() {
		return false
	}
	delete(l.candidates, worst)
	return true
}

func (l *link) isConnectedLocked(addr netip.AddrPort, c *candidate) bool {
	return l.at[addr] > 0 || l.peers[c.key] != nil
}

// wantsLocked says that a candidate is to be dialed now.
func (l *link) wantsLocked(addr netip.AddrPort, c *candidate, now time.Time) bool {
	return !c.dialing && !c.next.After(now) && !l.isConnectedLocked(addr, c)
}

// dialDue dials who is to be dialed, and returns when to look again, which may
// be never: the zero Time.
func (e *endpoint) dialDue(now time.Time) (next time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.links {
		for addr, c := range l.candidates {
			switch {
			case c.dialing:
			case !c.expires.After(now):
				delete(l.candidates, addr)
			case l.isConnectedLocked(addr, c):
			case c.next.After(now):
				if next.IsZero() || c.next.Before(next) {
					next = c.next
				}
			case e.dials < maxDials: // else when one of them ends
				c.dialing = true
				e.dials++
				e.done.Go(func() { e.court(l, addr, c) })
			}
		}
	}
	return next
}

// court dials a candidate, and serves the connection if it becomes a neighbour.
func (e *endpoint) court(l *link, addr netip.AddrPort, c *candidate) {
	n, err := e.dialNeighbour(addr)
	e.mu.Lock()
	e.dials--
	c.dialing = false
	if err != nil {
		c.failures++
		c.next = time.Now().Add(backoff(c.failures))
	} else {
		c.key = n.key
	}
	e.mu.Unlock()
	e.poke()
	switch {
	case err == nil:
		n.run()
	case e.ctx.Err() == nil:
		e.plane.failed("a neighbour that was announced", addr, err)
	}
}

func (e *endpoint) dialNeighbour(addr netip.AddrPort) (*neighbour, error) {
	ctx, cancel := context.WithTimeout(e.ctx, e.plane.handshakeTimeout())
	defer cancel()
	s, err := e.under.Dial(ctx, addr)
	if err != nil {
		return nil, &unreachableError{err}
	}
	conn, err := e.plane.secure(ctx, s, false, protoNeighbour)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(e.ctx, conn.abort)()
	return e.meet(conn, s, true)
}

// unreachableError says that there was nobody to refuse, or be refused.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// poke has tend look at what is to be done.
func (e *endpoint) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// tend announces this node, dials its neighbours and watches its status, until
// the endpoint closes.
func (e *endpoint) tend() {
	var status acp.Status
	var interval time.Duration
	var announceAt time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		fresh := false
		select {
		case <-e.ctx.Done():
			return
		case <-e.under.Changed():
			fresh = e.followLinks()
			e.tell()
		case <-e.wake:
		case <-timer.C:
		}
		own := e.plane.look()
		if own.Status != status {
			fresh = fresh || !status.Secure
			status = own.Status
			e.tell()
			e.log.Info("the status of the plane", "secure", status.Secure, "reason", status.Reason)
		}
		now := time.Now()
		next := own.until
		if status.Secure {
			if fresh {
				interval, announceAt = 0, now
			}
			if !announceAt.After(now) {
				e.announce()
				interval = min(max(2*interval, firstInterval), e.plane.interval())
				announceAt = now.Add(interval)
			}
			if announceAt.Before(next) {
				next = announceAt
			}
			if due := e.dialDue(now); !due.IsZero() && due.Before(next) {
				next = due
			}
		}
		timer.Reset(max(time.Until(next), 0))
	}
}
