package bank

import (
	"context"
	"errors"
	"math"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// nonsense is what a peer can send instead of a sum.
var nonsense = map[string]any{
	"null":            nil,
	"text":            "NZD 100",
	"number":          100,
	"bool":            true,
	"bytes":           []byte{0x82, 0x63, 'N', 'Z', 'D', 0x18, 0x64},
	"empty":           []any{},
	"no amount":       []any{"NZD"},
	"null amount":     []any{"NZD", nil},
	"text amount":     []any{"NZD", "100"},
	"no currency":     []any{nil, 100},
	"swapped":         []any{100, "NZD"},
	"float":           []any{"NZD", 100.0},
	"negative":        []any{"NZD", -100},
	"very negative":   []any{"NZD", new(big.Int).Lsh(big.NewInt(-1), 63)},
	"64 bits":         []any{"NZD", uint64(1) << 63},
	"100 bits":        []any{"NZD", new(big.Int).Lsh(big.NewInt(1), 100)},
	"too long":        []any{"NZD", 100, 100},
	"nested":          []any{[]any{"NZD", 100}},
	"map":             map[string]any{"NZD": 100},
	"odd map":         cbor.RawMessage{0xa1, 0x80, 0x80},
	"tag":             cbor.Tag{Number: 1000, Content: []any{"NZD", 100}},
	"duplicate keys":  cbor.RawMessage{0xa2, 1, 1, 1, 1},
	"tag 24 of null":  grasp.EncodedCBOR{0xf6},
	"tag 24 of short": grasp.EncodedCBOR{0x81, 0x63, 'N', 'Z', 'D'},
	"tag 24 twice":    grasp.EncodedCBOR{0xd8, 24, 0x47, 0x82, 0x63, 'N', 'Z', 'D', 0x18, 0x64},
}

func asking(amount int64) grasp.Objective {
	o := ex3()
	o.Value = []any{currency, amount}
	return o
}

// newClient registers an ASA that can ask for money.
func newClient(t *testing.T, g *grasp.Instance) *grasp.ASA {
	t.Helper()
	a, err := g.RegisterASA("client")
	require.NoError(t, err)
	require.NoError(t, a.RegisterObj(ex3(), grasp.RegisterOptions{}))
	return a
}

// requireDeclined requires that the peer declined, for this reason.
func requireDeclined(t *testing.T, err error, reason string) {
	t.Helper()
	var declined *grasp.DeclinedError
	require.ErrorAs(t, err, &declined)
	require.Equal(t, reason, declined.Reason)
}

func TestInvalidRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.startBriggs(t, b.settings(0, 1, 0))
		client := newClient(t, b.there)
		for name, value := range nonsense {
			// As the request.
			o := ex3()
			o.Value = value
			_, _, err := client.ReqNegotiate(t.Context(), o, nil, 0)
			requireDeclined(t, err, invalidRequest)

			// As a step.
			s, o, err := client.ReqNegotiate(t.Context(), asking(500), nil, 0)
			require.NoError(t, err, name)
			o.Value = value
			_, _, err = s.NegotiateStep(t.Context(), o, 0)
			requireDeclined(t, err, invalidRequest)
		}
		stop()
		briggs, _ := b.reported(t)
		require.Len(t, briggs, 2*len(nonsense))
		for _, o := range briggs {
			assert.Equal(t, cli.Declined, o.Outcome)
			assert.Equal(t, invalidRequest, o.Reason)
			assert.Equal(t, o.Steps == 0, o.Asked == nil)
			assert.Nil(t, o.Value)
		}
	})
}

// Requests that make sense, but that no Gray makes.
func TestOddRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.startBriggs(t, b.settings(0, 1, 0))
		client := newClient(t, b.there)

		s, o, err := client.ReqNegotiate(t.Context(), asking(0), nil, 0)
		require.NoError(t, err)
		require.Nil(t, s)
		require.Equal(t, asking(0).Value.([]any)[1], o.Value.([]any)[1])

		s, o, err = client.ReqNegotiate(t.Context(), asking(math.MaxInt64), nil, 0)
		require.NoError(t, err)
		o.Value = []any{"USD", 1}
		_, _, err = s.NegotiateStep(t.Context(), o, 0)
		requireDeclined(t, err, invalidCurrency)

		// To ask for less than was offered is to accept.
		s, o, err = client.ReqNegotiate(t.Context(), asking(math.MaxInt64), nil, 0)
		require.NoError(t, err)
		o.Value = []any{currency, 0}
		s, _, err = s.NegotiateStep(t.Context(), o, 0)
		require.NoError(t, err)
		require.Nil(t, s)

		// A peer that does not count down, and always asks for a little more.
		s, o, err = client.ReqNegotiate(t.Context(), asking(500), nil, 0)
		for err == nil {
			require.NotNil(t, s)
			offer, parseErr := parseSum(o)
			require.NoError(t, parseErr)
			o.LoopCount = 255
			o.Value = []any{currency, offer.amount + 1}
			s, o, err = s.NegotiateStep(t.Context(), o, 0)
		}
		requireDeclined(t, err, grasp.ErrLoopExhausted.Error())

		// One that leaves without a word, and one that cannot be understood.
		s, _, err = client.ReqNegotiate(t.Context(), asking(500), nil, 0)
		require.NoError(t, err)
		require.NoError(t, s.SendInvalid("what?"))
		s, _, err = client.ReqNegotiate(t.Context(), asking(500), nil, 0)
		require.NoError(t, err)
		require.NoError(t, s.Send("what?"))
		require.NoError(t, client.Deregister())
		stop()

		briggs, _ := b.reported(t)
		var got []cli.Result
		for _, o := range briggs {
			got = append(got, o.Outcome)
		}
		assert.Equal(t, []cli.Result{cli.Agreed, cli.Declined, cli.Agreed, cli.Declined, cli.Failed, cli.Failed}, got)
		assert.LessOrEqual(t, briggs[3].Steps, maxSteps+1)
	})
}

