package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// The types of blocks of a pcapng file that are read.
const (
	blockInterface = 1
	blockObsolete  = 2 // a packet, as files had it before there was blockPacket
	blockSimple    = 3
	blockPacket    = 6
)

const (
	byteOrderMagic = 0x1a2b3c4d
	optionUnit     = 9  // if_tsresol
	optionOffset   = 14 // if_tsoffset
	maxInterfaces  = 1 << 16
)

// pcapng is what a section of such a file has said so far.
type pcapng struct {
	sectionOrder binary.ByteOrder
	interfaces   []captured
}

// captured is an interface that was captured on.
type captured struct {
	linkType int
	snapLen  uint32
	unit     byte  // of time stamps: the exponent of 10, or of 2 with the highest bit set
	offset   int64 // seconds to add to time stamps
}

var (
	errBlock     = errors.New("capture: a block that is too short for what it holds")
	errInterface = errors.New("capture: a packet of an interface that was not described before")
)

// nextBlock reads blocks of a pcapng file up to one that holds a packet.
func (r *Reader) nextBlock() (Packet, error) {
	for {
		kind, body, err := r.readBlock()
		if err != nil {
			return Packet{}, err
		}
		switch kind {
		case blockInterface:
			err = r.addInterface(body)
		case blockPacket:
			return r.packet(body)
		case blockObsolete:
			return r.obsoletePacket(body)
		case blockSimple:
			return r.simplePacket(body)
		}
		if err != nil {
			return Packet{}, err
		}
	}
}

// readBlock reads a block and returns its type and body. If it begins a section, what
// was known of the one before is forgotten.
func (r *Reader) readBlock() (kind uint32, body []byte, err error) {
	const head, tail = 8, 4
	b, err := r.read(head, true)
	if err != nil {
		return 0, nil, err
	}
	if binary.BigEndian.Uint32(b) == magicNG {
		ahead, err := r.r.Peek(4)
		if err != nil {
			return 0, nil, errors.New("capture: the file is cut short")
		}
		r.interfaces, r.sectionOrder = nil, binary.LittleEndian
		if binary.BigEndian.Uint32(ahead) == byteOrderMagic {
			r.sectionOrder = binary.BigEndian
		}
	}
	kind = r.sectionOrder.Uint32(b)
	length := r.sectionOrder.Uint32(b[4:])
	if length < head+tail || length%4 != 0 {
		return 0, nil, fmt.Errorf("capture: a block of %d bytes", length)
	}
	body, err = r.read(int(min(length, math.MaxInt32))-head, false)
	if err != nil {
		return 0, nil, err
	}
	return kind, body[:len(body)-tail], nil
}

// addInterface takes an interface description block.
func (r *Reader) addInterface(b []byte) error {
	order := r.sectionOrder
	if len(b) < 8 {
		return errBlock
	}
	if len(r.interfaces) == maxInterfaces {
		return fmt.Errorf("capture: more than %d interfaces", maxInterfaces)
	}
	const microseconds = 6
	i := captured{linkType: int(order.Uint16(b)), snapLen: order.Uint32(b[4:]), unit: microseconds}
	for opts := b[8:]; len(opts) >= 4; {
		code, n := order.Uint16(opts), int(order.Uint16(opts[2:]))
		if opts = opts[4:]; len(opts) < n {
			return errBlock
		}
		switch {
		case code == optionUnit && n == 1:
			i.unit = opts[0]
		case code == optionOffset && n == 8:
			i.offset = int64(order.Uint64(opts))
		}
		opts = opts[min((n+3)&^3, len(opts)):]
	}
	r.interfaces = append(r.interfaces, i)
	return nil
}

// time returns the time of a time stamp.
func (i captured) time(high, low uint32) time.Time {
	stamp := uint64(high)<<32 | uint64(low)
	base, exponent := uint64(10), i.unit&0x7f
	if i.unit&0x80 != 0 {
		base = 2
	}
	perSec := uint64(1)
	for range exponent {
		hi, lo := bits.Mul64(perSec, base)
		if hi != 0 { // more than 2^64 units a second: it is in the first one
			fraction := float64(stamp) / math.Pow(float64(base), float64(exponent))
			return time.Unix(i.offset, int64(fraction*float64(time.Second)))
		}
		perSec = lo
	}
	hi, lo := bits.Mul64(stamp%perSec, uint64(time.Second))
	fraction, _ := bits.Div64(hi, lo, perSec) // hi < perSec, since the factors are below perSec and 2^64
	return time.Unix(int64(stamp/perSec)+i.offset, int64(fraction))
}

// packet reads an enhanced packet block.
func (r *Reader) packet(b []byte) (Packet, error) {
	if len(b) < 4 {
		return Packet{}, errBlock
	}
	return r.stamped(r.sectionOrder.Uint32(b), b[4:])
}

// obsoletePacket reads a packet block, whose interface has 16 bits, and after them the
// number of packets that were lost.
func (r *Reader) obsoletePacket(b []byte) (Packet, error) {
	if len(b) < 4 {
		return Packet{}, errBlock
	}
	return r.stamped(uint32(r.sectionOrder.Uint16(b)), b[4:])
}

// stamped reads the time, the lengths and the bytes of a packet of an interface.
func (r *Reader) stamped(id uint32, b []byte) (Packet, error) {
	const head = 16
	order := r.sectionOrder
	if len(b) < head {
		return Packet{}, errBlock
	}
	length := order.Uint32(b[8:])
	if uint64(id) >= uint64(len(r.interfaces)) {
		return Packet{}, errInterface
	}
	if uint64(length) > uint64(len(b)-head) {
		return Packet{}, errBlock
	}
	i := r.interfaces[id]
	return Packet{
		Time:     i.time(order.Uint32(b), order.Uint32(b[4:])),
		LinkType: i.linkType,
		Data:     b[head : head+length],
	}, nil
}

// simplePacket reads a simple packet block, which has no time.
func (r *Reader) simplePacket(b []byte) (Packet, error) {
	const head = 4
	if len(r.interfaces) == 0 {
		return Packet{}, errInterface
	}
	if len(b) < head {
		return Packet{}, errBlock
	}
	i := r.interfaces[0]
	length := r.sectionOrder.Uint32(b)
	if i.snapLen != 0 {
		length = min(length, i.snapLen)
	}
	return Packet{LinkType: i.linkType, Data: b[head:][:min(uint64(length), uint64(len(b)-head))]}, nil
}
