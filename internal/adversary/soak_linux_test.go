package adversary

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wire"
)

// soakTime is how long sessions are begun and left.
var soakTime = flag.Duration("soak", time.Second, "begin sessions and leave them in every state for so long, on each plane")

// What is asked for in a soak.
var (
	soaked  = grasp.Objective{Name: "soaked", Neg: true, LoopCount: 10, Value: 0}
	valued  = grasp.Objective{Name: "valued", Synch: true, LoopCount: 6, Value: "value"}
	unheard = grasp.Objective{Name: "unheard", Neg: true, LoopCount: 6}
)

// soaker begins sessions with a peer, which does the same, and leaves them in every
// state that the API knows.
type soaker struct {
	g      *grasp.Instance
	peer   *grasp.Locator
	over   context.Context // when it is to rest
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu    sync.Mutex // guards all following fields
	count map[string]int
}

// soak starts a soaker, until it rests or the test ends.
func soak(t testing.TB, g *grasp.Instance, peer netip.AddrPort) *soaker {
	zone := fmt.Sprint(g.Snapshot().Links[0].Index)
	at := grasp.NewLocator(netip.AddrPortFrom(peer.Addr().WithZone(zone), peer.Port()))
	s := &soaker{g: g, peer: &at, count: make(map[string]int)}
	s.over, s.cancel = context.WithCancel(t.Context())
	ctx := s.over
	answering, err := g.RegisterASA("answering")
	require.NoError(t, err)
	s.register(answering)
	require.NoError(t, answering.ListenSynchronize(valued))
	for range 8 {
		s.all.Go(func() { s.answer(ctx, answering) })
	}
	s.all.Go(func() {
		<-ctx.Done()
		_ = answering.Deregister()
	})
	for i := range 8 {
		s.all.Go(func() {
			for ctx.Err() == nil {
				s.ask(ctx, fmt.Sprint("asking", i))
			}
		})
	}
	return s
}

// rest stops, and waits until all has ended that it began.
func (s *soaker) rest() {
	s.cancel()
	s.all.Wait()
}

func (s *soaker) did(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[what]++
}

// total is how much was done.
func (s *soaker) total() (sum int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.count {
		sum += n
	}
	return sum
}

// String says what was done, and how often.
func (s *soaker) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, what := range slices.Sorted(maps.Keys(s.count)) {
		all = append(all, fmt.Sprintf("%s %d", what, s.count[what]))
	}
	return strings.Join(all, ", ")
}

// register fails only if the instance is closed.
func (s *soaker) register(a *grasp.ASA) {
	for _, o := range []grasp.Objective{soaked, valued, unheard} {
		_ = a.RegisterObj(o, grasp.RegisterOptions{Overlap: true})
	}
}

// briefly is a context that ends at any time, so that a call is left wherever it is.
func briefly(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(rand.Int64N(int64(3*time.Millisecond))))
}

const moment = 200 * time.Millisecond // for a peer to answer, which may be gone

// answers are what becomes of a session that a peer began.
var answers = map[string]func(ctx context.Context, s *grasp.Session, o grasp.Objective){
	"accepts":  func(_ context.Context, s *grasp.Session, _ grasp.Objective) { _ = s.EndNegotiate(true, "") },
	"declines": func(_ context.Context, s *grasp.Session, _ grasp.Objective) { _ = s.EndNegotiate(false, "no") },
	"refuses":  func(_ context.Context, s *grasp.Session, _ grasp.Objective) { _ = s.SendInvalid("no") },
	"closes":   func(_ context.Context, s *grasp.Session, _ grasp.Objective) { _ = s.Close() },
	"goes on":  goOn,
	"waits": func(ctx context.Context, s *grasp.Session, o grasp.Objective) {
		_ = s.NegotiateWait(moment)
		goOn(ctx, s, o)
	},
	"waits and closes": func(_ context.Context, s *grasp.Session, _ grasp.Objective) {
		_ = s.NegotiateWait(time.Hour)
		_ = s.Close()
	},
	"says nothing": func(ctx context.Context, s *grasp.Session, _ grasp.Objective) {
		pauseFor(ctx, 2*moment)
		_ = s.Close()
	},
	"sends": func(ctx context.Context, s *grasp.Session, _ grasp.Objective) {
		_ = s.Send(make([]byte, 10_000))
		_, _ = s.Recv(ctx, moment)
		_ = s.Close()
	},
	"leaves a step": func(ctx context.Context, s *grasp.Session, o grasp.Objective) {
		brief, cancel := briefly(ctx)
		defer cancel()
		_, _, _ = s.NegotiateStep(brief, o, moment)
		_ = s.Close()
	},
}

