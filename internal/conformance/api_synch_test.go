package conformance

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// the order in which a value is looked for: flooded values,
// discovery, a rapid value, a request.
func TestA49A52SynchronizeOrder(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Links[0].SetDelay(oneWay)
		o := bed.Syn("EX1", nil)
		other := b.Other("other")
		bed.Registered(b, o, other)
		require.NoError(b, other.ListenSynchronize(bed.Syn("EX1", "answered")))

		// Cold: a discovery and a request. Then only the request.
		for _, want := range []time.Duration{8 * oneWay, 4 * oneWay} {
			start := time.Now()
			a := b.Synchronize(o, nil, 0).Within(time.Second)
			require.Equal(b, "answered", a.O.Value)
			require.Equal(b, want, a.At.Sub(start))
		}
		// Flooded: nothing is sent. A peer that is given is asked all the same.
		require.NoError(b, other.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", "flooded")}))
		time.Sleep(2 * oneWay)
		sent := b.Tapped()
		require.Equal(b, "flooded", b.Synchronize(o, nil, 0).Done().O.Value)
		require.Zero(b, sent())
		require.Equal(b, "answered", b.Synchronize(o, bed.At(other.Instance()), 0).Within(time.Second).O.Value)

		// Of several flooded values the oldest is taken.
		require.NoError(b, other.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", "second"), Source: bed.At(other.Instance())}))
		time.Sleep(2 * oneWay)
		require.Len(b, b.Floods("EX1"), 2)
		require.Equal(b, "flooded", b.Synchronize(o, nil, 0).Done().O.Value)
	})
}

// the objective need not be registered, but be for synchronization.
func TestA48NotRegistered(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		bed.Registered(b, bed.Syn("EX1", nil), other)
		require.NoError(b, other.ListenSynchronize(bed.Syn("EX1", 7)))
		require.EqualValues(b, 7, b.Synchronize(bed.Syn("EX1", nil), nil, 0).Ok().O.Value)
		bed.IsCode(b, b.Synchronize(grasp.Objective{Name: "EX1"}, nil, 0).Done().Err, grasp.ErrNotSynch)
		bed.IsCode(b, b.Synchronize(bed.Neg("EX1", nil), nil, 0).Done().Err, grasp.ErrNotSynch)
	})
}

// a value that came with a discovery response serves for the locator it
// came with, while it lives, and for no other.
func TestA49RapidValue(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		link := b.Index(b.Links[0])
		b.Learn(b.Peer, "EX1", 5000, bed.IPv6("fd00::99", 99), arr{"EX1", 5, 6, "rapid"})
		b.Peer.All()
		sent := b.Tapped()
		o := bed.Syn("EX1", nil)
		from := grasp.Locator{IP: netip.MustParseAddr("fd00::99"), Protocol: grasp.TCP, Port: 99, IfIndex: link}
		for _, peer := range []*grasp.Locator{nil, &from} {
			require.Equal(b, "rapid", b.Synchronize(o, peer, 0).Ok().O.Value)
		}
		require.Zero(b, sent())
		other := b.Other("other")
		bed.Registered(b, o, other)
		require.NoError(b, other.ListenSynchronize(bed.Syn("EX1", "answered")))
		require.Equal(b, "answered", b.Synchronize(o, bed.At(other.Instance()), 0).Ok().O.Value, "another peer")
		time.Sleep(5 * time.Second)
		bed.IsCode(b, b.Synchronize(o, &from, 0).Done().Err, grasp.ErrSockErrSynRq)
		require.Equal(b, "answered", b.Synchronize(o, nil, 0).Ok().O.Value)
	})
}

