package grasp

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/race"
	"github.com/go-grasp/grasp/internal/session"
)

// candidates are the peers of a request that are known, or are found while
// others are tried. They are raced: the first that connects gets the request.
// When none that is known has answered within a moment the network is asked,
// again and again until one does: a relay whose first answer was no good finds
// others when it is asked again.
type candidates struct {
	*outgoing
	*reach
	of       map[netip.AddrPort]*candidate
	doubtful []netip.AddrPort // tried when others have had their chance
	chance   time.Time        // until then

	searched chan struct{} // closed when the search is over; nil: not begun
	over     bool          // it is, and its outcome was taken
	failure  error         // of the search: there is nothing more to be done
	silence  error         // of the search: the question did not get out
	unusable error         // why a locator cannot be connected to
	useless  Locator       // which
}

// candidate is a peer.
type candidate struct {
	locator Locator
	left    int // addresses that may be of use
}

// sendToAny sends the message to the first peer that can be connected to.
func (c *outgoing) sendToAny(ctx, trying context.Context, raw []byte) (*stream, error) {
	if ctx.Err() != nil {
		return nil, c.failed(ctx, netip.AddrPort{}, ErrCancelled, nil)
	}
	x := &candidates{outgoing: c, reach: c.asa.g.newReach(trying), of: make(map[netip.AddrPort]*candidate)}
	x.more, x.lost = x.findMore, x.giveUp
	defer x.end()
	for _, l := range x.g.knownLocators(c.objective.Name, c.asa) {
		x.offer(l)
	}
	for {
		s, err := x.next()
		switch {
		case err != nil:
			return nil, x.explain(ctx, err)
		case x.failure != nil:
			return nil, wrap(c.op, c.objective.Name, x.failure)
		case s == nil, s.session != 0: // a locator suffices, or the answer is there
			return s, nil
		}
		if err = c.sendBy(s, raw); err == nil {
			c.reached, c.reachedAt = &x.of[x.at].locator, x.at
			x.g.doubts.remove(c.objective.Name, x.at)
			return s, nil
		}
		x.fail(x.at, err)
	}
}

// end ends the search and all attempts, and waits for the search.
func (x *candidates) end() {
	x.stop()
	if x.searched != nil {
		<-x.searched
	}
}

// offer adds a peer.
func (x *candidates) offer(l Locator) {
	if x.suffices != nil && x.suffices(l) {
		x.reached, x.done = &l, true
		return
	}
	if l.IP.IsValid() {
		targets, err := x.g.resolve(x.ctx, l) // which does not block
		x.add(l, targets, err)
		return
	}
	x.pending++
	lookUp := func() {
		targets, err := x.g.resolve(x.ctx, l)
		x.post(func() {
			x.pending--
			x.add(l, targets, err)
		})
	}
	if !x.g.spawn(lookUp) {
		x.pending--
	}
}

// add adds the addresses of a peer, those that were of no use lately in
// reserve.
func (x *candidates) add(l Locator, targets []netip.AddrPort, err error) {
	name := x.objective.Name
	if err != nil {
		x.unusable, x.useless = err, l
		x.g.locators.forget(name, l)
		return
	}
	c := &candidate{locator: l}
	for _, to := range targets {
		if x.of[to] != nil {
			continue
		}
		x.of[to] = c
		c.left++
		if x.g.doubts.has(name, to) {
			x.doubtful = append(x.doubtful, to)
		} else {
			x.race.Add(to)
		}
	}
}

// giveUp takes the news that an address is of no use. A peer that has no other
// is forgotten.
func (x *candidates) giveUp(to netip.AddrPort, _ error) {
	name := x.objective.Name
	x.g.doubts.add(name, to)
	c := x.of[to]
	if c.left--; c.left == 0 {
		x.g.locators.forget(name, c.locator)
	}
}

// findMore searches the network, once. Who is in doubt is tried when the search
// has had time for a round, or is over.
func (x *candidates) findMore(now time.Time) time.Time {
	if x.searched == nil {
		x.search(now)
	}
	switch {
	case len(x.doubtful) == 0:
		return time.Time{}
	case x.over || !now.Before(x.chance):
		x.race.Add(x.doubtful...)
		x.doubtful = nil
		return time.Time{}
	}
	return x.chance
}

// search begins the search.
func (x *candidates) search(now time.Time) {
	x.chance = now.Add(min(discoveryTime(x.objective), x.patience()/2))
	x.searched = make(chan struct{})
	q := &query{
		asa: x.asa, objective: x.objective, timeout: x.patience(), rapid: x.rapid,
		found: func(all []Locator) {
			x.post(func() {
				for _, l := range all {
					x.offer(l)
				}
			})
		},
	}
	x.pending++
	searching := func() {
		defer close(x.searched)
		found, err := x.g.search(x.ctx, q)
		if !x.post(func() { x.finish(found, err) }) && found.rapid != nil {
			x.g.sessions.End(session.Key{ID: found.rapid.session})
			found.rapid.close()
		}
	}
	if !x.g.spawn(searching) {
		close(x.searched)
		x.finish(results{}, errClosed)
	}
}

// finish takes the outcome of the search.
func (x *candidates) finish(found results, err error) {
	x.over = true
	x.pending--
	switch {
	case Code(err) == ErrSockErr:
		x.silence = err
	case err != nil:
		x.failure, x.done = err, true
	case found.rapid != nil:
		x.won = found.rapid
	}
}

// explain names why there is no connection.
func (x *candidates) explain(ctx context.Context, err error) error {
	switch {
	case x.to.IsValid():
		return x.failed(ctx, x.to, x.sockErr, err)
	case x.unusable != nil:
		return x.failed(ctx, addressOf(x.useless), ErrUnusableLocator, x.unusable)
	}
	return x.failed(ctx, netip.AddrPort{}, x.noneFound, x.silence)
}

// doubt says that the peer which was reached had no use for the request: the
// next one without a peer is for others, if there are any.
func (c *outgoing) doubt(err error) {
	if c.reached == nil {
		return
	}
	switch Code(err) {
	case ErrNoPeer, ErrNoNegReply, ErrNoListener, ErrNoSynchReply:
		c.asa.g.doubts.add(c.objective.Name, c.reachedAt)
		c.asa.g.locators.forget(c.objective.Name, *c.reached)
	}
}

// doubts are the addresses that were of no use for an objective lately.
type doubts struct {
	mu  sync.Mutex // guards all
	all *race.Doubts[doubt]
}

type doubt struct {
	objective string
	at        netip.AddrPort
}

const (
	maxDoubts = 4096
	doubtTime = 30 * time.Second
)

func newDoubts() *doubts { return &doubts{all: race.NewDoubts[doubt](maxDoubts, doubtTime)} }

func (d *doubts) add(objective string, at netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all.Add(doubt{objective, at}, time.Now())
}

func (d *doubts) remove(objective string, at netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all.Remove(doubt{objective, at})
}

func (d *doubts) has(objective string, at netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all.Has(doubt{objective, at}, time.Now())
}
