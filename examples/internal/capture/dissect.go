package capture

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Segment is a UDP datagram or a TCP segment.
type Segment struct {
	Src, Dst netip.AddrPort
	TCP      bool
	Seq      uint32 // of TCP
	SYN, End bool   // of TCP; End: FIN or RST
	Payload  []byte // valid as long as the packet's data
	// Cut says that not all of the payload was captured.
	Cut bool
}

// Dissector finds the UDP datagrams and TCP segments in packets, inside of tunnels,
// too, puts fragments together, and counts the packets that it cannot read and that
// may have carried GRASP. The zero value is ready for use.
type Dissector struct {
	fragments fragments
	unread    map[string]int
}

// Unread is a reason for which packets were not read, and their number.
type Unread struct {
	Why     string // such as "link type 195 is not read"
	Packets int
}

const (
	// maxLayers bounds the headers of a packet: tunnels in tunnels.
	maxLayers = 32
	// maxReasons bounds the reasons that are told apart.
	maxReasons = 64
)

// Segment returns what a packet carries. It is false if that is something else, such as
// ARP, or not all there yet, or cannot be read, which [Dissector.Unread] tells.
func (d *Dissector) Segment(p Packet) (Segment, bool) {
	x := dissection{dissector: d, time: p.Time}
	next, rest := linkLayer(p.LinkType), p.Data
	for range maxLayers {
		if next == nil {
			break
		}
		next, rest = next(&x, rest)
	}
	if next != nil {
		x.why = fmt.Sprintf("packets with more than %d headers are not read", maxLayers)
	}
	if x.why != "" {
		d.skip(x.why, 1)
	}
	return x.segment, x.found
}

// Unread returns what was not read, the most frequent first. Fragments still count that
// wait for others.
func (d *Dissector) Unread() []Unread {
	counts := maps.Clone(d.unread)
	if n := d.fragments.waiting(); n > 0 {
		if counts == nil {
			counts = make(map[string]int)
		}
		counts[whyFragments] += n
	}
	var all []Unread
	for why, n := range counts {
		all = append(all, Unread{why, n})
	}
	slices.SortFunc(all, func(a, b Unread) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Why, b.Why))
	})
	return all
}

// skip counts packets that were not read.
func (d *Dissector) skip(why string, packets int) {
	if d.unread == nil {
		d.unread = make(map[string]int)
	}
	if _, ok := d.unread[why]; !ok && len(d.unread) >= maxReasons {
		why = "packets are not read for other reasons"
	}
	d.unread[why] += packets
}

// layer takes the header of a protocol off, and returns the protocol of what follows, and
// its bytes. There is no protocol if this one was the last.
type layer func(*dissection, []byte) (layer, []byte)

// dissection is what is known of a packet.
type dissection struct {
	dissector *Dissector
	time      time.Time
	segment   Segment
	found     bool
	why       string // it is not read; empty: it carries no GRASP
}

// unread ends a dissection with the reason why what follows is not read.
func (x *dissection) unread(format string, args ...any) (layer, []byte) {
	x.why = fmt.Sprintf(format, args...)
	return nil, nil
}

// short ends a dissection in a header that is not there in full.
func (x *dissection) short() (layer, []byte) {
	return x.unread("headers are cut short or malformed")
}

// after returns the layer that takes n bytes off that say nothing.
func after(n int, next layer) layer {
	return func(x *dissection, b []byte) (layer, []byte) {
		if len(b) < n {
			return x.short()
		}
		return next, b[n:]
	}
}

// done ends a dissection: nothing in the packet is GRASP.
func done(*dissection, []byte) (layer, []byte) { return nil, nil }

var bigEndian = binary.BigEndian
