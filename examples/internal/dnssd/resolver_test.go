package dnssd

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-grasp/grasp/examples/internal/dnssd/dnstest"
)

// served returns a resolver that asks a server of a zone.
func served(t *testing.T, z dnstest.Zone) Resolver {
	t.Helper()
	for { // until a port is free for both
		udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
		if err != nil {
			_ = udp.Close()
			continue
		}
		z.Serve(t, udp, tcp)
		return Resolver{netip.MustParseAddrPort(udp.LocalAddr().String())}
	}
}

func TestResolver(t *testing.T) {
	z := dnstest.Example()
	z["_many._udp.example.org."] = nil
	for i := range 30 { // more than fit into 512 bytes
		name := dnsmessage.MustNewName(fmt.Sprintf("instance-number-%d._many._udp.example.org.", i))
		z["_many._udp.example.org."] = append(z["_many._udp.example.org."], &dnsmessage.PTRResource{PTR: name})
	}
	r := served(t, z)
	got, err := lookup(t.Context(), r, "printer._tcp", "example.org")
	require.NoError(t, err)
	assert.Equal(t, printers, got)

	many, err := lookup(t.Context(), r, "many._udp", "example.org.")
	require.NoError(t, err)
	require.Len(t, many, 30)
	assert.Equal(t, "instance-number-29", many[29].Instance)
	assert.Empty(t, many[29].At)

	none, err := lookup(t.Context(), r, "printer._tcp", "example.com")
	require.NoError(t, err)
	assert.Empty(t, none)
	_, err = lookup(t.Context(), r, "printer._tcp", string(make([]byte, 300)))
	assert.Error(t, err, "too long a name")
}

// Nobody listens there, which a host says at once.
func TestNoServer(t *testing.T) {
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	server := netip.MustParseAddrPort(udp.LocalAddr().String())
	require.NoError(t, udp.Close())
	_, err = lookup(t.Context(), Resolver{server}, "printer._tcp", "example.org")
	assert.ErrorContains(t, err, server.String())
}

// What is no answer to the question is not taken for one.
func TestParse(t *testing.T) {
	name := dnsmessage.MustNewName("_printer._tcp.example.org.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}}
	raw, err := query.Pack()
	require.NoError(t, err)
	answer, err := dnstest.Example().Answer(raw)
	require.NoError(t, err)
	got, err := parse(answer, 7, q)
	require.NoError(t, err)
	assert.Len(t, got, 2)

	_, err = parse(answer, 8, q)
	require.ErrorIs(t, err, errOther, "another ID")
	_, err = parse(raw, 7, q)
	require.ErrorIs(t, err, errOther, "a query")
	q.Type = dnsmessage.TypeSRV
	_, err = parse(answer, 7, q)
	require.ErrorIs(t, err, errOther, "another question")
	q.Type = dnsmessage.TypePTR
	for n := range answer {
		_, err := parse(answer[:n], 7, q)
		assert.Error(t, err, n)
	}
}

func TestSystemServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	_, err := SystemServer(path)
	require.ErrorIs(t, err, ErrNoServer)
	require.NoError(t, os.WriteFile(path, []byte("# nameserver 1.2.3.4\nsearch example.org\nnameserver x\nnameserver 2001:db8::53\n"), 0o600))
	got, err := SystemServer(path)
	require.NoError(t, err)
	assert.Equal(t, netip.MustParseAddrPort("[2001:db8::53]:53"), got)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = SystemServer(path)
	require.ErrorIs(t, err, ErrNoServer)
}
