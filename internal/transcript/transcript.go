// Package transcript runs the tests of the state machines: files that hold
// commands, one a line, and below each what it gave. They are read like a
// dialogue, and a change of behaviour is a change of a text:
//
//	# RFC 8990 section 2.5.4.4: at zero nothing is relayed.
//	> discovery link=1 loops=1
//	dropped: loop count
//
// A line that begins with # is a comment, one that begins with > a command: a
// word, then arguments of the form name=value, or a bare name, which is short
// for name=true. A value with spaces is quoted as in Go. All other lines are
// what the command before gave; empty lines mean nothing.
//
// The flag -rewrite has the files say what the commands give now:
//
//	go test ./internal/loop -run Transcripts -rewrite
//
// Read the difference before you keep it.
package transcript

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts in testdata with what the commands give now")

// Run runs every file *.txt of a directory as a subtest of its own. For each it
// calls start, which makes a new machine and returns the function that runs a
// command on it and returns what it gave: any number of lines, or none.
func Run(t *testing.T, dir string, start func(t *testing.T) func(*Command) string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no transcripts in %s", dir)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			now, wrong, err := replay(file, string(was), start(t))
			switch {
			case err != nil:
				t.Fatal(err)
			case *rewrite && now != string(was):
				if err := os.WriteFile(file, []byte(now), 0o666); err != nil {
					t.Fatal(err)
				}
			case !*rewrite:
				for _, w := range wrong {
					t.Error(w)
				}
			}
		})
	}
}

// replay runs the commands of a transcript. It returns the transcript with what
// they give now, and a text for each command that gives something else.
func replay(file, text string, run func(*Command) string) (now string, wrong []string, err error) {
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		fmt.Fprintln(&out, line)
		command, ok := strings.CutPrefix(line, ">")
		if !ok {
			if line != "" && !strings.HasPrefix(line, "#") {
				return "", nil, fmt.Errorf("%s:%d: output without a command: %q", file, i+1, line)
			}
			continue
		}
		c, err := parse(command)
		if err != nil {
			return "", nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		var want []string
		for i+1 < len(lines) && lines[i+1] != "" && lines[i+1][0] != '>' && lines[i+1][0] != '#' {
			i++
			want = append(want, lines[i])
		}
		at := i + 1 - len(want)
		got := strings.TrimRight(run(c), "\n")
		if err := c.finish(); err != nil {
			return "", nil, fmt.Errorf("%s:%d: %w", file, at, err)
		}
		if got != "" {
			fmt.Fprintln(&out, got)
		}
		if got != strings.Join(want, "\n") {
			wrong = append(wrong, fmt.Sprintf("%s:%d: %s\ngave:\n%s\nwanted:\n%s", file, at, line, got, strings.Join(want, "\n")))
		}
	}
	return out.String(), wrong, nil
}

// Command is a command of a transcript.
type Command struct {
	Name string
	args map[string]string
	used map[string]bool
	err  error // the first argument that makes no sense
}

// parse reads a command.
func parse(line string) (*Command, error) {
	c := &Command{args: make(map[string]string), used: make(map[string]bool)}
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimLeft(rest, " ") {
		end := strings.IndexAny(rest, " =")
		if end < 0 {
			end = len(rest)
		}
		word := rest[:end]
		rest = rest[end:]
		if c.Name == "" {
			c.Name = word
			continue
		}
		value := "true"
		if after, ok := strings.CutPrefix(rest, "="); ok {
			var err error
			if value, rest, err = parseValue(after); err != nil {
				return nil, fmt.Errorf("argument %s: %w", word, err)
			}
		}
		if _, twice := c.args[word]; twice {
			return nil, fmt.Errorf("argument %s is there twice", word)
		}
		c.args[word] = value
	}
	if c.Name == "" {
		return nil, fmt.Errorf("no command after >")
	}
	return c, nil
}

// parseValue reads a value, quoted or up to the next space.
func parseValue(s string) (value, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", err
		}
		value, err = strconv.Unquote(quoted)
		return value, s[len(quoted):], err
	}
	value, rest, _ = strings.Cut(s, " ")
	return value, rest, nil
}

// Has reports whether an argument is given.
func (c *Command) Has(name string) bool {
	_, ok := c.args[name]
	c.used[name] = true
	return ok
}

// String returns an argument, or a default if it is not given.
func (c *Command) String(name, otherwise string) string {
	if !c.Has(name) {
		return otherwise
	}
	return c.args[name]
}

// Strings returns the parts of an argument that are separated by commas.
func (c *Command) Strings(name string) []string {
	if s := c.String(name, ""); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

// Bool returns an argument that is true or false, false if it is not given.
func (c *Command) Bool(name string) bool {
	return Value(c, name, false, strconv.ParseBool)
}

// Int returns an argument that is a whole number, or a default.
func (c *Command) Int(name string, otherwise int) int {
	return Value(c, name, otherwise, strconv.Atoi)
}

// Uint32 returns an argument that is a number of 32 bits, or a default.
func (c *Command) Uint32(name string, otherwise uint32) uint32 {
	return Value(c, name, otherwise, func(s string) (uint32, error) {
		n, err := strconv.ParseUint(s, 10, 32)
		return uint32(n), err
	})
}

// Duration returns an argument such as 100ms, or a default.
func (c *Command) Duration(name string, otherwise time.Duration) time.Duration {
	return Value(c, name, otherwise, time.ParseDuration)
}

// Value returns an argument that is read by parse, or a default.
func Value[T any](c *Command, name string, otherwise T, parse func(string) (T, error)) T {
	if !c.Has(name) {
		return otherwise
	}
	v, err := parse(c.args[name])
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("argument %s: %w", name, err)
	}
	return v
}

// Unknown marks a command that the machine does not have.
func (c *Command) Unknown() string {
	c.err = fmt.Errorf("no such command: %s", c.Name)
	return ""
}

// finish returns what is wrong with a command once it has run.
func (c *Command) finish() error {
	if c.err != nil {
		return c.err
	}
	for name := range c.args {
		if !c.used[name] {
			return fmt.Errorf("command %s has no argument %s", c.Name, name)
		}
	}
	return nil
}
