package quads

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// anybody is a sender of whom nothing is known.
func anybody() *sender {
	return &sender{wary: new(wary), addr: netip.MustParseAddr("2001:db8::1")}
}

// request is a message with some bytes, as it was recorded.
func request(t *testing.T, k *domainKey, bytes int) (sealed []byte) {
	t.Helper()
	msg, err := cbor.Marshal([]any{3, 0x12345678, []any{"EX1", 3, 6, make([]byte, bytes)}})
	require.NoError(t, err)
	return k.seal(msg)
}

// oracle is a node that shows by an answer that a message made sense.
type oracle struct {
	*testing.T
	endpoint *endpoint
	node     *memory.Node
	link     *memory.Link
	network  *memory.Network
}

func newOracle(t *testing.T) *oracle {
	o := &oracle{T: t, network: memory.NewNetwork(1)}
	o.link = o.network.NewLink(memory.LinkConfig{Delay: time.Millisecond})
	o.node = o.network.NewNode("oracle", o.link)
	e, err := (&Plane{Key: []byte("QUADS key of 32 bytes, for tests"), Under: o.node}).Open()
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	o.endpoint = e.(*endpoint)
	go func() {
		for {
			s, err := e.Accept()
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := s.Read(make([]byte, 2048)); err == nil {
					_, _ = s.Write([]byte{0x81, 0})
				}
			}()
		}
	}()
	go func() {
		for {
			if _, _, err := e.Receive(make([]byte, 2048)); err != nil && o.Context().Err() != nil {
				return
			}
		}
	}()
	return o
}

// peer is a node without the password.
func (o *oracle) peer(name string) acp.Endpoint {
	e, err := o.network.NewNode(name, o.link).Open()
	require.NoError(o, err)
	o.Cleanup(func() { _ = e.Close() })
	return e
}

// ask sends bytes by a stream, and returns whether they were answered, and after
// what time the stream ended.
func (o *oracle) ask(e acp.Endpoint, sealed []byte) (answered bool, after time.Duration) {
	o.Helper()
	zone := fmt.Sprint(e.Links()[0].Index)
	s, err := e.Dial(context.Background(), netip.AddrPortFrom(o.endpoint.Links()[0].Addr.WithZone(zone), o.endpoint.Port()))
	require.NoError(o, err)
	defer s.Close()
	start := time.Now()
	_, err = s.Write(sealed)
	require.NoError(o, err)
	got, _ := io.ReadAll(s)
	return len(got) > 0, time.Since(start)
}

// tries returns how many altered messages were looked at.
func (o *oracle) tries() int {
	n := 0
	for _, w := range []*wary{&o.endpoint.datagrams, &o.endpoint.streams} {
		w.mu.Lock()
		n += w.anywhere.count
		w.mu.Unlock()
	}
	return n
}

// What makes no sense is met with silence, whatever is wrong with it, until the
// time is over in which a message must have come whole.
func TestOracleTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		right := request(t, o.endpoint.key, 48)
		with := func(change func(b []byte)) []byte {
			b := append([]byte(nil), right...)
			change(b)
			return b
		}
		for name, sealed := range map[string][]byte{
			"wrong padding":  with(func(b []byte) { b[len(b)-17] ^= 0x40 }),
			"altered value":  with(func(b []byte) { b[0] ^= 1 }),
			"another's":      with(func(b []byte) { copy(b, "nothing of ours.") }),
			"cut":            right[:len(right)-16],
			"cut in a block": right[:len(right)-5],
		} {
			answered, after := o.ask(o.peer(name), sealed)
			assert.False(t, answered, name)
			assert.InDelta(t, 10, after.Seconds(), 0.01, name)
			time.Sleep(time.Hour) // for who is suspected
		}
		answered, after := o.ask(o.peer("honest"), right)
		assert.True(t, answered)
		assert.Less(t, after, time.Second)
	})
}

