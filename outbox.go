package grasp

import (
	"net/netip"
	"sync"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/wire"
)

// outbox holds back what is relayed because of datagrams that came together, so that it
// is sent together.
type outbox struct {
	mu    sync.Mutex // guards all following fields
	holds bool
	held  relayed
	spare relayed // empty, for what is held next
}

// relayed are messages to be relayed.
type relayed struct {
	all []acp.Multicast
	of  []relayedOne // for each of all
}

// relayedOne is a message as it came.
type relayedOne struct {
	message wire.Message
	from    netip.AddrPort
}

// add adds what the relay decided.
func (r *relayed) add(m wire.Message, d *loop.Decision, from netip.AddrPort) {
	for _, l := range d.Links {
		r.all = append(r.all, acp.Multicast{Link: l, Msg: d.Raw})
		r.of = append(r.of, relayedOne{m, from})
	}
}

// hold has the outbox hold back what is added from now on.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holds = true
}

// add adds what the relay decided. It returns false if that is to be sent at once.
func (o *outbox) add(m wire.Message, d *loop.Decision, from netip.AddrPort) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.holds {
		o.held.add(m, d, from)
	}
	return o.holds
}

// take ends hold and takes out what was held back.
func (o *outbox) take() relayed {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holds = false
	if len(o.held.all) == 0 {
		return relayed{}
	}
	r := o.held
	o.held, o.spare = o.spare, relayed{}
	return r
}

// sendHeld sends what the outbox held back. Only receiveDatagrams calls it.
func (g *Instance) sendHeld() {
	r := g.outbox.take()
	if len(r.all) == 0 {
		return
	}
	g.sendAll(&r)
	clear(r.all)
	clear(r.of)
	g.outbox.mu.Lock()
	defer g.outbox.mu.Unlock()
	g.outbox.spare = relayed{r.all[:0], r.of[:0]}
}

// sendAll sends messages, and counts and traces each.
func (g *Instance) sendAll(r *relayed) {
	acp.SendBatch(g.ep, r.all)
	for i, s := range r.all {
		m, from := r.of[i].message, r.of[i].from
		if s.Err != nil {
			g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Link: s.Link, Raw: s.Msg, Err: s.Err}))
			continue
		}
		g.trace(Relayed, m, s.Msg, from, s.Link)
	}
}

// sendRelayed does what the relay decided.
func (g *Instance) sendRelayed(m wire.Message, d *loop.Decision, from netip.AddrPort) {
	for _, l := range d.Full {
		g.drop(eventOf(m, Event{Reason: ReasonRate, Peer: from, Link: l, Raw: d.Raw}))
	}
	if g.outbox.add(m, d, from) {
		return
	}
	var r relayed
	r.add(m, d, from)
	g.sendAll(&r)
}
