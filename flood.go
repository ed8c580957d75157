package grasp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// TaggedObjective is an objective with the locator that a flood gives for it
// (RFC 8991 section 2.3.2.5).
type TaggedObjective struct {
	Objective Objective
	// Source tells floods of one objective apart. In a call of Flood it may be nil.
	// In what GetFlood returns it never is: it has the expiry, and no address if the
	// flood gave none.
	Source *Locator
}

// Flood sends synchronization objectives with their values to every node
// (RFC 8991 section 2.3.6, M_FLOOD): one message, on every link. Nodes, this one
// included, cache them for ttl, rounded up to milliseconds; 0 means for ever. Until
// then, or until StopSynchronize, the instance answers requests for the objective
// (M_REQ_SYN) with the value flooded last, unless ListenSynchronize gave another. It
// does not block.
//
// The ASA must have registered every objective, with Synch. A Source with the address
// :: stands for this node's link-local address on each link. All loop counts become 1
// if a Source has a link-local address or ::, or if the instance has no address of
// more than link-local scope, because such floods must not be relayed (RFC 8990
// section 2.5.6.2).
//
// The message must fit one packet: 1232 bytes over IPv6. Without a link the
// flood reaches this instance only, which is not an error.
//
// Errors: [ErrNoSecurity], [ErrUnspec] (no objectives, a ttl out of range),
// [ErrNotBoth], [ErrNotSynch], [ErrNoASA], [ErrNotYourObj], [ErrInvalidLoc],
// [ErrCBORFail], [ErrTooLong], and [ErrSockErr] if every link failed.
func (a *ASA) Flood(ttl time.Duration, objs ...TaggedObjective) error {
	const op = "flood"
	var name string
	if len(objs) > 0 {
		name = objs[0].Objective.Name
	}
	if err := a.g.mayMulticast(name); err != nil {
		return fail(op, name, ErrNoSecurity, err)
	}
	if len(objs) == 0 {
		return fail(op, name, ErrUnspec, errors.New("no objectives"))
	}
	m := &wire.Flood{Initiator: a.g.initiator()}
	if ttl != 0 {
		ms, err := milliseconds(ttl)
		if err != nil {
			return fail(op, name, ErrUnspec, err)
		}
		m.TTL = ms
	}
	for _, t := range objs {
		f, err := a.floodOf(op, t)
		if err != nil {
			return err
		}
		m.Objectives = append(m.Objectives, f)
	}
	m.SessionID = a.g.sessions.Begin()
	defer a.g.sessions.End(session.Key{ID: m.SessionID})
	err := a.g.flood(m)
	if err == nil || Code(err) == ErrSockErr { // who has not got it may ask
		a.rememberFlooded(m)
	}
	return wrap(op, name, err)
}

// floodOf checks an objective to be flooded and returns it as it is sent.
func (a *ASA) floodOf(op string, t TaggedObjective) (wire.Flooded, error) {
	o := t.Objective
	if err := a.g.mayMulticast(o.Name); err != nil {
		return wire.Flooded{}, fail(op, o.Name, ErrNoSecurity, err)
	}
	if err := o.check(); err != nil {
		return wire.Flooded{}, wrap(op, o.Name, err)
	}
	if !o.Synch {
		return wire.Flooded{}, fail(op, o.Name, ErrNotSynch, nil)
	}
	if err := a.checkOwned(op, o); err != nil {
		return wire.Flooded{}, err
	}
	var f wire.Flooded
	var err error
	if f.Objective, err = o.encode(); err != nil {
		return wire.Flooded{}, wrap(op, o.Name, err)
	}
	if t.Source != nil {
		f.Locator, err = t.Source.encode()
		if err == nil && f.Locator.Addr != netip6Unspecified {
			err = sending.check(f.Locator)
		}
		if err != nil {
			return wire.Flooded{}, fail(op, o.Name, ErrInvalidLoc, err)
		}
	}
	return f, nil
}

