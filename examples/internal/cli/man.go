package cli

import (
	"fmt"
	"strings"

	flag "github.com/spf13/pflag"
)

// man returns the man page of a program, in the macros of man(7).
func (c Command) man() string {
	section := 1
	if c.Daemon {
		section = 8
	}
	s := c.flags(new(Options))
	text := manHead(c.Name, section, c.summary()) +
		fmt.Sprintf(".SH SYNOPSIS\n.B %s\n[flags]%s\n", roff(c.Name), roff(c.argumentsUsage())) +
		".SH DESCRIPTION\n" + paragraphs(c.About) +
		".SH OPTIONS\n" + manFlags(s.own)
	if s.shared.HasFlags() {
		text += ".SS For links, protection and the monitor\n" + manFlags(s.shared)
	}
	return text + manNotes(c.Notes)
}

// man returns the man page of a program with commands.
func (c Commands) man() string {
	text := manHead(c.Name, 1, c.About) +
		fmt.Sprintf(".SH SYNOPSIS\n.B %s\ncommand [flags] [arguments]\n", roff(c.Name)) +
		".SH DESCRIPTION\n" + paragraphs(c.About) + ".SH COMMANDS\n"
	for _, command := range c.List {
		command, _ = c.find(command.Name)
		text += fmt.Sprintf(".SS %s [flags]%s\n", roff(command.Name), roff(command.argumentsUsage())) +
			paragraphs(command.About) + manFlags(command.flags(new(Options)).own)
	}
	text += fmt.Sprintf(".SS %s %s %s\n%s.\n", roff(c.Name), completionCommand, strings.Join(shells, "|"), completionAbout)
	text += fmt.Sprintf(".SS %s %s\n%s.\n", roff(c.Name), versionFlag, versionAbout)
	return text + ".SH OPTIONS\nThose of the commands that open links.\n" + manFlags(Command{Results: true}.flags(new(Options)).shared) + manNotes(c.Notes)
}

func manHead(name string, section int, about string) string {
	about = strings.TrimSuffix(strings.ReplaceAll(about, "\n", " "), ".")
	about = strings.TrimPrefix(about, name+" ")
	about = strings.TrimPrefix(about, "is ")
	return fmt.Sprintf(".TH %s %d \"\" \"grasp\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(roff(name)), section, roff(name), roff(about))
}

// manFlags returns flags with what they do.
func manFlags(f *flag.FlagSet) string {
	var text strings.Builder
	f.VisitAll(func(x *flag.Flag) {
		fmt.Fprintf(&text, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(head(x))), roff(usage(x)))
	})
	return text.String()
}

// manNotes returns notes as they are.
func manNotes(notes string) string {
	if notes == "" {
		return ""
	}
	return ".SH NOTES\n.nf\n" + roff(notes) + "\n.fi\n"
}

// paragraphs returns a text with a paragraph for each that ends in an empty line.
func paragraphs(text string) string {
	return roff(strings.ReplaceAll(text, "\n\n", "\n.PP\n")) + "\n"
}

// roff escapes what would be a command.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && line != ".PP" {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
