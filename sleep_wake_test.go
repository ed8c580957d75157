package grasp

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
)

// sleeper is an ASA on a machine that sleeps, beside one on a machine that does not.
type sleeper struct {
	*testing.T
	asa, other *ASA
	net        *memory.Network
	node       *memory.Node
	link       *memory.Link
	slept      atomic.Int64
}

// whoSleeps runs a test with a sleeper, in virtual time.
func whoSleeps(t *testing.T, test func(s *sleeper)) {
	synctest.Test(t, func(t *testing.T) {
		s := &sleeper{T: t, net: memory.NewNetwork(1)}
		s.link = s.net.NewLink(memory.LinkConfig{})
		s.node = s.net.NewNode("sleeper", s.link)
		g, err := newWith(Config{Plane: s.node}, func() time.Duration { return time.Duration(s.slept.Load()) })
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		s.asa = newASA(t, g, "sleeper")
		s.other = newASA(t, newInstance(t, s.net.NewNode("other", s.link)), "other")
		test(s)
	})
}

// sleep has the machine sleep, while the clock of package time stands still.
func (s *sleeper) sleep(d time.Duration) {
	synctest.Wait()
	s.slept.Add(int64(d))
	s.node.Attach(s.net.NewLink(memory.LinkConfig{})) // the plane tells of something
	synctest.Wait()
}

// register registers an objective at an ASA.
func (s *sleeper) register(a *ASA, o Objective) Objective {
	o.LoopCount = DefaultLoopCount
	require.NoError(s, a.RegisterObj(o, RegisterOptions{}))
	return o
}

