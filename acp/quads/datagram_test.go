package quads_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/internal/wire"
)

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
