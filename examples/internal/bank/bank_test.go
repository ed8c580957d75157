package bank

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/output"
)

// bench is two instances on a link, with what their ASAs print and report.
type bench struct {
	here, there           *grasp.Instance
	hereNode, thereNode   *memory.Node
	progress, outcomeText output.Buffer
	outcomes              *cli.Outcomes
	messages              map[string]int // sent, by type
	mu                    sync.Mutex     // guards messages
}

func newBench(t *testing.T) *bench {
	t.Helper()
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{Delay: 5 * time.Millisecond})
	b := &bench{messages: make(map[string]int)}
	b.outcomes = cli.NewOutcomes(&b.outcomeText)
	b.hereNode, b.thereNode = n.NewNode("here", link), n.NewNode("there", link)
	b.here, b.there = b.instance(t, b.hereNode), b.instance(t, b.thereNode)
	return b
}

func (b *bench) instance(t *testing.T, plane acp.Plane) *grasp.Instance {
	t.Helper()
	g, err := grasp.New(grasp.Config{Plane: plane, Trace: b.trace, Dialogue: grasp.Dialogue{Output: &b.progress}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Close()) })
	return g
}

func (b *bench) trace(e grasp.Event) {
	if e.Kind == grasp.Sent {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.messages[e.Message]++
	}
}

// sent returns how many messages of each type were sent, in virtual time.
func (b *bench) sent() map[string]int {
	synctest.Wait() // until they have been traced
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.messages)
}

func (b *bench) settings(n int, seed uint64, wait time.Duration) Settings {
	return Settings{N: n, Seed: seed, Wait: wait, Outcomes: b.outcomes}
}

// startBriggs runs Briggs until the returned function is called, which waits
// for him.
func (b *bench) startBriggs(t *testing.T, set Settings) (stop func()) {
	t.Helper()
	briggs, err := NewBriggs(b.here, set)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, briggs.Run(t.Context())) })
	return func() {
		briggs.Stop()
		running.Wait()
	}
}

// run has n negotiations between Briggs and some Grays, and returns what both
// sides report.
func (b *bench) run(t *testing.T, grays, n int, seed uint64, wait time.Duration) (briggs, gray []outcome) {
	t.Helper()
	stop := b.startBriggs(t, b.settings(0, seed, wait))
	all, err := NewGrays(b.there, grays, b.settings(n, seed, wait))
	require.NoError(t, err)
	require.NoError(t, all.Run(t.Context()))
	stop()
	require.NoError(t, b.outcomes.Err())
	return b.reported(t)
}

// outcome is a cli.Outcome as read back from JSON.
type outcome struct {
	ASA     string
	Asked   *int64
	Outcome cli.Result
	Value   *int64
	Steps   int
	Reason  string
}

func (b *bench) reported(t *testing.T) (briggs, gray []outcome) {
	t.Helper()
	for line := range strings.Lines(b.outcomeText.String()) {
		var o outcome
		require.NoError(t, json.Unmarshal([]byte(line), &o))
		if o.ASA == "Briggs" {
			briggs = append(briggs, o)
		} else {
			gray = append(gray, o)
		}
	}
	return briggs, gray
}

// anonymous returns the outcomes without names, counted, as JSON.
func anonymous(t *testing.T, all []outcome) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for _, o := range all {
		o.ASA = ""
		raw, err := json.Marshal(o)
		require.NoError(t, err)
		count[string(raw)]++
	}
	return count
}

func TestEverythingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const n = 400
		briggs, gray := b.run(t, 1, n, 7, time.Second)
		require.Len(t, gray, n)
		require.Len(t, briggs, n)

		kinds := make(map[string]int)
		for _, o := range gray {
			require.NotNil(t, o.Asked)
			require.Equal(t, o.Outcome == cli.Agreed, o.Value != nil)
			require.Equal(t, o.Outcome == cli.Agreed, o.Reason == "")
			kind := string(o.Outcome) + ": " + o.Reason
			if o.Outcome == cli.Agreed && o.Steps == 0 {
				kind = "at once"
				require.Equal(t, *o.Asked, *o.Value)
			}
			kinds[kind]++
			if o.Value != nil {
				require.Less(t, *o.Asked*65/100, *o.Value) // the limit is 70 % of an integer
				require.LessOrEqual(t, *o.Value, *o.Asked)
			}
		}
		messages := b.sent()
		t.Log(kinds, messages)
		for _, kind := range []string{
			"at once", "agreed: ", "declined: " + noFunds, "declined: " + noFundsRussian, "declined: " + invalidCurrency,
			"declined: " + tooMean, "declined: Loop count exhausted", "failed: No reply to negotiation step",
		} {
			assert.NotZero(t, kinds[kind], kind)
		}
		assert.Len(t, kinds, 8)
		assert.NotZero(t, messages["M_WAIT"])
		for _, text := range []string{
			"Gray: Testing Tag 24\n", " CBOR value decoded\n", " Dry run\n", " Tried wait: OK\n", " Woke up\n",
			"Asking for USD ", "Gray: Flushing EX3 discovery\n", "Gray: Synch failed Nonsense (should fail): Not flooded",
			"Gray: Synchronized EX2 [1 two 3]\n", " UTC from Briggs\n", "Gray: Flooded EX1 from (no locator) = 2",
		} {
			assert.Contains(t, b.progress.String(), text)
		}

		// What one side reports, the other does: but for failures.
		for o, count := range anonymous(t, gray) {
			if !strings.Contains(o, `"failed"`) {
				require.GreaterOrEqual(t, anonymous(t, briggs)[o], count, o)
			}
		}
		for o, count := range anonymous(t, briggs) {
			if strings.Contains(o, `"agreed"`) {
				require.Equal(t, count, anonymous(t, gray)[o], o)
			}
		}
	})
}

func TestFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.startBriggs(t, b.settings(0, 1, time.Second))
		a, err := b.there.RegisterASA("reader")
		require.NoError(t, err)
		start := time.Now().UTC()
		for minute := range 4 {
			time.Sleep(time.Second)
			flooded, err := a.GetFlood(ex1())
			require.NoError(t, err)
			require.Len(t, flooded, 1)
			want := start.Add(time.Duration(minute)*time.Minute).Format("2006-01-02 15:04") + " UTC from Briggs"
			require.Equal(t, want, flooded[0].Objective.Value)

			// After 59 s the flooded value is gone, and EX1 is asked for.
			time.Sleep(58*time.Second + 500*time.Millisecond)
			flooded, err = a.GetFlood(ex1())
			require.NoError(t, err)
			require.Empty(t, flooded)
			o, err := a.Synchronize(t.Context(), ex1(), nil, synchTime)
			require.NoError(t, err)
			require.Equal(t, want, o.Value)
			synctest.Wait()
			time.Sleep(time.Until(start.Add(time.Duration(minute+1) * time.Minute)))
		}
		stop()
	})
}

func TestSameSeed(t *testing.T) {
	run := func(seed uint64) (text string) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.run(t, 1, 50, seed, time.Second)
			text = b.outcomeText.String()
		})
		return text
	}
	first := run(3)
	assert.Equal(t, first, run(3))
	assert.NotEqual(t, first, run(4))
}

func TestManyGrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const grays, n = 64, 640
		briggs, gray := b.run(t, grays, n, 5, 0)
		require.Len(t, gray, n)
		assert.Equal(t, anonymous(t, briggs), anonymous(t, gray))
		names := make(map[string]int)
		for _, o := range gray {
			names[o.ASA]++
			require.NotEqual(t, cli.Failed, o.Outcome, o.Reason)
		}
		assert.Len(t, names, grays)
		assert.NotZero(t, names["Gray"])
		assert.NotZero(t, names["Gray-64"])
	})
}

func TestCancel(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Second, 3500 * time.Millisecond, 10 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				briggs, err := NewBriggs(b.here, b.settings(0, 1, time.Second))
				require.NoError(t, err)
				grays, err := NewGrays(b.there, 8, b.settings(0, 1, time.Second))
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { assert.NoError(t, briggs.Run(ctx)) })
				running.Go(func() { assert.NoError(t, grays.Run(ctx)) })
				time.Sleep(after)
				cancel()
				start := time.Now()
				running.Wait()
				assert.Less(t, time.Since(start), 100*time.Millisecond)
				for _, g := range []*grasp.Instance{b.here, b.there} {
					assert.Empty(t, g.Snapshot().ASAs)
					assert.Empty(t, g.Snapshot().Sessions)
				}
			})
		})
	}
}

// Stop lets the negotiation under way end as it would.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.startBriggs(t, b.settings(0, 1, 0))
		client := newClient(t, b.there)
		s, o, err := client.ReqNegotiate(t.Context(), asking(400), nil, 0)
		require.NoError(t, err)
		var stopped sync.WaitGroup
		stopped.Go(stop)
		time.Sleep(time.Second)
		require.NoError(t, s.EndNegotiate(true, ""))
		stopped.Wait()
		briggs, _ := b.reported(t)
		require.Len(t, briggs, 1)
		assert.Equal(t, cli.Agreed, briggs[0].Outcome)
		offer, err := parseSum(o)
		require.NoError(t, err)
		assert.Equal(t, offer.amount, *briggs[0].Value)
	})
}

