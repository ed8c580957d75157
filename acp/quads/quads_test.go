package quads_test

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
)

// quadsVectors are messages of the Python prototype.
type quadsVectors struct {
	QUADS    struct{ Password, Key string }
	Messages []struct{ Case, Plain, QUADS string }
}

func readQUADSVectors(t testing.TB) quadsVectors {
	t.Helper()
	text, err := os.ReadFile("../../internal/wire/testdata/vectors/prototype.json")
	require.NoError(t, err)
	var v quadsVectors
	require.NoError(t, json.Unmarshal(text, &v))
	require.NotEmpty(t, v.Messages)
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// quadsKey is the key of the tests' domain.
var quadsKey = []byte("QUADS key of 32 bytes, for tests")

func plane(under acp.Plane) *quads.Plane { return &quads.Plane{Key: quadsKey, Under: under} }

// quadsPair returns an endpoint of a QUADS plane, and one that is on the same
// link in clear.
func quadsPair(t *testing.T, plane quads.Plane) (e, clear acp.Endpoint, l *memory.Link) {
	t.Helper()
	l, a, b := pair(memory.LinkConfig{})
	plane.Under = a
	return endpointOf(t, &plane), endpointOf(t, b), l
}

func TestQUADSConformance(t *testing.T) {
	_, a, b := pair(memory.LinkConfig{})
	testPlane(t, plane(a), plane(b))
}

// All messages of the prototype decrypt to what they were, and encrypt to the
// same bytes: as datagrams, and on a stream.
func TestQUADSVectors(t *testing.T) {
	v := readQUADSVectors(t)
	for name, plane := range map[string]quads.Plane{
		"Password": {Password: v.QUADS.Password},
		"Key":      {Key: unhex(t, v.QUADS.Key)},
	} {
		t.Run(name, func(t *testing.T) {
			e, clear, l := quadsPair(t, plane)
			dialed, accepted := dial(t, clear, e)
			var sent []byte
			l.Tap(func(p memory.Packet) { sent = p.Data })
			buf := make([]byte, acp.MaxMulticast)
			for _, m := range v.Messages {
				plain, sealed := unhex(t, m.Plain), unhex(t, m.QUADS)
				require.NoError(t, e.Send(e.Links()[0].Index, plain), m.Case)
				require.Equal(t, sealed, sent, m.Case)
				n, _, err := clear.Receive(buf)
				require.NoError(t, err)
				require.Equal(t, sealed, buf[:n], m.Case)
				_, _, err = e.Receive(buf) // its own
				require.NoError(t, err)

				require.NoError(t, clear.Send(clear.Links()[0].Index, sealed))
				n, _, err = e.Receive(buf)
				require.NoError(t, err, m.Case)
				require.Equal(t, plain, buf[:n], m.Case)
				_, _, err = clear.Receive(buf)
				require.NoError(t, err)

				_, err = accepted.Write(plain)
				require.NoError(t, err)
				n, err = io.ReadFull(dialed, buf[:len(sealed)])
				require.NoError(t, err)
				require.Equal(t, sealed, buf[:n], m.Case)

				_, err = dialed.Write(sealed)
				require.NoError(t, err)
				n, err = accepted.Read(buf)
				require.NoError(t, err, m.Case)
				require.Equal(t, plain, buf[:n], m.Case)
			}
		})
	}
}

// dial opens a stream from one endpoint to another.
func dial(t *testing.T, from, to acp.Endpoint) (dialed, accepted *acp.Stream) {
	t.Helper()
	dialed, err := from.Dial(t.Context(), netip.AddrPortFrom(to.Addr(), to.Port()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = dialed.Close() })
	accepted, err = to.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return dialed, accepted
}

func TestQUADSNeedsAKey(t *testing.T) {
	_, under, _ := pair(memory.LinkConfig{})
	for name, plane := range map[string]*quads.Plane{
		"Nothing":  {Under: under},
		"ShortKey": {Under: under, Key: quadsKey[:31]},
		"LongKey":  {Under: under, Key: append(quadsKey[:32:32], 0)},
		"Both":     {Under: under, Key: quadsKey, Password: "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			status := plane.Status()
			assert.False(t, status.Secure)
			_, err := plane.Open()
			require.Error(t, err)
			assert.Contains(t, err.Error(), status.Reason)
			assert.NotContains(t, err.Error(), "secret")
			t.Log(err)
		})
	}
	status := plane(under).Status()
	assert.True(t, status.Secure)
	assert.Contains(t, status.Reason, "no integrity")
}

// closedPlane is a plane that cannot be opened.
type closedPlane struct{ acp.Plane }

func (closedPlane) Open() (acp.Endpoint, error) { return nil, syscall.EACCES }

func TestQUADSUnderneathFails(t *testing.T) {
	_, err := plane(closedPlane{}).Open()
	require.ErrorIs(t, err, syscall.EACCES)
}

// quadsStream returns an end of a stream of a QUADS plane, and the other end in
// clear.
func quadsStream(t *testing.T) (end, clear *acp.Stream) {
	t.Helper()
	e, far, _ := quadsPair(t, quads.Plane{Key: quadsKey})
	clear, end = dial(t, far, e)
	return end, clear
}

// readMessage reads a message, which must not come in parts here.
func readMessage(t *testing.T, s *acp.Stream) string {
	t.Helper()
	buf := make([]byte, 1<<21)
	n, err := s.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}

