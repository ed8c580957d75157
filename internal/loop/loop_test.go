package loop

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/transcript"
	"github.com/go-grasp/grasp/internal/wire"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// always is a random number that refuses nothing before the bucket is empty.
func always() float64 { return 0 }

func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata", func(t *testing.T) func(*transcript.Command) string {
		now := start
		links := []string{"1", "2", "3"}
		part := 0.0 // of the longest wait, for the next message
		random := func() float64 { return part }
		r := New[string](Config{Limit: 100, Others: 100, Rate: 5, Random: random})
		return func(c *transcript.Command) string {
			var out strings.Builder
			now = now.Add(c.Duration("after", 0))
			part = transcript.Value(c, "random", part, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
			key := session.Key{ID: c.Uint32("id", 1), Initiator: transcript.Value(c, "initiator", netip.MustParseAddr("fd00::1"), netip.ParseAddr)}
			name := c.String("objective", "EX1")
			neighbour := transcript.Value(c, "from", netip.MustParseAddr("fe80::1"), netip.ParseAddr)
			switch c.Name {
			case "relay": // makes a relay
				r = New[string](Config{
					Limit: c.Int("memory", 100), Others: c.Int("memory", 100), Rate: c.Int("rate", 5), Wait: c.Duration("wait", 0),
					Random: random,
				})
				links = c.Strings("links")
			case "discovery", "flood":
				var in []int
				for _, l := range links {
					var n int
					_, err := fmt.Sscan(l, &n)
					require.NoError(t, err)
					in = append(in, n)
				}
				m := &Message{Type: wire.TypeDiscovery, Key: key, Objective: name, Link: c.Int("link", 1), Neighbour: neighbour, Unicast: c.Bool("alone")}
				if c.Name == "flood" {
					m.Type = wire.TypeFlood
				}
				m.Raw = message(t, m, uint8(c.Int("loops", 6)), c.Int("more", 0))
				if c.Has("raw") {
					m.Raw = []byte(c.String("raw", ""))
				}
				for n := c.Int("times", 1); n > 1; n-- { // new sessions, and only the last one tells
					r.Pass(m, append([]int(nil), in...), c.Name, now)
					m.Key.ID++
					m.Raw = message(t, m, uint8(c.Int("loops", 6)), 0)
				}
				d := r.Pass(m, in, c.String("asker", "nobody"), now)
				switch {
				case d.Spared:
					fmt.Fprintln(&out, "not relayed:", d.Refusal, "and no longer waits for link", m.Link)
				case d.Refusal != None:
					fmt.Fprintln(&out, "not relayed:", d.Refusal)
				case d.Waits:
					fmt.Fprintln(&out, "waits")
				default:
					tell(t, &out, d)
					require.Equal(t, keyOfRaw(t, d.Raw), m.Key, "session ID and initiator are kept")
					require.Equal(t, len(m.Raw), len(d.Raw))
				}
			case "due":
				due, next := r.Due(now)
				for _, l := range due {
					fmt.Fprintf(&out, "%d from %s ", keyOfRaw(t, l.Raw).ID, l.Asker)
					tell(t, &out, l.Decision)
				}
				if !next.IsZero() {
					fmt.Fprintln(&out, "the next one in", next.Sub(now))
				} else {
					fmt.Fprintln(&out, "nothing waits")
				}
			case "own":
				r.RememberOwn(key, now)
			case "is-own":
				fmt.Fprintln(&out, r.IsOwn(key, now))
			case "remember":
				fmt.Fprintln(&out, r.Remember(key, Asked[string]{Objective: name, Left: true}, now))
			case "leave":
				r.Leave(key, now)
			case "response":
				asked, ok := r.Asker(key, now)
				switch {
				case !ok:
					fmt.Fprintln(&out, "unsolicited")
				case asked.Left:
					fmt.Fprintf(&out, "for %s, whose asker has gone\n", asked.Objective)
				default:
					fmt.Fprintf(&out, "for %s, to %s\n", asked.Objective, asked.Asker)
				}
			case "answered":
				if r.Answered(key, neighbour, name, c.Duration("life", time.Minute), now) {
					fmt.Fprintln(&out, "asked again")
				} else {
					fmt.Fprintln(&out, "asked for the first time")
				}
			case "remembered":
				fmt.Fprintln(&out, r.Len(), "messages,", r.answered.all.Len(), "answers")
			default:
				return c.Unknown()
			}
			return out.String()
		}
	})
}

