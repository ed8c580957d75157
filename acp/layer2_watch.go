package acp

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// How often the interfaces are looked at.
const (
	// pollIdle is for when nothing is expected and no events come, and for
	// what has to be tried again.
	pollIdle = time.Second
	// pollSafe is for when nothing is expected and events come. It is a safety
	// net: a driver, or the kernel of a container, may not send all events, and
	// then a change is noticed late instead of never. To look much more often
	// would only keep an idle machine awake.
	pollSafe    = 15 * time.Second
	pollFast    = 50 * time.Millisecond  // when a link is about to be usable
	pollSlow    = 400 * time.Millisecond // when that takes long
	pollFastFor = 5 * time.Second        // how long pollFast lasts
	// pollGap is the time between an event and the look, in which the other events
	// of the same change come. Where a look takes long, on a host with thousands of
	// interfaces, the gap is gapFactor times as long as the last look, up to
	// pollIdle, so that a storm of events takes about a tenth of one processor.
	pollGap   = 20 * time.Millisecond
	gapFactor = 10
)

// eventSource tells when something about the interfaces may have changed. It only says
// when to look; comparing snapshots says what changed. So lost or doubled events do no
// harm.
type eventSource interface {
	// Receive waits for events. An error that wraps ENOBUFS means that some
	// were lost, any other that no more will come.
	Receive() error
	// Close has Receive return.
	Close() error
}

// poke makes the watcher look at the interfaces soon.
func (e *layer2Endpoint) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// listen wakes the watcher at events, until there are no more. Then the timer
// has to serve.
func (e *layer2Endpoint) listen(events eventSource) {
	for {
		err := events.Receive()
		switch {
		case err == nil:
			e.poke()
		case errors.Is(err, syscall.ENOBUFS) && e.ctx.Err() == nil:
			e.poke()
			e.pause(pollGap) // the queue fills again no faster than it is looked at
		default:
			e.evented.Store(false)
			e.poke()
			return
		}
	}
}

// heed has the watcher look whenever the machine has woken up.
func (e *layer2Endpoint) heed(alarm eventSource) {
	for alarm.Receive() == nil {
		e.awoken.Store(true)
		e.poke()
		e.pause(pollGap)
	}
}

// pause waits, but not beyond Close.
func (e *layer2Endpoint) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-e.ctx.Done():
	case <-timer.C:
	}
}

// watch follows the interfaces until Close.
func (e *layer2Endpoint) watch(next time.Duration) {
	timer := time.NewTimer(next)
	defer timer.Stop()
	gap := pollGap
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-timer.C:
		case <-e.wake:
			// Events and errors in a row must not make this loop spin.
			e.pause(gap)
			e.unpoke() // what came meanwhile is seen by this look
			if e.ctx.Err() != nil {
				return
			}
		}
		e.listenShared()
		e.openMissing()
		awoken := e.awoken.Swap(false)
		start := time.Now()
		timer.Reset(e.refresh())
		if awoken {
			e.notify()
		}
		gap = min(max(pollGap, gapFactor*time.Since(start)), pollIdle)
	}
}

// unpoke forgets a poke.
func (e *layer2Endpoint) unpoke() {
	select {
	case <-e.wake:
	default:
	}
}

// refresh takes a snapshot of the interfaces, joins and leaves accordingly,
// and publishes what changed. It returns the time until the next look. If the
// snapshot fails, the last one stands.
func (e *layer2Endpoint) refresh() time.Duration {
	old := e.state.Load()
	ifs, err := e.sys.interfaces()
	if err != nil && ifs == nil {
		st := *old
		st.amiss = e.amiss(old.amiss, err)
		e.publish(old, &st)
		return pollIdle
	}
	st := &layer2State{
		byIndex: make(map[int]*linkState),
		names:   make(map[string]int, len(ifs)),
	}
	seen := make(map[int]bool, len(ifs))
	next := pollSafe
	if !e.evented.Load() {
		next = pollIdle
	}
	now := time.Now()
	for i := range ifs {
		ifi := &ifs[i]
		st.names[ifi.name] = ifi.index
		out := Interface{Index: ifi.index, Name: ifi.name, Named: slices.Contains(e.names, ifi.name)}
		if out.State, out.Detail = e.why(ifi); out.State == "" {
			seen[ifi.index] = true
			l, wait := e.follow(ifi, old.byIndex[ifi.index], now, &out)
			if l != nil {
				st.links = append(st.links, l.Link)
				st.byIndex[l.Index] = l
				if l.Addr.Is4() {
					st.only4 = append(st.only4, l)
				}
			}
			next = min(next, wait)
		}
		st.all = append(st.all, out)
	}
	for _, name := range e.names {
		if _, ok := st.names[name]; !ok {
			st.all = append(st.all, Interface{Name: name, State: LinkMissing, Named: true})
		}
	}
	for _, m := range e.missing {
		next = min(next, m.retry.Sub(now))
	}
	for index, m := range e.members {
		if !seen[index] {
			// It left nothing behind but an entry of the socket.
			m.leave(index)
			delete(e.members, index)
		}
	}
	slices.SortFunc(st.links, func(a, b Link) int { return a.Index - b.Index })
	slices.SortStableFunc(st.all, func(a, b Interface) int { return a.Index - b.Index })
	st.setOwn(ifs, old.addr, e.four != nil, e.pin)
	var unpinned error
	if st.pinned && len(st.own) == 0 {
		unpinned = fmt.Errorf("no interface has an address in Addr, which is %v", e.pin)
	}
	st.amiss = e.amiss(old.amiss, err, unpinned)
	e.publish(old, st)
	e.hearLinks()
	return next
}

// publish makes a state the one that counts, and tells if it is another.
func (e *layer2Endpoint) publish(old, st *layer2State) {
	e.state.Store(st)
	if !slices.Equal(st.links, old.links) || !slices.Equal(st.own, old.own) ||
		!slices.Equal(st.all, old.all) || st.amiss != old.amiss {
		e.notify()
	}
}

// amiss returns what is wrong now, and with the sockets: the old error if that
// has not changed.
func (e *layer2Endpoint) amiss(old error, now ...error) error {
	err := errors.Join(append(now, e.troubles()...)...)
	if err != nil && old != nil && err.Error() == old.Error() {
		return old
	}
	return err
}

// Interfaces implements [InterfaceLister].
func (e *layer2Endpoint) Interfaces() ([]Interface, error) {
	st := e.state.Load()
	return st.all, st.amiss
}

// notify tells the reader of Changed.
func (e *layer2Endpoint) notify() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// drainChanged forgets the changes of the first look: what Links and Addr say
// when Open returns is no change.
func (e *layer2Endpoint) drainChanged() {
	select {
	case <-e.changed:
	default:
	}
}