// goOn makes counter-offers, and leaves after some.
func goOn(ctx context.Context, s *grasp.Session, o grasp.Objective) {
	for range 1 + rand.IntN(4) {
		var err error
		if s, o, err = s.NegotiateStep(ctx, o, moment); err != nil || s == nil {
			return
		}
	}
	_ = s.Close()
}

// answer serves what the peer begins.
func (s *soaker) answer(ctx context.Context, a *grasp.ASA) {
	names := slices.Collect(maps.Keys(answers))
	for ctx.Err() == nil {
		sn, o, err := a.ListenNegotiate(ctx, soaked)
		if err != nil {
			pauseFor(ctx, time.Millisecond)
			continue
		}
		what := names[rand.IntN(len(names))]
		answers[what](ctx, sn, o)
		s.did(what)
		if rand.IntN(1000) == 0 {
			_ = a.StopNegotiate(soaked) // for all who listen
		}
	}
}

// ask begins some sessions, and leaves them. In the end the ASA goes, and its
// sessions with it.
func (s *soaker) ask(ctx context.Context, name string) {
	a, err := s.g.RegisterASA(name)
	if err != nil {
		return
	}
	defer func() { _ = a.Deregister() }()
	s.register(a)
	names := slices.Collect(maps.Keys(answers))
	for range 1 + rand.IntN(30) {
		if ctx.Err() != nil {
			return
		}
		switch rand.IntN(16) {
		case 0:
			brief, cancel := briefly(ctx)
			sn, _, _ := a.ReqNegotiate(brief, soaked, s.peer, moment)
			cancel()
			_ = sn.Close()
			s.did("leaves a request")
		case 1:
			_, _, err := a.ReqNegotiate(ctx, unheard, s.peer, moment)
			s.did(fmt.Sprint("asks what nobody heard of: ", grasp.Code(err)))
		case 2:
			_, _ = a.Synchronize(ctx, valued, s.peer, moment)
			s.did("synchronizes")
		case 3:
			brief, cancel := briefly(ctx)
			_, _ = a.Synchronize(brief, valued, s.peer, moment)
			cancel()
			s.did("leaves a synchronization")
		case 4:
			brief, cancel := briefly(ctx)
			_, _ = a.Discover(brief, soaked, moment, grasp.DiscoverOptions{Flush: true})
			cancel()
			s.did("leaves a discovery")
		case 5:
			if sn, err := a.OpenSession(ctx, soaked, s.peer, moment); err == nil {
				_ = sn.Send("a")
				_, _ = sn.Recv(ctx, moment)
				_ = sn.Close()
			}
			s.did("sends and receives")
		case 6:
			if sn, _, err := a.ReqNegotiate(ctx, soaked, s.peer, moment); err == nil && sn != nil {
				s.did("leaves a session to its ASA's end")
			}
		default:
			sn, o, err := a.ReqNegotiate(ctx, soaked, s.peer, moment)
			switch {
			case err != nil:
				s.did("is told no")
				pauseFor(ctx, moment/10)
				continue
			case sn == nil:
				s.did("is told yes")
				continue
			}
			what := names[rand.IntN(len(names))]
			answers[what](ctx, sn, o)
			s.did(what + " first")
		}
	}
}