// message returns a message as it is sent, a flood with more objectives.
func message(t testing.TB, m *Message, loops uint8, more int) []byte {
	o := wire.Objective{Name: m.Objective, Flags: wire.FlagSynch, LoopCount: loops, Value: []byte{0x18, 0x2a}}
	var msg wire.Message = &wire.Discovery{SessionID: m.Key.ID, Initiator: m.Key.Initiator, Objective: o}
	if m.Type == wire.TypeFlood {
		f := &wire.Flood{SessionID: m.Key.ID, Initiator: m.Key.Initiator, Objectives: []wire.Flooded{{Objective: o}}}
		for i := range more {
			o := wire.Objective{Name: fmt.Sprint("more", i), Flags: wire.FlagSynch, LoopCount: loops}
			f.Objectives = append(f.Objectives, wire.Flooded{Objective: o})
		}
		msg = f
	}
	raw, err := msg.Append(nil)
	require.NoError(t, err)
	return raw
}

// tell says what is sent.
func tell(t *testing.T, out io.Writer, d Decision) {
	fmt.Fprintln(out, "relayed on", d.Links, "with loop counts", loopCounts(t, d.Raw))
	if len(d.Full) > 0 {
		fmt.Fprintln(out, "no room on", d.Full)
	}
}

func keyOfRaw(t *testing.T, raw []byte) session.Key {
	m, err := wire.Parse(raw, wire.Limits{})
	require.NoError(t, err)
	return keyOf(m)
}

func keyOf(m wire.Message) session.Key {
	switch m := m.(type) {
	case *wire.Discovery:
		return session.Key{ID: m.SessionID, Initiator: m.Initiator}
	case *wire.Flood:
		return session.Key{ID: m.SessionID, Initiator: m.Initiator}
	}
	return session.Key{}
}

func loopCounts(t testing.TB, raw []byte) (counts []int) {
	m, err := wire.Parse(raw, wire.Limits{})
	require.NoError(t, err)
	switch m := m.(type) {
	case *wire.Discovery:
		counts = append(counts, int(m.Objective.LoopCount))
	case *wire.Flood:
		for _, f := range m.Objectives {
			counts = append(counts, int(f.Objective.LoopCount))
		}
	}
	return counts
}