// quadsMessages returns messages of all sizes around the ends of blocks.
func quadsMessages() []string {
	var msgs []string
	for n := range 70 {
		msgs = append(msgs, item(strings.Repeat("x", n)), "\x9f"+strings.Repeat("\x00", n)+"\xff")
	}
	return msgs
}

func TestQUADSMessagesInOneSegment(t *testing.T) {
	end, clear := quadsStream(t)
	msgs := quadsMessages()
	_, err := clear.Write([]byte(sealed(t, msgs...)))
	require.NoError(t, err)
	for _, m := range msgs {
		require.Equal(t, m, readMessage(t, end))
	}
	require.NoError(t, clear.Close())
	_, err = end.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
}

// A message is given when its last byte has come, not before and not later.
func TestQUADSTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end, clear := quadsStream(t)
		for _, m := range []string{item("short"), item(strings.Repeat("x", 100)), "\x9f" + strings.Repeat("\x01", 62) + "\xff"} {
			got := make(chan string, 1)
			go func() { got <- readMessage(t, end) }()
			raw := []byte(sealed(t, m))
			for i := range raw {
				synctest.Wait()
				require.Empty(t, got, "after %d of %d bytes", i, len(raw))
				_, err := clear.Write(raw[i : i+1])
				require.NoError(t, err)
			}
			synctest.Wait()
			require.Equal(t, m, <-got)
		}
	})
}

// Reading goes on after a deadline, in the middle of a message and of a block.
func TestQUADSDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end, clear := quadsStream(t)
		m := item(strings.Repeat("x", 100))
		raw := []byte(sealed(t, m))
		sent := 0
		for ; sent < len(raw)-10; sent += 10 {
			_, err := clear.Write(raw[sent : sent+10])
			require.NoError(t, err)
			require.NoError(t, end.SetReadDeadline(time.Now().Add(time.Second)))
			_, err = end.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		_, err := clear.Write(raw[sent:])
		require.NoError(t, err)
		require.NoError(t, end.SetReadDeadline(time.Time{}))
		require.Equal(t, m, readMessage(t, end))
	})
}

// Parts are given to short buffers.
func TestQUADSShortBuffer(t *testing.T) {
	end, clear := quadsStream(t)
	m := item(strings.Repeat("x", 100))
	_, err := clear.Write([]byte(sealed(t, m, m)))
	require.NoError(t, err)
	got := make([]byte, 0, 2*len(m))
	for len(got) < cap(got) {
		n, err := end.Read(got[len(got):min(len(got)+7, cap(got))])
		require.NoError(t, err)
		got = got[:len(got)+n]
	}
	require.Equal(t, m+m, string(got))
	n, err := end.Read(nil)
	require.NoError(t, err)
	require.Zero(t, n)
}

// What is not the domain's is an error for ever, and nothing of it is given
// out, but all that came before.
func TestQUADSForeignStreams(t *testing.T) {
	good := sealed(t, item("good"))
	long := sealed(t, item(strings.Repeat("x", 100)))
	for name, tail := range map[string]string{
		"Clear":          item("a message of sixteen bytes and more, in clear"),
		"OtherKey":       sealedBy(t, otherKey, item("a message")),
		"CutInBlock":     good[:7],
		"CutBetween":     long[:16],
		"WrongPadding":   sealed(t, "\x00\x01"),
		"NotWellFormed":  sealed(t, "\xff"),
		"TooLong":        sealed(t, "\x59\x08\x00"),
		"TooLongForEver": sealed(t, "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"),
		"Damaged":        "x" + long[1:],
	} {
		t.Run(name, func(t *testing.T) {
			end, clear := quadsStream(t)
			_, err := clear.Write([]byte(good + tail))
			require.NoError(t, err)
			require.NoError(t, clear.Close())
			require.Equal(t, item("good"), readMessage(t, end))
			for range 2 {
				n, err := end.Read(make([]byte, 100))
				require.ErrorIs(t, err, acp.ErrForeign)
				require.Zero(t, n)
			}
		})
	}
}

// How long a message may be is what the stream was told last.
func TestQUADSMaxMessage(t *testing.T) {
	text := func(size int) string { return item(strings.Repeat("x", size-5)) } // which take 5 bytes to say how many
	big := text(1 << 20)
	require.Len(t, big, 1<<20)
	for _, c := range []struct {
		name  string
		limit int
		msg   string
		ok    bool
	}{
		{"Default", 0, "\x59\x07\xfd" + strings.Repeat("x", 2045), true},
		{"MoreThanDefault", 0, "\x59\x07\xfe" + strings.Repeat("x", 2046), false},
		{"MiB", 1 << 20, big, true},
		{"MoreThanMiB", 1<<20 - 1, big, false},
		{"ManyElements", 1 << 20, "\x9f" + strings.Repeat("\x00", 1<<20-2) + "\xff", true},
		{"EndlessElements", 1 << 20, "\x9f" + strings.Repeat("\x00", 1<<20), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			end, clear := quadsStream(t)
			if c.limit != 0 {
				end.SetMaxMessage(c.limit)
			}
			raw := []byte(sealed(t, c.msg))
			go func() { // ends with the stream
				_, _ = clear.Write(raw)
				if !c.ok {
					_ = clear.Close() // or it would be read on for a while
				}
			}()
			if c.ok {
				require.Equal(t, c.msg, readMessage(t, end))
				return
			}
			_, err := end.Read(make([]byte, 10))
			require.ErrorIs(t, err, acp.ErrForeign)
			require.ErrorContains(t, err, "too long")
		})
	}
}
