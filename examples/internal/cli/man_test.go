package cli

import (
	"testing"

	flag "github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A man page has what the help has, in the macros of man(7).
func TestMan(t *testing.T) {
	c := Command{
		Name: "toold", About: "toold is a tool: it does\nthings.\n\n.hidden 'files' are left alone.", Arguments: "[word]", Daemon: true,
		Notes: "'Mind\nthe \\ step.",
		Flags: func(f *flag.FlagSet) { f.IntP("max", "m", 5, "at most `N` things") },
	}
	status, page, _ := run(c, "", manWord)
	require.Zero(t, status)
	for _, text := range []string{
		".TH TOOLD 8 \"\" \"grasp\"\n.SH NAME\ntoold \\- a tool\n",
		".SH SYNOPSIS\n.B toold\n[flags] [word]\n",
		".SH DESCRIPTION\ntoold is a tool: it does\nthings.\n.PP\n\\&.hidden 'files' are left alone.\n",
		".TP\n.B \\-m, \\-\\-max N\nat most N things (default 5)\n",
		"\n.B \\-\\-plane plane\n",
		"\n.B \\-\\-version\n",
		".SH NOTES\n.nf\n\\&'Mind\nthe \\e step.\n.fi\n",
	} {
		assert.Contains(t, page, text)
	}
	all := Commands{Name: "tool", About: "tool does things.", List: []Command{c}}
	page = all.man()
	for _, text := range []string{
		".TH TOOL 1 \"\" \"grasp\"\n.SH NAME\ntool \\- does things\n",
		".SS tool toold [flags] [word]\n",
		".SS tool completion bash|fish|zsh\n",
		".SS tool version\n",
	} {
		assert.Contains(t, page, text)
	}
	assert.NotContains(t, page, `\-\-version`, "a command has none of its own")

	status, script, _ := run(c, "", completionWord, "bash")
	assert.Zero(t, status)
	assert.Contains(t, script, "complete -o default -F _toold toold\n")
	status, found, _ := run(c, "", completeWord, "x", "--ma")
	assert.Zero(t, status)
	assert.Equal(t, "--max\n", found)
}
