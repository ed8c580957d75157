package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/dnssd"
)

func TestFlags(t *testing.T) {
	for args, status := range map[string]int{"": 2, "http._tcp": 2, "a b c": 2, "-n 1 a b": 2, "-h": 0} {
		var stderr bytes.Buffer
		assert.Equal(t, status, command().Execute(t.Context(), strings.Fields(args), nil, &stderr, &stderr), args)
		assert.NotEmpty(t, stderr.String(), args)
	}
}

func TestPrint(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, print(&out, []dnssd.Service{
		{
			Instance: "First Floor", Weight: 5, Text: map[string]any{"rp": "main", "duplex": true},
			At: []dnssd.Place{{Addr: netip.MustParseAddr("2001:db8::1"), Port: 515}, {Host: "first.example.org.", Port: 515}},
		},
		{Instance: "Lost\n", Priority: 1},
		{Instance: "Odd", At: []dnssd.Place{{Host: "\x1b[2J", Port: 1}}},
	}))
	assert.Equal(t, `"First Floor" 2001:db8::1 515 priority 0 weight 5 ["duplex" "rp=main"]
"First Floor" first.example.org. 515 priority 0 weight 5 ["duplex" "rp=main"]
"Lost\n" nowhere 0 priority 1 weight 0 []
"Odd" \x1b[2J 1 priority 0 weight 0 []
`, out.String())
}
