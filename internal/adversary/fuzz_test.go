package adversary

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// FuzzInstance has bytes decide what a peer does to an instance: what it
// multicasts and writes in which pieces, when it connects, answers, closes and
// resets, how much time passes, and what the instance itself is up to. Whatever
// it was, the instance then serves an honest node, and nothing is left behind.
func FuzzInstance(f *testing.F) {
	for _, s := range fuzzSeeds(f) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4096 {
			return
		}
		synctest.Test(t, func(t *testing.T) { fuzzInstance(t, script) })
	})
}

// TestFuzzInstanceSeeds makes sure that the seeds do what they are there for:
// all messages are taken and sent.
func TestFuzzInstanceSeeds(t *testing.T) {
	sent, received := make(map[string]bool), make(map[string]bool)
	for _, s := range fuzzSeeds(t) {
		synctest.Test(t, func(t *testing.T) {
			now := fuzzInstance(t, s)
			for m := range now.Sent {
				sent[m] = true
			}
			for m := range now.Received {
				received[m] = true
			}
		})
	}
	for _, m := range []string{"M_DISCOVERY", "M_RESPONSE", "M_REQ_NEG", "M_REQ_SYN", "M_NEGOTIATE", "M_END", "M_WAIT", "M_SYNCH", "M_INVALID"} {
		require.Contains(t, sent, m)
		require.Contains(t, received, m)
	}
	require.Contains(t, received, "M_FLOOD")
}

// fuzzScript is a script being written.
type fuzzScript []byte

func (s fuzzScript) op(bytes ...byte) fuzzScript { return append(s, bytes...) }

// chunk adds a message, or any other bytes.
func (s fuzzScript) chunk(t testing.TB, m any) fuzzScript {
	raw := bed.Encoded(t, m)
	return append(append(s, byte(len(raw))), raw...)
}

// fuzzSeeds are scripts in which every message is sent and received.
func fuzzSeeds(t testing.TB) (all []fuzzScript) {
	const id = uint32(0xdeadbeef)
	me, them := bed.IP("fd00::3"), bed.IP("fd00::1")
	locator := arr{103, me, 6, 32769}
	var s fuzzScript
	// What the instance is asked.
	for _, m := range []arr{
		{4, 1, arr{"EX1", 5, 6, nil}}, {3, 2, arr{"EX2", 3, 6, "text"}}, {3, 3, arr{"EX2", 3, 6, arr{}}}, {3, 3, arr{"EX2", 3, 6, nil}},
		{1, 4, me, arr{"EX1", 5, 6, nil}}, {99, 5, "what?"}, {3, 6}, {3, 7, arr{"EX9", 3, 6, nil}}, {2, 8, me, 0, locator},
		{5, 9, arr{"EX2", 3, 6, nil}}, {0},
	} {
		s = s.op(doDial).op(doWrite, byte(len(all))).chunk(t, m).op(doRead, byte(len(all)))
		all = append(all, fuzzScript{}.op(doDial).op(doWrite, 0).chunk(t, m).op(doRead, 0).op(doClose, 0))
	}
	all = append(all, s.op(doSleep, 200))
	for _, m := range []arr{
		{1, 1, me, arr{"EX1", 5, 6, nil}}, {1, 2, me, arr{"EX4", 3, 6, "rapid"}}, {9, 3, me, 0, arr{arr{"EX9", 5, 6, 1}, locator}},
		{9, 4, me, 1 << 30, arr{arr{"EX8", 5, 6, 1}, arr{}}, arr{arr{"EX8", 5, 1, 2}, locator}}, {1, 5, me, arr{"EX9", 5, 255, nil}},
	} {
		all = append(all, fuzzScript{}.op(doMulticast).chunk(t, m).op(doAccept).op(doSleep, 1).op(doMulticast).chunk(t, m))
	}
	// What the instance asks: each answered, cut into pieces, by all there is.
	for _, ask := range []byte{doNegotiate, doSynch} {
		for _, m := range []arr{
			{5, id, arr{"EX2", 3, 6, 1}}, {6, id, arr{101}}, {6, id, arr{102, "no"}}, {6, id, arr{103}}, {7, id, 1000}, {8, id, arr{"EX9", 5, 6, 1}},
			{99, id, "what?"}, {5, 1, arr{"EX2", 3, 6, 1}}, {7, id, uint32(1<<32 - 1)},
		} {
			all = append(all, fuzzScript{}.op(ask, doAccept).op(doWrite, 0).chunk(t, m).op(doRead, 0).op(doSleep, 2).op(doClose, 0))
		}
	}
	found := arr{2, id, them, 60_000, locator}
	all = append(all,
		fuzzScript{}.op(doDiscover, doDial).op(doWrite, 0).chunk(t, found).op(doSynch, doAccept),
		fuzzScript{}.op(doNegotiates, doDial).op(doWrite, 0).chunk(t, found).op(doAccept).op(doWrite, 1).chunk(t, arr{6, id, arr{101}}),
		fuzzScript{}.op(doNegotiates, doDial).op(doWrite, 0).chunk(t, arr{5, id, arr{"EX4", 3, 6, 1}}).op(doRead, 0),
		fuzzScript{}.op(doDial).op(doWrite, 0).chunk(t, arr{3, 7, arr{"EX3", 3, 6, 1}}).op(doRead, 0).
			op(doWrite, 0).chunk(t, arr{7, 7, 5}).op(doWrite, 0).chunk(t, arr{5, 7, arr{"EX3", 3, 6, "done"}}).op(doRead, 0),
		fuzzScript{}.op(doDial).op(doWrite, 0, 3, 0x83, 0x04, 0x01).op(doSleep, 9).op(doWrite, 0, 2, 0x84, 0x63).op(doSecure, 1, doSleep, 3, doSecure, 0),
		fuzzScript{}.op(doDial, doDial, doDial, doDial, doDial, doDial).op(doSleep, 20),
		fuzzScript{}.op(doDial).op(doWrite, 0).chunk(t, append(bytes.Repeat([]byte{0x81}, 40), 0)),
	)
	return all
}

