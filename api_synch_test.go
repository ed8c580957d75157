package grasp

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// the order in which a value is looked for: flooded values,
// discovery, a rapid value, a request.
func TestA49A52SynchronizeOrder(t *testing.T) {
	inBed(t, func(b *bed) {
		b.links[0].SetDelay(oneWay)
		o := syn("EX1", nil)
		other := b.other("other")
		registered(b, o, other)
		require.NoError(b, other.ListenSynchronize(syn("EX1", "answered")))

		// Cold: a discovery and a request. Then only the request.
		for _, want := range []time.Duration{8 * oneWay, 4 * oneWay} {
			start := time.Now()
			a := b.synchronize(o, nil, 0).within(time.Second)
			require.Equal(b, "answered", a.o.Value)
			require.Equal(b, want, a.at.Sub(start))
		}
		// Flooded: nothing is sent. A peer that is given is asked all the same.
		require.NoError(b, other.Flood(0, TaggedObjective{Objective: syn("EX1", "flooded")}))
		time.Sleep(2 * oneWay)
		sent := b.tapped()
		require.Equal(b, "flooded", b.synchronize(o, nil, 0).done().o.Value)
		require.Zero(b, sent())
		require.Equal(b, "answered", b.synchronize(o, at(other.g), 0).within(time.Second).o.Value)

		// Of several flooded values the oldest is taken.
		require.NoError(b, other.Flood(0, TaggedObjective{Objective: syn("EX1", "second"), Source: at(other.g)}))
		time.Sleep(2 * oneWay)
		require.Len(b, flooded(b, "EX1"), 2)
		require.Equal(b, "flooded", b.synchronize(o, nil, 0).done().o.Value)
	})
}

// the objective need not be registered, but be for synchronization.
func TestA48NotRegistered(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		registered(b, syn("EX1", nil), other)
		require.NoError(b, other.ListenSynchronize(syn("EX1", 7)))
		require.EqualValues(b, 7, b.synchronize(syn("EX1", nil), nil, 0).ok().o.Value)
		isCode(b, b.synchronize(Objective{Name: "EX1"}, nil, 0).done().err, ErrNotSynch)
		isCode(b, b.synchronize(neg("EX1", nil), nil, 0).done().err, ErrNotSynch)
	})
}

// a value that came with a discovery response serves for the locator it
// came with, while it lives, and for no other.
func TestA49RapidValue(t *testing.T) {
	inBed(t, func(b *bed) {
		link := b.index(b.links[0])
		b.learn(b.peer, "EX1", 5000, ipv6("fd00::99", 99), arr{"EX1", 5, 6, "rapid"})
		b.peer.all()
		sent := b.tapped()
		o := syn("EX1", nil)
		from := decodeLocator(ipv6Tag("fd00::99"), link)
		from.Port = 99
		for _, peer := range []*Locator{nil, &from} {
			require.Equal(b, "rapid", b.synchronize(o, peer, 0).ok().o.Value)
		}
		require.Zero(b, sent())
		other := b.other("other")
		registered(b, o, other)
		require.NoError(b, other.ListenSynchronize(syn("EX1", "answered")))
		require.Equal(b, "answered", b.synchronize(o, at(other.g), 0).ok().o.Value, "another peer")
		time.Sleep(5 * time.Second)
		isCode(b, b.synchronize(o, &from, 0).done().err, ErrSockErrSynRq)
		require.Equal(b, "answered", b.synchronize(o, nil, 0).ok().o.Value)
	})
}

// A-17, P-07: registered as rapid, responses carry the value of the moment.
func TestA17RapidRegistration(t *testing.T) {
	inBed(t, func(b *bed) {
		o := syn("EX1", nil)
		require.NoError(b, b.asa.RegisterObj(o, RegisterOptions{Rapid: true, Discoverable: true}))
		m, ok := b.peer.discover(1, "EX1")
		require.True(b, ok)
		require.Len(b, m.items(b), 5, "nobody listens: there is no value")
		other := b.other("other")
		for i := range 3 {
			require.NoError(b, b.asa.ListenSynchronize(syn("EX1", i)))
			m, ok = b.peer.discover(uint32(2+i), "EX1")
			require.True(b, ok)
			require.Equal(b, arr{"EX1", uint64(5), uint64(6), uint64(i)}, m.items(b)[5])
			_, err := other.Discover(forever, o, 0, DiscoverOptions{Flush: true, First: true})
			require.NoError(b, err)
			require.EqualValues(b, i, must1(other.Synchronize(forever, o, nil, 0)).Value)
		}
		require.Zero(b, other.g.Snapshot().Sent["M_REQ_SYN"])
	})
}

