// Package capture reads what was captured on links: files in the formats pcap and
// pcapng, the UDP datagrams and TCP segments in them, and the bytes of TCP
// connections in their order. It reads what it takes to find GRASP on the links
// that people capture on, so that the module needs no library for packets; what
// it does not read, it names and counts.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrNoCapture says that a file has neither of the formats.
var ErrNoCapture = errors.New("neither pcap nor pcapng")

// Packet is a captured packet.
type Packet struct {
	Time     time.Time
	LinkType int    // how Data begins: LINKTYPE_ numbers of pcap
	Data     []byte // valid until the next one is read
}

// maxBlock bounds what is read at once: no packet is that long.
const maxBlock = 16 << 20

// Reader reads the packets of a file.
type Reader struct {
	r    *bufio.Reader
	buf  []byte
	next func() (Packet, error)
	pcap
	pcapng
}

// The magic numbers, as they are in a file of this byte order.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // records have a longer header
	magicNG       = 0x0a0d0d0a // the same in both orders
)

// magicLen is how much it takes to tell the formats.
const magicLen = 4

// IsCapture reports whether a file that begins with these bytes has one of the
// formats.
func IsCapture(begin []byte) bool {
	if len(begin) < magicLen {
		return false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if magic := order.Uint32(begin); isPcap(magic) || magic == magicNG {
			return true
		}
	}
	return false
}

func isPcap(magic uint32) bool {
	return magic == magicMicro || magic == magicNano || magic == magicModified
}

// NewReader reads the beginning of a file. The error is [ErrNoCapture] or one
// of reading.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{r: bufio.NewReader(from)}
	magic, err := r.r.Peek(magicLen)
	switch {
	case !IsCapture(magic) && (err == nil || errors.Is(err, io.EOF)):
		return nil, ErrNoCapture
	case err != nil:
		return nil, err
	case binary.BigEndian.Uint32(magic) == magicNG:
		r.next = r.nextBlock
		return r, nil
	}
	r.next = r.nextRecord
	return r, r.readHeader()
}

// Next returns the next packet, and [io.EOF] after the last one.
func (r *Reader) Next() (Packet, error) { return r.next() }

// read reads n bytes, which are valid until it is called again. At the end of
// the file the error is io.EOF if that may be there.
func (r *Reader) read(n int, mayEnd bool) ([]byte, error) {
	if n < 0 || n > maxBlock {
		return nil, fmt.Errorf("capture: %d bytes at once", uint32(n))
	}
	if n > cap(r.buf) {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	_, err := io.ReadFull(r.r, b)
	switch {
	case err == nil, mayEnd && errors.Is(err, io.EOF):
		return b, err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("capture: the file is cut short")
	default:
		return nil, err
	}
}

// pcap is what the header of such a file says.
type pcap struct {
	order    binary.ByteOrder
	magic    uint32
	linkType int
	swapped  bool // the two lengths of a record may be the other way round
}

const (
	pcapHeader     = 24
	recordHeader   = 16
	modifiedHeader = 24
	// linkTypeBits are those of the last field of the header that are not about
	// the frame check sequence.
	linkTypeBits = 0x03ffffff
)

// readHeader reads the header of a pcap file.
func (r *Reader) readHeader() error {
	b, err := r.read(pcapHeader, false)
	if err != nil {
		return err
	}
	r.pcap.order = binary.BigEndian
	if !isPcap(binary.BigEndian.Uint32(b)) {
		r.pcap.order = binary.LittleEndian
	}
	r.magic = r.pcap.order.Uint32(b)
	r.linkType = int(r.pcap.order.Uint32(b[20:]) & linkTypeBits)
	major, minor := r.pcap.order.Uint16(b[4:]), r.pcap.order.Uint16(b[6:])
	r.swapped = major == 2 && minor <= 3
	return nil
}

// nextRecord reads a packet of a pcap file.
func (r *Reader) nextRecord() (Packet, error) {
	size := recordHeader
	if r.magic == magicModified {
		size = modifiedHeader
	}
	b, err := r.read(size, true)
	if err != nil {
		return Packet{}, err
	}
	order := r.pcap.order
	fraction := time.Duration(order.Uint32(b[4:]))
	if r.magic != magicNano {
		fraction *= time.Microsecond
	}
	captured, original := order.Uint32(b[8:]), order.Uint32(b[12:])
	if r.swapped && captured > original { // before version 2.4, some programs swapped them
		captured = original
	}
	p := Packet{Time: time.Unix(int64(order.Uint32(b)), int64(fraction)), LinkType: r.linkType}
	p.Data, err = r.read(int(int32(captured)), false)
	return p, err
}
