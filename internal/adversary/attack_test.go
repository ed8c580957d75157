package adversary

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strings"
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

// attack is one way to be hostile: a round of it.
type attack struct {
	name  string
	alike bool // whether it has anything that needs account.alike
	do    func(h *hostile)
}

// bait is what the victims negotiate with anybody: they make an offer to whoever
// asks with a number, and decline anything else.
const bait = "bait"

var attacks = []attack{
	{"truncated messages of every type", false, func(h *hostile) {
		for _, raw := range h.samples() {
			for cut := 1; cut < len(raw); cut++ {
				h.multicast(raw[:cut], droppedAs(grasp.ReasonMalformed))
			}
			h.each(func(c *acp.Stream) {
				_, _ = c.Write(raw[:len(raw)-1])
				_ = c.Close()
			}, droppedAs(grasp.ReasonMalformed))
		}
	}},
	{"malformed messages", false, func(h *hostile) {
		for _, raw := range h.samples()[1:] {
			h.multicast(append([]byte{0x1c}, raw...), droppedAs(grasp.ReasonMalformed))
			h.multicast(append(raw[:len(raw):len(raw)], 0xff), droppedAs(grasp.ReasonMalformed))
			h.say(append([]byte{0x1c}, raw...), droppedAs(grasp.ReasonMalformed))
		}
		for _, m := range []any{7, "text", arr{}, arr{1, "x"}, arr{9, 1, []byte{1}, 0, arr{}}} {
			h.multicast(m, droppedAs(grasp.ReasonInvalid))
			h.say(m, droppedAs(grasp.ReasonInvalid))
		}
		h.multicast(arr{50, 1}, droppedAs(grasp.ReasonUnknownType))
		h.say(arr{50, 1}, droppedAs(grasp.ReasonUnknownType))
	}},
	{"messages where they do not belong", false, func(h *hostile) {
		for _, raw := range append(h.samples()[2:9], h.samples()[10]) {
			h.multicast(raw, droppedAs(grasp.ReasonUnexpected))
		}
		for _, raw := range h.samples()[9:] {
			h.say(raw, receivedAs(typeOf(raw)), droppedAs(grasp.ReasonUnexpected))
		}
	}},
	{"wrong session IDs", false, func(h *hostile) {
		for _, raw := range h.samples()[5:9] {
			h.say(raw, receivedAs(typeOf(raw)), droppedAs(grasp.ReasonUnsolicited))
		}
		id := h.id()
		h.each(func(c *acp.Stream) {
			h.begin(c, id)
			_, _ = c.Write(mustEncode(arr{6, id + 1<<20, arr{101}}))
			drain(c, time.Minute)
			_ = c.Close()
		}, receivedAs(wire.TypeReqNeg), receivedAs(wire.TypeEnd), droppedAs(grasp.ReasonUnexpected))
	}},
	{"forged initiators", false, func(h *hostile) {
		for _, as := range append(h.victims, netip.MustParseAddrPort("[fd00::1234]:1"), netip.MustParseAddrPort("[::]:1")) {
			raw := as.Addr().WithZone("").AsSlice()
			if !as.Addr().IsLinkLocalUnicast() {
				h.multicast(arr{9, h.id(), raw, 1000, arr{arr{"forged", 4, 6, 1}, arr{}}}, receivedAs(wire.TypeFlood))
			}
			h.multicast(arr{1, h.id(), raw, arr{"nobody has it", 1, 6, nil}}, receivedAs(wire.TypeDiscovery), droppedAs(grasp.ReasonNoOtherLink))
		}
		h.multicast(arr{9, h.id(), bed.IP("fe80::1"), 1000, arr{arr{"forged", 4, 6, 1}, arr{}}},
			receivedAs(wire.TypeFlood), droppedAs(grasp.ReasonLinkLocalSource))
	}},
	{"replays", false, func(h *hostile) {
		for _, p := range h.recorded() {
			if !h.send(p.Raw) {
				return
			}
			for i := range h.victims {
				if i == h.victim(p.From) {
					h.expect(i, droppedAs(grasp.ReasonOwn))
				} else {
					h.expect(i, receivedAs(wire.TypeDiscovery), droppedAs(grasp.ReasonNoOtherLink))
				}
			}
		}
	}},
	{"responses nobody asked for", false, func(h *hostile) {
		for range 20 {
			h.say(h.samples()[2], receivedAs(wire.TypeResponse), droppedAs(grasp.ReasonUnsolicited))
		}
	}},
	{"Diverts to elsewhere, for ever", true, func(h *hostile) {
		for _, p := range h.recorded() {
			m, _ := wire.Parse(p.Raw, wire.Limits{})
			d := m.(*wire.Discovery)
			elsewhere := arr{100, arr{103, bed.IP("fd00::dead"), 6, 9}}
			i := h.victim(p.From)
			if c := h.dial(i); c != nil {
				// If it is too late the second is another.
				h.expect(i, receivedAs(wire.TypeResponse), droppedAs(grasp.ReasonLifetime))
				_, _ = c.Write(mustEncode(arr{2, d.SessionID, d.Initiator.AsSlice(), uint32(math.MaxUint32), elsewhere}))
				drain(c, time.Minute)
				_ = c.Close()
			}
		}
	}},
	{"floods of distinct names, for ever", false, func(h *hostile) {
		for i := range 300 {
			h.multicast(arr{9, h.id(), bed.IP("fd00::bad"), uint32(math.MaxUint32) * uint32(i%2), arr{arr{fmt.Sprint("distinct ", h.id()), 4, 255, i}, arr{}}},
				receivedAs(wire.TypeFlood))
		}
	}},
	{"idle connections", true, func(h *hostile) {
		var idle []*acp.Stream
		for i := range h.victims {
			for range h.idle {
				c := h.dial(i)
				if c == nil {
					break
				}
				h.expect(i, droppedAs(grasp.ReasonIdle)) // or as too many
				idle = append(idle, c)
			}
		}
		for _, c := range idle {
			drain(c, time.Minute)
			_ = c.Close()
		}
	}},
	{"a byte a second", false, func(h *hostile) {
		var all sync.WaitGroup
		raw := mustEncode(arr{3, h.id(), arr{bait, 3, 6, "slow and long enough"}})
		for range 20 {
			h.each(func(c *acp.Stream) {
				all.Go(func() {
					for k := range raw {
						if _, err := c.Write(raw[k : k+1]); err != nil {
							break
						}
						time.Sleep(time.Second)
					}
					_ = c.Close()
				})
			}, droppedAs(grasp.ReasonIdle))
		}
		all.Wait()
	}},
	{"half a message, then a reset", false, func(h *hostile) {
		for _, raw := range h.samples()[1:] {
			h.each(func(c *acp.Stream) {
				_, _ = c.Write(raw[:len(raw)/2])
				h.abort(c)
			}, droppedAs(h.reset))
		}
	}},
	{"a peer that never reads", false, func(h *hostile) {
		var deaf []*acp.Stream
		for range 50 {
			h.each(func(c *acp.Stream) {
				_, _ = c.Write(mustEncode(arr{4, h.id(), arr{"value", 5, 6, nil}}))
				deaf = append(deaf, c)
			}, receivedAs(wire.TypeReqSyn))
		}
		pauseFor(h.ctx, 2*time.Second)
		for _, c := range deaf {
			_ = c.Close()
		}
	}},
	{"M_WAIT for ever", false, func(h *hostile) {
		wants := []string{receivedAs(wire.TypeReqNeg), droppedAs(grasp.ReasonTooManyWaits), receivedAs(wire.TypeWait)}
		for range hostileWaits {
			wants = append(wants, receivedAs(wire.TypeWait), droppedAs(grasp.ReasonLongWait))
		}
		id := h.id()
		h.each(func(c *acp.Stream) {
			h.begin(c, id)
			for range hostileWaits + 1 {
				_, _ = c.Write(mustEncode(arr{7, id, uint32(math.MaxUint32)}))
			}
			drain(c, time.Minute)
			_ = c.Close()
		}, wants...)
	}},
	{"requests that are not gone on with", false, func(h *hostile) {
		var open []*acp.Stream
		for k := range 100 {
			id, name := h.id(), bait
			if k%2 == 0 {
				name = bed.Stressed.Name
			}
			h.each(func(c *acp.Stream) {
				_, _ = c.Write(mustEncode(arr{3, id, arr{name, 3, 6, 7}}))
				open = append(open, c)
			}, receivedAs(wire.TypeReqNeg))
		}
		pauseFor(h.ctx, 2*time.Second)
		for _, c := range open {
			_ = c.Close()
		}
	}},
	{"loop counts of 255", false, func(h *hostile) {
		for range 50 {
			h.multicast(arr{1, h.id(), bed.IP("fd00::bad"), arr{"nobody has it", 1, 255, nil}}, receivedAs(wire.TypeDiscovery), droppedAs(grasp.ReasonNoOtherLink))
			h.multicast(arr{9, h.id(), bed.IP("fd00::bad"), 1000, arr{arr{"far", 4, 255, 1}, arr{}}}, receivedAs(wire.TypeFlood))
		}
		h.multicast(arr{9, h.id(), bed.IP("fd00::bad"), 1000, arr{arr{"far", 4, 256, 1}, arr{}}}, droppedAs(grasp.ReasonInvalid))
	}},
	{"names of a megabyte", false, func(h *hostile) {
		for _, kind := range []int{3, 4} {
			h.say(arr{kind, h.id(), arr{strings.Repeat("x", 1<<20), 3, 6, nil}}, droppedAs(grasp.ReasonTooLong))
		}
	}},
	{"deep nesting", false, func(h *hostile) {
		for _, levels := range []int{33, 100, 1000} {
			raw := append(bytes.Repeat([]byte{0x81}, levels), 0)
			h.multicast(raw, droppedAs(grasp.ReasonTooDeep))
			h.say(raw, droppedAs(grasp.ReasonTooDeep))
		}
	}},
	{"duplicate map keys", false, func(h *hostile) {
		twice := cbor.RawMessage{0xa2, 0x01, 0x01, 0x01, 0x02}
		h.multicast(arr{9, h.id(), bed.IP("fd00::bad"), 1000, arr{arr{"twice", 4, 6, twice}, arr{}}}, receivedAs(wire.TypeFlood))
		h.say(arr{3, h.id(), arr{bait, 3, 6, twice}}, receivedAs(wire.TypeReqNeg))
	}},
	{"invalid UTF-8", false, func(h *hostile) {
		bad := cbor.RawMessage{0x62, 0xc3, 0x28}
		h.multicast(arr{9, h.id(), bed.IP("fd00::bad"), 1000, arr{arr{bad, 4, 6, 1}, arr{}}}, droppedAs(grasp.ReasonMalformed))
		h.say(arr{3, h.id(), arr{bad, 3, 6, 1}}, droppedAs(grasp.ReasonMalformed))
		h.say(arr{6, h.id(), arr{102, bad}}, droppedAs(grasp.ReasonMalformed))
	}},
}

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