// flood sends a flood on every link and puts it into the own cache.
func (g *Instance) flood(m *wire.Flood) error {
	perLink := g.cfg.DULL || slices.ContainsFunc(m.Objectives, func(f wire.Flooded) bool {
		return f.Locator.Addr == netip6Unspecified
	})
	// Nodes beyond the link could not use the address.
	linkLocal := m.Initiator.IsLinkLocalUnicast() || slices.ContainsFunc(m.Objectives, func(f wire.Flooded) bool {
		return isLinkLocal(f.Locator)
	})
	if perLink || linkLocal {
		for i := range m.Objectives {
			m.Objectives[i].Objective.LoopCount = 1
		}
	}
	if _, err := g.encodeMulticast(m); err != nil {
		return err
	}
	if !perLink {
		g.cacheFlood(m, acp.Origin{}, time.Now())
		return g.multicast(func(acp.Link) wire.Message { return m })
	}
	if len(g.ep.Links()) == 0 {
		g.cacheFlood(m, acp.Origin{}, time.Now())
	}
	return g.multicast(func(l acp.Link) wire.Message {
		copied := g.floodOn(l, m)
		g.cacheFlood(copied, acp.Origin{Link: l.Index}, time.Now())
		return copied
	})
}

// floodOn returns the copy of a flood for one link: with the link-local
// address there for ::, and in a DULL instance as the initiator.
func (g *Instance) floodOn(l acp.Link, m *wire.Flood) *wire.Flood {
	addr := l.Addr.WithZone("")
	copied := *m
	if g.cfg.DULL {
		copied.Initiator = addr
	}
	copied.Objectives = slices.Clone(m.Objectives)
	for i := range copied.Objectives {
		if f := &copied.Objectives[i]; f.Locator.Addr == netip6Unspecified {
			f.Locator.Addr = addr
			if addr.Is4() {
				f.Locator.Kind = wire.LocatorIPv4
			}
		}
	}
	return &copied
}

// withdrawFloods makes other nodes forget what the ASA flooded, except for objectives
// that it shares with others.
func (a *ASA) withdrawFloods() {
	for _, f := range a.g.floods.all() {
		if f.From.IsValid() || !a.owns(f.Objective.Name) || !a.g.objectives.isDrained(f.Objective.Name) {
			continue
		}
		m := &wire.Flood{
			SessionID: a.g.sessions.Begin(), Initiator: a.g.initiator(), TTL: 1,
			Objectives: []wire.Flooded{{Objective: f.Objective, Locator: f.Place.Locator}},
		}
		if err := a.g.floodAgain(m, f.Link); err != nil {
			a.g.log.Warn("a flood could not be withdrawn", "objective", f.Objective.Name, "error", err)
		}
		a.g.sessions.End(session.Key{ID: m.SessionID})
	}
}

// floodAgain floods what is in the cache, which has the link of a copy that was for one
// link only, and else 0.
func (g *Instance) floodAgain(m *wire.Flood, link int) error {
	if link == 0 {
		return g.flood(m)
	}
	g.cacheFlood(m, acp.Origin{Link: link}, time.Now())
	return g.multicast(func(l acp.Link) wire.Message {
		if l.Index != link {
			return nil
		}
		return m
	})
}

// handleFlood caches and relays a flood that came by a link now.
func (g *Instance) handleFlood(m *wire.Flood, raw []byte, from acp.Origin, now time.Time) {
	g.cacheFlood(m, from, now)
	g.trace(Received, m, raw, from.Addr, from.Link) // whoever hears of it finds it in the cache
	switch reason, ok := g.relay(m, keyOf(m), raw, asker{Origin: from}, now); {
	case ok, reason == ReasonNoOtherLink, reason == ReasonLoopCount: // it was meant to end here
	default:
		g.drop(eventOf(m, Event{Reason: reason, Peer: from.Addr, Link: from.Link, Raw: raw}))
	}
}

