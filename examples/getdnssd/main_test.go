package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFlags(t *testing.T) {
	nothing := filepath.Join(t.TempDir(), "nothing")
	for args, want := range map[string]struct {
		status int
		text   string
	}{
		"":                       {1, "no DNS server"},
		"--server x":             {2, "invalid argument"},
		"--server 192.0.2.1:x":   {2, "invalid argument"},
		"-n 1":                   {2, "unknown shorthand flag"},
		"http._tcp example.org.": {2, "unexpected argument"},
		"-h":                     {0, "--server address"},
	} {
		var stderr bytes.Buffer
		assert.Equal(t, want.status, command(nothing).Execute(t.Context(), strings.Fields(args), nil, &stderr, &stderr), args)
		assert.Contains(t, stderr.String(), want.text, args)
	}
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "192.0.2.1:54": "192.0.2.1:54",
		"2001:db8::1": "[2001:db8::1]:53", "[2001:db8::1]:54": "[2001:db8::1]:54",
	} {
		got, err := server(text)
		assert.NoError(t, err, text)
		assert.Equal(t, want, got.String())
	}
}
