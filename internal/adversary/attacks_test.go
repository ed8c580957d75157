package adversary

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

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
