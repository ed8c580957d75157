package adversary

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// A hostile member of the network: what it does to instances, by itself and all
// at once, and what they are to count of it.

// account counts what became of what a peer sent: what was received, by
// message, and dropped, by reason.
type account map[string]int

// answered is a discovery that is neither dropped nor relayed.
const answered = "answered"

func receivedAs(t wire.Type) string   { return "received " + t.String() }
func droppedAs(r grasp.Reason) string { return "dropped " + r.String() }

func (a account) add(other account) {
	for what, n := range other {
		a[what] += n
	}
}

// merge counts things of one kind as if they were of another.
func (a account) merge(one, other string) {
	if n := a[other]; n > 0 {
		a[one] += n
		delete(a, other)
	}
}

func (a account) total() (n int) {
	for _, k := range a {
		n += k
	}
	return n
}

// alike makes those things the same of which it depends on the moment which is
// which.
func (a account) alike() {
	a.merge(droppedAs(grasp.ReasonIdle), droppedAs(grasp.ReasonTooManyIdle))
	a.merge(droppedAs(grasp.ReasonLifetime), droppedAs(grasp.ReasonUnsolicited))
	for _, other := range []string{answered, droppedAs(grasp.ReasonSendFailed), droppedAs(grasp.ReasonTooManyResponses)} {
		a.merge(droppedAs(grasp.ReasonNoOtherLink), other)
	}
}

// accountant keeps account of what an instance does with what a peer sends.
// It is meant for Config.Trace.
type accountant struct {
	mu  sync.Mutex // guards all following fields
	of  map[netip.Addr]account
	all account
}

func newAccountant() *accountant {
	return &accountant{of: make(map[netip.Addr]account), all: make(account)}
}

func (a *accountant) note(e grasp.Event) {
	var what string
	switch {
	case e.Kind == grasp.Received:
		what = "received " + e.Message
	case e.Kind == grasp.Dropped:
		what = droppedAs(e.Reason)
	case e.Kind == grasp.Sent && e.Message == wire.TypeResponse.String():
		what = answered
	default:
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[what]++
	// What gave way in a cache was received before.
	if e.Kind == grasp.Dropped && e.Reason == grasp.ReasonCacheFull {
		return
	}
	peer := e.Peer.Addr().WithZone("")
	if a.of[peer] == nil {
		a.of[peer] = make(account)
	}
	a.of[peer][what]++
}

// about returns the account of a peer with any of some addresses.
func (a *accountant) about(addrs ...netip.Addr) account {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(account)
	for _, addr := range addrs {
		out.add(a.of[addr.WithZone("")])
	}
	return out
}

// hostile is the hostile node.
type hostile struct {
	ctx     context.Context
	ep      acp.Endpoint
	link    int
	victims []netip.AddrPort
	idle    int              // connections that say nothing, to each victim
	reset   grasp.Reason     // as what half a message and a reset is counted
	abort   func(c net.Conn) // resets a connection

	ids   atomic.Uint32
	done  atomic.Int64  // multicasts and connections
	turn  chan struct{} // held by who multicasts
	mu    sync.Mutex    // guards all following fields
	want  []account     // what each victim is to count
	heard []bed.Packet  // discoveries of the victims
}

func newHostile(ctx context.Context, ep acp.Endpoint, victims ...netip.AddrPort) *hostile {
	h := &hostile{ctx: ctx, ep: ep, link: ep.Links()[0].Index, victims: victims, idle: 10_000 / len(victims), turn: make(chan struct{}, 1)}
	for range victims {
		h.want = append(h.want, make(account))
	}
	return h
}

func (h *hostile) id() uint32 { return 1<<31 | h.ids.Add(1) }

// expect says what a victim is to count.
func (h *hostile) expect(victim int, whats ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, what := range whats {
		h.want[victim][what]++
	}
}

// listen hears the victims' discoveries, and answers nobody.
func (h *hostile) listen() {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		for {
			c, err := h.ep.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	buf := make([]byte, 4096)
	for {
		n, from, err := h.ep.Receive(buf)
		if err != nil {
			return
		}
		m, err := wire.Parse(buf[:n], wire.Limits{})
		if _, ok := m.(*wire.Discovery); err != nil || !ok || h.victim(from.Addr) < 0 {
			continue
		}
		h.mu.Lock()
		if h.heard = append(h.heard, bed.Packet{Raw: bytes.Clone(buf[:n]), From: from.Addr}); len(h.heard) > 10 {
			h.heard = h.heard[1:]
		}
		h.mu.Unlock()
	}
}

// victim returns which of the victims uses a port, or -1.
func (h *hostile) victim(from netip.AddrPort) int {
	for i, v := range h.victims {
		if v.Port() == from.Port() && from != netip.AddrPortFrom(h.ep.Addr(), h.ep.Port()) {
			return i
		}
	}
	return -1
}

// recorded returns the discoveries heard of late.
func (h *hostile) recorded() []bed.Packet {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]bed.Packet(nil), h.heard...)
}

