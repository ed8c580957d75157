package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Commands is a program with several commands: its first argument says which.
// Besides those of the list there are help and completion.
type Commands struct {
	Name  string
	About string // what it does
	Notes string // for the end of its help, such as what its exit status means
	List  []Command
}

// Main is [Command.Main] for the command that the first argument names.
func (c Commands) Main() { processMain(c.Execute) }

// Execute is Main without the end of the process: it returns the status, 2 if
// there is no such command.
func (c Commands) Execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		c.help(stderr)
		return 2
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			c.help(stdout)
			return 0
		}
		name, rest = rest[0], []string{"-h"}
	case completionCommand:
		return c.completion(rest, stdout, stderr)
	case completeCommand:
		for _, word := range c.complete(rest) {
			fmt.Fprintln(stdout, word)
		}
		return 0
	}
	command, ok := c.find(name)
	if !ok {
		fmt.Fprintf(stderr, "%s: there is no command %q; %s help tells which there are\n", c.Name, name, c.Name)
		return 2
	}
	command.Name = c.Name + " " + command.Name
	return command.Execute(ctx, rest, stdin, stdout, stderr)
}

func (c Commands) find(name string) (Command, bool) {
	for _, command := range c.List {
		if command.Name == name {
			return command, true
		}
	}
	return Command{}, false
}

// help prints what there is.
func (c Commands) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage: %s command [flags] [arguments]\n\n", c.About, c.Name)
	for _, command := range c.List {
		about, _, _ := strings.Cut(command.About, ".")
		fmt.Fprintf(w, "  %-10s %s\n", command.Name, strings.ReplaceAll(about, "\n", " "))
	}
	fmt.Fprintf(w, "  %-10s %s\n\n", completionCommand, "prints a script that completes command lines in bash, zsh or fish")
	fmt.Fprintf(w, "%s help command tells the flags and arguments of one.\n", c.Name)
	if c.Notes != "" {
		fmt.Fprintf(w, "\n%s\n", c.Notes)
	}
}