// Whatever comes, no loop count of 0 is sent, nothing goes back where it came
// from, no message is relayed twice in its time, and nothing grows.
func FuzzRelay(f *testing.F) {
	m := &Message{Type: wire.TypeDiscovery, Key: session.Key{ID: 1, Initiator: netip.MustParseAddr("fd00::1")}, Objective: "EX1"}
	f.Add(message(f, m, 6, 0), []byte{0, 1, 2, 3, 1, 1, 2, 9})
	m.Type = wire.TypeFlood
	f.Add(message(f, m, 2, 2), []byte{8, 1, 0, 200, 3, 7, 7, 7, 250, 1, 1, 1})
	f.Fuzz(func(t *testing.T, raw, script []byte) {
		const limit, perSecond = 8, 3
		var longest time.Duration // a wait
		if len(script) > 0 && script[0]&0x80 != 0 {
			longest = 100 * time.Millisecond
		}
		r := New[int](Config{Limit: limit, Others: limit, Rate: perSecond, Wait: longest, Random: func() float64 { return float64(len(script)%4) / 4 }})
		now := start
		relayedAt := make(map[session.Key]time.Time)
		var order []session.Key // relayed or remembered, to know what was forgotten
		sent := 0
		for ; len(script) >= 4; script = script[4:] {
			op, a, b, wait := script[0], script[1], script[2], script[3]
			now = now.Add(time.Duration(wait) * time.Second)
			key := session.Key{ID: uint32(a % 16), Initiator: netip.AddrFrom4([4]byte{10, 0, 0, b % 4})}
			m := &Message{Type: wire.Type(1 + 8*(op&1)), Key: key, Raw: raw, Link: int(a % 4), Neighbour: key.Initiator}
			switch op % 5 {
			case 0:
				r.RememberOwn(key, now)
				require.True(t, r.IsOwn(key, now))
				order = append(order, key)
			case 1:
				r.Answered(key, m.Neighbour, string(script[:1]), time.Duration(b)*time.Second, now)
				require.False(t, r.Answered(key, m.Neighbour, string(script[:1]), 0, now), "a copy is no other question")
				key.ID++
				if b > 0 {
					require.True(t, r.Answered(key, m.Neighbour, string(script[:1]), 0, now))
				}
			case 2:
				r.Leave(key, now)
				if asked, ok := r.Asker(key, now); ok {
					require.True(t, asked.Left)
				}
			default:
				own := r.IsOwn(key, now)
				d := r.Pass(m, []int{1, 2, 3}, 7, now)
				require.Equal(t, longest > 0 && d.Refusal == None, d.Waits)
				if d.Refusal != None {
					require.Nil(t, d.Raw)
					break
				}
				if d.Waits {
					require.LessOrEqual(t, len(r.later.queue), 2*BurstTime*perSecond)
					w := r.later.queue[len(r.later.queue)-1]
					require.LessOrEqual(t, w.due.Sub(now), longest)
					// Another relay is first on the link after this one.
					other := *m
					other.Raw, other.Link = w.raw, m.Link%3+1
					require.Equal(t, other.Link != m.Link, r.Pass(&other, []int{1, 2, 3}, 7, now).Spared)
					require.False(t, r.Pass(&other, []int{1, 2, 3}, 7, now).Spared, "only once")
					now = now.Add(longest)
					due, next := r.Due(now)
					require.True(t, next.IsZero(), "none waits for longer")
					last := due[len(due)-1] // in the order in which they came
					require.NotContains(t, last.Links, other.Link)
					require.NotContains(t, last.Full, other.Link)
					d = last.Decision
				}
				require.False(t, own)
				require.NotContains(t, d.Links, m.Link)
				require.NotContains(t, d.Full, m.Link)
				sent += len(d.Links)
				if at, was := relayedAt[key]; was && now.Sub(at) <= Memory {
					i := len(order) - 1
					for order[i] != key {
						i--
					}
					require.GreaterOrEqual(t, len(order)-i, limit, "relayed twice")
				}
				relayedAt[key], order = now, append(order, key)
				if msg, err := wire.Parse(d.Raw, wire.Limits{Bytes: 1 << 20, Elements: 1 << 20}); err == nil {
					if d, ok := msg.(*wire.Discovery); ok {
						require.NotZero(t, d.Objective.LoopCount)
					}
				}
				require.True(t, bytes.HasPrefix(d.Raw, raw[:1]))
				if longest == 0 && len(d.Links) == 0 {
					break // no link had room: it was not relayed
				}
				again := r.Pass(m, []int{1, 2, 3}, 7, now)
				require.Equal(t, RelayedBefore, again.Refusal)
			}
			require.LessOrEqual(t, r.Len(), limit)
			require.LessOrEqual(t, r.relayed.order.len, limit)
			require.LessOrEqual(t, r.answered.all.Len(), limit)
			require.Equal(t, r.answered.all.Len(), len(r.answered.byQuestion))
		}
		most := 2 * 3 * perSecond * (BurstTime + int(now.Sub(start)/time.Second)) // types and links
		require.LessOrEqual(t, sent, most)
	})
}

// A neighbour that floods leaves their answers to the others, when all is full.
func TestAnswersAreShared(t *testing.T) {
	r := New[int](Config{Others: 10, Rate: 1, Random: always})
	good, bad := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::bad")
	r.Answered(session.Key{ID: 1, Initiator: good}, good, "EX1", time.Hour, start)
	for i := range 100 {
		r.Answered(session.Key{Initiator: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}, bad, "EX1", time.Hour, start)
	}
	require.Equal(t, 10, r.answered.all.Len())
	require.True(t, r.Answered(session.Key{ID: 2, Initiator: good}, good, "EX1", time.Hour, start))
}

// The neighbours and links whose rate is watched are bounded.
func TestRatesAreBounded(t *testing.T) {
	r := newRates(5, always)
	for i := range 3 * maxRates {
		r.allowFrom(wire.TypeFlood, i, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), start)
		r.allowOn(wire.TypeFlood, i, start)
		require.LessOrEqual(t, len(r.neighbours), maxRates)
		require.LessOrEqual(t, len(r.heard), maxRates)
		require.LessOrEqual(t, len(r.links), maxRates)
	}
}