// call runs a call in the background.
func call(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// isOver returns the outcome of a call that must be over by now.
func (s *sleeper) isOver(done <-chan error) error {
	s.Helper()
	select {
	case err := <-done:
		return err
	default:
		require.Fail(s, "it waits on")
		return nil
	}
}

// A negotiation, its M_WAIT, a synchronization and a discovery end when their time has
// passed, asleep or awake, and not before.
func TestWaitsEndAsleep(t *testing.T) {
	const timeout = 10 * time.Minute
	for name, c := range map[string]struct {
		code ErrorCode
		call func(s *sleeper) error
	}{
		"negotiation": {ErrNoNegReply, func(s *sleeper) error {
			_, _, err := s.asa.ReqNegotiate(s.Context(), s.register(s.asa, Objective{Name: "EX1", Neg: true}), nil, timeout)
			return err
		}},
		"M_WAIT": {ErrNoNegReply, func(s *sleeper) error {
			_, _, err := s.asa.ReqNegotiate(s.Context(), s.register(s.asa, Objective{Name: "EX2", Neg: true}), nil, time.Second)
			return err
		}},
		"synchronization": {ErrNoSynchReply, func(s *sleeper) error {
			_, err := s.asa.Synchronize(s.Context(), s.register(s.asa, Objective{Name: "EX3", Synch: true}), nil, timeout)
			return err
		}},
		"discovery": {0, func(s *sleeper) error {
			found, err := s.asa.Discover(s.Context(), Objective{Name: "EX4", Neg: true}, timeout, DiscoverOptions{})
			assert.Empty(s, found)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			whoSleeps(t, func(s *sleeper) {
				s.listen(timeout)
				start := time.Now()
				done := call(func() error { return c.call(s) })
				time.Sleep(30 * time.Second)
				s.sleep(timeout / 2)
				require.Empty(s, done, "half of the time has passed")
				s.sleep(timeout / 2)
				err := s.isOver(done)
				require.Equal(s, 30*time.Second, time.Since(start))
				if c.code == 0 {
					require.NoError(s, err)
				} else {
					require.Equal(s, c.code, Code(err), "%v", err)
				}
				require.Empty(s, s.asa.g.Snapshot().Sessions)
			})
		})
	}
}

// listen has the other ASA take requests, and not answer them for a long time.
func (s *sleeper) listen(wait time.Duration) {
	ctx, cancel := context.WithCancel(s.Context())
	s.Cleanup(cancel)
	for _, name := range []string{"EX1", "EX2"} {
		o := s.register(s.other, Objective{Name: name, Neg: true})
		go func() {
			session, _, err := s.other.ListenNegotiate(ctx, o)
			if err == nil && name == "EX2" {
				_ = session.NegotiateWait(wait)
			}
		}()
	}
	o := s.register(s.other, Objective{Name: "EX3", Synch: true})
	require.NoError(s, s.other.AnswerSynchronize(o, func(context.Context, SynchRequest) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	synctest.Wait()
}

// next returns what a loop yields next, which must be there by now.
func next[E any](s *sleeper, events <-chan E) (e E) {
	s.Helper()
	synctest.Wait()
	select {
	case e = <-events:
	default:
		require.Fail(s, "nothing has changed")
	}
	return e
}

// watchFloods hands on the changes of an objective's floods.
func (s *sleeper) watchFloods(o Objective) <-chan FloodEvent {
	events := make(chan FloodEvent, 100)
	go func() {
		for e := range s.asa.WatchFloods(s.Context(), o) {
			events <- e
		}
	}()
	return events
}

// Whoever watches a flooded value learns at once that it died asleep, and soon whether
// its source still has it, or what it has now, with the source and lifetime that the
// flood gave.
func TestWatchFloodsAfterSleep(t *testing.T) {
	for name, c := range map[string]struct {
		slept  time.Duration
		now    any // what the other ASA has; nil: nothing any more
		expect []Change
	}{
		"it expired and is still there": {time.Hour, "old", []Change{Gone, Added}},
		"it expired and is another":     {time.Hour, "new", []Change{Gone, Added}},
		"it expired and is gone":        {time.Hour, nil, []Change{Gone}},
		"it lives and is another":       {5 * time.Minute, "new", []Change{Changed}},
		"it lives and is the same":      {5 * time.Minute, "old", nil},
	} {
		t.Run(name, func(t *testing.T) {
			whoSleeps(t, func(s *sleeper) {
				const life = 10 * time.Minute
				o := Objective{Name: "EX1", Synch: true, LoopCount: DefaultLoopCount}
				require.NoError(s, s.other.RegisterObj(o, RegisterOptions{Discoverable: true}))
				at := Locator{IP: s.other.g.Addr().Addr(), Port: 4443, Protocol: TCP}
				flood := func(value any) {
					o.Value = value
					require.NoError(s, s.other.Flood(life, TaggedObjective{Objective: o, Source: &at}))
				}
				events := s.watchFloods(o)
				flood("old")
				require.Equal(s, Added, next(s, events).Change)
				switch c.now {
				case "old":
				case nil:
					require.NoError(s, s.other.DeregisterObj(o))
				default: // the sleeper does not hear it
					s.node.Detach(s.link)
					flood(c.now)
					s.node.Attach(s.link)
				}
				s.sleep(c.slept)
				time.Sleep(discoveryTime(o) + time.Second)
				for _, change := range c.expect {
					e := next(s, events)
					require.Equal(s, change, e.Change)
					require.Equal(s, 4443, e.Flood.Source.Port)
					switch change {
					case Gone:
						require.Equal(s, GoneExpired, e.Reason)
						require.Equal(s, "old", e.Flood.Objective.Value)
					default:
						require.Equal(s, c.now, e.Flood.Objective.Value)
						left := time.Until(e.Flood.Source.Expire)
						require.True(s, life-2*time.Second < left && left <= life, "%v", left)
					}
				}
				require.Empty(s, events)
				if c.now != nil && c.now != "old" { // the next flood is nothing new
					flood(c.now)
					synctest.Wait()
					require.Empty(s, events)
				}
			})
		})
	}
}

// Whoever watches peers asks for them as soon as the machine is awake.
func TestWatchPeersAfterSleep(t *testing.T) {
	whoSleeps(t, func(s *sleeper) {
		o := Objective{Name: "EX1", Neg: true, LoopCount: DefaultLoopCount}
		require.NoError(s, s.other.RegisterObj(o, RegisterOptions{Discoverable: true}))
		events := make(chan PeerEvent, 100)
		go func() {
			for e := range s.asa.WatchPeers(s.Context(), o, WatchPeersOptions{Interval: time.Hour}) {
				events <- e
			}
		}()
		require.Equal(s, Added, next(s, events).Change)
		time.Sleep(5 * time.Second) // the first question is over
		require.Empty(s, events)
		sent := s.asa.g.Snapshot().Sent["M_DISCOVERY"]

		s.sleep(time.Second) // and nothing has expired
		require.Equal(s, sent+2, s.asa.g.Snapshot().Sent["M_DISCOVERY"], "on both links")
		require.Empty(s, events)

		// It is asked again although it expired.
		time.Sleep(5 * time.Second)
		s.sleep(time.Hour)
		gone := next(s, events)
		require.Equal(s, Gone, gone.Change)
		require.Equal(s, GoneExpired, gone.Reason)
		require.Equal(s, Added, next(s, events).Change)

		// A peer that left meanwhile is gone at once.
		time.Sleep(5 * time.Second)
		require.NoError(s, s.other.DeregisterObj(o))
		s.sleep(time.Hour)
		require.Equal(s, Gone, next(s, events).Change)
		require.Empty(s, events)
	})
}

// Requests that waited for a listener while the machine slept are refused: nobody waits
// for the answer any more.
func TestQueuedRequestsGrowOldAsleep(t *testing.T) {
	whoSleeps(t, func(s *sleeper) {
		o := s.register(s.asa, Objective{Name: "EX1", Neg: true})
		s.register(s.other, Objective{Name: "EX1", Neg: true})
		ctx, cancel := context.WithCancel(s.Context())
		listening := call(func() error { _, _, err := s.asa.ListenNegotiate(ctx, o); return err })
		synctest.Wait()
		cancel()
		synctest.Wait()
		require.Equal(s, ErrCancelled, Code(s.isOver(listening)))
		done := call(func() error { _, _, err := s.other.ReqNegotiate(s.Context(), o, nil, time.Hour); return err })
		synctest.Wait()
		time.Sleep(time.Second)
		require.Len(s, s.asa.g.Snapshot().Sessions, 1)
		s.sleep(30 * time.Second)
		require.Len(s, s.asa.g.Snapshot().Sessions, 1)
		s.sleep(time.Minute)
		require.Empty(s, s.asa.g.Snapshot().Sessions)
		require.EqualValues(s, 1, s.asa.g.Snapshot().Dropped[ReasonStale])
		require.Equal(s, ErrNoPeer, Code(s.isOver(done)))
	})
}

// A flooded value that expired while the machine slept does not answer requests any
// more.
func TestFloodedAnswerExpiresAsleep(t *testing.T) {
	whoSleeps(t, func(s *sleeper) {
		o := s.register(s.asa, Objective{Name: "EX1", Synch: true, Value: 1})
		require.NoError(s, s.asa.Flood(10*time.Minute, TaggedObjective{Objective: o}))
		peer := s.asa.g.Locator()
		ask := func() error {
			_, err := s.other.Synchronize(s.Context(), o, &peer, time.Second)
			return err
		}
		require.NoError(s, ask())
		s.sleep(9 * time.Minute)
		require.NoError(s, ask())
		s.sleep(time.Minute)
		require.ErrorIs(s, ask(), ErrNoListener)
	})
}

// wakeUnnoticed has the machine sleep. The plane has not told of it yet.
func (s *sleeper) wakeUnnoticed(d time.Duration) {
	synctest.Wait()
	s.slept.Add(int64(d))
}

// What begins after the machine woke up has all its time, even if that is before the plane
// tells of the wake-up.
func TestWaitsBegunAfterWakeUp(t *testing.T) {
	const timeout = 10 * time.Minute
	for name, c := range map[string]struct {
		code ErrorCode
		call func(s *sleeper) error
	}{
		"negotiation": {ErrNoNegReply, func(s *sleeper) error {
			_, _, err := s.asa.ReqNegotiate(s.Context(), s.register(s.asa, Objective{Name: "EX1", Neg: true}), nil, timeout)
			return err
		}},
		"synchronization": {ErrNoSynchReply, func(s *sleeper) error {
			_, err := s.asa.Synchronize(s.Context(), s.register(s.asa, Objective{Name: "EX3", Synch: true}), nil, timeout)
			return err
		}},
		"discovery": {0, func(s *sleeper) error {
			_, err := s.asa.Discover(s.Context(), Objective{Name: "EX4", Neg: true}, timeout, DiscoverOptions{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			whoSleeps(t, func(s *sleeper) {
				s.listen(timeout)
				s.wakeUnnoticed(time.Hour)
				start := time.Now()
				done := call(func() error { return c.call(s) })
				s.sleep(0) // the plane tells
				require.Empty(s, done)
				require.Equal(s, c.code, Code(<-done))
				require.Equal(s, timeout, time.Since(start))
			})
		})
	}
}

// A time that a peer asks for after the machine woke up is granted from then on.
func TestWaitAfterWakeUp(t *testing.T) {
	const timeout = 10 * time.Minute
	whoSleeps(t, func(s *sleeper) {
		o := s.register(s.asa, Objective{Name: "EX1", Neg: true})
		s.register(s.other, o)
		got := make(chan *Session, 1)
		go func() {
			session, _, err := s.other.ListenNegotiate(s.Context(), o)
			assert.NoError(s, err)
			got <- session
		}()
		done := call(func() error { _, _, err := s.asa.ReqNegotiate(s.Context(), o, nil, timeout); return err })
		session := <-got
		s.wakeUnnoticed(timeout / 2)
		start := time.Now()
		require.NoError(s, session.NegotiateWait(timeout/2))
		s.sleep(0) // the plane tells
		require.Empty(s, done)
		require.Equal(s, ErrNoNegReply, Code(<-done))
		require.Equal(s, timeout/2, time.Since(start))
	})
}

// A request that came after the machine woke up is not old.
func TestRequestAfterWakeUp(t *testing.T) {
	whoSleeps(t, func(s *sleeper) {
		o := s.register(s.asa, Objective{Name: "EX1", Neg: true})
		s.register(s.other, o)
		ctx, cancel := context.WithCancel(s.Context())
		listening := call(func() error { _, _, err := s.asa.ListenNegotiate(ctx, o); return err })
		synctest.Wait()
		cancel()
		require.Equal(s, ErrCancelled, Code(<-listening))
		s.wakeUnnoticed(time.Hour)
		done := call(func() error { _, _, err := s.other.ReqNegotiate(s.Context(), o, nil, 0); return err })
		time.Sleep(10 * time.Millisecond)
		s.sleep(0) // the plane tells
		require.Empty(s, done)
		session, _, err := s.asa.ListenNegotiate(s.Context(), o)
		require.NoError(s, err)
		require.NoError(s, session.EndNegotiate(true, ""))
		require.NoError(s, <-done)
	})
}

// What was flooded after the machine woke up answers requests for its whole life.
func TestFloodedAnswerAfterWakeUp(t *testing.T) {
	whoSleeps(t, func(s *sleeper) {
		o := s.register(s.asa, Objective{Name: "EX1", Synch: true, Value: 1})
		s.wakeUnnoticed(time.Hour)
		require.NoError(s, s.asa.Flood(10*time.Minute, TaggedObjective{Objective: o}))
		s.sleep(0) // the plane tells
		peer := s.asa.g.Locator()
		_, err := s.other.Synchronize(s.Context(), o, &peer, time.Second)
		require.NoError(s, err)
	})
}
