package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Flags and arguments come in any order, up to "--".
func TestArguments(t *testing.T) {
	var got *Program
	c := Command{Name: "x", Arguments: "word...", Run: func(_ context.Context, p *Program) error {
		got = p
		return nil
	}}
	for line, want := range map[string][]string{
		"a b":               {"a", "b"},
		"-json a -link x b": {"a", "b"},
		"a -json -- -b -c":  {"a", "-b", "-c"},
		"a - -json":         {"a", "-"},
		"-- -json a":        {"-json", "a"},
	} {
		status, _, stderr := run(c, "", strings.Fields(line)...)
		require.Zero(t, status, stderr)
		assert.Equal(t, want, got.Args, line)
		assert.Equal(t, !strings.HasPrefix(line, "--") && strings.Contains(line, "-json"), got.JSON, line)
	}
	status, _, _ := run(c, "", "a", "-nonsense")
	assert.Equal(t, 2, status)
}

func TestExitError(t *testing.T) {
	cause := errors.New("no such thing")
	c := Command{Name: "x", Run: func(context.Context, *Program) error {
		return fmt.Errorf("ask: %w", &ExitError{Status: 7, Err: cause})
	}}
	status, _, stderr := run(c, "")
	assert.Equal(t, 7, status)
	assert.Equal(t, "x: ask: no such thing\n", stderr)
	assert.ErrorIs(t, &ExitError{7, cause}, cause)
}

// A program that prints results says the rest elsewhere, and one that opens no
// link has no flags for links.
func TestResultsAndOffline(t *testing.T) {
	c := Command{Name: "x", Results: true, Offline: true, Run: func(_ context.Context, p *Program) error {
		p.Say("progress")
		_, err := fmt.Fprintln(p.Stdout, "result")
		return err
	}}
	status, stdout, stderr := run(c, "")
	assert.Zero(t, status)
	assert.Equal(t, "result\n", stdout)
	assert.Equal(t, "progress\n", stderr)
	for _, flag := range []string{"-link=lo", "-plane=layer2", "-dialogue"} {
		status, _, stderr := run(c, "", flag)
		assert.Equal(t, 2, status)
		assert.Contains(t, stderr, "x: unknown flag: -"+strings.Split(flag, "=")[0]+"; `x --help` lists the flags\n")
	}
}

func TestCommands(t *testing.T) {
	var ran []string
	command := func(name string) Command {
		return Command{Name: name, About: "Does " + name + ".\nAnd more.", Arguments: "[word]", Run: func(_ context.Context, p *Program) error {
			ran = append(ran, name+" "+strings.Join(p.Args, " "))
			return errors.New("enough")
		}}
	}
	c := Commands{Name: "tool", About: "tool does things.", Notes: "Mind the step.", List: []Command{command("push"), command("pull")}}
	execute := func(args ...string) (status int, stdout, stderr string) {
		var out, errOut bytes.Buffer
		status = c.Execute(t.Context(), args, nil, &out, &errOut)
		return status, out.String(), errOut.String()
	}
	status, _, stderr := execute("pull", "hard")
	assert.Equal(t, 1, status)
	assert.Equal(t, "tool pull: enough\n", stderr)
	assert.Equal(t, []string{"pull hard"}, ran)

	for _, help := range []string{"help", "-h", "--help"} {
		status, stdout, _ := execute(help)
		assert.Zero(t, status)
		for _, text := range []string{"tool does things.", "\n  push       Does push\n", "completion", "Mind the step.\n"} {
			assert.Contains(t, stdout, text)
		}
	}
	status, stdout, _ := execute("help", "push")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "Does push.\nAnd more.\n\nUsage: tool push [flags] [word]\n")
	assert.Contains(t, stdout, "`tool help flags`")
	assert.NotContains(t, stdout, "--plane")
	status, stdout, _ = execute("help", "flags")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "--plane")
	status, stdout, _ = execute("help", "completion")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "source <(tool completion bash)\n")
	status, _, stderr = execute("push", "-colour")
	assert.Equal(t, 2, status)
	assert.Equal(t, "tool push: unknown flag: --colour; `tool push --help` lists the flags\n", stderr)
	status, _, stderr = execute()
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "Usage: tool command")
	status, _, stderr = execute("shove")
	assert.Equal(t, 2, status)
	assert.Equal(t, "tool: there is no command \"shove\"; `tool help` lists them\n", stderr)

	for words, want := range map[string]string{
		"pu":             "push pull",
		"":               "push pull completion help version",
		"help pus":       "push",
		"help f":         "flags",
		"push -j":        "--json",
		"push --j":       "--json",
		"push --link lo": "lo",
		"shove -":        "",
		"push word":      "",
		"completion b":   "bash",
	} {
		got := c.complete(strings.Split(words, " "))
		if words == "push --link lo" {
			assert.Contains(t, got, want)
			continue
		}
		assert.Equal(t, want, strings.Join(got, " "), words)
	}
	assert.Empty(t, c.complete(nil))
	for _, shell := range shells {
		status, stdout, _ := execute("completion", shell)
		assert.Zero(t, status)
		assert.Contains(t, stdout, completeWord)
	}
	status, _, _ = execute("completion", "sh")
	assert.Equal(t, 2, status)
}
