package tlsplane

import (
	"time"

	"github.com/go-grasp/grasp/acp"
)

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
	var announceAt, announced time.Time
	announcer := announcer{e: e, proofs: make(map[int]*announcedProof)}
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
		e.giveUpParts(now)
		next := own.until
		if status.Secure {
			if fresh {
				interval, announceAt = 0, now
				clear(announcer.proofs) // who failed to reach this node shall try again
			}
			if e.answers.Swap(false) {
				announceAt = earliest(announceAt, announced.Add(answerPause))
			}
			if !announceAt.After(now) {
				announcer.announce(own)
				announced = now
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