// answerAll has an ASA answer each request with a value until the function
// that it returns is called. It reports the end of each negotiation.
func answerAll(t *testing.T, g *grasp.Instance, value any) (ends <-chan error, stop func()) {
	t.Helper()
	a, err := g.RegisterASA("banker")
	require.NoError(t, err)
	require.NoError(t, a.RegisterObj(ex3(), grasp.RegisterOptions{}))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	all := make(chan error, 100)
	running.Go(func() {
		for {
			s, o, err := a.ListenNegotiate(ctx, ex3())
			if err != nil {
				return // the test is over, or the instance dead
			}
			o.Value = value
			_, _, err = s.NegotiateStep(ctx, o, 0)
			all <- err
		}
	})
	return all, func() {
		cancel()
		running.Wait()
		assert.NoError(t, a.Deregister())
	}
}

func TestInvalidOffers(t *testing.T) {
	nonsense := nonsense
	for name, value := range nonsense {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				ends, stop := answerAll(t, b.here, value)
				grays, err := NewGrays(b.there, 1, b.settings(1, 1, 0))
				require.NoError(t, err)
				require.NoError(t, grays.Run(t.Context()))
				requireDeclined(t, <-ends, invalidOffer)
				stop()
				_, asked := b.reported(t)
				require.Len(t, asked, 1)
				assert.Equal(t, cli.Declined, asked[0].Outcome)
				assert.Equal(t, invalidOffer, asked[0].Reason)
				assert.Equal(t, 1, asked[0].Steps)
			})
		})
	}
}

// A banker who offers more than is asked for, and another one who offers
// roubles.
func TestOddOffers(t *testing.T) {
	for _, c := range []struct {
		value []any
		want  cli.Result
	}{
		{[]any{currency, int64(math.MaxInt64)}, cli.Agreed},
		{[]any{"RUB", 1000}, cli.Declined},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			_, stop := answerAll(t, b.here, c.value)
			grays, err := NewGrays(b.there, 1, b.settings(1, 1, 0))
			require.NoError(t, err)
			require.NoError(t, grays.Run(t.Context()))
			stop()
			_, asked := b.reported(t)
			require.Len(t, asked, 1)
			assert.Equal(t, c.want, asked[0].Outcome)
		})
	}
}

// The banker dies: Gray sees it, forgets him and finds the next one.
func TestBankerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ends, _ := answerAll(t, b.here, []any{currency, 1000})
		grays, err := NewGrays(b.there, 1, b.settings(12, 1, time.Second))
		require.NoError(t, err)
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, grays.Run(t.Context())) })
		require.NoError(t, <-ends)
		require.NoError(t, b.here.Close())
		time.Sleep(3 * time.Second)
		b.here = b.instance(t, b.hereNode)
		stop := b.startBriggs(t, b.settings(0, 1, 0))
		running.Wait()
		stop()
		_, asked := b.reported(t)
		require.Len(t, asked, 12)
		assert.Equal(t, cli.Failed, asked[1].Outcome)
		assert.NotEqual(t, cli.Failed, asked[11].Outcome)
		assert.Contains(t, b.progress.String(), "Gray: request_negotiate error: Socket error sending negotiation request\n")
	})
}

func TestParseSum(t *testing.T) {
	for name, value := range nonsense {
		o := ex3()
		o.Value = value
		_, err := parseSum(o)
		assert.Error(t, err, name)
	}
	want := sum{currency, 123}
	for _, tag24 := range []bool{false, true} {
		o := ex3()
		var err error
		o.Value, err = want.value(tag24)
		require.NoError(t, err)
		assert.Equal(t, tag24, isTag24(o))
		got, err := parseSum(o)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err := parseSum(grasp.Objective{Value: make(chan int)})
	assert.True(t, errors.Is(err, grasp.ErrCBORFail))
}
