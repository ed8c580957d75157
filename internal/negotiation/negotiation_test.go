package negotiation

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/transcript"
	"github.com/go-grasp/grasp/internal/wire"
)

// generous lets everything pass.
var generous = Limits{Message: wire.DefaultBytes, Waits: math.MaxInt, Wait: math.MaxInt64}

// player runs the commands of a transcript on a session. Times are counted
// from the first.
type player struct {
	s     Session
	start time.Time
	now   time.Time
}

func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata", func(*testing.T) func(*transcript.Command) string {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		return (&player{start: start, now: start}).play
	})
}

func (p *player) play(c *transcript.Command) string {
	p.now = p.now.Add(c.Duration("after", 0))
	switch c.Name {
	case "begin":
		p.start = p.now
		lim := Limits{
			Message: c.Int("message", generous.Message),
			Waits:   c.Int("waits", generous.Waits),
			Wait:    c.Duration("longest", generous.Wait),
		}
		asked := objective(c)
		p.s = New(lim, id(c), asked)
		return refusal(Check(asked))
	case "offer":
		return sending(p.s.Offer(*objective(c)))
	case "await":
		deadline, err := p.s.Await(p.now, c.Duration("timeout", time.Minute))
		if err != nil {
			return refusal(err)
		}
		return p.until(deadline)
	case "delay":
		return sending(p.s.Delay(c.Uint32("wait", 60000)))
	case "accept":
		return sending(p.s.End(true, c.String("reason", "")))
	case "decline":
		return sending(p.s.End(false, c.String("reason", "")))
	case "refuse":
		return sending(p.s.Refuse([]byte{7}))
	case "close":
		return fmt.Sprintf("had not ended: %v", p.s.Close())
	case "hear":
		return refusal(p.s.Hear())
	case "rest":
		p.s.Rest()
		return ""
	case "nothing":
		return p.output(p.s.Expired(p.now))
	}
	if m := message(c); m != nil {
		return p.output(p.s.Receive(p.now, m))
	}
	return c.Unknown()
}

// message returns what a command says that the peer sends.
func message(c *transcript.Command) wire.Message {
	switch c.Name {
	case "M_NEGOTIATE":
		return &wire.Negotiate{SessionID: id(c), Objective: *objective(c)}
	case "M_WAIT":
		return &wire.Wait{SessionID: id(c), Wait: c.Uint32("wait", 60000)}
	case "M_END":
		return &wire.End{SessionID: id(c), Accept: c.Bool("accept"), Reason: c.String("reason", "")}
	case "M_INVALID":
		return &wire.Invalid{SessionID: id(c)}
	case "M_SYNCH":
		return &wire.Synch{SessionID: id(c), Objective: *objective(c)}
	case "M_REQ_NEG":
		return &wire.ReqNeg{SessionID: id(c), Objective: *objective(c)}
	}
	return nil
}

func id(c *transcript.Command) uint32 { return c.Uint32("id", 7) }

func objective(c *transcript.Command) *wire.Objective {
	value, _ := cbor.Marshal(c.String("value", "")) // text always encodes
	return &wire.Objective{
		Name: c.String("name", "EX3"), Flags: wire.Flags(c.Int("flags", 3)), LoopCount: uint8(c.Int("loops", 6)),
		Value: value,
	}
}

func sending(out Sending, err error) string {
	if err != nil {
		return refusal(err)
	}
	text, err := cbor.Diagnose(out.Bytes)
	if err != nil {
		return err.Error()
	}
	return "send " + text
}

func refusal(err error) string {
	if err == nil {
		return ""
	}
	return "no: " + err.Error()
}

func (p *player) until(deadline time.Time) string {
	return "wait until " + deadline.Sub(p.start).String()
}

func (p *player) output(out Output) string {
	switch out.What {
	case Waiting:
		if out.Deadline.IsZero() {
			return "nothing to wait for"
		}
		var short string
		if out.Shortened {
			short = ", which is less than was asked for"
		}
		return p.until(out.Deadline) + short
	case Offered:
		value, _ := cbor.Diagnose(out.Objective.Value)
		return fmt.Sprintf("offered %s, loop count %d", value, out.Objective.LoopCount)
	case Accepted:
		return "accepted"
	case Declined:
		return strings.TrimSpace("declined " + out.Reason)
	default:
		return "failed: " + out.Err.Error()
	}
}