// A-17, P-07: registered as rapid, responses carry the value of the moment.
func TestA17RapidRegistration(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Syn("EX1", nil)
		require.NoError(b, b.ASA.RegisterObj(o, grasp.RegisterOptions{Rapid: true, Discoverable: true}))
		m, ok := b.Peer.Discover(1, "EX1")
		require.True(b, ok)
		require.Len(b, m.Items(b), 5, "nobody listens: there is no value")
		other := b.Other("other")
		for i := range 3 {
			require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", i)))
			m, ok = b.Peer.Discover(uint32(2+i), "EX1")
			require.True(b, ok)
			require.Equal(b, arr{"EX1", uint64(5), uint64(6), uint64(i)}, m.Items(b)[5])
			_, err := other.Discover(bed.Forever, o, 0, grasp.DiscoverOptions{Flush: true, First: true})
			require.NoError(b, err)
			require.EqualValues(b, i, bed.Must1(other.Synchronize(bed.Forever, o, nil, 0)).Value)
		}
		require.Zero(b, other.Instance().Snapshot().Sent["M_REQ_SYN"])
	})
}

// each later call brings the latest value.
func TestA50Latest(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		bed.Registered(b, bed.Syn("EX1", nil), other)
		for i := range 5 {
			o := bed.Syn("EX1", i)
			o.LoopCount = uint8(10 + i)
			require.NoError(b, other.ListenSynchronize(o))
			got := b.Synchronize(bed.Syn("EX1", nil), nil, 0).Ok().O
			require.EqualValues(b, i, got.Value)
			require.EqualValues(b, 10+i, got.LoopCount)
			require.True(b, got.Synch)
		}
	})
}

// A-51 and the other answers: their codes.
func TestA51Answers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *bed.Stream, id uint32)
		code grasp.ErrorCode
		at   time.Duration
	}{
		{"right", func(s *bed.Stream, id uint32) { s.Send(arr{8, id, arr{"EX1", 5, 6, 7}}) }, grasp.OK, 0},
		{"other loop count, no F_DISC", func(s *bed.Stream, id uint32) { s.Send(arr{8, id, arr{"EX1", 4, 250, 7}}) }, grasp.OK, 0},
		{"null", func(s *bed.Stream, id uint32) { s.Send(arr{8, id, arr{"EX1", 5, 6, nil}}) }, grasp.OK, 0},
		{"no value", func(s *bed.Stream, id uint32) { s.Send(arr{8, id, arr{"EX1", 4, 250}}) }, grasp.ErrNoValidSynch, 0},
		{"byte by byte", func(s *bed.Stream, id uint32) {
			for _, c := range bed.Encoded(s.T, arr{8, id, arr{"EX1", 5, 6, 7}}) {
				s.Send([]byte{c})
			}
		}, grasp.OK, 0},
		{"M_NOOP before", func(s *bed.Stream, id uint32) { s.Send(arr{0}, arr{8, id, arr{"EX1", 5, 6, 7}}) }, grasp.OK, 0},
		{"other session", func(s *bed.Stream, id uint32) { s.Send(arr{8, id + 1, arr{"EX1", 5, 6, 7}}) }, grasp.ErrNoValidSynch, 0},
		{"other name", func(s *bed.Stream, id uint32) { s.Send(arr{8, id, arr{"EX2", 5, 6, 7}}) }, grasp.ErrNoValidSynch, 0},
		{"M_NEGOTIATE", func(s *bed.Stream, id uint32) { s.Send(arr{5, id, arr{"EX1", 5, 6, 7}}) }, grasp.ErrNoValidSynch, 0},
		{"M_END", func(s *bed.Stream, id uint32) { s.Send(arr{6, id, arr{102}}) }, grasp.ErrNoValidSynch, 0},
		{"M_INVALID", func(s *bed.Stream, id uint32) { s.Send(arr{99, id, "what?"}) }, grasp.ErrNoValidSynch, 0},
		{"unknown type", func(s *bed.Stream, id uint32) { s.Send(arr{77, id}) }, grasp.ErrNoValidSynch, 0},
		{"no CBOR", func(s *bed.Stream, _ uint32) { s.Send([]byte{0xff}) }, grasp.ErrCBORFail, 0},
		{"cut", func(s *bed.Stream, id uint32) {
			s.Send(bed.Encoded(s.T, arr{8, id, arr{"EX1", 5, 6, 7}})[:8])
			bed.Must(s.Close())
		}, grasp.ErrCBORFail, 0},
		{"too long", func(s *bed.Stream, id uint32) { s.Send(arr{8, id, arr{"EX1", 5, 6, string(make([]byte, 2048))}}) }, grasp.ErrCBORFail, 0},
		{"closed", func(s *bed.Stream, _ uint32) { bed.Must(s.Close()) }, grasp.ErrNoListener, 0},
		{"silence", func(*bed.Stream, uint32) {}, grasp.ErrNoSynchReply, 60 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				call := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), 0)
				s := b.Peer.Dialed()
				m := s.Next()
				m.Is(b, `[4, %d, ["EX1", 5, 6, null]]`)
				start := time.Now()
				c.do(s, m.ID(b))
				a := call.Within(bed.Ever)
				require.Equal(b, c.code, grasp.Code(a.Err), "%v", a.Err)
				require.Equal(b, c.at, a.At.Sub(start))
				if c.code == grasp.OK {
					require.Equal(b, "EX1", a.O.Name)
				} else {
					require.ErrorContains(b, a.Err, fmt.Sprintf("synchronize \"EX1\" with %v", s.LocalAddr()))
				}
				require.Zero(b, b.G.Snapshot().Streams)
				require.Zero(b, b.G.Snapshot().SessionIDs)
			})
		})
	}
}

