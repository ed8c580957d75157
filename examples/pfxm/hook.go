package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/go-grasp/grasp/examples/internal/prefix"
)

// commands are the programs that are run as hooks. It is a flag, which may be given
// several times.
type commands []string

func (c commands) String() string { return strings.Join(c, " ") }

// Type is for the help.
func (*commands) Type() string { return "commands" }

// Set finds a program.
func (c *commands) Set(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	*c = append(*c, path)
	return nil
}

// hook returns what runs the programs one after the other, nil if there are none. Each has
// a time in which to end; the end of pfxm does not break it off.
func (c commands) hook(timeout time.Duration) prefix.Hook {
	if len(c) == 0 {
		return nil
	}
	return func(ctx context.Context, e prefix.Event) error {
		env := append(os.Environ(), environment(e)...)
		for _, path := range c {
			if err := runHook(context.WithoutCancel(ctx), path, env, timeout); err != nil {
				return err
			}
		}
		return nil
	}
}

// environment returns what an event is in the environment of a program.
func environment(e prefix.Event) []string {
	var all strings.Builder
	for _, d := range e.All {
		fmt.Fprintln(&all, d.Interface, d.Prefix, firstAddress(d.Prefix))
	}
	env := []string{
		"PFXM_ACTION=" + string(e.Action),
		"PFXM_INTERFACE=" + e.Interface,
		"PFXM_PREFIX=" + e.Prefix.String(),
		"PFXM_ADDRESS=" + firstAddress(e.Prefix).String(),
		"PFXM_ALL=" + strings.TrimSuffix(all.String(), "\n"),
	}
	if e.Old.IsValid() {
		env = append(env, "PFXM_OLD_PREFIX="+e.Old.String(), "PFXM_OLD_ADDRESS="+firstAddress(e.Old).String())
	}
	return env
}

// firstAddress returns the first address of a prefix that a router can have, with the
// length of the prefix: not that of all routers or of the network (RFC 4291 section
// 2.6.1), but for links of two and for single addresses (RFC 6164, RFC 3021).
func firstAddress(p netip.Prefix) netip.Prefix {
	a := p.Addr()
	if p.Bits() < a.BitLen()-1 {
		a = a.Next()
	}
	return netip.PrefixFrom(a, p.Bits())
}

// maxOutput bounds what is kept of the output of a program, whose last line is told if it
// fails.
const maxOutput = 4096

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-maxOutput):]
	return len(b), nil
}

// lastLine returns the last line that is not empty.
func (t *tail) lastLine() string {
	lines := bytes.Split(bytes.TrimSpace(t.b), []byte("\n"))
	return string(lines[len(lines)-1])
}

// runHook runs a program, and what that runs, for a time at most.
func runHook(ctx context.Context, path string, env []string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(ctx, path)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
	cmd.WaitDelay = time.Second // for the output, which others may have taken along
	withChildren(cmd)
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s did not end in %v", path, timeout)
	case errors.Is(err, exec.ErrWaitDelay): // it left something running, which is its business
		err = nil
	case err != nil:
		err = fmt.Errorf("%s: %w", path, err)
	}
	if line := out.lastLine(); err != nil && line != "" {
		err = fmt.Errorf("%w: %.200q", err, line)
	}
	return err
}
