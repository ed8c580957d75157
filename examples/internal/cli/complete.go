package cli

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	flag "github.com/spf13/pflag"
)

// The command that prints a script for a shell, and the words that are for scripts
// only: with completeWord a program prints what a word may become, with manWord its
// man page, and one without commands prints a script with completionWord.
const (
	completionCommand = "completion"
	completionAbout   = "Prints a script that completes command lines in bash, zsh or fish"
	completeWord      = "__complete"
	completionWord    = "__completion"
	manWord           = "__man"
)

// scripts ask the program itself what a word may become, and leave it to the
// shell, which knows about files, if that is nothing. The program's name
// stands for %[1]s, the command's for %[2]s.
var scripts = map[string]string{
	"bash": `# To be read by bash: source <(%[1]s completion bash)
_%[1]s() {
	local IFS=$'\n'
	COMPREPLY=($("${COMP_WORDS[0]}" %[2]s "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _%[1]s %[1]s
`,
	"zsh": `#compdef %[1]s
# To be read by zsh, after compinit: source <(%[1]s completion zsh)
_%[1]s() {
	local -a found
	found=(${(f)"$("${words[1]}" %[2]s "${(@)words[2,CURRENT]}" 2>/dev/null)"})
	if (( $#found )); then compadd -- $found; else _files; fi
}
if [ "$funcstack[1]" = "_%[1]s" ]; then _%[1]s; else compdef _%[1]s %[1]s; fi
`,
	"fish": `# To be read by fish: %[1]s completion fish | source
function __%[1]s_complete
	set -l words (commandline -opc) (commandline -ct)
	$words[1] %[2]s $words[2..] 2>/dev/null
end
complete -c %[1]s -a '(__%[1]s_complete)'
`,
}

var shells = []string{"bash", "fish", "zsh"}

// script returns the script for a shell.
func script(shell, program string) string {
	return fmt.Sprintf(scripts[shell], program, completeWord)
}

// completion prints the script for a shell.
func (c Commands) completion(args []string, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 1 && (args[0] == "-h" || args[0] == "--help"):
		c.completionHelp(stdout)
		return 0
	case len(args) != 1 || scripts[args[0]] == "":
		fmt.Fprintf(stderr, "Usage: %s %s %s\n", c.Name, completionCommand, strings.Join(shells, "|"))
		return statusUsage
	}
	return printed(stdout, script(args[0], c.Name))
}

// completionHelp prints how to use the scripts.
func (c Commands) completionHelp(w io.Writer) {
	fmt.Fprintf(w, "%s.\n\nUsage: %s %s %s\n\n", completionAbout, c.Name, completionCommand, strings.Join(shells, "|"))
	for _, shell := range shells {
		first, _, _ := strings.Cut(script(shell, c.Name), ": ")
		_, how, _ := strings.Cut(script(shell, c.Name), first+": ")
		how, _, _ = strings.Cut(how, "\n")
		fmt.Fprintf(w, "  %-5s %s\n", shell, how)
	}
}

// printed prints a text and returns the exit status.
func printed(w io.Writer, text string) int {
	if _, err := io.WriteString(w, text); err != nil {
		return 1
	}
	return 0
}

// words returns words, one a line.
func words(all []string) string {
	text := ""
	for _, word := range all {
		text += word + "\n"
	}
	return text
}

// hidden returns what the words print that are for scripts only.
func (c Command) hidden(args []string) (text string, ok bool) {
	switch {
	case len(args) == 0:
		return "", false
	case args[0] == completeWord && len(args) > 1:
		return words(matching(c.completeFlags(args[1:]), args[len(args)-1])), true
	case args[0] == completionWord && len(args) == 2:
		return script(args[1], c.Name), scripts[args[1]] != ""
	case args[0] == manWord:
		return c.man(), true
	}
	return "", false
}

// complete returns what the last of some words may become, those before it
// being the beginning of the command line.
func (c Commands) complete(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	var all []string
	switch command, ok := c.find(words[0]); {
	case len(words) == 1, len(words) == 2 && words[0] == "help":
		for _, command := range c.List {
			all = append(all, command.Name)
		}
		all = append(all, completionCommand)
		if len(words) == 1 {
			all = append(all, "help", versionFlag)
		} else {
			all = append(all, sharedTopic)
		}
	case words[0] == completionCommand && len(words) == 2:
		all = shells
	case ok:
		all = command.completeFlags(words[1:])
	}
	return matching(all, words[len(words)-1])
}

// completeFlags returns the names of all flags, or of interfaces, if the last of some
// words may become one.
func (c Command) completeFlags(words []string) (all []string) {
	last := words[len(words)-1]
	f := c.flags(new(Options)).all()
	if n := len(words); n > 1 && strings.TrimLeft(words[n-2], "-") == linkFlag && f.Lookup(linkFlag) != nil {
		return linkNames()
	}
	if strings.HasPrefix(last, "-") {
		f.VisitAll(func(x *flag.Flag) { all = append(all, "--"+x.Name) })
		slices.Sort(all)
	}
	return all
}

// matching returns the words that one may become. A flag may have been begun with
// a single minus.
func matching(all []string, begun string) []string {
	if strings.HasPrefix(begun, "-") && !strings.HasPrefix(begun, "--") {
		begun = "-" + begun
	}
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(s, begun) })
}

// linkNames returns the names of the interfaces there are.
func linkNames() []string {
	all, err := net.Interfaces()
	if err != nil {
		return nil // there is nobody to tell
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}