// each later call brings the latest value.
func TestA50Latest(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		registered(b, syn("EX1", nil), other)
		for i := range 5 {
			o := syn("EX1", i)
			o.LoopCount = uint8(10 + i)
			require.NoError(b, other.ListenSynchronize(o))
			got := b.synchronize(syn("EX1", nil), nil, 0).ok().o
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
		do   func(s *rawStream, id uint32)
		code ErrorCode
		at   time.Duration
	}{
		{"right", func(s *rawStream, id uint32) { s.send(arr{8, id, arr{"EX1", 5, 6, 7}}) }, OK, 0},
		{"other loop count, no F_DISC", func(s *rawStream, id uint32) { s.send(arr{8, id, arr{"EX1", 4, 250, 7}}) }, OK, 0},
		{"no value", func(s *rawStream, id uint32) { s.send(arr{8, id, arr{"EX1", 4, 250}}) }, OK, 0},
		{"byte by byte", func(s *rawStream, id uint32) {
			for _, c := range encoded(s.t, arr{8, id, arr{"EX1", 5, 6, 7}}) {
				s.send([]byte{c})
			}
		}, OK, 0},
		{"M_NOOP before", func(s *rawStream, id uint32) { s.send(arr{0}, arr{8, id, arr{"EX1", 5, 6, 7}}) }, OK, 0},
		{"other session", func(s *rawStream, id uint32) { s.send(arr{8, id + 1, arr{"EX1", 5, 6, 7}}) }, ErrNoValidSynch, 0},
		{"other name", func(s *rawStream, id uint32) { s.send(arr{8, id, arr{"EX2", 5, 6, 7}}) }, ErrNoValidSynch, 0},
		{"M_NEGOTIATE", func(s *rawStream, id uint32) { s.send(arr{5, id, arr{"EX1", 5, 6, 7}}) }, ErrNoValidSynch, 0},
		{"M_END", func(s *rawStream, id uint32) { s.send(arr{6, id, arr{102}}) }, ErrNoValidSynch, 0},
		{"M_INVALID", func(s *rawStream, id uint32) { s.send(arr{99, id, "what?"}) }, ErrNoValidSynch, 0},
		{"unknown type", func(s *rawStream, id uint32) { s.send(arr{77, id}) }, ErrNoValidSynch, 0},
		{"no CBOR", func(s *rawStream, _ uint32) { s.send([]byte{0xff}) }, ErrCBORFail, 0},
		{"cut", func(s *rawStream, id uint32) {
			s.send(encoded(s.t, arr{8, id, arr{"EX1", 5, 6, 7}})[:8])
			must(s.Close())
		}, ErrCBORFail, 0},
		{"too long", func(s *rawStream, id uint32) { s.send(arr{8, id, arr{"EX1", 5, 6, string(make([]byte, 2048))}}) }, ErrCBORFail, 0},
		{"closed", func(s *rawStream, _ uint32) { must(s.Close()) }, ErrNoListener, 0},
		{"silence", func(*rawStream, uint32) {}, ErrNoSynchReply, 60 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				call := b.synchronize(syn("EX1", nil), b.peer.locator(), 0)
				s := b.peer.dialed()
				m := s.read()
				m.is(b, `[4, %d, ["EX1", 5, 6, null]]`)
				start := time.Now()
				c.do(s, m.id(b))
				a := call.within(ever)
				require.Equal(b, c.code, Code(a.err), "%v", a.err)
				require.Equal(b, c.at, a.at.Sub(start))
				if c.code == OK {
					require.Equal(b, "EX1", a.o.Name)
				} else {
					require.ErrorContains(b, a.err, fmt.Sprintf("synchronize \"EX1\" with %v", s.LocalAddr()))
				}
				require.Zero(b, b.g.Snapshot().Streams)
				require.Zero(b, b.g.sessions.Len())
			})
		})
	}
}

// Without anybody: the discovery's time, or the timeout.
func TestNotFloodDisc(t *testing.T) {
	inBed(t, func(b *bed) {
		for timeout, want := range map[time.Duration]time.Duration{0: 4200 * time.Millisecond, time.Second: time.Second} {
			start := time.Now()
			a := b.synchronize(syn("EX1", nil), nil, timeout).within(ever)
			isCode(b, a.err, ErrNotFloodDisc)
			require.Equal(b, want, a.at.Sub(start))
		}
	})
}

