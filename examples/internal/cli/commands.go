package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Commands is a program with several commands: its first argument says which.
// Besides those of the list there are help, version and completion.
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
		return statusUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			c.help(stdout)
			return 0
		}
		if len(rest) > 1 {
			return c.unexpected(stderr, "help", rest[1], "[command]")
		}
		name, rest = rest[0], []string{"--help"}
		switch name {
		case completionCommand:
			c.completionHelp(stdout)
			return 0
		case versionFlag:
			return c.versionHelp(stdout)
		case sharedTopic:
			c.sharedFlags(stdout)
			return 0
		}
	case versionFlag, "-" + versionFlag, "--" + versionFlag:
		switch {
		case len(rest) > 0 && (rest[0] == "-h" || rest[0] == "--help"):
			return c.versionHelp(stdout)
		case len(rest) > 0:
			return c.unexpected(stderr, versionFlag, rest[0], "")
		}
		return printed(stdout, Version(c.Name)+"\n")
	case completionCommand:
		return c.completion(rest, stdout, stderr)
	case completeWord:
		return printed(stdout, words(c.complete(rest)))
	case manWord:
		return printed(stdout, c.man())
	}
	command, ok := c.find(name)
	if !ok {
		fmt.Fprintf(stderr, "%s: there is no command %q; `%s help` lists them\n", c.Name, name, c.Name)
		return statusUsage
	}
	return command.Execute(ctx, rest, stdin, stdout, stderr)
}

// versionHelp prints how the command for the version is used.
func (c Commands) versionHelp(w io.Writer) int {
	return printed(w, fmt.Sprintf("%s.\n\nUsage: %s %s\n", versionAbout, c.Name, versionFlag))
}

// unexpected tells of an argument that a command does not take.
func (c Commands) unexpected(stderr io.Writer, command, argument, takes string) int {
	fmt.Fprintf(stderr, "%s %s: unexpected argument %q; usage: %s\n", c.Name, command, argument, strings.TrimSpace(c.Name+" "+command+" "+takes))
	return statusUsage
}

// find returns the command of a name.
func (c Commands) find(name string) (Command, bool) {
	for _, command := range c.List {
		if command.Name == name {
			command.Name = c.Name + " " + command.Name
			command.sharedHelp = fmt.Sprintf("`%s help %s`", c.Name, sharedTopic)
			return command, true
		}
	}
	return Command{}, false
}

// help prints what there is.
func (c Commands) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage: %s command [flags] [arguments]\n\n", c.About, c.Name)
	for _, command := range c.List {
		fmt.Fprintf(w, "  %-10s %s\n", command.Name, command.summary())
	}
	fmt.Fprintf(w, "  %-10s %s\n", completionCommand, completionAbout)
	fmt.Fprintf(w, "  %-10s %s\n\n", versionFlag, versionAbout)
	fmt.Fprintf(w, "`%s help command` tells the flags and arguments of one; `%s help %s`\nthose for links, protection and the monitor.\n", c.Name, c.Name, sharedTopic)
	if c.Notes != "" {
		fmt.Fprintf(w, "\n%s\n", c.Notes)
	}
}

// summary is what the command does in a few words.
func (c Command) summary() string {
	about, _, _ := strings.Cut(c.About, ".")
	about, _, _ = strings.Cut(about, ":")
	return strings.ReplaceAll(about, "\n", " ")
}

// sharedTopic is what help is asked for on the flags that commands have in common.
const sharedTopic = "flags"

// sharedFlags prints the flags that commands have in common.
func (c Commands) sharedFlags(w io.Writer) {
	fmt.Fprintf(w, "Flags of the commands of %s that open links:\n", c.Name)
	PrintFlags(w, Command{Results: true}.flags(new(Options)).shared)
}
