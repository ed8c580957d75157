package dnssd

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/dnssd/dnstest"
	"github.com/go-grasp/grasp/grasptest"
)

// zone is a DNS without a network.
type zone dnstest.Zone

func (z zone) query(_ context.Context, name string, kind dnsmessage.Type) ([]dnsmessage.ResourceBody, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	q := dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{q}}
	raw, err := m.Pack()
	if err != nil {
		return nil, err
	}
	answer, err := dnstest.Zone(z).Answer(raw)
	if err != nil {
		return nil, err
	}
	return parse(answer, 1, q)
}

// printers are those of the example zone.
var printers = []Service{
	{
		Instance: "First Floor", Service: "printer._tcp", Domain: "example.org", Weight: 5,
		Text: map[string]any{"rp": "main", "duplex": true, "note": "on the = left"},
		At: []Place{
			{Addr: netip.MustParseAddr("2001:db8::1"), Protocol: 6, Port: 515},
			{Addr: netip.MustParseAddr("192.0.2.1"), Protocol: 6, Port: 515},
			{Host: "first.example.org.", Protocol: 6, Port: 515},
		},
	},
	{
		Instance: "Büro", Service: "printer._tcp", Domain: "example.org", Priority: 10,
		Text: map[string]any{},
		At: []Place{
			{Addr: netip.MustParseAddr("192.0.2.2"), Protocol: 6, Port: 631},
			{Host: "second.example.org.", Protocol: 6, Port: 631},
		},
	},
}

// meet has an answerer with this DNS and an asker on one link.
func meet(t *testing.T, dns querier, with func(*testing.T, *Asker)) {
	t.Helper()
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.Chain(grasptest.LinkConfig{}, "gateway", "device")
		gateway, device := nodes[0].ASA("unused").Instance(), nodes[1].ASA("unused").Instance()
		a, err := NewAnswerer(gateway, Both{}, cli.NewOutcomes(nil))
		require.NoError(t, err)
		a.dns = dns
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- a.Run(ctx) }()
		n.Advance(time.Millisecond) // it listens
		asker, err := NewAsker(device, cli.NewOutcomes(nil))
		require.NoError(t, err)
		with(t, asker)
		require.NoError(t, asker.Close())
		stop()
		require.NoError(t, <-over)
	})
}

func TestAsk(t *testing.T) {
	meet(t, zone(dnstest.Example()), func(t *testing.T, a *Asker) {
		got, err := a.Ask(t.Context(), "printer._tcp", "example.org")
		require.NoError(t, err)
		assert.Equal(t, printers, got)

		_, err = a.Ask(t.Context(), "scanner._tcp", "example.org")
		var declined *grasp.DeclinedError
		require.ErrorAs(t, err, &declined)
		assert.Equal(t, "Service not found", declined.Reason)
	})
}

// broken is a DNS that does not answer.
type broken struct{}

func (broken) query(context.Context, string, dnsmessage.Type) ([]dnsmessage.ResourceBody, error) {
	return nil, errors.New("no answer")
}

// The answerer refuses what makes no sense, in words.
func TestRefusals(t *testing.T) {
	meet(t, broken{}, func(t *testing.T, a *Asker) {
		service, domain := "http._tcp", "example.org"
		for want, v := range map[string]any{
			"Not RFCXXXX format":      "nonsense",
			"No service element":      map[string]any{"@rfcXXXX": map[int]any{1: 20}},
			"Not describe_request":    reply(printers[0]),
			"No service name":         value{&element{20, &body{Type: describeRequest, Domain: &domain}}},
			"No domain name":          value{&element{20, &body{Type: describeRequest, Service: &service}}},
			"The DNS cannot be asked": request(service, domain),
		} {
			o := objective()
			o.Value = v
			s, _, err := a.asa.ReqNegotiate(t.Context(), o, nil, 0)
			require.Nil(t, s, want)
			var declined *grasp.DeclinedError
			require.ErrorAs(t, err, &declined)
			assert.Equal(t, want, declined.Reason)
		}
		o := objective()
		o.Value, o.Dry = request(service, domain), true
		_, _, err := a.asa.ReqNegotiate(t.Context(), o, nil, 0)
		assert.ErrorContains(t, err, noDryRun)
	})
}

// Who asks in encoded CBOR (Tag 24) is answered so, and who answers something
// else than ACK hears that it is unexpected.
func TestSteps(t *testing.T) {
	meet(t, zone(dnstest.Example()), func(t *testing.T, a *Asker) {
		o := objective()
		raw, err := grasp.Encode(request("printer._tcp", "example.org"))
		require.NoError(t, err)
		o.Value = raw
		s, got, err := a.asa.ReqNegotiate(t.Context(), o, nil, 0)
		require.NoError(t, err)
		assert.IsType(t, grasp.EncodedCBOR{}, got.Value)
		one, err := described(got)
		require.NoError(t, err)
		assert.Equal(t, printers[0], one)
		got.Value = "NACK"
		_, _, err = s.NegotiateStep(t.Context(), got, 0)
		assert.ErrorContains(t, err, unexpected)
	})
}

// An asker does not take for a service what is none.
func TestLiar(t *testing.T) {
	for _, o := range []any{"text", 1, map[string]any{"@rfcXXXX": nil}, request("a", "b")} {
		_, err := described(grasp.Objective{Name: objectiveName, Neg: true, Value: o})
		assert.Error(t, err, o)
	}
}