// called again it replaces the value; later changes to the caller's have
// no effect (TestA02NothingIsShared). A value that cannot be sent changes
// nothing.
func TestA53ListenSynchronize(t *testing.T) {
	inBed(t, func(b *bed) {
		o := syn("EX1", nil)
		b.register(o)
		other := b.other("other")
		ask := func() any { return must1(other.Synchronize(forever, o, at(b.g), 0)).Value }
		require.NoError(b, b.asa.ListenSynchronize(syn("EX1", 1)))
		require.EqualValues(b, 1, ask())
		isCode(b, b.asa.ListenSynchronize(syn("EX1", make(chan int))), ErrCBORFail)
		isCode(b, b.asa.ListenSynchronize(syn("EX1", make([]byte, 2048))), ErrTooLong)
		require.EqualValues(b, 1, ask())
		require.NoError(b, b.asa.ListenSynchronize(syn("EX1", nil)))
		require.Nil(b, ask())
		raw := EncodedCBOR{0x82, 0x01, 0x02}
		require.NoError(b, b.asa.ListenSynchronize(syn("EX1", raw)))
		require.Equal(b, raw, ask(), "A-06")
		nested := []any{raw, map[any]any{"k": raw}}
		require.NoError(b, b.asa.ListenSynchronize(syn("EX1", nested)))
		require.Equal(b, nested, ask(), "A-06, nested")
	})
}

// The longest value fits a message whatever its session ID.
func TestListenSynchronizeLongest(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil))
		other := b.other("other")
		overhead := len(encoded(b, arr{8, uint32(1 << 31), arr{"EX1", 5, 6, string(make([]byte, 1000))}})) - 1000
		err := b.asa.ListenSynchronize(syn("EX1", string(make([]byte, 2048-overhead))))
		require.NoError(b, err)
		for range 20 {
			o, err := other.Synchronize(forever, syn("EX1", nil), at(b.g), 0)
			require.NoError(b, err)
			require.Len(b, o.Value, 2048-overhead)
		}
		isCode(b, b.asa.ListenSynchronize(syn("EX1", string(make([]byte, 2048-overhead+1)))), ErrTooLong)
	})
}

// afterwards requests are refused by closing, and listening may start
// again. A-54: from the first call on it can be discovered.
func TestA54A55StopSynchronize(t *testing.T) {
	inBed(t, func(b *bed) {
		o := syn("EX1", 7)
		b.register(o)
		other := b.other("other")
		ask := func() error { return second(other.Synchronize(forever, o, at(b.g), 0)) }
		isCode(b, ask(), ErrNoListener)
		require.NoError(b, b.asa.StopSynchronize(o), "nobody listens")
		for range 2 {
			require.NoError(b, b.asa.ListenSynchronize(o))
			require.NoError(b, ask())
			require.Len(b, must1(other.Discover(forever, o, 0, DiscoverOptions{Flush: true})), 1)
			require.NoError(b, b.asa.StopSynchronize(o))
			isCode(b, ask(), ErrNoListener)
			require.Empty(b, must1(other.Discover(forever, o, 0, DiscoverOptions{Flush: true})))
		}
	})
}

// Many ask at once, while the value changes: each gets a value of some moment.
func TestSynchronizeConcurrently(t *testing.T) {
	inBed(t, func(b *bed) {
		o := syn("EX1", 0)
		b.register(o)
		require.NoError(b, b.asa.ListenSynchronize(o))
		other := b.other("other")
		errs := make(chan error, 100)
		for range 100 {
			go func() {
				last := int64(0)
				for range 5 {
					got, err := other.Synchronize(forever, o, at(b.g), 0)
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
			require.NoError(b, b.asa.ListenSynchronize(syn("EX1", i)))
		}
		for range 100 {
			require.NoError(b, <-errs)
		}
		synctest.Wait()
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// A value that leaves no room for the locator is left out of the response: the
// objective can be found and asked for all the same.
func TestA17RapidValueThatDoesNotFit(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(syn("EX1", nil), RegisterOptions{Rapid: true}))
		value := string(make([]byte, 2020))
		require.NoError(b, b.asa.ListenSynchronize(syn("EX1", value)))
		m, ok := b.peer.discover(1, "EX1")
		require.True(b, ok)
		require.Len(b, m.items(b), 5)
		other := b.other("other")
		require.Equal(b, value, must1(other.Synchronize(forever, syn("EX1", nil), nil, 0)).Value)
	})
}