// The operations of a script: a byte each, and what they need after it.
const (
	doMulticast byte = iota // a chunk
	doDial
	doWrite      // a stream, and a chunk
	doRead       // a stream
	doClose      // a stream
	doSleep      // so many seconds
	doNegotiate  // the instance asks the peer
	doSynch      // likewise
	doDiscover   // likewise, everybody
	doAccept     // a stream that the instance opened
	doSecure     // whether the plane is
	doNegotiates // the instance asks whom it discovers
	doCount
)

// A chunk is a length and so many bytes. In it fuzzID stands for the session
// ID that the instance used last.
var fuzzID = []byte{0x1a, 0xde, 0xad, 0xbe, 0xef}

// fuzzBed is an instance and the peer that a script drives.
type fuzzBed struct {
	t       *testing.T
	script  []byte
	node    *memory.Node
	g       *grasp.Instance
	asa     *grasp.ASA
	peer    acp.Endpoint
	link    int
	heard   chan []byte
	dialed  chan *acp.Stream
	streams []*acp.Stream
	id      uint32 // the session ID the instance used last
	calls   sync.WaitGroup
}

func (b *fuzzBed) next() byte {
	if len(b.script) == 0 {
		return 0
	}
	c := b.script[0]
	b.script = b.script[1:]
	return c
}

func (b *fuzzBed) chunk() []byte {
	n := min(int(b.next()), len(b.script))
	c := b.script[:n]
	b.script = b.script[n:]
	return bytes.ReplaceAll(c, fuzzID, binary.BigEndian.AppendUint32([]byte{0x1a}, b.id))
}

// stream returns one of the open streams.
func (b *fuzzBed) stream() *acp.Stream {
	n := int(b.next())
	if len(b.streams) == 0 {
		return nil
	}
	return b.streams[n%len(b.streams)]
}

