package cli

import (
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// The commands for shells: one prints a script, which calls the other.
const (
	completionCommand = "completion"
	completeCommand   = "__complete"
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
compdef _%[1]s %[1]s
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

// completion prints the script for a shell.
func (c Commands) completion(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 || scripts[args[0]] == "" {
		fmt.Fprintf(stderr, "Usage: %s %s %s\n", c.Name, completionCommand, strings.Join(shells, "|"))
		return 2
	}
	if _, err := fmt.Fprintf(stdout, scripts[args[0]], c.Name, completeCommand); err != nil {
		return 1
	}
	return 0
}

// complete returns what the last of some words may become, those before it
// being the beginning of the command line.
func (c Commands) complete(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	last := words[len(words)-1]
	var all []string
	switch command, ok := c.find(words[0]); {
	case len(words) == 1, len(words) == 2 && words[0] == "help":
		for _, command := range c.List {
			all = append(all, command.Name)
		}
		if len(words) == 1 {
			all = append(all, completionCommand, "help")
		}
	case words[0] == completionCommand && len(words) == 2:
		all = shells
	case !ok:
	case strings.TrimLeft(words[len(words)-2], "-") == linkFlag:
		all = linkNames()
	case strings.HasPrefix(last, "-"):
		command.flags(new(Options)).VisitAll(func(f *flag.Flag) { all = append(all, "-"+f.Name) })
	}
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(s, last) })
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