// multicast sends bytes or a message that every victim is to count so.
func (h *hostile) multicast(m any, wants ...string) {
	if h.send(m) {
		for i := range h.victims {
			h.expect(i, wants...)
		}
	}
}

func (h *hostile) send(m any) bool {
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	if h.ep.Send(h.link, mustEncode(m)) != nil {
		return false
	}
	h.pace()
	return true
}

// pace leaves the victims a moment to take what is sent: nobody can account
// for what the network has no room for.
func (h *hostile) pace() {
	if h.done.Add(1)%50 == 0 {
		time.Sleep(20 * time.Millisecond)
	}
}

// dial connects to a victim, nil if that does not work.
func (h *hostile) dial(victim int) *acp.Stream {
	ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
	defer cancel()
	c, err := h.ep.Dial(ctx, h.victims[victim])
	if err != nil {
		return nil
	}
	h.pace()
	return c
}

// each does something with a new connection to each victim, which is to count it so.
func (h *hostile) each(do func(c *acp.Stream), wants ...string) {
	for i := range h.victims {
		if c := h.dial(i); c != nil {
			h.expect(i, wants...)
			do(c)
		}
	}
}

// say writes a message or bytes on a new connection to each victim, and closes
// it when the victim has.
func (h *hostile) say(m any, wants ...string) {
	h.each(func(c *acp.Stream) {
		_, _ = c.Write(mustEncode(m))
		drain(c, time.Minute)
		_ = c.Close()
	}, wants...)
}

// drain reads until the peer closes.
func drain(c net.Conn, within time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	_, _ = io.Copy(io.Discard, c)
}

// samples are valid messages of all types.
func (h *hostile) samples() [][]byte {
	me, o := h.ep.Addr(), arr{"example.com:what", 7, 6, "value"}
	if !me.IsValid() {
		me = netip.MustParseAddr("fd00::bad")
	}
	locator := arr{103, me.AsSlice(), 6, 9}
	var out [][]byte
	for _, m := range []arr{
		{0}, {1, h.id(), me.AsSlice(), o}, {2, h.id(), me.AsSlice(), 1000, locator, arr{100, locator}}, {3, h.id(), o}, {4, h.id(), o},
		{5, h.id(), o}, {6, h.id(), arr{102, "no"}}, {7, h.id(), 1000}, {8, h.id(), o}, {9, h.id(), me.AsSlice(), 1000, arr{o, locator}}, {99, h.id(), "what"},
	} {
		out = append(out, mustEncode(m))
	}
	return out
}

func typeOf(raw []byte) wire.Type { return bed.Must1(wire.Parse(raw, wire.Limits{})).Type() }

// begin begins a negotiation and waits for the offer.
func (h *hostile) begin(c *acp.Stream, id uint32) {
	_, _ = c.Write(mustEncode(arr{3, id, arr{bait, 3, 6, 7}}))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Read(make([]byte, 1))
}

// takeBait negotiates with anybody, until the context ends.
func takeBait(ctx context.Context, a *grasp.ASA) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		s, o, err := a.ListenNegotiate(ctx, bed.Neg(bait, nil))
		if grasp.Code(err) == grasp.ErrIDClash {
			continue
		} else if err != nil {
			return
		}
		all.Go(func() {
			if _, number := o.Value.(int64); !number {
				_ = s.EndNegotiate(false, "no")
				return
			}
			next, _, _ := s.NegotiateStep(ctx, o, 0)
			_ = next.Close()
		})
	}
}

// askAround discovers what nobody has, again and again, so that there is
// something to be answered and replayed.
func askAround(ctx context.Context, a *grasp.ASA) {
	for ctx.Err() == nil {
		_, _ = a.Discover(ctx, bed.Neg("nobody has it, either", nil), 2*time.Second, grasp.DiscoverOptions{Flush: true})
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func mustEncode(m any) []byte {
	if raw, ok := m.([]byte); ok {
		return raw
	}
	return bed.Must1(cbor.Marshal(m))
}
