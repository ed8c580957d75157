package grasp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/grasptest"
)

var bandwidth = grasp.Objective{Name: "example.com:bandwidth", Neg: true, Dry: true, LoopCount: 6}

// asking returns the objective with a value.
func asking(v any, dry bool) grasp.Objective {
	o := bandwidth
	o.Value, o.Dry = v, dry
	return o
}

// served is an ASA that serves, a client, and what became of Serve.
type served struct {
	*grasptest.Network
	server, client *grasp.ASA
	node           *grasptest.Node
	stop           context.CancelFunc
	result         chan error
	log            *bytes.Buffer
}

func serve(t *testing.T, n *grasptest.Network, handle grasp.Handler, opt grasp.ServeOptions) *served {
	t.Helper()
	link := n.Link(grasptest.LinkConfig{})
	s := &served{Network: n, result: make(chan error, 1), log: new(bytes.Buffer)}
	s.node = n.NodeWith("server", grasp.Config{Logger: slog.New(slog.NewTextHandler(s.log, nil))}, link)
	s.server = s.node.ASA("server")
	s.client = n.Node("client", link).ASA("client")
	grasptest.Objective(t, s.server, bandwidth)
	grasptest.Objective(t, s.client, bandwidth)
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.result <- s.server.Serve(ctx, bandwidth, handle, opt) }()
	n.Settle()
	return s
}

// halves accepts what is at most 100, offers 100 once to who asks for more,
// and thinks for a minute about 13.
func halves(_ context.Context, asked int, _ bool) (grasp.Decision[int], error) {
	switch {
	case asked == 13:
		return grasp.Wait(time.Hour, func(context.Context) (grasp.Decision[int], error) {
			time.Sleep(10 * time.Minute)
			return grasp.Accept[int](), nil
		}), nil
	case asked == 666:
		panic("the devil")
	case asked == 500:
		return grasp.Accept[int](), errors.New("the disk is full")
	case asked < 0:
		return grasp.Decline[int]("less than nothing"), nil
	case asked <= 100:
		return grasp.Accept[int](), nil
	}
	return grasp.Counter(100), nil
}

// A policy accepts, counters, waits and declines; a handler's error or panic
// ends its own session only; what was agreed on is told once, and not of a dry
// run.
func TestServePolicy(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		type outcome struct {
			last   int
			agreed bool
		}
		var outcomes []outcome
		s := serve(t, n, grasp.Policy[int]{
			Decide: halves,
			Done:   func(last int, agreed bool) { outcomes = append(outcomes, outcome{last, agreed}) },
		}.Handle, grasp.ServeOptions{})
		ask := func(v any, dry bool) (*grasp.Session, grasp.Objective, error) {
			defer n.Settle()
			return s.client.ReqNegotiate(t.Context(), asking(v, dry), nil, 0)
		}

		session, o, err := ask(50, false)
		require.NoError(t, err)
		assert.Nil(t, session)
		assert.EqualValues(t, 50, o.Value)
		assert.Equal(t, []outcome{{50, true}}, outcomes)

		_, o, err = ask(60, true)
		require.NoError(t, err)
		assert.EqualValues(t, 60, o.Value)
		assert.Len(t, outcomes, 1, "a dry run commits nothing")

		session, o, err = ask(200, false)
		require.NoError(t, err)
		require.NotNil(t, session)
		assert.EqualValues(t, 100, o.Value)
		require.NoError(t, session.EndNegotiate(true, ""))
		n.Settle()
		assert.Equal(t, outcome{100, true}, outcomes[1])

		session, _, err = ask(200, false)
		require.NoError(t, err)
		require.NoError(t, session.EndNegotiate(false, "too little"))
		n.Settle()
		assert.Equal(t, outcome{100, false}, outcomes[2])

		start := time.Now()
		session, _, err = ask(13, false)
		require.NoError(t, err)
		assert.Nil(t, session)
		assert.Equal(t, 10*time.Minute, time.Since(start))
		assert.Equal(t, outcome{13, true}, outcomes[3])

		for asked, reason := range map[any]string{
			-1: "less than nothing", 666: "internal error", 500: "internal error",
			"a lot": "the offer is no int: ",
		} {
			_, _, err = ask(asked, false)
			var declined *grasp.DeclinedError
			require.ErrorAs(t, err, &declined, asked)
			assert.Contains(t, declined.Reason, reason)
		}
		assert.Contains(t, s.log.String(), "panic=\"the devil\"")
		assert.Contains(t, s.log.String(), "serve_test.go", "the stack")
		assert.Contains(t, s.log.String(), "the disk is full")
		assert.NotContains(t, s.log.String(), "nothing", "that a policy declines is no failure")

		// The loop count is exhausted on the server's side.
		greedy := asking(1000, false)
		greedy.LoopCount = 5
		session, o, err = s.client.ReqNegotiate(t.Context(), greedy, nil, 0)
		for err == nil && session != nil {
			o.Value = 1000
			session, o, err = session.NegotiateStep(t.Context(), o, 0)
		}
		require.ErrorIs(t, err, grasp.ErrDeclined)
		assert.ErrorContains(t, err, "the loop count is exhausted")

		s.stop()
		require.NoError(t, <-s.result)
		_, _, err = ask(50, false)
		assert.ErrorIs(t, err, grasp.ErrNoPeer, "nobody listens any more")
	})
}

