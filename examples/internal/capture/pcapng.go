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
	blockSimple    = 3
	blockPacket    = 6
)

const (
	byteOrderMagic  = 0x1a2b3c4d
	optionTimestamp = 9 // if_tsresol
	maxInterfaces   = 1 << 16
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
	perSec   uint64 // units of time stamps
}

var errBlock = errors.New("capture: a block that is too short for what it holds")

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
	i := captured{linkType: int(order.Uint16(b)), snapLen: order.Uint32(b[4:]), perSec: 1e6}
	for opts := b[8:]; len(opts) >= 4; {
		code, n := order.Uint16(opts), int(order.Uint16(opts[2:]))
		if opts = opts[4:]; len(opts) < n {
			return errBlock
		}
		if code == optionTimestamp && n == 1 {
			i.perSec = resolution(opts[0])
		}
		opts = opts[min((n+3)&^3, len(opts)):]
	}
	if i.perSec == 0 {
		return errors.New("capture: an interface with time stamps finer than can be read")
	}
	r.interfaces = append(r.interfaces, i)
	return nil
}

// resolution returns the units in a second of a time stamp, 0 if there are too many.
func resolution(exponent byte) uint64 {
	base, n := uint64(10), exponent&0x7f
	if exponent&0x80 != 0 {
		base = 2
	}
	units := uint64(1)
	for range n {
		hi, lo := bits.Mul64(units, base)
		if hi != 0 {
			return 0
		}
		units = lo
	}
	return units
}

// packet reads an enhanced packet block.
func (r *Reader) packet(b []byte) (Packet, error) {
	const head = 20
	order := r.sectionOrder
	if len(b) < head {
		return Packet{}, errBlock
	}
	id, length := order.Uint32(b), order.Uint32(b[12:])
	if uint64(id) >= uint64(len(r.interfaces)) || uint64(length) > uint64(len(b)-head) {
		return Packet{}, errBlock
	}
	i := r.interfaces[id]
	units := uint64(order.Uint32(b[4:]))<<32 | uint64(order.Uint32(b[8:]))
	hi, lo := bits.Mul64(units%i.perSec, uint64(time.Second))
	fraction, _ := bits.Div64(hi, lo, i.perSec) // hi < perSec, since the factors are below perSec and 2^64
	return Packet{
		Time:     time.Unix(int64(units/i.perSec), int64(fraction)),
		LinkType: i.linkType,
		Data:     b[head : head+length],
	}, nil
}

// simplePacket reads a simple packet block, which has no time.
func (r *Reader) simplePacket(b []byte) (Packet, error) {
	const head = 4
	if len(b) < head || len(r.interfaces) == 0 {
		return Packet{}, errBlock
	}
	i := r.interfaces[0]
	length := r.sectionOrder.Uint32(b)
	if i.snapLen != 0 {
		length = min(length, i.snapLen)
	}
	return Packet{LinkType: i.linkType, Data: b[head:][:min(uint64(length), uint64(len(b)-head))]}, nil
}