// FuzzSession drives a session with what a peer, a clock and a program could do
// to it, in any order.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 6, 1, 0, 2, 60, 3, 200, 4, 5, 5, 1})
	f.Add([]byte{1, 255, 2, 0, 9, 3, 0, 6, 1, 0, 7, 7})
	f.Fuzz(func(t *testing.T, input []byte) {
		lim := Limits{Message: wire.DefaultBytes, Waits: 3, Wait: time.Hour}
		now := time.Unix(0, 0)
		s := New(lim, 7, &wire.Objective{Name: "EX3", Flags: wire.FlagNeg, LoopCount: 6})
		var ends, waits int
		var deadline time.Time
		over := func() bool { return ends > 0 }
		sent := func(out Sending, err error, last bool) {
			if err != nil {
				return
			}
			require.False(t, over(), "nothing is sent after the end")
			m, err := wire.Parse(out.Bytes, wire.Limits{})
			require.NoError(t, err)
			require.EqualValues(t, 7, wire.SessionID(m))
			if n, ok := m.(*wire.Negotiate); ok {
				require.NotZero(t, n.Objective.LoopCount)
				require.Zero(t, n.Objective.Flags&wire.FlagNegDry)
			}
			if last {
				ends++
			}
		}
		came := func(out Output) {
			switch {
			case over():
				require.ErrorIs(t, out.Err, ErrEnded)
			case out.What >= Accepted:
				ends++
			case out.What == Waiting:
				require.LessOrEqual(t, out.Deadline.Sub(now), lim.Wait)
			case out.What == Offered:
				require.Equal(t, "EX3", out.Objective.Name)
				require.LessOrEqual(t, out.Objective.LoopCount, s.loops)
			}
			require.Equal(t, over(), s.Ended())
		}
		for len(input) >= 2 {
			n := input[1]
			switch what := input[0] % 12; what {
			case 0:
				out, err := s.Offer(wire.Objective{Name: "EX" + strconv.Itoa(int(n%4)), Flags: wire.Flags(n), LoopCount: n})
				sent(out, err, false)
			case 1:
				if d, err := s.Await(now, time.Duration(n)*time.Second); err == nil {
					require.False(t, d.Before(now))
					deadline = d
				}
			case 2:
				out, err := s.Delay(uint32(n))
				sent(out, err, false)
			case 3:
				out, err := s.End(n%2 == 0, "because")
				sent(out, err, true)
			case 4:
				out, err := s.Refuse(nil)
				sent(out, err, true)
			case 5:
				require.Equal(t, !over(), s.Close())
				ends = 1
			case 6:
				came(s.Receive(now, &wire.Negotiate{SessionID: 7, Objective: wire.Objective{Name: "EX3", Flags: wire.Flags(n), LoopCount: n}}))
			case 7:
				waits++
				out := s.Receive(now, &wire.Wait{SessionID: 7, Wait: uint32(n) << 20})
				came(out)
				require.True(t, waits <= lim.Waits || out.What == Failed)
			case 8:
				came(s.Receive(now, &wire.End{SessionID: 7, Accept: n%2 == 0}))
			case 9:
				now = now.Add(time.Duration(n) * time.Second)
				came(s.Expired(now))
			case 10:
				came(s.Receive(now, &wire.Invalid{SessionID: uint32(n)}))
			case 11:
				if s.Hear() == nil {
					s.Rest()
				}
			}
			require.LessOrEqual(t, ends, 1, "a session ends once")
			input = input[2:]
		}
		// Whatever there was, a peer that is silent is waited for until some time,
		// and no longer.
		if s.state == waiting {
			require.True(t, !s.deadline.Before(deadline) || waits > 0)
			require.Equal(t, Waiting, s.Expired(s.deadline.Add(-1)).What)
			came(s.Expired(s.deadline))
			require.Equal(t, 1, ends)
		}
	})
}