// leaveConnections begins connections to a victim, below the API, and leaves them in
// every state there is before and in a session.
func (s *soaker) leaveConnections(e acp.Endpoint, to netip.AddrPort) {
	ctx := s.over
	asked := wire.Objective{Name: soaked.Name, Flags: wire.FlagNeg, LoopCount: 6, Value: []byte{0}}
	for ctx.Err() == nil {
		id := rand.Uint32()
		request := encoded(&wire.ReqNeg{SessionID: id, Objective: asked})
		states := map[string][]byte{
			"nothing":        nil,
			"a part":         request[:1+rand.IntN(len(request)-1)],
			"half a message": unfinished,
			"nonsense":       []byte("GET / HTTP/1.1\r\n\r\n"),
			"M_NOOP":         encoded(&wire.Noop{}),
			"a request":      request,
			"two requests":   append(request, encoded(&wire.ReqNeg{SessionID: id + 1, Objective: asked})...),
			"an end":         append(request, encoded(&wire.End{SessionID: id, Accept: true})...),
			"a wait":         append(request, encoded(&wire.Wait{SessionID: id, Wait: 1 << 31})...),
		}
		names := slices.Collect(maps.Keys(states))
		what := names[rand.IntN(len(names))]
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		c, err := e.Dial(one, to)
		cancel()
		if err != nil {
			s.did("cannot dial")
			pauseFor(ctx, moment)
			continue
		}
		_, _ = c.Write(states[what])
		if rand.IntN(4) == 0 { // until the victim ends it, which it does in time
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			for err == nil && ctx.Err() == nil {
				_, err = c.Read(make([]byte, 4096))
			}
			what += ", and is patient"
		}
		_ = c.Close()
		s.did("says " + what)
	}
}

// TestSoak has two instances begin sessions with each other and leave them in every
// state, and a third member begin connections and leave them. When that is over
// nothing is left: no session, no connection, no goroutine, no descriptor, and no more
// memory than after a tenth of the time. With -soak=10m it takes ten minutes a plane.
func TestSoak(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	for _, plane := range planes {
		t.Run(plane, func(t *testing.T) { soakOn(t, plane) })
	}
}

func soakOn(t *testing.T, plane string) {
	v := newVictim(t, victimConfig{Plane: plane, IdleTimeout: time.Second})
	own := v.instance("good", grasp.Limits{IdleTimeout: time.Second})
	raw, to := v.endpoint("bad")
	states := func() [2]victimState { return [2]victimState{v.state(), stateOf(own)} }
	round := func(length time.Duration) (mine *soaker, theirs int) {
		mine = soak(t, own, v.state().At)
		v.tell("soak " + stateOf(own).At.String())
		for range 4 {
			mine.all.Go(func() { mine.leaveConnections(raw, to) })
		}
		pauseFor(t.Context(), length)
		netbed.Eventually(t, time.Minute, "sessions were begun", func() bool { return mine.total() >= 20 })
		theirs = v.tell("rest").Did
		mine.rest()
		netbed.Eventually(t, time.Minute, "no session and no connection is left", func() bool {
			all := states()
			return all[0].Sessions+all[1].Sessions+all[0].Streams+all[1].Streams == 0
		})
		return mine, theirs
	}
	round(*soakTime / 10)
	before := states()
	start := time.Now()
	mine, theirs := round(*soakTime)
	took := time.Since(start)
	var after [2]victimState
	isFlat := func() bool {
		after = states()
		for i, now := range after {
			if now.Goroutines > before[i].Goroutines+2 || now.Descriptors > before[i].Descriptors+2 || now.Held > before[i].Held+4<<20 {
				return false
			}
		}
		return true
	}
	netbed.Eventually(t, time.Minute, "all is as it was", isFlat)
	t.Logf("%s: in %.0f s %d sessions and connections, and %d of the victim's: %v", plane, took.Seconds(), mine.total(), theirs, mine)
	for i, now := range after {
		t.Logf("%s: %s: descriptors %d, then %d; goroutines %d, then %d; heap and stacks %d KiB, then %d KiB; dropped %v", plane, []string{"victim", "own"}[i],
			before[i].Descriptors, now.Descriptors, before[i].Goroutines, now.Goroutines, before[i].Held>>10, now.Held>>10, now.Dropped)
	}
}
