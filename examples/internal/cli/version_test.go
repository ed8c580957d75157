package cli

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The version is told whatever else the command line lacks, and by a program with
// commands as the word and as the flag.
func TestVersion(t *testing.T) {
	c := Command{Name: "x", Check: func(Options) error { return errors.New("an argument is missing") }}
	line := regexp.MustCompile(`^x \S.*, go1\.\d+\S* \w+/\w+\n$`)
	status, stdout, stderr := run(c, "", "--version")
	assert.Zero(t, status)
	assert.Regexp(t, line, stdout)
	assert.Empty(t, stderr)
	assert.Regexp(t, `^x \(`, stdout, "there is no package")

	version = "1.2.3"
	defer func() { version = "" }()
	status, stdout, _ = run(c, "", "--version", "--json")
	assert.Zero(t, status)
	assert.Regexp(t, `^x 1\.2\.3, go`, stdout)
	_, stdout, _ = run(c, "", "--help")
	assert.Contains(t, stdout, "--version")
	status, _, stderr = run(c, "", "--version", "--nonsense")
	assert.Equal(t, 2, status)
	assert.NotEmpty(t, stderr)

	all := Commands{Name: "x", List: []Command{{Name: "do"}}}
	for _, word := range []string{"version", "-version", "--version"} {
		var out, errOut bytes.Buffer
		assert.Zero(t, all.Execute(t.Context(), []string{word}, nil, &out, &errOut), word)
		assert.Regexp(t, line, out.String())
	}
	var out bytes.Buffer
	assert.Zero(t, all.Execute(t.Context(), []string{"help", "version"}, nil, &out, &out))
	assert.Contains(t, out.String(), "Usage: x version\n")
	assert.Equal(t, 2, all.Execute(t.Context(), []string{"do", "--version"}, nil, &out, &out))
	assert.Zero(t, all.Execute(t.Context(), []string{"version", "--help"}, nil, &out, &out))
	for _, c := range []struct{ args, usage string }{
		{"version x", "x version"}, {"--version do", "x version"}, {"help do x", "x help [command]"}, {"-h do x", "x help [command]"},
	} {
		var out, errOut bytes.Buffer
		assert.Equal(t, 2, all.Execute(t.Context(), strings.Fields(c.args), nil, &out, &errOut), c.args)
		assert.Empty(t, out.String(), c.args)
		assert.Contains(t, errOut.String(), "unexpected argument ", c.args)
		assert.True(t, strings.HasSuffix(errOut.String(), "; usage: "+c.usage+"\n"), errOut.String())
	}
}
