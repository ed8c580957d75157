package prefix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hooked notes what a hook is told, a line for each event.
type hooked struct {
	lines []string
	fail  func(Event) bool
}

func (h *hooked) hook(_ context.Context, e Event) error {
	line := fmt.Sprint(e.Action, " ", e.Interface, " ", e.Prefix)
	if e.Old.IsValid() {
		line += fmt.Sprint(" for ", e.Old)
	}
	var all []string
	for _, d := range e.All {
		all = append(all, fmt.Sprint(d.Interface, "=", d.Prefix))
	}
	line += ": " + strings.Join(all, " ")
	if h.fail != nil && h.fail(e) {
		h.lines = append(h.lines, line+" (failed)")
		return errors.New("no")
	}
	h.lines = append(h.lines, line)
	return nil
}

// attached runs a prefix manager with a ledger until it is idle, and stops it.
func (l *lan) attached(t *testing.T, ledger *Ledger, h *hooked, set Settings) {
	t.Helper()
	h.lines = nil
	set.Hook = h.hook
	l.count++
	m := l.manager(fmt.Sprint("m", l.count), ledger, set)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- m.Run(ctx) }()
	time.Sleep(10 * time.Minute)
	cancel()
	require.NoError(t, <-over)
	require.NoError(t, m.asa.Instance().Close())
}

// Interfaces get prefixes of both families, as many as they need, and after a restart
// have the same; those that are no longer named, or ask for others, give theirs back.
func TestAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		origin := newOrigin(t, nil)
		require.NoError(t, origin.Own(pfx("10.0.0.0/8")))
		stop := l.manager("origin", origin, Settings{}).serve(t)
		j := &memoryJournal{}
		var h hooked
		set := Settings{Interfaces: []string{"lan0", "lan1"}, Length6: 64, Length4: 26}
		l.attached(t, j.load(t), &h, set)
		assert.Equal(t, []string{
			"add lan0 2001:db8::/64: lan0=2001:db8::/64",
			"add lan1 2001:db8:0:1::/64: lan0=2001:db8::/64 lan1=2001:db8:0:1::/64",
			"add lan0 10.0.0.0/26: lan0=10.0.0.0/26 lan0=2001:db8::/64 lan1=2001:db8:0:1::/64",
			"add lan1 10.0.0.64/26: lan0=10.0.0.0/26 lan0=2001:db8::/64 lan1=10.0.0.64/26 lan1=2001:db8:0:1::/64",
		}, h.lines)
		assert.Empty(t, j.load(t).Holdings().Free, "it asked for what it needs")

		l.attached(t, j.load(t), &h, set)
		assert.Len(t, h.lines, 4)
		assert.Equal(t, "add lan0 2001:db8::/64: lan0=10.0.0.0/26 lan0=2001:db8::/64 lan1=10.0.0.64/26 lan1=2001:db8:0:1::/64", h.lines[0])

		// lan0 has gone, lan2 is new, there is no IPv4, and the prefixes are longer.
		l.attached(t, j.load(t), &h, Settings{Interfaces: []string{"lan1", "lan2"}, Length6: 65})
		assert.ElementsMatch(t, []string{
			"remove lan0 2001:db8::/64", "remove lan0 10.0.0.0/26", "remove lan1 10.0.0.64/26",
			"change lan1 2001:db8::/65 for 2001:db8:0:1::/64", "add lan2 2001:db8:0:0:8000::/65",
		}, eventsOnly(h.lines))
		holdings := j.load(t).Holdings()
		assert.Equal(t, map[netip.Prefix]string{pfx("2001:db8::/65"): "lan1", pfx("2001:db8:0:0:8000::/65"): "lan2"}, holdings.Uses)
		assert.Equal(t, []netip.Prefix{pfx("2001:db8:0:1::/64"), pfx("10.0.0.0/25")}, holdings.Free)
		stop()
	})
}

func eventsOnly(lines []string) (all []string) {
	for _, line := range lines {
		event, _, _ := strings.Cut(line, ": ")
		all = append(all, event)
	}
	return all
}

// What the ledger does not keep is taken off the interfaces at the end.
func TestAttachWithoutState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		stop := l.manager("origin", newOrigin(t, nil), Settings{}).serve(t)
		var h hooked
		l.attached(t, empty(t), &h, Settings{Interfaces: []string{"lan0"}, Length6: 64})
		assert.Equal(t, []string{"add lan0 2001:db8::/64: lan0=2001:db8::/64", "remove lan0 2001:db8::/64: "}, h.lines)
		stop()
	})
}

