package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-loops 0":   "-loops must be",
		"-loops 256": "-loops must be",
		"-port 0":    "-port must be",
		"-every 2h":  "-every must be",
		"more":       "unexpected argument",
	} {
		var stderr bytes.Buffer
		assert.Equal(t, 2, command().Execute(t.Context(), strings.Fields(args), nil, nil, &stderr), args)
		assert.Contains(t, stderr.String(), want, args)
	}
}
