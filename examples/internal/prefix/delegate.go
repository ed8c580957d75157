package prefix

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

const (
	// lowWater is how many prefixes are to be left when more are asked for, and
	// aheadBits how many bits shorter the prefix is that is asked for: five bits
	// are 32 prefixes.
	lowWater  = 8
	aheadBits = 5
	// tries is how many peers are asked, one after the other.
	tries = 4
	// retry is how long to wait when none of these had a prefix, and
	// searchTime how long to go on with requests that bring nothing, if it is
	// not for ever.
	retry      = 5 * time.Second
	searchTime = 30 * time.Second
	// paramsTime is how long the wait for PrefixManager.Params may take.
	paramsTime = 3 * time.Second
)

// delegate delegates prefixes, and asks for more when few are left.
func (m *Manager) delegate(ctx context.Context) error {
	m.sayParams(ctx)
	families := m.families(lowWater, aheadBits)
	last := time.Now()
	held := m.ledger.Holdings().Delegated // before this device failed
	for n := 0; m.set.N == 0 || n < m.set.N; {
		before := n
		for _, f := range families {
			if m.set.N > 0 && n == m.set.N {
				break
			}
			m.refill(ctx, f)
			p, err := m.ledger.Delegate(f.Family, f.length, "")
			if errors.Is(err, ErrNothing) {
				continue
			}
			if m.check(err) != nil || ctx.Err() != nil {
				return err
			}
			n++
			last = time.Now()
			m.asa.Tprint("Delegated", p)
			held = append(held, p)
		}
		if m.set.Hold > 0 && len(held) > m.set.Hold {
			if err := m.release(held[:len(held)-m.set.Hold]); err != nil {
				return err
			}
			held = held[len(held)-m.set.Hold:]
		}
		pause := time.Duration(m.rng.Int64N(int64(m.set.Wait) + 1))
		if n == before {
			if m.set.N > 0 && time.Since(last) >= searchTime {
				return ErrNobody
			}
			pause = retry / 10
		}
		if !cli.Sleep(ctx, pause) {
			return nil
		}
	}
	return nil
}

// release takes back what was delegated.
func (m *Manager) release(all []netip.Prefix) error {
	for _, p := range all {
		if err := m.check(m.ledger.Release(p)); err != nil {
			return err
		}
		m.asa.Tprint("Back from its user:", p)
	}
	return nil
}

// supply is what there is of a family.
type supply struct {
	prefixpool.Family
	length int       // of what is delegated
	low    uint64    // more are asked for when fewer are left
	ahead  int       // how many bits shorter the prefix is that is asked for
	next   time.Time // before that no request is made
}

// families returns the supplies of the families that are delegated.
func (m *Manager) families(low uint64, ahead int) (all []*supply) {
	if m.set.Length6 > 0 {
		all = append(all, &supply{Family: prefixpool.IPv6, length: m.set.Length6, low: low, ahead: ahead})
	}
	if m.set.Length4 > 0 {
		all = append(all, &supply{Family: prefixpool.IPv4, length: m.set.Length4, low: low, ahead: ahead})
	}
	return all
}

// refill asks for more if little is left.
func (m *Manager) refill(ctx context.Context, f *supply) {
	if m.ledger.Count(f.Family, f.length) >= f.low || time.Now().Before(f.next) {
		return
	}
	m.asa.Tprint(f.Family, "prefix pool is low")
	want := max(f.length-f.ahead, 0)
	if role := m.roleLength(ctx); role > 0 && f.Family == prefixpool.IPv6 {
		want = min(role, f.length)
	}
	for range tries {
		_, err := m.Obtain(ctx, f.Family, want, f.length)
		if err == nil || ctx.Err() != nil {
			return
		}
		m.asa.Tprint("No prefix obtained:", err)
		if errors.Is(err, ErrNobody) {
			return // that took its time already
		}
	}
	f.next = time.Now().Add(retry)
}

// roleLength returns what PrefixManager.Params says of this device's role, 0
// if nothing.
func (m *Manager) roleLength(ctx context.Context) int {
	if m.set.Role == "" {
		return 0
	}
	ps, err := m.params(ctx)
	if err != nil {
		m.asa.Tprint("Error obtaining parameters:", grasp.Code(err))
	}
	return ps.Length(m.set.Role)
}

func (m *Manager) params(ctx context.Context) (Params, error) {
	o, err := m.asa.Synchronize(ctx, parameters(), nil, paramsTime)
	if err != nil {
		return nil, err
	}
	return parseParams(o)
}

func (m *Manager) sayParams(ctx context.Context) {
	if ps, err := m.params(ctx); err != nil {
		m.asa.Tprint("Error obtaining parameters:", grasp.Code(err))
	} else {
		m.asa.Tprint("Parameters:", ps)
	}
}