// A hook that fails is called again, ever more slowly, and what it could not remove is
// given to nobody else meanwhile.
func TestAttachHookFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		stop := l.manager("origin", newOrigin(t, nil), Settings{}).serve(t)
		j := &memoryJournal{}
		failures := 3
		h := hooked{fail: func(Event) bool { failures--; return failures >= 0 }}
		l.attached(t, j.load(t), &h, Settings{Interfaces: []string{"lan0"}, Length6: 64})
		assert.Len(t, h.lines, 4)
		assert.NotContains(t, h.lines[3], "failed")

		h.fail = func(e Event) bool { return e.Action == Removed }
		l.attached(t, j.load(t), &h, Settings{Interfaces: []string{"lan1"}, Length6: 64})
		assert.Contains(t, h.lines, "add lan1 2001:db8:0:1::/64: lan0=2001:db8::/64 lan1=2001:db8:0:1::/64")
		// In ten minutes: five times while the pause grows, and then once a minute.
		assert.InDelta(t, 16, len(h.lines), 2, h.lines)
		assert.Equal(t, map[netip.Prefix]string{pfx("2001:db8::/64"): "lan0", pfx("2001:db8:0:1::/64"): "lan1"}, j.load(t).Holdings().Uses)
		stop()
	})
}

// An interface that is deleted and made anew, or was down, has lost what the hook gave it,
// so the hook is told again. An interface that comes late is not kept waiting.
func TestAttachAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		j := &memoryJournal{}
		ledger := j.load(t)
		require.NoError(t, ledger.Own(pfx("2001:db8::/63")))
		var up atomic.Pointer[map[string]int]
		set := func(m map[string]int) { up.Store(&m) }
		set(map[string]int{"lan0": 3})
		var h hooked
		h.fail = func(e Event) bool { return (*up.Load())[e.Interface] == 0 }
		m := l.manager("m", ledger, Settings{
			Interfaces: []string{"lan0", "lan1"}, Length6: 64, Hook: h.hook,
			Up: func() (map[string]int, error) {
				if m := *up.Load(); m != nil {
					return m, nil
				}
				return nil, errors.New("not now")
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- m.Run(ctx) }()
		events := func(wait time.Duration) []string {
			time.Sleep(wait)
			synctest.Wait()
			lines := eventsOnly(h.lines)
			h.lines = nil
			return lines
		}
		const lan0, lan1 = "add lan0 2001:db8::/64", "add lan1 2001:db8:0:1::/64"
		all := events(10 * time.Minute)
		assert.Equal(t, []string{lan0, lan1, lan1}, all[:3], "there is no lan1 yet")
		set(map[string]int{"lan0": 3, "lan1": 4})
		assert.Equal(t, []string{lan1}, events(2*time.Second), "without the pause of a minute")
		assert.Empty(t, events(time.Hour))
		set(map[string]int{"lan0": 3, "lan1": 5})
		assert.Equal(t, []string{lan1}, events(2*time.Second), "it is another one")
		set(map[string]int{"lan1": 5})
		assert.Empty(t, events(time.Minute))
		set(map[string]int{"lan0": 3, "lan1": 5})
		assert.Equal(t, []string{lan0}, events(2*time.Second), "it was down")
		set(nil)
		assert.Empty(t, events(time.Minute), "what cannot be seen has not changed")
		set(map[string]int{"lan0": 3, "lan1": 5})
		assert.Empty(t, events(time.Minute))
		cancel()
		require.NoError(t, <-over)
		require.NoError(t, m.asa.Instance().Close())
	})
}

// What was delegated to nobody in particular is just back in the pool.
func TestAttachAfterTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		j := &memoryJournal{}
		ledger := j.load(t)
		require.NoError(t, ledger.Own(pfx("2001:db8::/63")))
		for range 2 {
			_, err := ledger.Delegate(6, 64, "")
			require.NoError(t, err)
		}
		var h hooked
		l.attached(t, ledger, &h, Settings{Interfaces: []string{"lan0"}, Length6: 64})
		assert.Equal(t, []string{"add lan0 2001:db8::/64: lan0=2001:db8::/64"}, h.lines)
		assert.Equal(t, []netip.Prefix{pfx("2001:db8:0:1::/64")}, ledger.Holdings().Free)
	})
}

// What a peer may have given before a failure is settled, although no interface needs it.
func TestAttachSettlesClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		origin := l.manager("origin", newOrigin(t, nil), Settings{})
		stop := origin.serve(t)
		j := &memoryJournal{}
		ledger := j.load(t)
		require.NoError(t, ledger.Own(pfx("fd00:1::/64")))
		_, err := ledger.Delegate(6, 64, "lan0")
		require.NoError(t, err)
		claimed := pfx("2001:db8::/48")
		require.NoError(t, ledger.Claim(claimed, address(origin.asa.Instance().Snapshot().Address)))
		var h hooked
		l.attached(t, j.load(t), &h, Settings{Interfaces: []string{"lan0"}, Length6: 64})
		assert.Equal(t, []string{"add lan0 fd00:1::/64: lan0=fd00:1::/64"}, h.lines)
		assert.Empty(t, j.load(t).Claims(), "the origin never gave it")
		stop()
	})
}
