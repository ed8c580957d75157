package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadHead(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want head
		size int
	}{
		{"00", head{0, 0, 0}, 1}, {"17", head{0, 23, 23}, 1}, {"1818", head{0, 24, 24}, 2}, {"3800", head{1, 24, 0}, 2},
		{"590100", head{2, 25, 256}, 3}, {"7a00010000", head{3, 26, 65536}, 5}, {"9b0000000100000000", head{4, 27, 1 << 32}, 9},
		{"bf", head{5, 31, 0}, 1}, {"ff", head{7, 31, 0}, 1}, {"f6", head{7, 22, 22}, 1},
		{"", head{}, 0}, {"18", head{}, 0}, {"1901", head{}, 0}, {"1a010203", head{}, 0}, {"1b01020304050607", head{}, 0},
		{"1c", head{}, 0}, {"1d", head{}, 0}, {"1e", head{}, 0},
	} {
		h, n := readHead(unhex(t, c.hex), 0)
		require.Equal(t, c.want, h, c.hex)
		require.Equal(t, c.size, n, c.hex)
	}
	h, n := readHead([]byte{0}, 1)
	require.Zero(t, h)
	require.Zero(t, n)
}

// The reader is meant for what scan has seen, and is harmless on anything else: it
// comes to an end, with an error.
func TestReaderEndsOnWhatWasNotScanned(t *testing.T) {
	for _, h := range []string{"", "9f", "5f", "5f41", "ff", "1c", "9b7fffffffffffffff", "bb7fffffffffffffff", "5b7fffffffffffffff", "82", "c0", "9f5f"} {
		b := unhex(t, h)
		r := reader{b: b}
		r.raw()
		require.Error(t, r.err, h)

		r = reader{b: b}
		r.anyMessage()
		require.Error(t, r.err, h)

		r = reader{b: b}
		r.str("string", majorBytes, "byte")
		require.Error(t, r.err, h)
	}
}

func TestReaderKeepsTheFirstError(t *testing.T) {
	r := reader{b: []byte{0x81, 0x00}}
	a := r.open("message")
	r.text(&a, "name")
	first := r.err
	require.ErrorContains(t, first, "name is not a text string at byte 1")
	r.uint(&a, "number", 5)
	r.end(&a, "message")
	r.addr(&a, "address")
	r.open("array")
	require.Equal(t, first, r.err)
}
