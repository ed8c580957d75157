package grasp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// Section 2.6: "GRASP Constants".
func TestT04Constants(t *testing.T) {
	require.Equal(t, "ff02::13", acp.Group6.String())
	require.Equal(t, "224.0.0.119", acp.Group4.String())
	require.Equal(t, 7017, acp.Port)
	require.Equal(t, 60000*time.Millisecond, DefaultTimeout)
	require.Equal(t, 6, DefaultLoopCount)
	require.EqualValues(t, 6, NewObjective("EX1").LoopCount)
	require.Equal(t, 2048, wire.DefaultBytes)
}

// Section 2.5.3: messages follow each other on a stream without length or
// delimiter, and TCP may cut them anywhere.
func TestT05AnySegmentation(t *testing.T) {
	request := encoded(t, arr{3, 7, arr{"EX3", 3, 6, "offer"}})
	answer := encoded(t, arr{5, 7, arr{"EX3", 3, 4, "last"}})
	both := append(append([]byte{}, request...), answer...)
	for _, size := range []int{1, 2, 3, 5, len(request) - 1, len(request), len(request) + 1, len(both)} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			inBed(t, func(b *bed) {
				ex3 := neg("EX3", nil)
				b.register(ex3)
				call := b.listen(ex3)
				s := b.peer.dial(b.at())
				// The peer's next offer comes before it could have seen ours:
				// two messages, in one segment even.
				for at := 0; at < len(both); at += size {
					s.send(both[at:min(at+size, len(both))])
					time.Sleep(10 * time.Millisecond)
				}
				first := call.ok()
				require.Equal(b, "offer", first.o.Value)
				second := b.step(first.s, first.o, 0).ok()
				require.Equal(b, "last", second.o.Value)
				s.read().is(b, `[5, %d, ["EX3", 3, 5, "offer"]]`)
			})
		})
	}
}

// Section 2.5.3, and peers that take a segment for a message: each message is
// written at once.
func TestT05OneWriteForOneMessage(t *testing.T) {
	for _, size := range []int{20, 1199, 1200, 1201, 2048} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memory.NewNetwork(1)
				l := n.NewLink(memory.LinkConfig{})
				plane := &countingPlane{Plane: n.NewNode("a", l)}
				a := newASA(t, newInstance(t, plane), "A")
				b := newASA(t, newInstance(t, n.NewNode("b", l)), "B")
				ex3 := neg("EX3", sized(t, size, func(value string) any {
					return arr{3, uint32(1 << 31), arr{"EX3", 3, 6, value}}
				}))
				require.NoError(t, a.RegisterObj(ex3, RegisterOptions{}))
				require.NoError(t, b.RegisterObj(ex3, RegisterOptions{}))
				go func() {
					s, o, err := b.ListenNegotiate(t.Context(), ex3)
					if err == nil {
						_, _, _ = s.NegotiateStep(t.Context(), o, 0)
					}
				}()
				synctest.Wait()
				peer := NewLocator(netip.AddrPortFrom(b.g.ep.Addr(), b.g.ep.Port()))
				// 32 bits make the session ID five bytes, but for one in 65536.
				s, o, err := a.ReqNegotiate(t.Context(), ex3, &peer, 0)
				require.NoError(t, err)
				require.Equal(t, ex3.Value, o.Value)
				require.NoError(t, s.NegotiateWait(0))
				require.NoError(t, s.EndNegotiate(true, ""))
				require.Equal(t, 3, plane.writes(), "M_REQ_NEG, M_WAIT and M_END")
			})
		})
	}
}

// sized returns a text with which a message has a length.
func sized(t testing.TB, length int, message func(string) any) string {
	t.Helper()
	for n := range length {
		if s := string(bytes.Repeat([]byte{'x'}, n)); len(encoded(t, message(s))) == length {
			return s
		}
	}
	require.Fail(t, "no text gives the length", length)
	return ""
}

// countingPlane counts the writes to streams that an instance opened.
type countingPlane struct {
	acp.Plane
	mu sync.Mutex
	n  int // guarded by mu
}

func (p *countingPlane) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return &countingEndpoint{ep, p}, err
}

func (p *countingPlane) writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

type countingEndpoint struct {
	acp.Endpoint
	plane *countingPlane
}

func (e *countingEndpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	s, err := e.Endpoint.Dial(ctx, to)
	if err == nil {
		s.Conn = &countingConn{s.Conn, e.plane}
	}
	return s, err
}

