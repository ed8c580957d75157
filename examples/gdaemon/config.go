package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/supervise"
)

// config is what the configuration file says, or the flags. The file is in TOML,
// which has comments and lists of tables, and whose decoder says in which line
// of a file something is wrong.
type config struct {
	nodeConfig
	Log      string          `toml:"log"` // text or json
	Programs []programConfig `toml:"program"`
}

// nodeConfig is what concerns the relay itself.
type nodeConfig struct {
	Links        []string `toml:"links"`
	Plane        string   `toml:"plane"`
	Domain       string   `toml:"domain"`
	Member       string   `toml:"member"`
	PasswordFile string   `toml:"password-file"`
	Monitor      string   `toml:"monitor"`
	Announce     string   `toml:"announce"`
	Rate         int      `toml:"rate"`

	password string
}

// programConfig is a program that gdaemon runs.
type programConfig struct {
	Name        string            `toml:"name"`
	Command     []string          `toml:"command"`
	Directory   string            `toml:"directory"`
	Environment map[string]string `toml:"environment"`
	Log         string            `toml:"log"`
	LogSize     int64             `toml:"log-size"`
	Restart     string            `toml:"restart"`
	StopTime    duration          `toml:"stop-time"`
	Limits      struct {
		Memory uint64 `toml:"memory"`
		Files  uint64 `toml:"files"`
		CPU    uint64 `toml:"cpu"`
	} `toml:"limits"`
}

// The values of log.
const (
	logText = "text"
	logJSON = "json"
)

// The settings of a program that does not say.
const (
	defaultLogSize  = 1 << 20
	defaultStopTime = 10 * time.Second
)

// duration is a time such as 10s.
type duration time.Duration

// UnmarshalText reads it.
func (d *duration) UnmarshalText(b []byte) error {
	parsed, err := time.ParseDuration(string(b))
	if err == nil && parsed <= 0 {
		err = fmt.Errorf("%q is not above 0", b)
	}
	*d = duration(parsed)
	return err
}

// load reads a configuration file. Its errors name the file, the line and the way
// out.
func load(file string) (config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return config{}, err
	}
	var c config
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&c); err != nil {
		return config{}, atLine(file, err)
	}
	if key, err := c.check(); err != nil {
		return config{}, fmt.Errorf("%s:%d: %w", file, lineOf(text, key), err)
	}
	if c.PasswordFile != "" {
		secret, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return config{}, fmt.Errorf("%s:%d: password-file: %w", file, lineOf(text, "password-file"), err)
		}
		if c.password = strings.TrimRight(string(secret), "\r\n"); c.password == "" {
			return config{}, fmt.Errorf("%s:%d: password-file: %s: its first line is the password, and there is none", file, lineOf(text, "password-file"), c.PasswordFile)
		}
	}
	return c, nil
}