// Without anybody: the discovery's time, or the timeout.
func TestNotFloodDisc(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for timeout, want := range map[time.Duration]time.Duration{0: 4200 * time.Millisecond, time.Second: time.Second} {
			start := time.Now()
			a := b.Synchronize(bed.Syn("EX1", nil), nil, timeout).Within(bed.Ever)
			bed.IsCode(b, a.Err, grasp.ErrNotFloodDisc)
			require.Equal(b, want, a.At.Sub(start))
		}
	})
}

// called again it replaces the value; later changes to the caller's have
// no effect (TestA02NothingIsShared). A value that cannot be sent changes
// nothing.
func TestA53ListenSynchronize(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Syn("EX1", nil)
		b.Register(o)
		other := b.Other("other")
		ask := func() any { return bed.Must1(other.Synchronize(bed.Forever, o, bed.At(b.G), 0)).Value }
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", 1)))
		require.EqualValues(b, 1, ask())
		bed.IsCode(b, b.ASA.ListenSynchronize(bed.Syn("EX1", make(chan int))), grasp.ErrCBORFail)
		bed.IsCode(b, b.ASA.ListenSynchronize(bed.Syn("EX1", make([]byte, 2048))), grasp.ErrTooLong)
		require.EqualValues(b, 1, ask())
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", nil)))
		require.Nil(b, ask())
		raw := grasp.EncodedCBOR{0x82, 0x01, 0x02}
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", raw)))
		require.Equal(b, raw, ask(), "A-06")
		nested := []any{raw, map[any]any{"k": raw}}
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", nested)))
		require.Equal(b, nested, ask(), "A-06, nested")
	})
}

// The longest value fits a message whatever its session ID.
func TestListenSynchronizeLongest(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		other := b.Other("other")
		overhead := len(bed.Encoded(b, arr{8, uint32(1 << 31), arr{"EX1", 5, 6, string(make([]byte, 1000))}})) - 1000
		err := b.ASA.ListenSynchronize(bed.Syn("EX1", string(make([]byte, 2048-overhead))))
		require.NoError(b, err)
		for range 20 {
			o, err := other.Synchronize(bed.Forever, bed.Syn("EX1", nil), bed.At(b.G), 0)
			require.NoError(b, err)
			require.Len(b, o.Value, 2048-overhead)
		}
		bed.IsCode(b, b.ASA.ListenSynchronize(bed.Syn("EX1", string(make([]byte, 2048-overhead+1)))), grasp.ErrTooLong)
	})
}