// A hundred sessions at once go through eight handlers; the rest waits.
func TestServeConcurrency(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		var mu sync.Mutex
		running, most := 0, 0
		s := serve(t, n, func(_ context.Context, s *grasp.Session, _ grasp.Objective) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return s.EndNegotiate(true, "")
		}, grasp.ServeOptions{Concurrency: 8})
		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() {
				_, _, err := s.client.ReqNegotiate(t.Context(), asking(1, false), nil, 0)
				assert.NoError(t, err)
			})
		}
		clients.Wait()
		assert.Equal(t, 8, most)
		s.stop()
		require.NoError(t, <-s.result)
	})
}

// At the end of the context what runs may end within the grace time; then its
// context ends, too. A session that the handler leaves open is declined.
func TestServeEnds(t *testing.T) {
	for name, work := range map[string]time.Duration{"InTime": 3 * time.Second, "TooLate": time.Minute} {
		t.Run(name, func(t *testing.T) {
			grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
				s := serve(t, n, func(ctx context.Context, s *grasp.Session, _ grasp.Objective) error {
					select {
					case <-time.After(work):
						return s.EndNegotiate(true, "")
					case <-ctx.Done():
						return nil
					}
				}, grasp.ServeOptions{Grace: 4 * time.Second})
				outcome := make(chan error, 1)
				go func() {
					_, _, err := s.client.ReqNegotiate(t.Context(), asking(1, false), nil, 0)
					outcome <- err
				}()
				n.Settle()
				start := time.Now()
				s.stop()
				n.Settle()
				_, _, err := s.client.ReqNegotiate(t.Context(), asking(1, false), nil, 0)
				require.ErrorIs(t, err, grasp.ErrNoPeer, "nothing new is taken")
				err = <-s.result
				if work < 4*time.Second {
					require.NoError(t, err)
					require.NoError(t, <-outcome)
					return
				}
				require.ErrorIs(t, err, grasp.ErrCancelled)
				assert.Equal(t, 4*time.Second, time.Since(start))
				var declined *grasp.DeclinedError
				require.ErrorAs(t, <-outcome, &declined)
				assert.Equal(t, "no decision", declined.Reason)
			})
		})
	}
}

// Serve outlives a time without security, and ends with its ASA.
func TestServeWithoutSecurity(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		s := serve(t, n, grasp.Policy[int]{Decide: halves}.Handle, grasp.ServeOptions{})
		secure := s.node.Host.Status()
		s.node.Host.SetStatus(acp.Status{Reason: "the certificate ran out"})
		n.Settle()
		assert.Empty(t, s.result)
		s.node.Host.SetStatus(secure)
		n.Settle()
		_, _, err := s.client.ReqNegotiate(t.Context(), asking(1, false), nil, 0)
		require.NoError(t, err)
		require.NoError(t, s.server.Deregister())
		require.ErrorIs(t, <-s.result, grasp.ErrNoASA)
	})
}