type countingConn struct {
	net.Conn
	plane *countingPlane
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.plane.mu.Lock()
	c.plane.n++
	c.plane.mu.Unlock()
	return c.Conn.Write(b)
}

// Section 2.5.3: discovery and flood messages over UDP are never fragmented;
// what does not fit 1280 bytes is refused.
func TestT07T08MulticastsFitAPacket(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", nil)
		b.register(ex1)
		flood := func(size int) (value string, err error) {
			o := ex1
			value = sized(b, size, func(value string) any {
				return arr{9, uint32(1 << 31), b.node.Addr().AsSlice(), 0, arr{arr{"EX1", 5, 6, value}, arr{}}}
			})
			o.Value = value
			return value, b.asa.Flood(0, TaggedObjective{Objective: o})
		}
		sent, err := flood(1232)
		require.NoError(b, err)
		require.Len(b, b.peer.only().raw, 1232)
		_, err = flood(1233)
		isCode(b, err, ErrTooLong)
		b.peer.none()
		values, err := b.asa.GetFlood(ex1)
		require.NoError(b, err)
		require.Equal(b, sent, values[0].Objective.Value, "the refused one is not in the cache")

		long := syn(sized(b, 1233, func(name string) any {
			return arr{1, uint32(1 << 31), b.node.Addr().AsSlice(), arr{name, 5, 6, nil}}
		}), nil)
		isCode(b, b.discover(long, 0, DiscoverOptions{}).done().err, ErrTooLong)
		b.peer.none()
		long.Name = long.Name[:len(long.Name)-1]
		require.NoError(b, b.discover(long, 0, DiscoverOptions{First: true}).within(time.Second).err)
		require.Len(b, b.peer.all()[0].raw, 1232)
	})
}

// Section 2.5.3: all other messages use a reliable transport. None is sent as a
// multicast, and none that comes as one has an effect.
func TestT09OtherMessagesAreUnicast(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		listening := b.listen(ex3)
		for _, m := range []any{
			arr{2, 7, b.peer.addr(), 60000, b.peer.option()},
			arr{3, 7, arr{"EX3", 3, 6, 1}},
			arr{4, 7, arr{"EX1", 5, 6, nil}},
			arr{5, 7, arr{"EX3", 3, 6, 1}},
			arr{6, 7, arr{101}},
			arr{7, 7, 1},
			arr{8, 7, arr{"EX1", 5, 6, 1}},
			arr{99, 7},
		} {
			b.peer.multicast(m)
		}
		b.wantDrop(ReasonUnexpected, 8)
		listening.blocks()
		b.peer.none()
		b.peer.notDialed()

		// A whole negotiation and a synchronization: nothing on the group.
		s := b.peer.dial(b.at())
		s.send(arr{3, 7, arr{"EX3", 3, 6, 1}})
		got := listening.ok()
		require.NoError(b, got.s.NegotiateWait(time.Second))
		require.NoError(b, got.s.EndNegotiate(true, ""))
		s = b.peer.dial(b.at())
		s.send(arr{4, 8, arr{"EX1", 5, 6, nil}})
		s.read().is(b, `[8, %d, ["EX1", 5, 6, 1]]`)
		b.peer.none()
	})
}

// Section 2.5.3: unicast sessions may end in the instance, which hands them on.
// Discovery tells one port for all objectives.
func TestT10OnePortForAllObjectives(t *testing.T) {
	inBed(t, func(b *bed) {
		other := newASA(b, b.g, "another ASA")
		ex1, ex3 := syn("EX1", "value"), neg("EX3", nil)
		b.register(ex3)
		require.NoError(b, other.RegisterObj(ex1, RegisterOptions{}))
		require.NoError(b, other.ListenSynchronize(ex1))
		listening := b.listen(ex3)
		want := fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, hx(b.peer.addr()), hx(b.node.Addr().AsSlice()), b.at().Port())
		for i, name := range []string{"EX1", "EX3"} {
			m, ok := b.peer.discover(uint32(i), name)
			require.True(b, ok)
			m.is(b, want)
		}
		s := b.peer.dial(b.at())
		s.send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		s.read().is(b, `[8, %d, ["EX1", 5, 6, "value"]]`)
		b.peer.dial(b.at()).send(arr{3, 7, arr{"EX3", 3, 6, "offer"}})
		require.Equal(b, "offer", listening.ok().o.Value)
	})
}

