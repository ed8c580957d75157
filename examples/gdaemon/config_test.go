package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/supervise"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

// What is wrong with a configuration is told with file, line and way out.
func TestConfigErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gdaemon.toml")
	for text, want := range map[string]string{
		"links = eth0":                                 `:1:9: `,
		"\n\nlink = ['eth0']":                          `:3: there is no setting "link"; gdaemon.toml(5) lists them`,
		"links = 'eth0'":                               `:1:9: links: `,
		"# a\nlinks = ['a', '']":                       `:2: links: a name is empty`,
		"rate = 1\n\nplane = 'ip'":                     `:3: plane "ip": there are only layer2, tls, quads`,
		"plane = 'tls'":                                `:1: plane "tls": it needs domain`,
		"rate = 1\nmember = 'x'":                       `:2: member is for plane = "tls"`,
		"domain = 'x'":                                 `:1: domain is for plane = "tls"`,
		"plane = 'quads'":                              `:1: plane "quads": it needs password-file`,
		"password-file = '/x'":                         `:1: password-file is for plane = "quads"`,
		"plane = 'quads'\npassword-file = '/none/x'":   `:2: password-file: open /none/x`,
		"plane = 'quads'\npassword-file = '/dev/null'": `:2: password-file: /dev/null: its first line`,
		"rate = 1\nannounce = 'r1'":                    `:2: announce goes with monitor`,
		"\nrate = -1":                                  `:2: rate must not be negative`,
		"log = 'xml'":                                  `:1: log "xml": there are only`,
		"[[program]]\nname = 'a'\ncommand = ['x']\n\n[[program]]\ncommand = ['y']":   `:5: program "": name is missing`,
		"[[program]]\nname = 'a'\ncommand = ['x']\n[[program]]\nname = 'a'":          `:5: program "a": there are two of that name`,
		"[[program]]\nname = 'a'\ncommand = []":                                      `:3: program "a": command is missing`,
		"[[program]]\nname = 'a'\ncommand = ['x']\nrestart = 'no'":                   `:4: program "a": restart "no": there are only`,
		"[[program]]\nname = 'a'\ncommand = ['x']\nlog-size = -1":                    `:4: program "a": log-size`,
		"[[program]]\nname = 'a'\ncommand = ['x']\nstop-time = '0s'":                 `:4:13: program.stop-time: "0s" is not above 0`,
		"[[program]]\nname = 'a'\ncommand = ['x']\n[program.environment]\n'a=' = ''": `:4: program "a": environment: "a="`,
		"[[program]]\nname = 'a'\ncommand = ['x']\n[program.limits]\nmemory = -1":    `:5:10: program.limits.memory`,
	} {
		write(t, file, text)
		_, err := load(file)
		if assert.Error(t, err, text) {
			assert.Contains(t, err.Error(), file+want, text)
		}
	}
	_, err := load(filepath.Join(t.TempDir(), "none.toml"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file, password := filepath.Join(dir, "gdaemon.toml"), filepath.Join(dir, "password")
	write(t, file, "")
	c, err := load(file)
	require.NoError(t, err)
	assert.Equal(t, config{nodeConfig: nodeConfig{Plane: "layer2"}, Log: logText}, c, "the defaults")

	write(t, password, "secret\n")
	write(t, file, strings.ReplaceAll(`
links = ["eth0", "eth1"]
plane = "quads"
password-file = "PASSWORD"
monitor = "localhost:8990"
rate = 50
log = "json"

[[program]]
name = "a"
command = ["a", "-x"]

[[program]]
name = "b"
command = ["b"]
directory = "/d"
environment = { B = "2", A = "1" }
log = "/l"
log-size = 5
restart = "never"
stop-time = "3s"
limits = { memory = 1, files = 2, cpu = 3 }
`, "PASSWORD", password))
	c, err = load(file)
	require.NoError(t, err)
	assert.Equal(t, "secret", c.password)
	assert.Equal(t, []string{"eth0", "eth1"}, c.Links)
	assert.Equal(t, []supervise.Spec{
		{Name: "a", Command: []string{"a", "-x"}, LogSize: defaultLogSize, Restart: supervise.Always, Grace: defaultStopTime},
		{
			Name: "b", Command: []string{"b"}, Dir: "/d", Env: []string{"A=1", "B=2"}, Log: "/l", LogSize: 5,
			Restart: supervise.Never, Grace: 3 * time.Second, Limits: supervise.Limits{Memory: 1, Files: 2, CPU: 3},
		},
	}, c.specs())
}

// The file that is installed is correct, as it is and with all that it has commented
// out.
func TestInstalledConfig(t *testing.T) {
	text, err := os.ReadFile("gdaemon.toml")
	require.NoError(t, err)
	c, err := load("gdaemon.toml")
	require.NoError(t, err)
	assert.Empty(t, c.Programs)

	all := filepath.Join(t.TempDir(), "gdaemon.toml")
	write(t, all, regexp.MustCompile(`(?m)^#([a-z\[])`).ReplaceAllString(strings.ReplaceAll(string(text), `"layer2"`, `"tls"`), "$1"))
	_, err = load(all)
	require.ErrorContains(t, err, `password-file is for plane = "quads"`)
	changed, err := os.ReadFile(all)
	require.NoError(t, err)
	write(t, all, regexp.MustCompile(`(?m)^password-file.*$`).ReplaceAllString(string(changed), ""))
	c, err = load(all)
	require.NoError(t, err)
	require.Len(t, c.Programs, 1)
	assert.Equal(t, programConfig{
		Name: "pfxm", Command: []string{"/usr/bin/pfxm", "--link", "eth0"}, Directory: "/var/lib/gdaemon",
		Environment: map[string]string{"LANG": "C"}, Log: "/var/log/gdaemon/pfxm.log", LogSize: defaultLogSize,
		Restart: "always", StopTime: duration(defaultStopTime), Limits: c.Programs[0].Limits,
	}, c.Programs[0])
}
