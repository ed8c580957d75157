package quads_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
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
	"github.com/go-grasp/grasp/internal/wire"
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

// With the padding it must still fit a packet that no link fragments.
func TestQUADSLargestMulticast(t *testing.T) {
	e, clear, _ := quadsPair(t, quads.Plane{Key: quadsKey})
	require.Equal(t, 1231, e.MaxMulticast())
	link := e.Links()[0].Index
	require.NoError(t, e.Send(link, make([]byte, 1231)))
	n, _, err := clear.Receive(make([]byte, 2*acp.MaxMulticast))
	require.NoError(t, err)
	require.Equal(t, acp.MaxMulticast, n)
	require.ErrorIs(t, e.Send(link, make([]byte, 1232)), syscall.EMSGSIZE)
}

// Of messages sent at once each is encrypted, and one that is too long fails alone.
func TestQUADSSendBatch(t *testing.T) {
	e, clear, _ := quadsPair(t, quads.Plane{Key: quadsKey})
	link := e.Links()[0].Index
	all := []acp.Multicast{
		{Link: link, Msg: []byte(item("one"))}, {Link: link, Msg: make([]byte, 1232)},
		{Link: 1 << 30, Msg: []byte(item("nowhere"))}, {Link: link, Msg: []byte(item("two"))},
	}
	acp.SendBatch(e, all)
	require.NoError(t, all[0].Err)
	require.ErrorIs(t, all[1].Err, syscall.EMSGSIZE)
	require.Error(t, all[2].Err)
	require.NoError(t, all[3].Err)
	buf := make([]byte, 2*acp.MaxMulticast)
	for _, want := range []string{"one", "two"} {
		n, _, err := clear.Receive(buf)
		require.NoError(t, err)
		require.Equal(t, sealed(t, item(want)), string(buf[:n]))
	}
	require.False(t, acp.Waiting(e), "memory does not say")
}

// unicaster is a plane whose endpoints tell what they send to one node.
type unicaster struct {
	acp.Plane
	sent []string
}

type unicastEndpoint struct {
	acp.Endpoint
	plane *unicaster
}

func (u *unicaster) Open() (acp.Endpoint, error) {
	e, err := u.Plane.Open()
	return unicastEndpoint{e, u}, err
}

func (e unicastEndpoint) SendTo(to netip.AddrPort, msg []byte) error {
	e.plane.sent = append(e.plane.sent, to.String()+" "+string(msg))
	return nil
}

// What goes to one node is encrypted, too.
func TestQUADSSendTo(t *testing.T) {
	_, a, _ := pair(memory.LinkConfig{})
	under := &unicaster{Plane: a}
	e := endpointOf(t, plane(under))
	to := netip.MustParseAddrPort("[fe80::1%1]:7017")
	require.NoError(t, acp.SendTo(e, to, []byte(item("to one"))))
	require.ErrorIs(t, acp.SendTo(e, to, make([]byte, 1232)), syscall.EMSGSIZE)
	require.Equal(t, []string{to.String() + " " + sealed(t, item("to one"))}, under.sent)
}

