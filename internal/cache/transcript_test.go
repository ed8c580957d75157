package cache

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/transcript"
	"github.com/go-grasp/grasp/internal/wire"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// parseLocator reads what show writes: an address or a name, "none" for none.
func parseLocator(s string) (wire.Locator, error) {
	l := wire.Locator{Protocol: wire.ProtoTCP, Port: 7017}
	addr, err := netip.ParseAddr(s)
	switch {
	case s == "none":
		return wire.Locator{}, nil
	case err == nil && addr.Is4():
		l.Kind, l.Addr = wire.LocatorIPv4, addr
	case err == nil:
		l.Kind, l.Addr = wire.LocatorIPv6, addr
	case strings.Contains(s, ":"):
		l = wire.Locator{Kind: wire.LocatorURI, Name: s, Protocol: wire.Null, Port: wire.Null}
	default:
		l.Kind, l.Name = wire.LocatorFQDN, s
	}
	return l, nil
}

func show(l wire.Locator) string {
	switch {
	case l.Addr.IsValid():
		return l.Addr.String()
	case l.Name != "":
		return l.Name
	}
	return "none"
}

func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata", func(*testing.T) func(*transcript.Command) string {
		now := begin
		limits := Limits{All: 100, PerObjective: 100, PerSource: 100}
		floods, locators := NewFloods(limits), NewLocators(limits)
		return func(c *transcript.Command) string {
			var out strings.Builder
			now = now.Add(c.Duration("after", 0))
			name := c.String("objective", "EX1")
			at := transcript.Value(c, "at", wire.Locator{}, parseLocator)
			from := transcript.Value(c, "from", netip.MustParseAddr("fe80::1"), netip.ParseAddr)
			link := c.Int("link", 1)
			var expire time.Time
			if ttl := c.Duration("ttl", 0); ttl > 0 {
				expire = now.Add(ttl)
			}
			switch c.Name {
			case "limits":
				limits = Limits{All: c.Int("all", 100), PerObjective: c.Int("per-objective", 100), PerSource: c.Int("per-source", 100)}
				floods, locators = NewFloods(limits), NewLocators(limits)
			case "flood": // values are of one byte each
				var message []Flood
				for _, v := range c.Strings("values") {
					message = append(message, Flood{
						Objective: wire.Objective{Name: name, Value: []byte(v)}, Place: PlaceOf(at, link), Link: link, From: from, Expire: expire,
					})
				}
				evicted, same := floods.Put(message, now)
				for _, f := range evicted {
					fmt.Fprintf(&out, "evicted %s=%s at %s\n", f.Objective.Name, f.Objective.Value, show(f.Place.Locator))
				}
				if same {
					fmt.Fprintln(&out, "nothing new")
				}
			case "floods":
				for _, f := range floods.Get(name, now) {
					fmt.Fprintf(&out, "%s at %s, link %d\n", f.Objective.Value, show(f.Place.Locator), f.Link)
				}
			case "expire":
				chosen := c.String("value", "")
				floods.Remove(name, PlaceOf(at, link), func(f *Flood) bool { return string(f.Objective.Value) == chosen })
			case "found":
				l := Locator{Wire: at, Link: link, From: from, Expire: expire, Diverted: c.Bool("diverted")}
				if n := locators.Put(name, []Locator{l}, now); n > 0 {
					fmt.Fprintln(&out, "evicted", n)
				}
			case "locators":
				locators.Living(name, now, func(l *Locator) {
					how := "direct"
					if l.Diverted {
						how = "diverted"
					}
					fmt.Fprintf(&out, "%s %s, expires in %v\n", show(l.Wire), how, l.Expire.Sub(now))
				})
			case "translated":
				locators.TranslatedIPv4 = true
			case "divert":
				all, life := locators.Divert(name, link, now)
				for _, l := range all {
					fmt.Fprintln(&out, show(l))
				}
				if len(all) > 0 {
					fmt.Fprintln(&out, "for", life)
				} else {
					fmt.Fprintln(&out, "nothing to divert to")
				}
			case "size":
				fmt.Fprintln(&out, floods.Len(), "floods,", locators.Len(), "locators")
			default:
				return c.Unknown()
			}
			return out.String()
		}
	})
}

// Whatever is put and taken, both caches stay within their bounds, nothing is
// given out that has expired, and nothing is left of what is gone.
func FuzzCaches(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 1, 1, 1, 1, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		limits := Limits{All: 9, PerObjective: 6, PerSource: 5}
		floods, locators := NewFloods(limits), NewLocators(limits)
		now := begin
		for ; len(script) >= 4; script = script[4:] {
			op, a, b, c := script[0], script[1], script[2], script[3]
			name := fmt.Sprint("EX", a%4)
			at, err := parseLocator([]string{"fd00::1", "fe80::1", "192.0.2.1", "none", "a.example", "a.local"}[b%6])
			require.NoError(t, err)
			link := 1 + int(b>>4)%3
			source := netip.AddrFrom4([4]byte{10, 0, 0, a >> 6})
			expire := now.Add(time.Duration(c%8) * time.Second)
			switch op % 6 {
			case 0, 1:
				var message []Flood
				for i := range 1 + op>>4 {
					message = append(message, Flood{
						Objective: wire.Objective{Name: name, Value: []byte{op + i>>1}}, Place: PlaceOf(at, link), From: source, Expire: expire,
					})
				}
				floods.Put(message, now)
			case 2:
				locators.Put(name, []Locator{{Wire: at, Link: link, From: source, Expire: expire, Diverted: c > 127}}, now)
			case 3:
				now = now.Add(time.Duration(c) * time.Second / 16)
			case 4:
				floods.Remove(name, PlaceOf(at, link), func(f *Flood) bool { return f.Objective.Value[0] == c })
			case 5:
				locators.Remove(name, func(l *Locator) bool { return l.Link == link }, now)
			}
			for _, f := range floods.Get(name, now) {
				require.True(t, f.Expire.After(now))
			}
			locators.Living(name, now, func(l *Locator) { require.True(t, l.Expire.After(now)) })
			diverted, life := locators.Divert(name, link, now)
			require.Equal(t, len(diverted) > 0, life > 0)
			for _, l := range diverted {
				require.False(t, OnLinkOnly(l.Addr))
				require.NotEqual(t, "a.local", l.Name)
			}
			checkStore(t, &floods.store, limits)
			checkStore(t, &locators.store, limits)
		}
	})
}

func checkStore[T value](t *testing.T, s *store[T], l Limits) {
	require.LessOrEqual(t, s.Len(), l.All)
	n := 0
	for name, o := range s.byName {
		require.NotEmpty(t, o.byPlace, name)
		require.LessOrEqual(t, o.order.Len(), l.PerObjective)
		require.Equal(t, o.order.Len(), o.shares.Len())
		chained := 0
		for place, e := range o.byPlace {
			for ; e != nil; e = e.also {
				require.Equal(t, place, e.place)
				chained++
			}
		}
		require.Equal(t, o.order.Len(), chained)
		n += chained
	}
	require.Equal(t, s.Len(), n)
	for i := range 4 {
		require.LessOrEqual(t, s.all.CountOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})), l.PerSource)
	}
}
