package quads

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/go-grasp/grasp/acp"
)

// benchItem returns a CBOR item of a size, which is 5 at least.
func benchItem(size int) []byte {
	msg := append([]byte{0x5a}, make([]byte, size-1)...)
	binary.BigEndian.PutUint32(msg[1:], uint32(size-5))
	return msg
}

// endlessConn is where a message comes from again and again, and others go.
type endlessConn struct {
	net.Conn
	stream []byte
	at     int
}

func (c *endlessConn) Write(b []byte) (int, error) { return len(b), nil }

func (c *endlessConn) Read(b []byte) (int, error) {
	n := copy(b, c.stream[c.at:])
	c.at = (c.at + n) % len(c.stream)
	return n, nil
}

// BenchmarkQUADS is the cost of encrypting and decrypting a message.
func BenchmarkQUADS(b *testing.B) {
	for _, size := range []int{80, 1024, 1 << 20} {
		msg := benchItem(size)
		sealed := fuzzKey.seal(msg)
		run := func(name string, f func() error) {
			b.Run(fmt.Sprintf("%s/size=%d", name, len(msg)), func(b *testing.B) {
				b.SetBytes(int64(len(msg)))
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("Seal", func() error {
			fuzzKey.seal(msg)
			return nil
		})
		if len(sealed) <= acp.MaxMulticast {
			buf := make([]byte, len(sealed))
			run("Open", func() error {
				_, err := fuzzKey.open(buf[:copy(buf, sealed)])
				return err
			})
		}
		c := newConn(&endlessConn{stream: sealed}, fuzzKey, anybody())
		c.SetMaxMessage(len(msg))
		buf := make([]byte, len(msg))
		run("Read", func() error {
			_, err := io.ReadFull(c, buf)
			return err
		})
		run("Write", func() error {
			_, err := c.Write(msg)
			return err
		})
	}
	b.Run("Endless/size=1048576", func(b *testing.B) { // an array that does not say how long it is
		msg := append([]byte{0x9f}, make([]byte, 1<<20-2)...)
		msg = append(msg, 0xff)
		c := newConn(&endlessConn{stream: fuzzKey.seal(msg)}, fuzzKey, anybody())
		c.SetMaxMessage(len(msg))
		b.SetBytes(int64(len(msg)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := io.ReadFull(c, msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Password", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (&Plane{Password: "of the domain"}).key(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
