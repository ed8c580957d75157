package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-pledges a":          "--pledges needs --link",
		"-pledges a, -link b": "empty name",
		"-objective x":        "-objective must be",
		"-port 0":             "-port must be",
		"-every 1ms":          "-every must be",
		"more":                "unexpected argument",
		"-n 1":                "unknown shorthand flag",
	} {
		var stderr bytes.Buffer
		assert.Equal(t, 2, command().Execute(t.Context(), strings.Fields(args), nil, nil, &stderr), args)
		assert.Contains(t, stderr.String(), want, args)
	}
	var stderr bytes.Buffer
	assert.Zero(t, command().Execute(t.Context(), []string{"-h"}, nil, &stderr, &stderr))
	assert.Contains(t, stderr.String(), "The BRSKI exchange itself is not part of it.")
}