// Of a stream that fills the bucket, a message that comes now and then has its
// chance.
func TestRareMessagesHaveAChance(t *testing.T) {
	values := []float64{0.9, 0.1}
	r := newRates(100, func() float64 { values = append(values[1:], values[0]); return values[1] })
	n := 0
	for range 1000 {
		if r.allowOn(wire.TypeFlood, 1, start) {
			n++
		}
	}
	require.LessOrEqual(t, n, 100*BurstTime)
	now := start
	allowed := 0
	for range 100 {
		now = now.Add(10 * time.Millisecond)
		for range 10 {
			if r.allowOn(wire.TypeFlood, 1, now) {
				allowed++
			}
		}
	}
	require.InDelta(t, 100, allowed, 10)
	require.Greater(t, r.links[rateKey{kind: wire.TypeFlood, link: 1}].TokensAt(now), 1.0, "the bucket is not empty")
}

// Section 2.5.6.2: what was relayed is remembered for 120 s at least, even if for all that
// time neighbours send twice what the default rate limit lets pass.
func TestMemoryCoversTheRate(t *testing.T) {
	admitted := func(links int) int { return 2 * links * DefaultRate * int(Memory/time.Second+BurstTime) }
	require.LessOrEqual(t, admitted(10), MaxRelayed)

	r := New[int](Config{Limit: MaxRelayed, Others: 1, Rate: DefaultRate, Random: always})
	m := &Message{Objective: "EX1", Key: session.Key{Initiator: netip.MustParseAddr("fd00::1")}}
	raw := map[wire.Type][]byte{}
	for _, kind := range []wire.Type{wire.TypeDiscovery, wire.TypeFlood} {
		m.Type = kind
		raw[kind] = message(t, m, 6, 0)
	}
	const links, perSecond = 2, 2 * DefaultRate
	now := start
	var sent []Message
	for range Memory / time.Second {
		for range perSecond {
			now = now.Add(time.Second / perSecond)
			for link := 1; link <= links; link++ {
				for kind, raw := range raw {
					m.Type, m.Raw, m.Link, m.Key.ID = kind, raw, link, m.Key.ID+1
					m.Neighbour = netip.AddrFrom4([4]byte{10, byte(link), 0, byte(m.Key.ID)})
					if d := r.Pass(m, []int{1, 2}, 0, now); len(d.Links) > 0 {
						sent = append(sent, *m)
					}
				}
			}
		}
	}
	require.Greater(t, len(sent), admitted(links)*9/10, "the limit was reached")
	require.LessOrEqual(t, len(sent), admitted(links))
	for i := range sent {
		require.Equal(t, RelayedBefore, r.Pass(&sent[i], []int{1, 2}, 0, now).Refusal)
	}
}

// After a storm nothing is left of what it took.
func TestMemoryShrinks(t *testing.T) {
	const many, few = 10_000, 10
	m := newMemory[int](many)
	add := func(n int, now time.Time) {
		for i := range n {
			m.add(session.Key{ID: uint32(i), Initiator: netip.AddrFrom4([4]byte{byte(now.Minute())})}, i, now)
		}
	}
	add(many+few, start)
	require.Len(t, m.byKey, many)
	later := start.Add(time.Minute)
	add(few, later)
	require.Len(t, m.byKey, many, "the oldest made room")
	m.forget(start.Add(Memory + 1))
	require.Len(t, m.byKey, few)
	require.Equal(t, few, m.order.len)
	require.LessOrEqual(t, cap(m.order.pieces[0]), longest, "all other pieces are gone")
	require.Len(t, m.order.pieces, 1)
	require.LessOrEqual(t, m.peak, 4*few+3, "of what the map has room for")
	for i := range few {
		v, ok := m.get(session.Key{ID: uint32(i), Initiator: netip.AddrFrom4([4]byte{byte(later.Minute())})}, later.Add(Memory))
		require.True(t, ok)
		require.Equal(t, i, v)
	}
	m.forget(later.Add(Memory + 1))
	require.Nil(t, m.byKey)
	require.Zero(t, m.order)
}

func BenchmarkRelay(b *testing.B) {
	m := &Message{Type: wire.TypeFlood, Key: session.Key{Initiator: netip.MustParseAddr("fd00::1")}, Objective: "EX1", Link: 1}
	m.Raw = message(b, m, 6, 0)
	r := New[int](Config{Limit: 1 << 15, Rate: 1 << 30, Random: always})
	b.ReportAllocs()
	for b.Loop() {
		m.Key.ID++
		if d := r.Pass(m, []int{1, 2, 3}, 0, start); d.Refusal != None {
			b.Fatal(d.Refusal)
		}
	}
}
