package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFlags(t *testing.T) {
	for args, status := range map[string]int{"hello": 2, "-n 1": 2, "--listen hello": 2, "-h": 0} {
		var stderr bytes.Buffer
		assert.Equal(t, status, command().Execute(t.Context(), strings.Fields(args), nil, &stderr, &stderr), args)
		assert.NotEmpty(t, stderr.String(), args)
	}
}