// An attacker without the password sends altered records, by streams and
// multicasts, from many addresses, for two days. The padding attack on a text of a
// hundred bytes needs 128 tries for each, which would take years. Who was heard
// before is served meanwhile.
func TestPaddingAttackTakesYears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		right := request(t, o.endpoint.key, 48)
		friend := o.peer("friend")
		answered, _ := o.ask(friend, right)
		require.True(t, answered)

		const attackers = 20
		var eves []acp.Endpoint
		for i := range attackers {
			eves = append(eves, o.peer(fmt.Sprint("eve", i)))
		}
		sent, told, firstDay := 0, 0, 0
		start := time.Now()
		for n := 0; time.Since(start) < 48*time.Hour; n++ {
			if time.Since(start) < 24*time.Hour {
				firstDay = o.tries()
			}
			eve := eves[n%attackers]
			altered := append([]byte(nil), right...)
			altered[len(altered)-17] ^= byte(1 + n%255) // one of 256 has right padding, as it was
			if n%256 == 255 {
				altered = right
			}
			require.NoError(t, eve.Send(eve.Links()[0].Index, altered))
			answered, _ := o.ask(eve, altered)
			sent++
			if answered {
				told++
			}
			if n%100 == 0 {
				answered, _ := o.ask(friend, right)
				assert.True(t, answered, "a friend after %v", time.Since(start))
			}
		}
		years := 100 * 128 / float64(o.tries()-firstDay) / 365
		t.Logf("%d altered messages by streams, as many by multicasts; looked at %d on the first day, %d on the second; %d answers; %.1f years for a hundred bytes",
			sent, firstDay, o.tries()-firstDay, told, years)
		assert.Greater(t, sent, 16_000)
		assert.Less(t, firstDay, 50)
		assert.Greater(t, years, 2.0)

		// After a day without such, everybody is heard again.
		time.Sleep(forgiven + 2*time.Hour)
		answered, _ = o.ask(eves[0], right)
		assert.True(t, answered)
	})
}

// Those of another domain on the link are not suspected.
func TestAnotherDomainIsNotSuspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		other := *o.endpoint.key
		other.iv[0] ^= 0x55
		neighbour := o.peer("neighbour")
		for range 500 {
			require.NoError(t, neighbour.Send(neighbour.Links()[0].Index, request(t, &other, 40)))
		}
		time.Sleep(time.Second)
		assert.Zero(t, o.tries())
		answered, _ := o.ask(o.peer("newcomer"), request(t, o.endpoint.key, 40))
		assert.True(t, answered)
	})
}

func TestWary(t *testing.T) {
	now := time.Unix(1000, 0)
	addr := netip.MustParseAddr
	var w wary
	w.right(addr("2001:db8::1"), 0, now)
	assert.True(t, w.listens(addr("2001:db8::2"), 0, now))
	w.altered(addr("2001:db8::2"), 0, now)
	assert.False(t, w.listens(addr("2001:db8::2"), 0, now))
	assert.False(t, w.listens(addr("2001:db8::3"), 0, now), "another address of the prefix")
	assert.True(t, w.listens(addr("2001:db8::1"), 0, now), "who was heard before")
	assert.True(t, w.listens(addr("2001:db8:0:1::1"), 0, now), "another prefix")
	w.right(addr("2001:db8::9"), 0, now)
	assert.False(t, w.listens(addr("2001:db8::9"), 0, now), "who was not")
	now = now.Add(firstSilence)
	assert.True(t, w.listens(addr("2001:db8::2"), 0, now))
	w.altered(addr("2001:db8::1"), 0, now)
	assert.False(t, w.listens(addr("2001:db8::1"), 0, now), "no longer")

	// From many prefixes: what all may do together is bounded.
	for i := range 3 * maxPrefixes {
		w.altered(netip.AddrFrom16([16]byte{0x20, 2, byte(i >> 8), byte(i)}), 0, now)
		assert.LessOrEqual(t, len(w.prefixes), maxPrefixes)
	}
	assert.False(t, w.listens(addr("2003::1"), 0, now))
	assert.True(t, w.listens(addr("2003::1"), 0, now.Add(5*time.Hour)))

	// Link-local addresses are those of a link, and IPv4 has no /64.
	w = wary{}
	w.altered(addr("fe80::1%3"), 3, now)
	assert.False(t, w.listens(addr("fe80::2%3"), 3, now))
	assert.True(t, w.listens(addr("fe80::2%4"), 4, now))
	w.altered(addr("192.0.2.1"), 3, now)
	assert.False(t, w.listens(addr("192.0.2.2"), 3, now))
	assert.True(t, w.listens(addr("192.0.3.1"), 3, now))
}