// fuzzObjectives are what the instance serves: EX1 by synchronization, the
// others by negotiation, EX4 in rapid mode.
var fuzzObjectives = []grasp.Objective{bed.Syn("EX1", 7), bed.Neg("EX2", nil), bed.Neg("EX3", nil), bed.Neg("EX4", nil)}

// fuzzInstance runs a script. It returns what the instance counted.
func fuzzInstance(t *testing.T, script []byte) grasp.Snapshot {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	b := &fuzzBed{t: t, script: script, node: n.NewNode("under test", l)}
	b.g = bed.InstanceWith(t, b.node, func(c *grasp.Config) { c.MaxIdle, c.Backlog, c.MaxCached = 4, 2, 8 })
	b.asa = bed.NewASA(t, b.g, "under test")
	for _, o := range fuzzObjectives {
		require.NoError(t, b.asa.RegisterObj(o, grasp.RegisterOptions{Rapid: o.Name == "EX4"}))
	}
	require.NoError(t, b.asa.ListenSynchronize(fuzzObjectives[0]))
	ctx, cancel := context.WithCancel(t.Context())
	for _, o := range fuzzObjectives[1:] {
		b.calls.Go(func() { b.serve(ctx, o) })
	}
	honest := bed.NewASA(t, bed.NewInstance(t, n.NewNode("honest", l)), "honest")
	for _, o := range fuzzObjectives[:2] {
		require.NoError(t, honest.RegisterObj(o, grasp.RegisterOptions{}))
	}
	synctest.Wait()

	b.attack(n.NewNode("peer", l))

	b.node.SetStatus(acp.Status{Secure: true})
	time.Sleep(3 * time.Minute) // longer than any timer that is left running
	synctest.Wait()
	o, err := honest.Synchronize(t.Context(), bed.Syn("EX1", nil), bed.At(b.g), 0)
	require.NoError(t, err)
	require.EqualValues(t, 7, o.Value)
	s, o, err := honest.ReqNegotiate(t.Context(), bed.Neg("EX2", "fair"), bed.At(b.g), 0)
	require.NoError(t, err)
	require.Nil(t, s)
	require.Equal(t, "fair", o.Value)
	cancel()
	b.calls.Wait()
	synctest.Wait()
	now := b.g.Snapshot()
	require.Zero(t, now.Streams)
	require.Empty(t, now.Sessions)
	require.Zero(t, b.g.Snapshot().SessionIDs)
	require.Zero(t, b.g.Snapshot().Searches)
	require.Zero(t, b.g.Snapshot().Responses)
	require.Zero(t, b.g.Snapshot().Pending)
	require.LessOrEqual(t, len(now.Floods), 8)
	require.LessOrEqual(t, len(now.Locators), 8)
	return now
}

// serve negotiates as a request's value says: a text is accepted, a number is
// haggled over, anything else is declined.
func (b *fuzzBed) serve(ctx context.Context, o grasp.Objective) {
	for {
		s, asked, err := b.asa.ListenNegotiate(ctx, o)
		switch {
		case grasp.Code(err) == grasp.ErrCancelled:
			return
		case grasp.Code(err) == grasp.ErrIDClash:
			continue
		case err != nil: // not secure
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
				continue
			}
		}
		b.calls.Go(func() {
			defer s.Close()
			for range 5 {
				switch asked.Value.(type) {
				case string:
					_ = s.EndNegotiate(true, "")
					return
				case int64:
					_ = s.NegotiateWait(0)
					next, got, err := s.NegotiateStep(ctx, asked, 10*time.Second)
					if next == nil || err != nil {
						return
					}
					asked = got
				case nil:
					_ = s.SendInvalid("nothing")
					return
				default:
					_ = s.EndNegotiate(false, "no")
					return
				}
			}
		})
	}
}

