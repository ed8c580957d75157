package race

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/transcript"
)

func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata", func(*testing.T) func(*transcript.Command) string {
		p := &player{}
		return p.play
	})
}

type player struct {
	r          *Race[string]
	start, now time.Time
}

func (p *player) play(c *transcript.Command) string {
	switch c.Name {
	case "begin":
		p.start = time.Unix(0, 0)
		p.now = p.start
		p.r = New[string](c.Int("together", 64), c.Int("all", 256))
		return ""
	case "add":
		n := p.r.Add(c.Strings("to")...)
		return fmt.Sprintf("new: %d\n%s", n, p.state())
	case "many":
		for i := range c.Int("n", 64) {
			p.r.Add(fmt.Sprint("a", i))
		}
		return p.state()
	case "at":
		p.now = p.start.Add(c.Duration("t", 0))
		return p.state()
	case "failed":
		p.r.Failed()
		return p.state()
	case "run": // until nothing more happens by time alone
		var out strings.Builder
		for {
			fmt.Fprintln(&out, p.state())
			wake, ok := p.r.Wake(p.now)
			if !ok {
				return out.String()
			}
			p.now = wake
		}
	}
	return c.Unknown()
}

// state tries what there is to be tried and says how it stands.
func (p *player) state() string {
	var tried []string
	for {
		target, ok := p.r.Step(p.now)
		if !ok {
			break
		}
		tried = append(tried, target)
	}
	out := p.now.Sub(p.start).String() + ":"
	if len(tried) > 0 {
		out += " try " + strings.Join(tried, ", ")
	}
	if wake, ok := p.r.Wake(p.now); ok {
		out += " wake at " + wake.Sub(p.start).String()
	}
	if p.r.Stuck(p.now) {
		out += " stuck"
	}
	if p.r.Over() {
		out += " over"
	}
	return out
}

// FuzzRace adds, fails and lets time pass in any order.
func FuzzRace(f *testing.F) {
	f.Add(uint8(3), []byte{0, 64, 3, 10, 2, 0, 3, 255})
	f.Fuzz(func(t *testing.T, together uint8, input []byte) {
		limit, all := int(together%16)+1, 40
		r := New[byte](limit, all)
		now := time.Unix(0, 0)
		tried := make(map[byte]bool)
		added := make(map[byte]bool)
		var last time.Time
		flying, failed := 0, false
		step := func() {
			for {
				target, ok := r.Step(now)
				if !ok {
					break
				}
				require.False(t, tried[target], "each is tried once")
				require.True(t, added[target])
				require.True(t, last.IsZero() || failed || now.Sub(last) >= shortest)
				tried[target], last, failed = true, now, false
				flying++
				require.LessOrEqual(t, flying, limit)
			}
			if wake, ok := r.Wake(now); ok {
				require.True(t, wake.After(now), "what is due now is done")
				require.LessOrEqual(t, wake.Sub(now), Delay)
			}
		}
		for len(input) >= 2 {
			n := input[1]
			switch input[0] % 3 {
			case 0:
				if r.Add(n) == 1 {
					added[n] = true
				}
				require.LessOrEqual(t, len(added), all)
			case 1:
				if flying > 0 {
					flying--
					failed = true
					r.Failed()
				}
			case 2:
				now = now.Add(time.Duration(n) * time.Millisecond)
			}
			step()
			input = input[2:]
		}
		// All that were added are tried in the end.
		for range 2 * all {
			if wake, ok := r.Wake(now); ok {
				now = wake
			} else if flying > 0 {
				flying--
				failed = true
				r.Failed()
			}
			step()
		}
		require.Len(t, tried, len(added))
		require.True(t, r.Over())
		require.True(t, r.Stuck(now))
	})
}

// However many there are, the last is begun within the spread.
func TestAllBeginWithinTheSpread(t *testing.T) {
	for n := 1; n <= 75; n++ {
		r := New[int](n, n)
		for i := range n {
			r.Add(i)
		}
		now := time.Unix(0, 0)
		begun := 0
		for {
			for {
				if _, ok := r.Step(now); !ok {
					break
				}
				begun++
			}
			if begun == n {
				break
			}
			now, _ = r.Wake(now)
		}
		require.LessOrEqual(t, now.Sub(time.Unix(0, 0)), spread, "%d targets", n)
	}
}

// What was of no use is in doubt for a time, or until it was of use.
func TestDoubts(t *testing.T) {
	now := time.Unix(1000, 0)
	d := NewDoubts[int](8, time.Second)
	require.False(t, d.Has(1, now))
	d.Add(1, now)
	require.True(t, d.Has(1, now))
	require.False(t, d.Has(2, now))
	require.True(t, d.Has(1, now.Add(time.Second-1)))
	require.True(t, d.Has(1, now.Add(time.Second)))
	require.False(t, d.Has(1, now.Add(3*time.Second)))
	now = now.Add(3 * time.Second)
	d.Add(1, now)
	d.Remove(1)
	require.False(t, d.Has(1, now))
	for i := range 1000 {
		d.Add(i, now)
		require.LessOrEqual(t, len(d.young)+len(d.old), 8)
		require.True(t, d.Has(i, now))
	}
	require.False(t, d.Has(1, now), "forgotten for others")
	require.False(t, d.Has(999, now.Add(time.Hour)))
	now = now.Add(2 * time.Hour)
	d.Add(1, now)
	require.True(t, d.Forget(now.Add(time.Second)))
	require.False(t, d.Forget(now.Add(2*time.Second)))
	require.Zero(t, d.Len())
}
