package search

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/transcript"
	"github.com/go-grasp/grasp/internal/wire"
)

func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata", func(*testing.T) func(*transcript.Command) string {
		p := &player{start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		return p.play
	})
}

// player runs the commands of a transcript on a search. Times are counted from
// its begin.
type player struct {
	s          *Search
	start, now time.Time
	links      []int
}

func (p *player) play(c *transcript.Command) string {
	p.now = p.start.Add(c.Duration("at", p.now.Sub(p.start)))
	switch c.Name {
	case "begin":
		p.now = p.start
		p.s = New(Config{
			Mode:     transcript.Value(c, "mode", Collect, parseMode),
			Deadline: p.now.Add(c.Duration("timeout", time.Minute)),
			Interval: c.Duration("interval", 600*time.Millisecond),
			Rapid:    c.Bool("rapid"), Limit: c.Int("limit", 256),
		})
		p.setLinks(c, []int{1, 2})
		return p.output(p.s.Wake(p.now, p.links))
	case "wake":
		p.setLinks(c, p.links)
		return p.output(p.s.Wake(p.now, p.links))
	case "response":
		var all []cache.Locator
		for _, l := range c.Strings("locators") {
			at := netip.MustParseAddrPort(l)
			all = append(all, cache.Locator{
				Wire: wire.Locator{Kind: wire.LocatorIPv6, Addr: at.Addr(), Protocol: wire.ProtoTCP, Port: int(at.Port())},
				Link: c.Int("link", 1), From: netip.MustParseAddr(c.String("from", "fe80::1")),
				Diverted: c.Bool("diverted"), Expire: p.now.Add(c.Duration("ttl", time.Minute)),
			})
		}
		return p.output(p.s.Respond(all))
	case "end":
		return fmt.Sprintf("had not ended: %v", p.s.End())
	case "results":
		var out strings.Builder
		for _, r := range p.s.Results() {
			fmt.Fprintf(&out, "[%v]:%d until %v", r.Wire.Addr, r.Wire.Port, r.Expire.Sub(p.start))
			if r.Diverted {
				out.WriteString(", diverted")
			}
			out.WriteByte('\n')
		}
		return out.String()
	}
	return c.Unknown()
}

func parseMode(s string) (Mode, error) {
	mode, ok := map[string]Mode{"collect": Collect, "first": First, "persist": Persist}[s]
	if !ok {
		return 0, fmt.Errorf("no such mode: %q", s)
	}
	return mode, nil
}

func (p *player) setLinks(c *transcript.Command, otherwise []int) {
	p.links = otherwise
	if !c.Has("links") {
		return
	}
	p.links = nil
	for _, l := range c.Strings("links") {
		n, _ := strconv.Atoi(l)
		p.links = append(p.links, n)
	}
}

func (p *player) output(out Output) string {
	var parts []string
	if out.Ask {
		what := "ask"
		if out.Rapid {
			what = "ask with a value"
		}
		parts = append(parts, fmt.Sprint(what, " on links ", out.Links))
	}
	if len(out.New) > 0 {
		parts = append(parts, fmt.Sprint("new: ", len(out.New)))
	}
	if out.Refused > 0 {
		parts = append(parts, fmt.Sprint("too many: ", out.Refused))
	}
	if out.Done {
		parts = append(parts, "done")
	} else {
		parts = append(parts, "wake at "+out.Wake.Sub(p.start).String())
	}
	return strings.Join(parts, ", ")
}

// FuzzSearch lets responses come, links change and time pass in any order.
func FuzzSearch(f *testing.F) {
	f.Add(uint8(0), uint8(10), []byte{0, 5, 1, 9, 2, 3, 0, 100})
	f.Add(uint8(2), uint8(255), []byte{0, 255, 0, 255, 2, 7, 1, 1, 0, 255, 3, 0})
	f.Fuzz(func(t *testing.T, mode, limit uint8, input []byte) {
		start := time.Unix(0, 0)
		now, deadline := start, start.Add(time.Minute)
		most := int(limit%32) + 1
		s := New(Config{Mode: Mode(mode % 3), Deadline: deadline, Interval: 100 * time.Millisecond, Limit: most, Rapid: true})
		links := []int{1}
		rounds, answers, done := 0, 0, false
		var lastAsked time.Time
		check := func(out Output) {
			if done {
				require.True(t, out.Done)
			}
			done = out.Done
			if out.Ask {
				require.False(t, done)
				require.True(t, answers == 0 || Mode(mode%3) == Persist, "answered, and asked all the same")
				if rounds > 0 {
					require.False(t, out.Rapid)
				}
				if len(out.Links) == len(links) && (rounds == 0 || now.Sub(lastAsked) >= 100*time.Millisecond<<(rounds-1)) {
					rounds++
					lastAsked = now
				}
			}
			if !done {
				require.False(t, out.Wake.After(deadline), "it ends some time")
			}
			answers += len(out.New)
			require.LessOrEqual(t, answers, most)
			require.Len(t, s.Results(), answers)
		}
		check(s.Wake(now, links))
		for len(input) >= 2 {
			n := input[1]
			switch input[0] % 4 {
			case 0:
				now = now.Add(time.Duration(n) * 10 * time.Millisecond)
				check(s.Wake(now, links))
			case 1:
				check(s.Respond([]cache.Locator{{
					Wire: wire.Locator{Kind: wire.LocatorFQDN, Name: strconv.Itoa(int(n))},
					From: netip.AddrFrom4([4]byte{192, 0, 2, n % 8}), Expire: now.Add(time.Minute),
				}}))
			case 2:
				links = nil
				for l := range int(n % 8) {
					links = append(links, l+1)
				}
				check(s.Wake(now, links))
			case 3:
				require.Equal(t, !done, s.End())
				done = true
			}
			input = input[2:]
		}
		require.Less(t, rounds, 12, "a minute has few rounds")
		check(s.Wake(deadline, links))
		require.True(t, done)
		require.False(t, s.End())
	})
}
