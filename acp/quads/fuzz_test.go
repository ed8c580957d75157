package quads

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// slicedConn gives what is to be read in segments whose sizes are the bytes of
// cuts, again and again; 0 stands for a deadline that passed.
type slicedConn struct {
	net.Conn
	stream []byte
	cuts   []byte
	reads  int
	begin  int // of the last segment
	end    int
}

func (c *slicedConn) Read(b []byte) (int, error) {
	cut := 1
	if len(c.cuts) > 0 {
		cut = int(c.cuts[c.reads%len(c.cuts)])
	}
	c.reads++
	if c.reads%2 == 0 {
		cut = max(cut, 1) // so that it goes on
	}
	switch {
	case cut == 0:
		return 0, os.ErrDeadlineExceeded
	case c.end == len(c.stream):
		return 0, io.EOF
	}
	n := copy(b, c.stream[c.end:min(c.end+cut, len(c.stream))])
	c.begin, c.end = c.end, c.end+n
	return n, nil
}

// plainly reads a stream of messages in the simplest way: it tries with more
// and more blocks whether all of them are a message. It returns the messages,
// and where in the stream each ends.
func plainly(k *domainKey, stream []byte, limit int) (msgs [][]byte, ends []int) {
	at := 0
	for size := aes.BlockSize; size <= paddedSize(limit) && at+size <= len(stream); size += aes.BlockSize {
		b := make([]byte, size)
		cipher.NewCBCDecrypter(k.block, k.iv[:]).CryptBlocks(b, stream[at:at+size])
		padding := int(b[size-1])
		if padding == 0 || padding > aes.BlockSize || !bytes.Equal(b[size-padding:], bytes.Repeat([]byte{byte(padding)}, padding)) {
			continue
		}
		if wire.WellFormed(b[:size-padding], limits(limit)) == nil {
			at += size
			msgs, ends = append(msgs, b[:size-padding]), append(ends, at)
			size = 0
		}
	}
	return msgs, ends
}

// FuzzQUADS has streams read that come in segments of any size: the CBOR items
// that data begins with, each encrypted, followed by the rest of it in clear;
// and data encrypted at a stretch, its padding included. What is read is what
// the simplest reader finds, as soon as it has come; what follows is an error
// for ever. The latter is also taken as a datagram.
func FuzzQUADS(f *testing.F) {
	f.Add([]byte("\x81\x00"), []byte{1}, 1)
	f.Add([]byte("\x81\x00\x83\x01\x02\x03\x00\xff"), []byte{16, 0, 3}, 7)
	f.Add(append([]byte("\x58\x40"), make([]byte, 0x40)...), []byte{255}, 100)
	f.Add(append(bytes.Repeat([]byte{0x6e}, 15), 0x9f, 0x00, 0xff), []byte{17}, 16)
	f.Add(append(append([]byte{0x9f}, make([]byte, 300)...), 0xff), []byte{5, 200}, 2048)
	f.Add([]byte("\x84\x01\x02\x03\x04"+strings.Repeat("\x0b", 11)+"\x00"+strings.Repeat("\x0f", 15)), []byte{33}, 32)
	f.Add([]byte("\x6fsixteen in block"+strings.Repeat("\x10", 16)), []byte{8}, 32)
	f.Fuzz(func(t *testing.T, data, cuts []byte, size int) {
		if len(data) > 1<<14 {
			return
		}
		size = min(max(size, 1), 1<<16)
		const limit = wire.DefaultBytes

		var stream []byte
		var items [][]byte
		rest := data
		for len(rest) > 0 {
			n, err := wire.Scan(rest, limits(limit))
			if err != nil {
				break
			}
			items = append(items, rest[:n])
			stream = append(stream, fuzzKey.seal(rest[:n])...)
			rest = rest[n:]
		}
		msgs := readAll(t, append(stream, rest...), cuts, size, limit)
		require.GreaterOrEqual(t, len(msgs), len(items))
		for i, item := range items {
			require.Equal(t, item, msgs[i])
		}

		stretch := bytes.Clone(data)
		blocks := stretch[:len(data)-len(data)%aes.BlockSize]
		cipher.NewCBCEncrypter(fuzzKey.block, fuzzKey.iv[:]).CryptBlocks(blocks, blocks)
		readAll(t, stretch, cuts, size, limit)
		whole, ends := plainly(fuzzKey, stretch, len(data))
		got, err := fuzzKey.open(stretch)
		if len(ends) == 0 || ends[0] < len(data) {
			require.ErrorIs(t, err, acp.ErrForeign)
			return
		}
		require.NoError(t, err)
		require.Equal(t, whole[0], got)
	})
}

var fuzzKey = func() *domainKey {
	k, err := (&Plane{Key: []byte("QUADS key of 32 bytes, for tests")}).key()
	if err != nil {
		panic(err) // it is a constant
	}
	return k
}()

// readAll reads a stream and checks it against the simplest reader. It returns
// the messages.
func readAll(t *testing.T, stream, cuts []byte, size, limit int) [][]byte {
	msgs, ends := plainly(fuzzKey, stream, limit)
	conn := &slicedConn{stream: stream, cuts: cuts}
	c := newConn(conn, fuzzKey, anybody())
	buf := make([]byte, size)
	read := func() (int, error) {
		for {
			n, err := c.Read(buf)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return n, err
			}
			require.Zero(t, n)
		}
	}
	for i, m := range msgs {
		for begun := false; len(m) > 0; begun = true {
			n, err := read()
			require.NoError(t, err)
			require.Equal(t, m[:min(len(m), size)], buf[:n])
			m = m[n:]
			if !begun {
				require.GreaterOrEqual(t, conn.end, ends[i])
				require.Less(t, conn.begin, ends[i], "it waited for more than the message")
			}
		}
	}
	want := io.EOF
	if len(msgs) == 0 && len(stream) > 0 || len(msgs) > 0 && ends[len(msgs)-1] < len(stream) {
		want = acp.ErrForeign
	}
	for range 2 {
		n, err := read()
		require.ErrorIs(t, err, want)
		require.Zero(t, n)
	}
	require.LessOrEqual(t, cap(c.raw), 2*paddedSize(limit)+512)
	require.LessOrEqual(t, cap(c.plain), 2*paddedSize(limit)+512)
	return msgs
}