// Section 2.8.4: the TCP port on which responses are awaited is the UDP source
// port of the discovery, on each interface; each instance on a node has its own.
func TestT11ResponsesComeToTheSourcePort(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		call := b.discover(syn("EX1", nil), time.Second, DiscoverOptions{})
		near, far := b.peer.only(), b.far.only()
		require.NotEqual(b, near.from.Addr().WithZone(""), far.from.Addr().WithZone(""))
		b.peer.respond(near, arr{2, near.id(b), b.node.Addr().AsSlice(), 60000, b.peer.option()})
		b.far.respond(far, arr{2, far.id(b), b.node.Addr().AsSlice(), 60000, b.far.option()})
		require.Len(b, call.within(time.Second).found, 2)

		second := newASA(b, newInstance(b, b.node), "in another instance")
		ex2 := syn("EX2", nil)
		ex2.LoopCount = 1 // or the first instance would relay it
		got := b.call(func() answer {
			_, err := second.Discover(b.Context(), ex2, 0, DiscoverOptions{})
			return answer{err: err}
		})
		require.NotEqual(b, near.from.Port(), b.peer.only().from.Port())
		require.NoError(b, got.within(time.Second).err)
	})
}

// Section 2.3: every instance on a node listens for itself, and each multicast
// reaches all.
func TestT12InstancesOnANode(t *testing.T) {
	inBed(t, func(b *bed) {
		asas := []*ASA{b.asa, newASA(b, newInstance(b, b.node), "2"), newASA(b, newInstance(b, b.node), "3")}
		ex1 := syn("EX1", nil)
		b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "flooded"}, arr{}}})
		for _, a := range asas {
			o, err := a.Synchronize(b.Context(), ex1, nil, 0)
			require.NoError(b, err)
			require.Equal(b, "flooded", o.Value)
		}
		// One of them floods: the others hear it, too.
		require.NoError(b, asas[1].RegisterObj(syn("EX2", nil), RegisterOptions{}))
		require.NoError(b, asas[1].Flood(0, TaggedObjective{Objective: syn("EX2", "mine")}))
		synctest.Wait()
		for _, a := range asas {
			values, err := a.GetFlood(syn("EX2", nil))
			require.NoError(b, err)
			require.Len(b, values, 1, a.Name())
		}
		// Each answers a discovery.
		for _, a := range asas {
			require.NoError(b, a.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		}
		b.peer.multicast(arr{1, 8, b.peer.addr(), arr{"EX3", 3, 6, nil}})
		ports := make(map[uint16]bool)
		for range asas {
			ports[uint16(b.peer.dialed().read().items(b)[4].(arr)[3].(uint64))] = true
		}
		require.Len(b, ports, len(asas))
	})
}

// Section 2.3: a peer may be known by other means than discovery.
func TestT13PeerThatWasNotDiscovered(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", "offer")
		b.register(ex3)
		call, s, request := b.asked(ex3)
		request.is(b, `[3, %d, ["EX3", 3, 6, "offer"]]`)
		s.send(arr{6, request.id(b), arr{101}})
		require.Equal(b, "offer", call.ok().o.Value)
		got := b.synchronize(syn("EX1", nil), b.peer.locator(), 0)
		s = b.peer.dialed()
		s.send(arr{8, s.read().id(b), arr{"EX1", 5, 6, "value"}})
		require.Equal(b, "value", got.ok().o.Value)
		b.peer.none() // no discovery
	})
}

// Section 2.8.2: unknown message types are discarded and may be logged; to a
// multicast nobody answers.
func TestC05C06UnknownMessageTypes(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", nil)
		b.register(ex3)
		listening := b.listen(ex3)
		types := []uint64{10, 98, 100, 255, 256, 1 << 40}
		for _, n := range types {
			b.peer.multicast(arr{n, 7, b.peer.addr(), arr{"EX3", 3, 6, 1}})
		}
		b.wantDrop(ReasonUnknownType, len(types))
		b.peer.none()
		b.peer.notDialed()
		for i, n := range types {
			s := b.peer.dial(b.at())
			s.send(arr{n, 7, arr{"EX3", 3, 6, 1}})
			// M_INVALID may answer it.
			require.Regexp(b, `^\[99, 7, "`, s.read().String())
			s.closed()
			b.wantDrop(ReasonUnknownType, len(types)+i+1)
		}
		listening.blocks()
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// Section 2.8.9: M_WAIT has a waiting time and nothing besides.
func TestC08WaitHasATimeOnly(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		session, _, s := b.served(ex3, 7, 1)
		require.NoError(b, session.NegotiateWait(1500*time.Millisecond))
		s.read().is(b, `[7, %d, 1500]`)
		require.NoError(b, session.NegotiateWait(0))
		s.read().is(b, `[7, %d, 60000]`)
	})
}