// atLine returns an error of the decoder with the line.
func atLine(file string, err error) error {
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		line, _ := unknown.Errors[0].Position()
		key := strings.Join(unknown.Errors[0].Key(), ".")
		return fmt.Errorf("%s:%d: there is no setting %q; gdaemon.toml(5) lists them", file, line, key)
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := wrong.Position()
		if key := strings.Join(wrong.Key(), "."); key != "" {
			return fmt.Errorf("%s:%d:%d: %s: %s", file, line, column, key, strings.TrimPrefix(wrong.Error(), "toml: "))
		}
		return fmt.Errorf("%s:%d:%d: %s", file, line, column, strings.TrimPrefix(wrong.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", file, err)
}

// check refuses what makes no sense, completes the rest, and returns for an error
// which key it is about.
func (c *config) check() (key string, err error) {
	c.Plane = cmp.Or(c.Plane, cli.PlaneLayer2)
	c.Log = cmp.Or(c.Log, logText)
	switch {
	case slices.Contains(c.Links, ""):
		return "links", errors.New("links: a name is empty; `graspctl links` lists the interfaces")
	case !slices.Contains(cli.Planes, c.Plane):
		return "plane", fmt.Errorf("plane %q: there are only %s", c.Plane, strings.Join(cli.Planes, ", "))
	case c.Plane == cli.PlaneTLS && (c.Domain == "" || c.Member == ""):
		return "plane", errors.New(`plane "tls": it needs domain, a directory with certificates, and member, the name of this node in it`)
	case c.Plane != cli.PlaneTLS && c.Domain != "":
		return "domain", errors.New(`domain is for plane = "tls"`)
	case c.Plane != cli.PlaneTLS && c.Member != "":
		return "member", errors.New(`member is for plane = "tls"`)
	case c.Plane == cli.PlaneQUADS && c.PasswordFile == "" && os.Getenv(cli.PasswordEnv) == "":
		return "plane", errors.New(`plane "quads": it needs password-file, or the password in the environment as ` + cli.PasswordEnv)
	case c.Plane != cli.PlaneQUADS && c.PasswordFile != "":
		return "password-file", errors.New(`password-file is for plane = "quads"`)
	case c.Announce != "" && c.Monitor == "":
		return "announce", errors.New("announce goes with monitor, which it announces")
	case c.Rate < 0:
		return "rate", errors.New("rate must not be negative; 0 is the default, 200")
	case c.Log != logText && c.Log != logJSON:
		return "log", fmt.Errorf(`log %q: there are only "text" and "json"`, c.Log)
	}
	c.password = os.Getenv(cli.PasswordEnv)
	for i := range c.Programs {
		if key, err := c.Programs[i].check(c.Programs[:i]); err != nil {
			return fmt.Sprintf("program[%d].%s", i, key), fmt.Errorf("program %q: %w", c.Programs[i].Name, err)
		}
	}
	return "", nil
}

// check does so for a program; others are those before it.
func (c *programConfig) check(others []programConfig) (key string, err error) {
	c.Restart = cmp.Or(c.Restart, string(supervise.Always))
	c.LogSize = cmp.Or(c.LogSize, defaultLogSize)
	c.StopTime = cmp.Or(c.StopTime, duration(defaultStopTime))
	switch {
	case c.Name == "":
		return "name", errors.New("name is missing")
	case slices.ContainsFunc(others, func(o programConfig) bool { return o.Name == c.Name }):
		return "name", errors.New("there are two of that name")
	case len(c.Command) == 0 || c.Command[0] == "":
		return "command", errors.New(`command is missing: a list such as ["/usr/bin/pfxm", "--link", "eth0"]`)
	case !slices.Contains([]supervise.Restart{supervise.Always, supervise.OnFailure, supervise.Never}, supervise.Restart(c.Restart)):
		return "restart", fmt.Errorf("restart %q: there are only always, on-failure and never", c.Restart)
	case c.LogSize < 0:
		return "log-size", errors.New("log-size must not be negative")
	}
	for name := range c.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return "environment", fmt.Errorf("environment: %q is not a name of a variable", name)
		}
	}
	return "", nil
}

// specs returns the programs for a group.
func (c *config) specs() []supervise.Spec {
	var all []supervise.Spec
	for _, p := range c.Programs {
		var env []string
		for _, name := range slices.Sorted(maps.Keys(p.Environment)) {
			env = append(env, name+"="+p.Environment[name])
		}
		all = append(all, supervise.Spec{
			Name: p.Name, Command: p.Command, Dir: p.Directory, Env: env, Log: p.Log, LogSize: p.LogSize,
			Restart: supervise.Restart(p.Restart), Grace: time.Duration(p.StopTime), Limits: supervise.Limits(p.Limits),
		})
	}
	return all
}

// options returns the flags that say the same as the configuration.
func (c *config) options(o cli.Options) cli.Options {
	o.Links, o.PlaneName, o.Domain, o.Member, o.Monitor = c.Links, c.Plane, c.Domain, c.Member, c.Monitor
	o.Password, o.Announce = c.password, c.Announce
	o.JSON = c.Log == logJSON
	return o
}
