package cli

import (
	"fmt"
	"io"
	"strings"

	flag "github.com/spf13/pflag"
)

const (
	textWidth = 80 // of help texts
	headWidth = 28 // of the column with the names of flags, at most
)

// help prints what the command does, and its flags.
func (c Command) help(w io.Writer, s flagSets) {
	fmt.Fprintf(w, "%s\n\nUsage: %s\n\nFlags:\n", c.About, c.usage())
	PrintFlags(w, s.own)
	switch {
	case !s.shared.HasFlags():
	case c.sharedHelp != "":
		fmt.Fprintf(w, "\nFlags for links, protection and the monitor: %s\n", c.sharedHelp)
	default:
		fmt.Fprintf(w, "\nFlags for links, protection and the monitor:\n")
		PrintFlags(w, s.shared)
	}
	if c.Notes != "" {
		fmt.Fprintf(w, "\n%s\n", c.Notes)
	}
}

// usage says in a line how the command is used.
func (c Command) usage() string { return fmt.Sprintf("%s [flags]%s", c.Name, c.argumentsUsage()) }

func (c Command) argumentsUsage() string {
	if c.Arguments != "" {
		return " " + c.Arguments
	}
	return ""
}

// PrintFlags prints flags with what they do.
func PrintFlags(w io.Writer, f *flag.FlagSet) {
	width := 0
	f.VisitAll(func(x *flag.Flag) {
		if n := len(head(x)); n <= headWidth {
			width = max(width, n)
		}
	})
	f.VisitAll(func(x *flag.Flag) {
		text := wrap(usage(x), textWidth-width-2)
		h := head(x)
		if len(h) > width {
			fmt.Fprintln(w, h)
			h = ""
		}
		for _, line := range text {
			fmt.Fprintf(w, "%-*s  %s\n", width, h, line)
			h = ""
		}
	})
}

// head returns how a flag is written, such as "  -n, --number N".
func head(x *flag.Flag) string {
	h := "      --" + x.Name
	if x.Shorthand != "" {
		h = "  -" + x.Shorthand + ", --" + x.Name
	}
	if name, _ := flag.UnquoteUsage(x); x.NoOptDefVal == "" {
		h += " " + name
	}
	return h
}

// usage returns what a flag does, and its default if that says something.
func usage(x *flag.Flag) string {
	name, text := flag.UnquoteUsage(x)
	text = strings.TrimSuffix(text, ": "+name) // the head has said it
	switch x.DefValue {
	case "", "0", "0s", "false", "[]":
		return text
	}
	if x.Value.Type() == "string" {
		return fmt.Sprintf("%s (default %q)", text, x.DefValue)
	}
	return fmt.Sprintf("%s (default %s)", text, x.DefValue)
}

// wrap breaks a text into lines.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