// Section 2.8.8: M_END has an accept or a decline option.
func TestC09EndWithoutOption(t *testing.T) {
	for _, end := range []arr{{6}, {6, arr{}}, {6, arr{100}}, {6, "yes"}} {
		inBed(t, func(b *bed) {
			ex3 := neg("EX3", 1)
			b.register(ex3)
			call, s, request := b.asked(ex3)
			s.send(append(arr{end[0], request.id(b)}, end[1:]...))
			isCode(b, call.done().err, ErrInvalidEnd)
			require.Regexp(b, `^\[99, \d+, "`, s.read().String())
			s.closed()
		})
	}
}

// garbage is what is no message of GRASP.
var garbage = map[string][]byte{
	"nothing":                {},
	"not CBOR":               {0xff, 0xfe, 0xfd},
	"no array":               {0x01},
	"text":                   {0x63, 'h', 'e', 'y'},
	"empty array":            {0x80},
	"reserved head":          {0x84, 0x1c},
	"array without items":    {0x84, 0x09, 0x07},
	"type is text":           {0x82, 0x61, '9', 0x07},
	"name is not UTF-8":      {0x83, 0x03, 0x07, 0x84, 0x62, 0xc3, 0x28, 0x03, 0x06, 0xf6},
	"no initiator":           {0x83, 0x01, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0xf6},
	"loop count beyond 255":  {0x83, 0x03, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x19, 0x01, 0x00, 0xf6},
	"session beyond 32 bits": {0x83, 0x03, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0xf6},
	"two items":              {0x81, 0x00, 0x81, 0x00},
	"nested without end":     bytes.Repeat([]byte{0x81}, 1000),
}

// Section 2.2: what is malformed never stops the instance.
func TestC11MalformedMulticasts(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		id := uint32(1000)
		for what, raw := range garbage {
			if len(raw) == 0 {
				continue
			}
			b.peer.multicast(raw)
			b.peer.notDialed()
			id++
			_, ok := b.peer.discover(id, "EX3")
			require.True(b, ok, "the instance is deaf after: %s", what)
		}
		b.peer.none()
		drops := 0
		for _, reason := range []Reason{ReasonMalformed, ReasonInvalid, ReasonTooLong, ReasonTooDeep} {
			drops += len(b.log.dropped(reason))
		}
		require.Equal(b, len(garbage)-1, drops)
	})
}

// Section 2.2: nor does what is malformed and comes by unicast.
func TestC11MalformedRequests(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", nil)
		b.register(ex3)
		listening := b.listen(ex3)
		for what, raw := range garbage {
			if what == "two items" { // M_NOOP twice
				continue
			}
			s := b.peer.dial(b.at())
			s.send(raw)
			require.NoError(b, s.Close())
		}
		synctest.Wait()
		listening.blocks()
		require.Zero(b, b.g.Snapshot().Streams)
		b.peer.dial(b.at()).send(arr{3, 7, arr{"EX3", 3, 6, "offer"}})
		require.Equal(b, "offer", listening.ok().o.Value)
	})
}

// RFC 8991 section 2.3: a malformed answer ends the session with an error.
func TestC11MalformedAnswers(t *testing.T) {
	for what, want := range map[string]ErrorCode{
		"not CBOR":              ErrCBORFail,
		"reserved head":         ErrCBORFail,
		"array without items":   ErrCBORFail, // the peer closes before its end
		"name is not UTF-8":     ErrCBORFail,
		"nested without end":    ErrCBORFail,
		"no array":              ErrNoValidStep,
		"text":                  ErrNoValidStep,
		"empty array":           ErrNoValidStep,
		"loop count beyond 255": ErrNoValidStep,
	} {
		t.Run(what, func(t *testing.T) {
			inBed(t, func(b *bed) {
				ex3 := neg("EX3", 1)
				b.register(ex3)
				call, s, _ := b.asked(ex3)
				s.send(garbage[what])
				require.NoError(b, s.Close())
				isCode(b, call.done().err, want)
				require.Empty(b, b.g.Snapshot().Sessions)

				want := map[ErrorCode]ErrorCode{ErrCBORFail: ErrCBORFail, ErrNoValidStep: ErrNoValidSynch}[want]
				got := b.synchronize(syn("EX1", nil), b.peer.locator(), 0)
				s = b.peer.dialed()
				s.read()
				s.send(garbage[what])
				require.NoError(b, s.Close())
				isCode(b, got.done().err, want)
			})
		})
	}
}

