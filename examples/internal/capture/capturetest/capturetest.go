// Package capturetest makes captures for tests: from packets made by hand, and
// on links.
package capturetest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Link types of files.
const (
	Ethernet = 1
	Raw      = 101
)

// File is a pcap file that a test writes. Its methods may be called
// concurrently.
type File struct {
	Path string

	t    testing.TB
	mu   sync.Mutex // guards all following fields
	file *os.File
}

// NewFile makes a file for packets that begin as the link type says.
func NewFile(t testing.TB, linkType int) *File {
	t.Helper()
	f := &File{t: t, Path: filepath.Join(t.TempDir(), "test.pcap")}
	var err error
	if f.file, err = os.Create(f.Path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 1<<18)
	b = binary.LittleEndian.AppendUint32(b, uint32(linkType))
	f.write(b)
	return f
}

// Packet adds a packet.
func (f *File) Packet(at time.Time, packet []byte) {
	b := binary.LittleEndian.AppendUint32(nil, uint32(at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Nanosecond()/1000))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packet)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packet)))
	f.write(append(b, packet...))
}

func (f *File) write(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return
	}
	if _, err := f.file.Write(b); err != nil {
		f.t.Error(err)
	}
}

// Copy returns the path of a copy with what was written so far: who reads the file itself
// may meet half a packet.
func (f *File) Copy() string {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	path := f.Path + ".copy"
	all, err := os.ReadFile(f.Path)
	if err == nil {
		err = os.WriteFile(path, all, 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return path
}

// Close ends the file. What comes later is not written.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return
	}
	if err := f.file.Close(); err != nil {
		f.t.Error(err)
	}
	f.file = nil
}

// The protocols of IP.
const (
	protoTCP = 6
	protoUDP = 17
)

// UDP returns a packet with a datagram, from its header of IP on.
func UDP(src, dst netip.AddrPort, payload []byte) []byte {
	b := ports(src, dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = binary.BigEndian.AppendUint16(b, 0)
	return ip(src, dst, protoUDP, append(b, payload...))
}

// The flags of TCP.
const (
	FIN = 1
	SYN = 2
	ACK = 16
)

// TCP returns a packet with a segment, from its header of IP on.
func TCP(src, dst netip.AddrPort, seq uint32, flags byte, payload []byte) []byte {
	b := ports(src, dst)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	return ip(src, dst, protoTCP, append(b, payload...))
}

func ports(src, dst netip.AddrPort) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
}

// ip puts a header, without a checksum, before what a packet holds.
func ip(src, dst netip.AddrPort, proto byte, held []byte) []byte {
	var b []byte
	if src.Addr().Is4() {
		b = binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(held)))
		b = append(b, 0, 0, 0x40, 0, 64, proto, 0, 0)
	} else {
		b = binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(held)))
		b = append(b, proto, 64)
	}
	b = append(b, src.Addr().AsSlice()...)
	b = append(b, dst.Addr().AsSlice()...)
	return append(b, held...)
}