// Briggs has had enough before the Grays have: nobody waits for ever.
func TestBriggsLeavesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		briggs, err := NewBriggs(b.here, b.settings(3, 1, time.Second))
		require.NoError(t, err)
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, briggs.Run(t.Context())) })
		grays, err := NewGrays(b.there, 1, b.settings(100, 1, time.Second))
		require.NoError(t, err)
		assert.ErrorIs(t, grays.Run(t.Context()), ErrNoPeer)
		running.Wait()
		served, asked := b.reported(t)
		assert.Len(t, served, 3)
		assert.Greater(t, len(asked), 3)
		assert.Equal(t, cli.Failed, asked[len(asked)-1].Outcome)
	})
}

func TestNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		grays, err := NewGrays(b.there, 3, b.settings(1, 1, time.Second))
		require.NoError(t, err)
		start := time.Now()
		assert.ErrorIs(t, grays.Run(t.Context()), ErrNoPeer)
		assert.Less(t, time.Since(start), time.Minute)
		_, asked := b.reported(t)
		assert.Empty(t, asked)
		assert.Contains(t, b.progress.String(), ": Discovery failed\n")
	})
}

// Briggs comes late, when Gray, which is to run for ever, has long been there.
func TestBriggsComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		grays, err := NewGrays(b.there, 1, b.settings(0, 1, time.Second))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, grays.Run(ctx)) })
		time.Sleep(5 * time.Minute)
		stop := b.startBriggs(t, b.settings(2, 1, 0))
		time.Sleep(time.Minute)
		cancel()
		running.Wait()
		stop()
		briggs, _ := b.reported(t)
		assert.Len(t, briggs, 2)
	})
}

// While the plane is not secure Briggs waits.
func TestSecurityComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.startBriggs(t, b.settings(0, 1, 0))
		client := newClient(t, b.there)
		ask := func() error {
			s, _, err := client.ReqNegotiate(t.Context(), asking(400), nil, 0)
			if s != nil {
				require.NoError(t, s.EndNegotiate(false, ""))
			}
			return err
		}
		require.NoError(t, ask())
		b.hereNode.SetStatus(acp.Status{Reason: "no keys"})
		require.Error(t, ask())
		time.Sleep(time.Minute)
		b.hereNode.SetStatus(acp.Status{Secure: true})
		time.Sleep(time.Minute)
		require.NoError(t, ask())
		stop()
		assert.Contains(t, b.progress.String(), "Briggs: Flood failure: No security\n")
	})
}

func TestNamesTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, err := b.here.RegisterASA("Briggs")
		require.NoError(t, err)
		_, err = b.there.RegisterASA("Gray-2")
		require.NoError(t, err)
		_, err = NewBriggs(b.here, Settings{Outcomes: b.outcomes})
		assert.ErrorIs(t, err, grasp.ErrDupASA)
		_, err = NewGrays(b.there, 2, Settings{Outcomes: b.outcomes})
		assert.ErrorIs(t, err, grasp.ErrDupASA)
		assert.Equal(t, []string{"Gray-2"}, b.there.Snapshot().ASAs)

		// An objective that another ASA has for itself.
		a, err := b.here.RegisterASA("other")
		require.NoError(t, err)
		require.NoError(t, a.RegisterObj(ex3(), grasp.RegisterOptions{}))
		_, err = NewGrays(b.here, 1, Settings{Outcomes: b.outcomes})
		assert.ErrorIs(t, err, grasp.ErrObjReg)
		assert.Equal(t, []string{"Briggs", "other"}, b.here.Snapshot().ASAs)
	})
}

func TestDrawWait(t *testing.T) {
	const draws = 110_010
	rng, late := newRand(1, "x"), 0
	for range draws {
		announced := drawWait(rng, 10*time.Second)
		require.GreaterOrEqual(t, announced, 9*time.Second)
		require.LessOrEqual(t, announced, 20*time.Second+grace)
		if announced < 10*time.Second {
			late++
		} else {
			require.GreaterOrEqual(t, announced, 10*time.Second+grace)
		}
		require.Equal(t, grace, drawWait(rng, 0))
	}
	assert.InDelta(t, draws/11, late, 500) // 1000 of 11001 in the prototype
}
