package grasp_test

import (
	"context"
	"io"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wire"
)

// RFC 9293 and RFC 7413 section 2.1: the segment that opens a connection can come
// again, with the request in it, when the connection is long over. Nobody is behind
// the second one: no ASA is asked to negotiate with it, and no function for a value.
func TestRepeatedRequest(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	netbed.VethPair(t, "va0", "va1")
	netbed.LinkLocal(t, "va0")
	at := netbed.LinkLocal(t, "va1").WithZone(strconv.Itoa(netbed.Index(t, "va0")))

	g := bed.NewInstance(t, &acp.Layer2{Links: []string{"va1"}, FastOpen: true})
	bed.WaitForLink(t, g)
	asa := bed.NewASA(t, g, "responder")
	neg, syn := bed.Neg("neg", 1), bed.Syn("syn", nil)
	require.NoError(t, asa.RegisterObj(neg, grasp.RegisterOptions{}))
	require.NoError(t, asa.RegisterObj(syn, grasp.RegisterOptions{}))
	asked := make(chan string, 10)
	require.NoError(t, asa.AnswerSynchronize(syn, func(context.Context, grasp.SynchRequest) (any, error) {
		asked <- "syn"
		return 7, nil
	}))
	go func() {
		for {
			s, _, err := asa.ListenNegotiate(t.Context(), neg)
			if err != nil {
				return
			}
			asked <- "neg"
			_ = s.EndNegotiate(true, "")
		}
	}()

	client, err := (&acp.Layer2{Links: []string{"va0"}, FastOpen: true}).Open()
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// send opens a connection with a request and returns all that comes by it.
	send := func(m wire.Message) []byte {
		raw, err := m.Append(nil)
		require.NoError(t, err)
		s, err := client.(acp.Requester).DialWith(ctx, netip.AddrPortFrom(at, g.Snapshot().Port), raw)
		require.NoError(t, err)
		defer s.Close()
		answer, _ := io.ReadAll(s) // a reset is no answer either
		return answer
	}
	requests := func(id uint32) (wire.Message, wire.Message) {
		return &wire.ReqNeg{SessionID: id, Objective: wire.Objective{Name: "neg", Flags: wire.FlagNeg, LoopCount: 6, Value: []byte{1}}},
			&wire.ReqSyn{SessionID: id, Objective: wire.Objective{Name: "syn", Flags: wire.FlagSynch, LoopCount: 6, Value: []byte{0xf6}}}
	}
	id := uint32(100)
	netbed.Eventually(t, netbed.Patience, "somebody listens, and there is a cookie", func() bool {
		id++
		first, _ := requests(id)
		return len(send(first)) > 0
	})
	require.Equal(t, "neg", <-asked)
	for id := uint32(2); id < 4; id++ {
		m, other := requests(id)
		if id == 3 {
			m = other
		}
		require.NotEmpty(t, send(m))
		require.NotEmpty(t, <-asked)
		require.Empty(t, send(m), "%v again", m.Type())
		require.Empty(t, send(m), "%v again", m.Type())
	}
	require.Empty(t, asked)
	require.EqualValues(t, 4, g.Snapshot().Dropped[grasp.ReasonIDClash])
	last, _ := requests(4)
	require.NotEmpty(t, send(last), "others are served")
}