// cacheFlood puts the objectives of a flood into the cache, even if no ASA has asked
// for them (RFC 8990 section 2.8.11).
func (g *Instance) cacheFlood(m *wire.Flood, from acp.Origin, now time.Time) {
	life := g.floodLife(m, from)
	own := !from.Addr.IsValid() // then its locators were checked before it was sent
	source := origin{onLink: from.Link != 0, local: from.Addr.Addr().IsLoopback()}
	var few [2]cache.Flood
	all := few[:0]
	for _, f := range m.Objectives {
		if err := source.check(f.Locator); err != nil && !own {
			g.drop(eventOf(m, Event{Reason: ReasonBadLocator, Peer: from.Addr, Link: from.Link, Objective: f.Objective.Name, Err: err}))
			continue
		}
		if f.Objective.Value == nil {
			f.Objective.Value = null
		}
		all = append(all, cache.Flood{
			Objective: f.Objective, Place: cache.PlaceOf(f.Locator, from.Link),
			Link: from.Link, From: from.Addr.Addr(), Expire: expiry(now, life), Life: life,
		})
	}
	for _, old := range g.floods.put(all, now) {
		g.drop(Event{
			Reason: ReasonCacheFull, Message: m.Type().String(), Objective: old.Objective.Name,
			Peer: netip.AddrPortFrom(old.From, 0), Link: old.Link,
		})
	}
	g.forgetLater()
}

// floodLife returns after what time a flood expires, 0 for never.
func (g *Instance) floodLife(m *wire.Flood, from acp.Origin) time.Duration {
	ttl, longest := time.Duration(m.TTL)*time.Millisecond, g.cfg.FloodLifetime
	if longest != 0 && (ttl == 0 || ttl > longest) {
		ttl = longest
		g.drop(eventOf(m, Event{Reason: ReasonLifetime, Peer: from.Addr, Link: from.Link}))
	}
	return ttl
}

// expiry returns when something expires that lives for some time from now on, the zero
// time for 0, which means for ever.
func expiry(now time.Time, life time.Duration) time.Time {
	if life == 0 {
		return time.Time{}
	}
	return now.Add(life)
}

// GetFlood returns the flooded values of an objective that live, oldest
// first, each with its own source (RFC 8991 section 2.3.6). The objective need
// not be registered; Synch must be set. It does not block, and works without
// security.
//
// Errors: [ErrNoASA], [ErrNotBoth], [ErrNotSynch].
func (a *ASA) GetFlood(o Objective) ([]TaggedObjective, error) {
	if err := a.checkSynch("get flood of", o); err != nil {
		return nil, err
	}
	var out []TaggedObjective
	for _, f := range a.g.floods.get(o.Name) {
		out = append(out, decodeFlood(&f))
	}
	return out, nil
}

// decodeFlood returns a flooded value as an ASA sees it.
func decodeFlood(f *cache.Flood) TaggedObjective {
	source := decodeLocator(f.Place.Locator, f.Link)
	source.Expire = f.Expire
	return TaggedObjective{Objective: decodeObjective(&f.Objective), Source: &source}
}

// ExpireFlood marks a flooded value, as GetFlood returned it, as expired: GetFlood and
// Synchronize no longer see it until it is flooded again. If one flood gave several
// values with this source, ExpireFlood expires the equal one, or all of them if none
// is equal. If there is no such value it does nothing. It does not block.
//
// Errors: [ErrNoASA], [ErrInvalidLoc].
func (a *ASA) ExpireFlood(t TaggedObjective) error {
	const op = "expire flood of"
	if err := a.check(); err != nil {
		return fail(op, t.Objective.Name, ErrNoASA, err)
	}
	var w wire.Locator
	link := 0
	if t.Source != nil {
		var err error
		if w, err = t.Source.encodeAsIs(); err != nil {
			return fail(op, t.Objective.Name, ErrInvalidLoc, err)
		}
		link = t.Source.IfIndex
	}
	if t.Source == nil || t.Source.IsZero() {
		w = wire.Locator{}
	}
	value, err := encodeValue(t.Objective.Value)
	a.g.floods.do(func(c *cache.Floods, _ time.Time) {
		c.Remove(t.Objective.Name, cache.PlaceOf(w, link), func(f *cache.Flood) bool {
			flooded, err2 := encodeValue(decodeValue(f.Objective.Value))
			return err == nil && err2 == nil && bytes.Equal(value, flooded)
		})
	})
	a.g.floods.watched.wake(t.Objective.Name)
	return nil
}

// floodCache is the cache of flooded values, which may be used concurrently. It
// wakes those who watch an objective when its values change.
type floodCache struct {
	aging[*cache.Floods]
	watched *watchTable
}

