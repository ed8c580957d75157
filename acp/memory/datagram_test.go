package memory_test

import (
	"io"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// toNode is where a node hears datagrams that another sends by a link.
func toNode(t *testing.T, from, to *memory.Node, by *memory.Link) netip.AddrPort {
	t.Helper()
	near, ok := from.Link(by)
	require.True(t, ok)
	far, ok := to.Link(by)
	require.True(t, ok)
	return netip.AddrPortFrom(far.Addr.WithZone(near.Addr.Zone()), acp.Port)
}

func TestDatagramCrossesTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Second})
		ea, eb := join(t, a), join(t, b)
		to := toNode(t, a, b, l)
		far, _ := b.Link(l)
		near, _ := a.Link(l)
		start := time.Now()
		require.NoError(t, acp.SendTo(ea.Endpoint, to, []byte("hello")))
		assert.Equal(t, received{Msg: "hello", From: acp.Origin{
			Link: far.Index, Addr: netip.AddrPortFrom(near.Addr.WithZone(far.Addr.Zone()), ea.Port()), Unicast: true,
		}}, <-eb.Heard)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Empty(t, ea.Heard)

		// Nobody hears these, which nobody can know.
		none := netip.MustParseAddr("fe80::ffff").WithZone(near.Addr.Zone())
		require.NoError(t, acp.SendTo(ea.Endpoint, netip.AddrPortFrom(none, acp.Port), []byte("nobody")))
		require.NoError(t, acp.SendTo(ea.Endpoint, netip.AddrPortFrom(to.Addr(), eb.Port()), []byte("other port")))
		l.Cut(a, b)
		require.NoError(t, acp.SendTo(ea.Endpoint, to, []byte("cut")))
		l.Mend(a, b)
		require.NoError(t, acp.SendTo(ea.Endpoint, to, []byte("on its way")))
		l.Down()
		assert.ErrorIs(t, acp.SendTo(ea.Endpoint, to, []byte("down")), syscall.ENETUNREACH)
		l.Up()
		time.Sleep(time.Minute)
		assert.Empty(t, eb.Heard)
		assert.ErrorIs(t, acp.SendTo(ea.Endpoint, netip.AddrPortFrom(b.Addr(), acp.Port), nil), syscall.EHOSTUNREACH)
		assert.Zero(t, l.Stats())
	})
}

func TestDatagramsAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Loss: 0.5})
		ea, eb := join(t, a), join(t, b)
		for range 1000 {
			require.NoError(t, acp.SendTo(ea.Endpoint, toNode(t, a, b, l), []byte("maybe")))
			synctest.Wait()
		}
		assert.InDelta(t, 500, len(eb.Heard), 100)
	})
}

// TestNodeSharesThePort: what goes to the port of GRASP on a node comes to the
// endpoint that has been there longest.
func TestNodeSharesThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		from := endpointOf(t, a)
		to := toNode(t, a, b, l)
		first, second := join(t, b), join(t, b)
		for _, e := range []member{first, second} {
			require.NoError(t, acp.SendTo(from, to, []byte("datagram")))
			hear(t, e.Heard, "datagram")
			s, err := from.Dial(t.Context(), to)
			require.NoError(t, err)
			taken, err := e.Accept()
			require.NoError(t, err)
			require.NoError(t, e.Close())
			say(t, s, taken, "streams outlive endpoints")
			require.NoError(t, s.Close())
			_, err = taken.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
			require.NoError(t, taken.Close())
		}
		assert.Empty(t, first.Heard)
		assert.Empty(t, second.Heard)
		_, err := from.Dial(t.Context(), to)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NoError(t, acp.SendTo(from, to, []byte("nobody is there")))
	})
}