func TestServeRefuses(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		asa := n.Node("lone").ASA("lone")
		handle := grasp.Policy[int]{Decide: halves}.Handle
		assert.ErrorIs(t, asa.Serve(t.Context(), bandwidth, nil, grasp.ServeOptions{}), grasp.ErrUnspec)
		assert.ErrorIs(t, asa.Serve(t.Context(), bandwidth, handle, grasp.ServeOptions{Grace: -1}), grasp.ErrUnspec)
		assert.ErrorIs(t, asa.Serve(t.Context(), bandwidth, handle, grasp.ServeOptions{Concurrency: -1}), grasp.ErrUnspec)
		assert.ErrorIs(t, asa.Serve(t.Context(), bandwidth, handle, grasp.ServeOptions{}), grasp.ErrNotYourObj)
		err := asa.RegisterObj(grasp.Objective{Neg: true}, grasp.RegisterOptions{})
		assert.ErrorIs(t, err, grasp.ErrUnspec)
		assert.ErrorContains(t, err, "no name")
	})
}

// A drained ASA is no longer found, takes nothing new, has its floods forgotten,
// and may end what it has begun.
func TestDrain(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		working := make(chan bool)
		s := serve(t, n, func(_ context.Context, s *grasp.Session, _ grasp.Objective) error {
			<-working
			return s.EndNegotiate(true, "")
		}, grasp.ServeOptions{})
		grasptest.Objective(t, s.server, news)
		told := news
		told.Value = "fine"
		require.NoError(t, s.server.ListenSynchronize(told))
		require.NoError(t, s.server.Flood(0, grasp.TaggedObjective{Objective: told}))
		n.Settle()

		outcome := make(chan error, 1)
		go func() {
			_, _, err := s.client.ReqNegotiate(t.Context(), asking(1, false), nil, 0)
			outcome <- err
		}()
		n.Settle()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.server.Drain(short)
		require.ErrorIs(t, err, grasp.ErrCancelled, "a session goes on")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		drained := make(chan error, 1)
		go func() { drained <- s.node.Drain(t.Context()) }()
		n.Settle()
		assert.Empty(t, drained)
		floods, err := s.client.GetFlood(news)
		require.NoError(t, err)
		assert.Empty(t, floods, "it was withdrawn")
		for _, o := range []grasp.Objective{bandwidth, news} {
			found, err := s.client.Discover(t.Context(), o, 0, grasp.DiscoverOptions{Flush: true})
			require.NoError(t, err)
			assert.Empty(t, found, o.Name)
		}
		at := grasp.NewLocator(netip.AddrPortFrom(s.node.Snapshot().Address, s.node.Snapshot().Port))
		_, _, err = s.client.ReqNegotiate(t.Context(), asking(1, false), &at, 0)
		assert.ErrorIs(t, err, grasp.ErrNoPeer)
		_, err = s.client.Synchronize(t.Context(), news, &at, 0)
		assert.ErrorIs(t, err, grasp.ErrNoListener)
		_, _, err = s.server.ListenNegotiate(t.Context(), bandwidth)
		assert.ErrorIs(t, err, grasp.ErrStopped)

		assert.Empty(t, outcome)
		working <- true
		require.NoError(t, <-outcome, "what had begun came to its end")
		require.NoError(t, <-drained)
		require.ErrorIs(t, <-s.result, grasp.ErrStopped)
		require.NoError(t, s.server.Deregister())
		require.ErrorIs(t, s.server.Drain(t.Context()), grasp.ErrNoASA)
		require.NoError(t, s.node.Close())
		require.ErrorIs(t, s.node.Drain(t.Context()), grasp.ErrNoASA)
	})
}