func newFloodCache(l cache.Limits) *floodCache {
	return &floodCache{aging[*cache.Floods]{guarded: guarded[*cache.Floods]{value: cache.NewFloods(l)}}, newWatchTable()}
}

// put adds the values of one message that came now. It returns the living ones that were
// evicted. What only lives on wakes nobody: those who watch it see its new expiry when the
// old one is there.
func (c *floodCache) put(message []cache.Flood, now time.Time) (evicted []cache.Flood) {
	same := false
	c.doAt(now, func(c *cache.Floods, now time.Time) { evicted, same = c.Put(message, now) })
	for i := range message {
		if !same {
			c.watched.wake(message[i].Objective.Name)
		}
	}
	for i := range evicted {
		c.watched.wake(evicted[i].Objective.Name)
	}
	return evicted
}

// get returns the living values of an objective, oldest first.
func (c *floodCache) get(name string) (out []cache.Flood) {
	c.do(func(c *cache.Floods, now time.Time) { out = c.Get(name, now) })
	return out
}

// all returns every living value: those of an objective oldest first.
func (c *floodCache) all() (out []cache.Flood) {
	c.do(func(c *cache.Floods, now time.Time) { out = c.All(now) })
	return out
}

var netip6Unspecified = netip.IPv6Unspecified()

// initiator returns the address that, with the session ID, tells the
// multicasts of this instance from those of others (RFC 8990 section 2.8.4):
// the one given to others, or else a link-local one. A DULL instance uses
// only link-local ones.
func (g *Instance) initiator() netip.Addr {
	if addr := g.ep.Addr(); addr.IsValid() && !g.cfg.DULL {
		return addr
	}
	if links := g.ep.Links(); len(links) > 0 {
		return links[0].Addr.WithZone("")
	}
	return netip6Unspecified // there is no link, so nothing is sent
}

// encodeMulticast returns a message as it is sent. RFC 8990 section 2.5.3: one
// that would need fragmentation is refused.
func (g *Instance) encodeMulticast(m wire.Message) ([]byte, error) {
	raw, err := m.Append(make([]byte, 0, usualSize))
	if err != nil {
		return nil, &withCode{unsendable(err), err}
	}
	if limit := g.ep.MaxMulticast(); len(raw) > limit {
		return nil, &withCode{ErrTooLong, fmt.Errorf("%v of %d bytes, the limit is %d", m.Type(), len(raw), limit)}
	}
	return raw, nil
}

// multicast sends a message of this instance on every link; on returns the bytes for
// a link, if any. It fails if sending fails on all links, or if the plane cannot know
// its links.
func (g *Instance) multicast(on func(acp.Link) wire.Message) error {
	links := g.ep.Links()
	all := make([]acp.Multicast, 0, len(links))
	of := make([]wire.Message, 0, len(links))
	var last wire.Message
	var raw []byte
	for _, l := range links {
		m := on(l)
		if m == nil {
			continue
		}
		if m != last {
			var err error
			if raw, err = g.encodeMulticast(m); err != nil {
				return err
			}
			g.rememberOwn(m)
			last = m
		}
		all, of = append(all, acp.Multicast{Link: l.Index, Msg: raw}), append(of, m)
	}
	acp.SendBatch(g.ep, all)
	var errs []error
	for i, s := range all {
		if s.Err != nil {
			g.drop(eventOf(of[i], Event{Reason: ReasonSendFailed, Link: s.Link, Raw: s.Msg, Err: s.Err}))
			errs = append(errs, s.Err)
			continue
		}
		g.trace(Sent, of[i], s.Msg, netip.AddrPort{}, s.Link)
	}
	if len(errs) < len(all) || len(all) == 0 && len(links) > 0 {
		return nil
	}
	return g.errUnsent(errs)
}

// keyOf returns what tells a multicast from others.
func keyOf(m wire.Message) session.Key {
	switch m := m.(type) {
	case *wire.Discovery:
		return session.Key{ID: m.SessionID, Initiator: m.Initiator}
	case *wire.Flood:
		return session.Key{ID: m.SessionID, Initiator: m.Initiator}
	}
	return session.Key{}
}