// Datagrams that are not the domain's come with an error that says so and
// where they come from, one by one, and do not disturb the others.
func TestQUADSForeignDatagrams(t *testing.T) {
	e, clear, _ := quadsPair(t, quads.Plane{Key: quadsKey})
	link := clear.Links()[0].Index
	msg := unhex(t, "8100") // M_NOOP
	good := sealed(t, string(msg))
	buf := make([]byte, 2*acp.MaxMulticast)
	for name, datagram := range map[string]string{
		"Empty":         "",
		"Clear":         string(msg),
		"Random":        random(48),
		"NotWhole":      good + "x",
		"Cut":           good[:len(good)-1],
		"OtherKey":      sealedBy(t, otherKey, string(msg)),
		"TwoMessages":   good + good,
		"TwoItems":      sealed(t, "\x00\x00"),
		"NoItem":        sealed(t, ""),
		"NotWellFormed": sealed(t, "\xff"),
		"CutItem":       sealed(t, "\x82\x00"),
		"LongPadding":   sealed(t, item("of 15 bytes....")+strings.Repeat("\x20", 32))[:48],
		"TooDeep":       sealed(t, strings.Repeat("\x81", 100)+"\x00"),
	} {
		require.NoError(t, clear.Send(link, []byte(datagram)), name)
		n, from, err := e.Receive(buf)
		require.ErrorIs(t, err, acp.ErrForeign, name)
		require.NotErrorIs(t, err, net.ErrClosed, name)
		assert.Zero(t, n, name)
		assert.Equal(t, clear.Port(), from.Addr.Port(), name)
		assert.Equal(t, e.Links()[0].Index, from.Link, name)

		require.NoError(t, clear.Send(link, []byte(good)), name)
		n, _, err = e.Receive(buf)
		require.NoError(t, err, name)
		assert.Equal(t, msg, buf[:n], name)
	}
}

// hears is a plane whose endpoints hear these datagrams.
type hears struct {
	acp.Plane
	datagrams []string
}

type hearingEndpoint struct {
	acp.Endpoint
	plane *hears
}

func (h *hears) Open() (acp.Endpoint, error) {
	e, err := h.Plane.Open()
	return hearingEndpoint{e, h}, err
}

func (e hearingEndpoint) Receive(buf []byte) (int, acp.Origin, error) {
	n := copy(buf, e.plane.datagrams[0])
	e.plane.datagrams = e.plane.datagrams[1:]
	return n, acp.Origin{Link: 1, Addr: netip.MustParseAddrPort("[fe80::1%1]:7017")}, nil
}

// TestQUADSLongDatagrams: a datagram comes whole as long as it fits the buffer, or 4 KiB. A
// longer one, which may be a member's, comes with an error, and nobody is suspected.
func TestQUADSLongDatagrams(t *testing.T) {
	of := func(size int) string { return item(strings.Repeat("x", size-3)) }
	under := &hears{}
	_, under.Plane, _ = pair(memory.LinkConfig{})
	e := endpointOf(t, plane(under))
	for _, test := range []struct {
		buffer, size int
		long         bool
	}{
		{10, 1000, false},
		{10, 4079, false},
		{10, 4080, true},
		{2049, 4079, false},
		{2049, 60_000, true},
		{6001, 6001, false},
		{6001, 6015, false},
		{6001, 6016, true},
		{65_537, 65_500, false},
	} {
		msg := of(test.size)
		under.datagrams = []string{sealed(t, msg)}
		buf := make([]byte, test.buffer)
		n, from, err := e.Receive(buf)
		assert.Equal(t, 1, from.Link)
		if test.long {
			require.ErrorIs(t, err, acp.ErrForeign, "%+v", test)
			require.ErrorIs(t, err, wire.ErrTooLong, "%+v", test)
			continue
		}
		require.NoError(t, err, "%+v", test)
		assert.Equal(t, msg[:min(test.size, test.buffer)], string(buf[:n]), "%+v", test)
	}
}

// random returns bytes that do not happen to decrypt to anything.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return string(b)
}

// otherKey is that of another domain.
var otherKey = []byte("QUADS key of another test domain")

// sealed encrypts messages for the tests' domain, each by itself.
func sealed(t testing.TB, msgs ...string) string {
	t.Helper()
	return sealedBy(t, quadsKey, msgs...)
}

func sealedBy(t testing.TB, key []byte, msgs ...string) string {
	t.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	k := key[0] % 10
	var all []byte
	for _, m := range msgs {
		pad := 16 - len(m)%16
		b := append([]byte(m), bytes.Repeat([]byte{byte(pad)}, pad)...)
		cipher.NewCBCEncrypter(block, key[k:k+16]).CryptBlocks(b, b)
		all = append(all, b...)
	}
	return string(all)
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
