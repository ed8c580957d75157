package prefix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

// Event is a change of the prefixes that are delegated to interfaces.
type Event struct {
	Action    Action
	Interface string
	Prefix    netip.Prefix // that is added or removed
	Old       netip.Prefix // with Changed, the one that Prefix takes the place of
	// All are the prefixes of all interfaces, once this has happened, by interface.
	All []Delegation
}

// Action is a kind of event.
type Action string

// The kinds of events. When the prefix manager starts, each prefix is added again, and so
// are those of an interface that was down or has been made anew.
const (
	Added   Action = "add"
	Changed Action = "change"
	Removed Action = "remove"
)

// Delegation is a prefix that is delegated to an interface.
type Delegation struct {
	Interface string
	Prefix    netip.Prefix
}

// Hook does what an event asks for. It is called by one goroutine; what fails is tried
// again, and until it succeeds a prefix that is to be removed is not used otherwise.
type Hook func(context.Context, Event) error

// A hook that fails is called again after a pause, which grows.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// lookTime is how often the interfaces are looked at.
const lookTime = time.Second

// attachment is what one interface has of one family.
type attachment struct {
	name   string
	supply *supply // nil: it is to have none
	told   netip.Prefix
	index  int // of the interface when it was looked at last; 0: it was not up
	pause  time.Duration
	next   time.Time // of the hook
}

// attach has a prefix of each family delegated to each of the interfaces in the settings,
// and takes back what others have, until the context ends. What was delegated to an
// interface before stays so, unless the length is another one now. If the ledger does not
// outlive the process it takes all back at the end.
func (m *Manager) attach(ctx context.Context) error {
	m.sayParams(ctx)
	ahead := bits.Len(uint(len(m.set.Interfaces) - 1)) // enough for all
	var all []*attachment
	for _, f := range m.families(1, ahead) {
		for _, name := range m.set.Interfaces {
			all = append(all, &attachment{name: name, supply: f})
		}
	}
	all = append(m.strangers(all), all...)
	var claimsNext time.Time
	for {
		m.look(all)
		settled := len(m.ledger.Claims()) == 0
		if !settled && !time.Now().Before(claimsNext) {
			settled = m.settleClaims(ctx)
			claimsNext = time.Now().Add(retry)
		}
		for _, a := range all {
			done, err := m.settleOne(ctx, a)
			if err != nil {
				return err
			}
			settled = settled && done
		}
		pause := retry / 10
		if settled {
			pause = lookTime
		}
		if !cli.Sleep(ctx, pause) {
			break
		}
	}
	if m.ledger.IsDurable() {
		return nil
	}
	return m.detach(context.WithoutCancel(ctx), all)
}

// look has the hook told again of interfaces that were down, or are others, when it looked
// last: they have lost what it gave them.
func (m *Manager) look(all []*attachment) {
	if m.set.Up == nil {
		return
	}
	up, err := m.set.Up()
	if err != nil {
		return // the next time, perhaps
	}
	for _, a := range all {
		index := up[a.name]
		if index != 0 && index != a.index && a.supply != nil {
			if a.told.IsValid() {
				m.asa.Tprint(a.name, "is back: it gets", a.told, "again")
			}
			a.told, a.pause, a.next = netip.Prefix{}, 0, time.Time{}
		}
		a.index = index
	}
}

// strangers returns attachments of interfaces and families that are to have no prefixes,
// and have some.
func (m *Manager) strangers(wanted []*attachment) (all []*attachment) {
	for p, name := range m.ledger.Holdings().Uses {
		same := func(a *attachment) bool { return a.has(name, p) }
		if !slices.ContainsFunc(wanted, same) && !slices.ContainsFunc(all, same) {
			all = append(all, &attachment{name: name, told: p})
		}
	}
	return all
}

// has reports whether a prefix that is delegated to an interface is one of this attachment.
func (a *attachment) has(name string, p netip.Prefix) bool {
	if a.name != name {
		return false
	}
	if a.supply == nil {
		return p == a.told
	}
	return a.supply.Family == prefixpool.FamilyOf(p)
}

// held returns the prefixes of an attachment: that which is to stay, and others.
func (m *Manager) held(a *attachment) (current netip.Prefix, others []netip.Prefix) {
	h := m.ledger.Holdings()
	for _, p := range h.Delegated {
		switch {
		case !a.has(h.Uses[p], p):
		case a.supply != nil && p.Bits() == a.supply.length && !current.IsValid():
			current = p
		default:
			others = append(others, p)
		}
	}
	return current, others
}

// settleOne brings an attachment nearer to what it is to be, and returns true if it is
// that.
func (m *Manager) settleOne(ctx context.Context, a *attachment) (bool, error) {
	if time.Now().Before(a.next) {
		return false, nil
	}
	current, others := m.held(a)
	if a.supply != nil && !current.IsValid() {
		m.refill(ctx, a.supply)
		p, err := m.ledger.Delegate(a.supply.Family, a.supply.length, a.name)
		if errors.Is(err, ErrNothing) {
			return false, nil
		}
		if m.check(err) != nil {
			return false, err
		}
		m.asa.Tprint("Delegated", p, "to", a.name)
		current = p
	}
	for _, old := range others {
		e := Event{Action: Changed, Interface: a.name, Prefix: current, Old: old}
		if !current.IsValid() {
			e = Event{Action: Removed, Interface: a.name, Prefix: old}
		}
		if !m.tell(ctx, a, e) {
			return false, nil
		}
		a.told = current
		if err := m.release([]netip.Prefix{old}); err != nil {
			return false, err
		}
	}
	if current.IsValid() && a.told != current {
		if !m.tell(ctx, a, Event{Action: Added, Interface: a.name, Prefix: current}) {
			return false, nil
		}
		a.told = current
	}
	return true, nil
}

// detach takes all prefixes back.
func (m *Manager) detach(ctx context.Context, all []*attachment) error {
	for _, a := range all {
		current, others := m.held(a)
		if current.IsValid() {
			others = append(others, current)
		}
		for _, p := range others {
			m.tell(ctx, a, Event{Action: Removed, Interface: a.name, Prefix: p})
			if err := m.release([]netip.Prefix{p}); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell calls the hook and returns whether it did what it is for. If not it says when it is
// called next.
func (m *Manager) tell(ctx context.Context, a *attachment, e Event) bool {
	if m.set.Hook == nil || e.Interface == "" { // nobody in particular had it
		return true
	}
	h := m.ledger.Holdings()
	for _, p := range h.Delegated {
		if gone := p == e.Old || e.Action == Removed && p == e.Prefix; !gone && h.Uses[p] != "" {
			e.All = append(e.All, Delegation{h.Uses[p], p})
		}
	}
	slices.SortFunc(e.All, func(a, b Delegation) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), a.Prefix.Compare(b.Prefix))
	})
	err := m.set.Hook(ctx, e)
	if err == nil {
		a.pause = 0
		return true
	}
	a.pause = min(max(2*a.pause, firstPause), longestPause)
	a.next = time.Now().Add(a.pause)
	m.asa.Tprint(fmt.Sprintf("The hook failed to %s %v on %s: %v; again in %v", e.Action, e.Prefix, e.Interface, err, a.pause))
	return false
}
