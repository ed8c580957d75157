package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
)

// ctl executes graspctl and returns its exit status and what it wrote.
func ctl(in io.Reader, args ...string) (status int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	status = commands().Execute(context.Background(), args, in, &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "Usage: graspctl command",
		"what":                             `there is no command "what"`,
		"discover":                         "an argument is missing; usage: graspctl discover [flags] objective\n",
		"discover a b":                     `unexpected argument "b"; usage: `,
		"watch --type M_FLOD":              `there are no messages of type "M_FLOD"`,
		"discover a -loops 0":              "-loops 0",
		"discover a -timeout -1s":          "must not be negative",
		"synch a -peer nonsense":           `locator "nonsense"`,
		"synch a -timeout -1s":             "must not be negative",
		"negotiate a":                      "an argument is missing",
		"negotiate a b":                    "text needs double quotes",
		"negotiate a 1 -counter x":         "text needs double quotes",
		"negotiate a 1 -accept -decline x": "--accept goes not with --decline",
		"negotiate a 1 -think -1s":         "must not be negative",
		"negotiate a 1 -peer :1":           "neither address nor name",
		"flood a hex:8":                    "odd length",
		"flood a 1 -ttl -1s":               "must not be negative",
		"flood a 1 -at [::]:99999":         "port",
		"flood a 1 -at [::]:1/x":           "protocol",
		"flood a 1 -loops 256":             "-loops 256",
		"watch a":                          `unexpected argument "a"`,
		"watch -n -1":                      "--number must not be negative",
		"decode -max 0":                    "-max 0",
		"decode -link a":                   "unknown flag: --link; `graspctl decode --help` lists the flags",
		"watch --monitor localhost:0":      "no instance that a monitor could show",
		"links --monitor localhost:0":      "no instance that a monitor could show",
		"links --link lo localhost:1":      "the program at the URL has its own",
		"links --plane layer2 localhost:1": "the program at the URL has its own",
		"monitor --link lo localhost:1":    "go with --find",
		"monitor --plane layer2 x:1":       "go with --find",
		"monitor --json x:1":               "--json: this command serves a page",
		"discover a --announce r1":         "--announce goes with --monitor",
		"version x":                        `unexpected argument "x"; usage: graspctl version`,
		"help discover x":                  `unexpected argument "x"; usage: graspctl help [command]`,
		"completion csh":                   "Usage: graspctl completion bash|fish|zsh",
	} {
		status, out, errOut := ctl(nil, strings.Fields(args)...)
		assert.Equal(t, 2, status, args)
		assert.Empty(t, out, args)
		assert.Contains(t, errOut, want, args)
	}

	// Every command is in the help and has its own.
	status, help, _ := ctl(nil, "help")
	assert.Zero(t, status)
	for _, c := range commands().List {
		assert.Contains(t, help, "\n  "+c.Name+" ")
		status, out, _ := ctl(nil, "help", c.Name)
		assert.Zero(t, status, c.Name)
		assert.Contains(t, out, c.About)
		assert.Contains(t, out, "Usage: graspctl "+c.Name+" [flags]")
		assert.Contains(t, out, "--json")
	}
}

// buildOnce builds the program for the tests that run it.
var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "graspctl")
	if err != nil {
		return "", err
	}
	exe := filepath.Join(dir, "graspctl")
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, ".").CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return exe, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if exe, err := buildOnce(); err == nil {
		_ = os.RemoveAll(filepath.Dir(exe))
	}
	os.Exit(status)
}

// What bash makes of a line with the cursor at its end.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash, whose completion this is")
	}
	exe, err := buildOnce()
	require.NoError(t, err)
	for line, want := range map[string]string{
		"dis":              "discover",
		"":                 "discover synch negotiate flood watch decode dump monitor links conform completion help version",
		"help d":           "discover decode dump",
		"help comp":        "completion",
		"completion ":      "bash fish zsh",
		"discover EX3 -ti": "--timeout",
		"decode -":         "--brief --json --max",
		"watch -link l":    "lo",
		"discover E":       "",
		"nonsense -":       "",
	} {
		const script = `source <(graspctl completion bash)
COMP_WORDS=(graspctl "$@"); COMP_CWORD=$#; _graspctl; echo "${COMPREPLY[*]}"; complete -p graspctl`
		words := strings.Split(line, " ")
		cmd := exec.Command(bash, append([]string{"-c", script, "bash"}, words...)...)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(exe)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		got, registered, _ := strings.Cut(string(out), "\n")
		if strings.Contains(line, "-link") {
			assert.Subset(t, strings.Fields(got), []string{want}, line)
		} else {
			assert.Equal(t, want, got, line)
		}
		assert.Contains(t, registered, "-F _graspctl graspctl")
	}
	for _, shell := range []string{"zsh", "fish"} {
		status, out, _ := ctl(nil, "completion", shell)
		assert.Zero(t, status)
		assert.Contains(t, out, "graspctl")
		if _, err := exec.LookPath(shell); err == nil {
			out, err := exec.Command(shell, "-n", "-c", out).CombinedOutput()
			assert.NoError(t, err, string(out))
		}
	}
}

func TestLocator(t *testing.T) {
	lo, err := net.InterfaceByIndex(1)
	require.NoError(t, err)
	for _, s := range []string{"[2001:db8::1]:443", "192.0.2.1:53/udp", "example.com:7017", "coap://example.com/x", "[::]:0/41", "[2001:db8::1]:4443/quic", "example.com:443/http"} {
		l, err := parseLocator(s)
		require.NoError(t, err, s)
		assert.Equal(t, s, l.String())
		assert.Equal(t, s, resultOf("x", l).Locator)
	}
	l, err := parseLocator("[fe80::1%" + lo.Name + "]:1")
	require.NoError(t, err)
	assert.Equal(t, "1", l.IP.Zone())
	assert.Equal(t, 1, l.IfIndex)
	r := resultOf("x", l)
	assert.Equal(t, "[fe80::1%"+lo.Name+"]:1", r.Locator)
	assert.Equal(t, "fe80::1", r.Address)
	assert.Equal(t, lo.Name, r.Link)
	again, err := parseLocator("[fe80::1%1]:1")
	require.NoError(t, err)
	assert.Equal(t, l, again)
	assert.Equal(t, grasp.TCP, l.Protocol)
	for _, s := range []string{"", "x", "[fe80::1%nolink]:1", "a:b:1", "x:", "x:70000", "x:1/", "x:1/icmp", "fe80::1"} {
		_, err := parseLocator(s)
		assert.Error(t, err, s)
	}
}