// Synchronization is answered by a function of who asks.
func TestAnswerSynchronize(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		log := new(bytes.Buffer)
		server := n.NodeWith("server", grasp.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}, link).ASA("server")
		clientNode := n.Node("client", link)
		client := clientNode.ASA("client")
		grasptest.Objective(t, server, news)
		var got grasp.SynchRequest
		require.NoError(t, server.AnswerSynchronize(news, func(_ context.Context, r grasp.SynchRequest) (any, error) {
			got = r
			return "you are " + r.Peer.Addr().String(), nil
		}))
		answer, err := client.Synchronize(t.Context(), news, nil, 0)
		require.NoError(t, err)
		assert.Equal(t, "you are "+got.Peer.Addr().String(), answer.Value)
		assert.Equal(t, clientNode.Snapshot().Address, got.Peer.Addr())
		assert.Equal(t, news.Name, got.Objective.Name)
		assert.True(t, got.Objective.Synch)

		for _, refuse := range []grasp.SynchAnswer{
			func(context.Context, grasp.SynchRequest) (any, error) { return nil, errors.New("not for you") },
			func(context.Context, grasp.SynchRequest) (any, error) { panic("the devil") },
			func(context.Context, grasp.SynchRequest) (any, error) { return make(chan int), nil },
		} {
			require.NoError(t, server.AnswerSynchronize(news, refuse))
			_, err = client.Synchronize(t.Context(), news, nil, 0)
			require.ErrorIs(t, err, grasp.ErrNoListener)
		}
		n.Settle()
		assert.Contains(t, log.String(), "not for you")
		assert.Contains(t, log.String(), "the devil")

		slow := make(chan error, 1)
		require.NoError(t, server.AnswerSynchronize(news, func(ctx context.Context, _ grasp.SynchRequest) (any, error) {
			<-ctx.Done()
			slow <- ctx.Err()
			return nil, ctx.Err()
		}))
		_, err = client.Synchronize(t.Context(), news, nil, time.Second)
		require.ErrorIs(t, err, grasp.ErrNoSynchReply)
		require.NoError(t, server.Deregister())
		require.ErrorIs(t, <-slow, context.Canceled)
		require.ErrorIs(t, client.AnswerSynchronize(news, nil), grasp.ErrUnspec)
	})
}

// A session is declined whatever is wrong with the reason, or with the name of the
// objective; an error that gives none is logged.
func TestServeDeclinesAnyway(t *testing.T) {
	for name, err := range map[string]error{
		"too long":  &grasp.DeclinedError{Reason: strings.Repeat("no ", 1000)},
		"not UTF-8": &grasp.DeclinedError{Reason: "\xff"},
		"the code":  grasp.ErrDeclined,
	} {
		t.Run(name, func(t *testing.T) {
			grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
				s := serve(t, n, func(context.Context, *grasp.Session, grasp.Objective) error { return err }, grasp.ServeOptions{})
				_, _, err := s.client.ReqNegotiate(t.Context(), asking(1, false), nil, 0)
				var declined *grasp.DeclinedError
				require.ErrorAs(t, err, &declined)
				n.Settle()
				if name == "the code" {
					assert.Equal(t, "internal error", declined.Reason)
					assert.Contains(t, s.log.String(), "a negotiation failed")
				} else {
					assert.Empty(t, declined.Reason)
				}
			})
		})
	}
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		link := n.Link(grasptest.LinkConfig{})
		server, client := n.Node("server", link), n.Node("client", link).ASA("client")
		o := grasp.Objective{Name: strings.Repeat("x", 1990), Neg: true, Value: "a lot"}
		asa := server.ASA("server")
		grasptest.Objective(t, asa, o)
		grasptest.Objective(t, client, o)
		go func() { _ = asa.Serve(t.Context(), o, grasp.Policy[int]{Decide: halves}.Handle, grasp.ServeOptions{}) }()
		n.Settle()
		at := server.Locator()
		_, _, err := client.ReqNegotiate(t.Context(), o, &at, 0)
		var declined *grasp.DeclinedError
		require.ErrorAs(t, err, &declined)
		assert.Equal(t, `the offer is no int: "a lot"`, declined.Reason)
	})
}

// Done is told the offer that was made last, not one that could not be sent.
func TestPolicyDoneOfUnsentOffer(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		var last []string
		s := serve(t, n, grasp.Policy[string]{
			Decide: func(_ context.Context, asked string, _ bool) (grasp.Decision[string], error) {
				if asked == "count" {
					return grasp.Counter("one step too many"), nil
				}
				return grasp.Counter(strings.Repeat("x", 3000)), nil
			},
			Done: func(offer string, agreed bool) { last = append(last, fmt.Sprint(offer, " ", agreed)) },
		}.Handle, grasp.ServeOptions{})
		o := asking("count", false)
		o.LoopCount = 1
		_, _, err := s.client.ReqNegotiate(t.Context(), o, nil, 0)
		require.ErrorIs(t, err, grasp.ErrDeclined)
		_, _, err = s.client.ReqNegotiate(t.Context(), asking("length", false), nil, 0)
		require.ErrorIs(t, err, grasp.ErrDeclined)
		n.Settle()
		assert.Equal(t, []string{"count false", "length false"}, last)
	})
}