// attack runs the script.
func (b *fuzzBed) attack(node *memory.Node) {
	ep, err := node.Open()
	require.NoError(b.t, err)
	b.peer, b.link = ep, ep.Links()[0].Index
	b.heard, b.dialed = make(chan []byte, 1000), make(chan *acp.Stream, 1000)
	var background sync.WaitGroup
	background.Go(b.hear)
	background.Go(b.accept)
	for ops := 0; len(b.script) > 0 && ops < 200; ops++ {
		b.step(b.next() % doCount)
		synctest.Wait()
		b.noteIDs()
	}
	require.NoError(b.t, ep.Close())
	background.Wait()
	close(b.dialed)
	for c := range b.dialed {
		b.streams = append(b.streams, c)
	}
	for _, c := range b.streams {
		_ = c.Close()
	}
}

func (b *fuzzBed) step(op byte) {
	const patience = 30 * time.Second
	peer := grasp.NewLocator(netip.AddrPortFrom(b.peer.Addr(), b.peer.Port()))
	switch op {
	case doMulticast:
		_ = b.peer.Send(b.link, b.chunk())
	case doDial:
		ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
		defer cancel()
		if c, err := b.peer.Dial(ctx, netip.AddrPortFrom(b.g.Snapshot().Address, b.g.Snapshot().Port)); err == nil {
			b.streams = append(b.streams, c)
		}
	case doWrite:
		c, msg := b.stream(), b.chunk()
		if c != nil {
			_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
			_, _ = c.Write(msg)
		}
	case doRead:
		if c := b.stream(); c != nil {
			b.read(c)
		}
	case doClose:
		if c := b.stream(); c != nil {
			_ = c.Close() // with something unread it is a reset
			b.streams = slices.DeleteFunc(b.streams, func(o *acp.Stream) bool { return o == c })
		}
	case doSleep:
		time.Sleep(time.Duration(b.next()) * time.Second)
	case doNegotiate:
		b.calls.Go(func() {
			s, _, _ := b.asa.ReqNegotiate(b.t.Context(), bed.Neg("EX2", 1), &peer, patience)
			_ = s.Close()
		})
	case doNegotiates:
		b.calls.Go(func() {
			s, _, _ := b.asa.ReqNegotiate(b.t.Context(), bed.Neg("EX4", 1), nil, patience)
			_ = s.Close()
		})
	case doSynch:
		b.calls.Go(func() { _, _ = b.asa.Synchronize(b.t.Context(), bed.Syn("EX9", nil), &peer, patience) })
	case doDiscover:
		b.calls.Go(func() {
			_, _ = b.asa.Discover(b.t.Context(), bed.Syn("EX9", nil), patience, grasp.DiscoverOptions{Flush: true})
		})
	case doAccept:
		select {
		case c := <-b.dialed:
			b.streams = append(b.streams, c)
			b.read(c)
		default:
		}
	case doSecure:
		b.node.SetStatus(acp.Status{Secure: b.next()%2 == 0})
	}
}

// read takes what is there to be read.
func (b *fuzzBed) read(c *acp.Stream) {
	buf := make([]byte, 4096)
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, _ := c.Read(buf)
	b.noteID(buf[:n])
}

// noteIDs notes the session IDs of what was heard.
func (b *fuzzBed) noteIDs() {
	for {
		select {
		case raw := <-b.heard:
			b.noteID(raw)
		default:
			return
		}
	}
}

func (b *fuzzBed) noteID(raw []byte) {
	if m, err := wire.Parse(raw, wire.Limits{}); err == nil {
		b.id = wire.SessionID(m)
	}
}

func (b *fuzzBed) hear() {
	buf := make([]byte, 4096)
	for {
		n, from, err := b.peer.Receive(buf)
		if err != nil {
			return
		}
		if from.Addr.Port() == b.g.Snapshot().Port {
			select {
			case b.heard <- bytes.Clone(buf[:n]):
			default:
			}
		}
	}
}

func (b *fuzzBed) accept() {
	for {
		c, err := b.peer.Accept()
		if err != nil {
			return
		}
		select {
		case b.dialed <- c:
		default:
			_ = c.Close()
		}
	}
}