// Appendix A and peers: null, 0 and no value at all are all taken where no real
// value is expected.
func TestC13NoValueInManyForms(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", "value")
		b.register(ex1)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		for i, o := range []arr{{"EX1", 5, 6}, {"EX1", 5, 6, nil}, {"EX1", 5, 6, 0}} {
			id := uint32(100 + i)
			b.peer.multicast(arr{1, id, b.peer.addr(), o})
			require.Equal(b, id, b.peer.dialed().read().id(b))
			s := b.peer.dial(b.at())
			s.send(arr{4, id, o})
			s.read().is(b, `[8, %d, ["EX1", 5, 6, "value"]]`)
		}
	})
}

// Section 2.8.3: unicast messages of 2048 bytes are received.
func TestZ01LongestMessages(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", nil)
		b.register(ex3)
		message := func(value string) any { return arr{3, 7, arr{"EX3", 3, 6, value}} }
		value := sized(b, 2048, message)
		call := b.listen(ex3)
		s := b.peer.dial(b.at())
		s.send(message(value))
		got := call.ok()
		require.Equal(b, value, got.o.Value)
		// And sent.
		step := b.step(got.s, got.o, 0)
		require.Len(b, s.read().raw, 2048)
		step.blocks()
	})
}

// Section 2.8.3: longer ones are not sent.
func TestZ02LongerMessagesAreNotSent(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", nil), neg("EX3", nil)
		b.register(ex1, ex3)
		long := ex3
		long.Value = make([]byte, 2048)
		isCode(b, b.request(long, b.peer.locator(), 0).done().err, ErrTooLong)
		b.peer.notDialed()
		// One byte too long, and not. A session ID of the peer's has a length.
		for size, want := range map[int]ErrorCode{2048: OK, 2049: ErrTooLong} {
			session, o, s := b.served(ex3, 1000, 1)
			o.Value = sized(b, size, func(value string) any { return arr{5, 1000, arr{"EX3", 3, 5, value}} })
			step := b.step(session, o, time.Second)
			if want == OK {
				require.Len(b, s.read().raw, size)
				isCode(b, step.within(time.Second).err, ErrNoNegReply)
			} else {
				isCode(b, step.done().err, want)
				s.silent(soon)
				require.NoError(b, session.EndNegotiate(true, ""))
			}
		}

		session, o, s := b.served(ex3, 7, 1)
		o.Value = make([]byte, 2048)
		isCode(b, b.step(session, o, 0).done().err, ErrTooLong)
		isCode(b, session.EndNegotiate(false, string(make([]byte, 2048))), ErrTooLong)
		isCode(b, session.SendInvalid(make([]byte, 2048)), ErrTooLong)
		s.silent(soon)
		require.NoError(b, session.EndNegotiate(true, ""), "the session goes on")
		s.read().is(b, `[6, %d, [101]]`)

		ex1.Value = make([]byte, 2048)
		isCode(b, b.asa.ListenSynchronize(ex1), ErrTooLong)
	})
}

// Section 2.8.3: the parser gives up beyond the limit, without waiting for the
// end.
func TestZ03GivesUpAtTheLimit(t *testing.T) {
	for what, raw := range map[string][]byte{
		"declares too much":  {0x83, 0x03, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff},
		"sends too much":     append([]byte{0x9f}, make([]byte, 2048)...),
		"too many items":     {0x9a, 0xff, 0xff, 0xff, 0xff},
		"one byte too long":  append([]byte{0x83, 0x03, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0x59, 0x07, 0xf4}, make([]byte, 2035)...),
		"nested without end": bytes.Repeat([]byte{0x81}, 100),
	} {
		t.Run(what, func(t *testing.T) {
			inBed(t, func(b *bed) {
				ex3 := neg("EX3", nil)
				b.register(ex3)
				call := b.listen(ex3)
				s := b.peer.dial(b.at())
				s.send(raw)
				reason := ReasonTooLong
				if what == "nested without end" {
					reason = ReasonTooDeep
				}
				b.wantDrop(reason, 1)
				call.blocks()
				// Closed, with a reset if there is more to read; M_INVALID may
				// come before.
				m, err := s.next(soon)
				if err == nil {
					require.Regexp(b, `^\[99, 7, "`, m.String())
					_, err = s.next(soon)
				}
				require.True(b, errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET), err)
			})
		})
	}
}
