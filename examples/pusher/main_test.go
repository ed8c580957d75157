package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFlags(t *testing.T) {
	for args, status := range map[string]int{
		"": 2, "-dir": 2, "-dir . more": 2, "-dir . -n 1": 2, "-dir . -link memory": 2, "-h": 0,
		"-dir " + filepath.Join(t.TempDir(), "nothing"): 1,
	} {
		var stderr bytes.Buffer
		assert.Equal(t, status, command().Execute(t.Context(), strings.Fields(args), nil, &stderr, &stderr), args)
		assert.NotEmpty(t, stderr.String(), args)
	}
}