// afterwards requests are refused by closing, and listening may start
// again. A-54: from the first call on it can be discovered.
func TestA54A55StopSynchronize(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Syn("EX1", 7)
		b.Register(o)
		other := b.Other("other")
		ask := func() error { return bed.Second(other.Synchronize(bed.Forever, o, bed.At(b.G), 0)) }
		bed.IsCode(b, ask(), grasp.ErrNoListener)
		require.NoError(b, b.ASA.StopSynchronize(o), "nobody listens")
		for range 2 {
			require.NoError(b, b.ASA.ListenSynchronize(o))
			require.NoError(b, ask())
			require.Len(b, bed.Must1(other.Discover(bed.Forever, o, 0, grasp.DiscoverOptions{Flush: true})), 1)
			require.NoError(b, b.ASA.StopSynchronize(o))
			bed.IsCode(b, ask(), grasp.ErrNoListener)
			require.Empty(b, bed.Must1(other.Discover(bed.Forever, o, 0, grasp.DiscoverOptions{Flush: true})))
		}
	})
}

// Many ask at once, while the value changes: each gets a value of some moment.
func TestSynchronizeConcurrently(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Syn("EX1", 0)
		b.Register(o)
		require.NoError(b, b.ASA.ListenSynchronize(o))
		other := b.Other("other")
		errs := make(chan error, 100)
		for range 100 {
			go func() {
				last := int64(0)
				for range 5 {
					got, err := other.Synchronize(bed.Forever, o, bed.At(b.G), 0)
					if n, ok := got.Value.(int64); err == nil && (!ok || n < last) {
						err = fmt.Errorf("%v after %d", got.Value, last)
					} else {
						last = n
					}
					if err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		for i := range 100 {
			require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", i)))
		}
		for range 100 {
			require.NoError(b, <-errs)
		}
		synctest.Wait()
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// A value that leaves no room for the locator is left out of the response: the
// objective can be found and asked for all the same.
func TestA17RapidValueThatDoesNotFit(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Syn("EX1", nil), grasp.RegisterOptions{Rapid: true}))
		value := string(make([]byte, 2020))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", value)))
		m, ok := b.Peer.Discover(1, "EX1")
		require.True(b, ok)
		require.Len(b, m.Items(b), 5)
		other := b.Other("other")
		require.Equal(b, value, bed.Must1(other.Synchronize(bed.Forever, bed.Syn("EX1", nil), nil, 0)).Value)
	})
}

// A value that came with a locator is used, also if the locator is an IPv4 address in the
// form of an IPv6 one.
func TestRapidValueOfMappedAddress(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		asked := b.Synchronize(bed.Syn("EX1", nil), nil, 0)
		p := b.Peer.Only()
		b.Peer.Respond(p, bed.Arr{2, p.ID(b), p.Items(b)[2], 60_000, bed.Arr{103, bed.IP("::ffff:10.0.0.9"), 6, 4000}, bed.Arr{"EX1", 5, 6, 7}})
		require.EqualValues(b, 7, asked.Ok().O.Value)
	})
}

// An answer that is none is dropped like every other message that makes no sense; and
// M_INVALID tells the caller what the peer has to say (RFC 8990 section 2.8.12).
func TestSynchronizeAnswerIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		answer bed.Arr
		reason grasp.Reason
		says   string
	}{
		"another type":  {bed.Arr{6, 0, bed.Arr{101}}, grasp.ReasonUnexpected, "the peer sent M_END"},
		"another ID":    {bed.Arr{8, 1, bed.Arr{"EX1", 5, 6, 7}}, grasp.ReasonInvalid, "session ID"},
		"another name":  {bed.Arr{8, 0, bed.Arr{"EX2", 5, 6, 7}}, grasp.ReasonInvalid, `"EX2"`},
		"without value": {bed.Arr{8, 0, bed.Arr{"EX1", 5, 6}}, grasp.ReasonInvalid, "no value"},
		"M_INVALID":     {bed.Arr{99, 0, "no such thing"}, 0, `the peer sent M_INVALID: "no such thing"`},
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				asked := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), 0)
				s := b.Peer.Dialed()
				id := s.Next().ID(b)
				if c.answer[1] == 0 {
					c.answer[1] = id
				} else {
					c.answer[1] = id + 1
				}
				s.Send(c.answer)
				err := asked.Done().Err
				bed.IsCode(b, err, grasp.ErrNoValidSynch)
				require.ErrorContains(b, err, c.says)
				if c.reason != 0 {
					b.WantDrop(c.reason, 1)
				} else {
					require.Empty(b, b.G.Snapshot().Dropped)
				}
			})
		})
	}
}
